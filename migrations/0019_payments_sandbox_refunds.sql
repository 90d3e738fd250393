-- The ledger of the sandbox, a provider for demonstrations and tests. It stands for an outside system: the service
-- never reads it, and it is no part of the service's state.
create table payments.sandbox_refunds (
    -- The idempotency key: its money moves at most once, however often it is sent.
    key text collate "C" primary key,
    payment_id uuid not null,
    refund_id uuid not null,
    amount_minor bigint not null,
    currency text not null,
    status text not null check (status in ('open', 'refunded', 'declined', 'failed')),
    -- How often it was sent.
    calls integer not null,
    -- How long after it was paid out it fails, by its script; null if it does not.
    fails_after_ms bigint,
    first_call_at timestamptz not null default now()
);

grant select, insert, update on payments.sandbox_refunds to holdfast_payments;
