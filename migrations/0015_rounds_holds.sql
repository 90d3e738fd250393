-- What each attempt of an order holds, held, or gave up before it came.
create table rounds.holds (
    order_id uuid not null,
    attempt integer not null check (attempt > 0),
    -- Null: released before it was held, so nobody has said which. No foreign key: a refused hold may name a round that is none.
    round_id uuid,
    -- Shares; written once. 0 if none were ever held.
    count bigint not null check (count >= 0),
    status text not null check (status in ('held', 'committed', 'released', 'rejected')),
    -- Whether its order was named to be refunded, because the round failed.
    refund_requested boolean not null check (not refund_requested or status = 'committed'),
    -- The refund that its shares came back with.
    returned_by uuid check (returned_by is null or status = 'committed'),
    -- Events of stream `shares-<order_id>.<attempt>`.
    version bigint not null check (version > 0),
    primary key (order_id, attempt),
    constraint shares_are_of_a_round check (round_id is not null or status = 'released' and count = 0)
)
-- Room for the update in place that closes the hold.
with (fillfactor = 45);

grant select, insert, update on rounds.holds to holdfast_rounds;
