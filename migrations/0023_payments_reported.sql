-- Payments and refunds learn what the provider's reports say of them.

-- Of an unasked payment, only reports are known: neither its order nor what it should come to.
alter table payments.payments
    alter column order_id drop not null,
    alter column attempt drop not null,
    drop constraint payments_status_check,
    add constraint payments_status_check
        check (status in ('unasked', 'requested', 'succeeded', 'failed', 'cancelled')),
    drop constraint a_tombstone_is_cancelled,
    add constraint only_what_was_asked_is_more_than_cancelled
        check (amount_minor is not null or status in ('unasked', 'cancelled')),
    add constraint only_unasked_is_of_no_order
        check ((status = 'unasked') = (order_id is null) and (order_id is null) = (attempt is null)),
    -- The charge by which the money came: the provider's ids of its report and of itself, and when, by the provider's clock.
    add column charge_event_id text,
    add column charge_reference text,
    add column charged_at timestamptz,
    -- Rows in payments.reports: without any, they need not be looked for.
    add column reports integer not null default 0;

alter table payments.refunds
    drop constraint refunds_status_check,
    add constraint refunds_status_check
        check (status in ('deferred', 'refunding', 'refunded', 'rejected', 'unknown', 'reversed')),
    -- Whether the call under the latest key was not answered yet.
    add column call_open boolean not null default false,
    -- What the provider knew earlier sendings by.
    add column old_references text[] not null default '{}',
    -- When what counts now happened, by the provider's clock, if it said so.
    add column said_at timestamptz;

update payments.refunds set call_open = true where status = 'refunding';
