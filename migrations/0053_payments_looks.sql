-- When the provider is asked next what has become of a payment's page. Null: not any more, or never.
alter table payments.payments add column page_look_at timestamptz;
