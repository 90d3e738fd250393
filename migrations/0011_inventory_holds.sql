-- What each attempt of an order holds, held, or gave up before it came.
create table inventory.holds (
    order_id uuid not null,
    attempt integer not null check (attempt > 0),
    status text not null check (status in ('held', 'committed', 'released', 'rejected')),
    -- Pieces by product, {"<sku>": 2}; written once. Empty if nothing was ever held.
    lines jsonb not null,
    -- Pieces that came back, by refund and product, {"<refund_id>": {"<sku>": 1}}: each refund returns once.
    returns jsonb not null,
    -- Events of stream `stock-<order_id>.<attempt>`.
    version bigint not null check (version > 0),
    primary key (order_id, attempt)
)
-- Room for the update in place that closes the hold.
with (fillfactor = 45);

grant select, insert, update on inventory.holds to holdfast_inventory;
