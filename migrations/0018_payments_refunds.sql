-- Refunds of payments. Who has locked the payment's row has locked its refunds.
create table payments.refunds (
    -- No foreign key: it would be looked up at every insert, and the audit finds what it would.
    payment_id uuid not null,
    refund_id uuid not null,
    status text not null check (status in ('refunding', 'refunded', 'rejected', 'unknown', 'reversed')),
    amount_minor bigint not null check (amount_minor >= 0),
    currency text not null,
    -- How many keys it was sent under: 0 when it was refused at once, above 1 after an operator's RETRY.
    send_count integer not null check (send_count >= 0),
    -- What the provider recognises the latest by.
    key text not null,
    -- Whether it counted as refunded once: the order then stays refunded.
    refunded_once boolean not null,
    -- What the provider knows the latest that it accepted by.
    provider_reference text not null,
    -- Why it is where it is: a rejection, evidence, or an operator's note, whatever came last.
    reason text not null,
    -- While it is under way: after this its outcome counts as unknown.
    deadline timestamptz,
    -- Who asks for a refund may choose its id, so two payments may have refunds of the same.
    primary key (payment_id, refund_id)
)
with (fillfactor = 45);

-- No index on what changes, so that updates stay in place.
grant select, insert, update on payments.refunds to holdfast_payments;
