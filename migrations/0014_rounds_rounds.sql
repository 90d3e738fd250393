-- Rounds: one row a round. A breach of conservation fails the transaction, it is never clamped.
create table rounds.rounds (
    round_id uuid primary key,
    prize text not null,
    total_shares bigint not null check (total_shares > 0),
    share_price_minor bigint not null check (share_price_minor >= 0),
    currency text not null,
    closes_at timestamptz not null,
    status text not null check (status in ('open', 'sold_out', 'closed', 'cancelled')),
    -- Shares that are paid for and were not returned.
    sold bigint not null check (sold >= 0),
    -- Shares kept for orders that are not paid yet.
    held bigint not null check (held >= 0),
    -- Of the sold shares, those whose buyers were named to be refunded, because the round failed.
    refunding bigint not null check (refunding between 0 and sold),
    -- Events of stream `round-<round_id>`.
    version bigint not null check (version > 0),
    constraint never_more_than_the_total check (sold + held <= total_shares)
)
-- Room for updates in place: a popular round is one page, rewritten once a batch. No index on what changes, for the same reason.
with (fillfactor = 70);

grant select, insert, update on rounds.rounds to holdfast_rounds;
