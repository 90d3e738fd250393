-- One attempt's payment of an order, and the money of all its refunds. A breach of conservation fails the transaction.
create table payments.payments (
    payment_id uuid primary key,
    order_id uuid not null,
    attempt integer not null check (attempt > 0),
    status text not null check (status in ('requested', 'succeeded', 'failed', 'cancelled')),
    -- What the buyer was asked. All null in a tombstone: cancelled before it was requested.
    amount_minor bigint check (amount_minor >= 0),
    currency text,
    provider text,
    provider_reference text,
    payment_method text,
    expires_at timestamptz,
    -- Money that came, went back, and is promised to refunds that are not over.
    captured_minor bigint not null check (captured_minor >= 0),
    refunded_minor bigint not null check (refunded_minor >= 0),
    refunding_minor bigint not null check (refunding_minor >= 0),
    -- Events of stream `payment-<payment_id>`.
    version bigint not null check (version > 0),
    constraint asked_in_full
        check (num_nulls(amount_minor, currency, provider, provider_reference, payment_method, expires_at) in (0, 6)),
    constraint a_tombstone_is_cancelled check (amount_minor is not null or status = 'cancelled'),
    constraint captured_is_asked check (captured_minor in (0, coalesce(amount_minor, 0))),
    constraint refunds_are_captured check (refunded_minor + refunding_minor <= captured_minor)
)
-- Room for updates in place.
with (fillfactor = 45);

grant select, insert, update on payments.payments to holdfast_payments;
