-- What the provider reported that fitted nothing that was asked for, or was only to be noted. Who has locked the payment's row has
-- locked its reports.
create table payments.reports (
    payment_id uuid not null,
    -- The provider's own id of the report: under the same one, it is the same.
    provider_event_id text collate "C" not null,
    kind text not null check (kind in
        ('payment_succeeded', 'payment_failed', 'payment_closed', 'refund_succeeded', 'refund_failed')),
    -- Why it fits nothing; null: it does.
    mismatch text check (mismatch in ('not_asked', 'second_charge', 'other_amount', 'taken_back', 'refund_not_asked',
        'refunded_twice', 'refund_contradicted', 'refund_unknown')),
    standing text not null check (standing in ('noted', 'open', 'accepted', 'undone')),
    -- The later report that settled it; empty if none did.
    settled_by text not null,
    -- As the provider gave it: of any size, and in any currency. Null: it named no money.
    amount_minor bigint,
    currency text,
    provider_reference text not null,
    refund_id text not null,
    reason text not null,
    -- By the provider's clock; null if it did not say.
    occurred_at timestamptz,
    primary key (payment_id, provider_event_id),
    constraint money_in_full check (num_nulls(amount_minor, currency) in (0, 2)),
    constraint what_is_open_fits_nothing check (standing = 'noted' or mismatch is not null)
);

-- Few are open at a time, and whoever looks for what waits for a person must find them.
create index reports_open on payments.reports (payment_id) where standing = 'open';

grant select, insert, update on payments.reports to holdfast_payments;
