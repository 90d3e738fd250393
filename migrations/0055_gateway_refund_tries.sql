-- How a refund's call goes: the gateway shows it to whoever waits for the money. What is sent stays unseen.
grant select (key, attempts, due_at, last_error, stopped_by, stopped_since) on payments.effects to holdfast_gateway;
