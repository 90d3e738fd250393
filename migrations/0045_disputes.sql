-- Disputes of a payment's charge, by the provider's own id of each: {"du_1": {"status": "needs_response", "standing": "open",
-- "withdrawn": {"minor_units": 1200, "currency": "EUR"}, …}}. Null: none ever was. Old workers know nothing of them, so all of payments and orders are upgraded before a
-- provider tells of one.
alter table payments.payments
    add column disputes jsonb,
    -- What they took and did not give back, beside what was captured and refunded: it follows from them, and is there for people and sums. Below
    -- 0 while only what came back is known.
    add column charged_back_minor bigint not null default 0;

-- Few payments are disputed, and whoever looks for those that wait for an answer must find them.
create index payments_disputed on payments.payments (payment_id) where disputes is not null;

alter table payments.reports
    -- What the report says of a dispute, if it is about one.
    add column dispute jsonb,
    drop constraint reports_kind_check,
    add constraint reports_kind_check check (kind in ('payment_succeeded', 'payment_failed', 'payment_closed',
        'payment_authorised', 'payment_voided', 'refund_succeeded', 'refund_failed', 'payment_disputed',
        'dispute_funds_withdrawn', 'dispute_funds_reinstated', 'dispute_closed'));

-- What an order knows of disputes of its payments, by the provider's own id of each. Null: there never was one.
alter table orders.orders add column disputes jsonb;
