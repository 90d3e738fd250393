-- Wallets: what customers keep here, one row for each customer and currency. Less than nothing fails the transaction, it is never clamped.
-- Old workers know nothing of them, so all of payments and orders are upgraded before an order is paid from one.
create table payments.wallets (
    wallet_id uuid primary key,
    customer_id text collate "C" not null,
    currency text not null check (length(currency) = 3),
    -- What can be spent.
    available_minor bigint not null check (available_minor >= 0),
    -- What is set aside for payments.
    held_minor bigint not null check (held_minor >= 0),
    -- Events of stream `wallet-<wallet_id>`.
    version bigint not null check (version > 0),
    constraint one_of_each_currency unique (customer_id, currency)
)
-- Room for updates in place: neither customer nor currency ever changes.
with (fillfactor = 70);

-- What is set aside of a wallet for a payment, was asked for in vain, or was given up before it came.
create table payments.funds (
    payment_id uuid primary key,
    -- Null: released before it was held, so nobody has said which. No foreign key: a refused hold may name a wallet that is none.
    wallet_id uuid,
    -- Whose wallet that is; empty if nobody has said.
    customer_id text collate "C" not null,
    amount_minor bigint check (amount_minor > 0),
    currency text check (length(currency) = 3),
    status text not null check (status in ('held', 'committed', 'released', 'rejected')),
    -- What of it went back, by refund: {"8c0e…": 500}.
    credits jsonb not null,
    -- Events of stream `funds-<payment_id>`.
    version bigint not null check (version > 0),
    constraint funds_are_of_a_wallet
        check (num_nulls(wallet_id, amount_minor, currency) = 0 or status = 'released' and num_nonnulls(wallet_id, amount_minor, currency) = 0)
)
-- Room for the updates in place that close the hold and give its money back.
with (fillfactor = 45);

grant select, insert, update on payments.wallets, payments.funds to holdfast_payments;
grant select on payments.wallets to holdfast_gateway;
