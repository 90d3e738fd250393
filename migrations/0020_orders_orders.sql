-- Orders: one row an order, the fold of its stream. A breach of what must hold fails the transaction, it is never clamped.
create table orders.orders (
    order_id uuid primary key,
    customer_id text not null,
    status text not null check (status in
        ('pending', 'reserved', 'paid', 'expired', 'cancelled', 'rejected', 'refunding', 'partially_refunded', 'refunded')),
    payment_status text not null check (payment_status in
        ('pending', 'paid', 'failed', 'cancelled', 'refunding', 'partially_refunded', 'refunded')),
    fulfillment_status text not null check (fulfillment_status in ('pending', 'ready', 'cancelled', 'returned')),
    -- 1, and one more at each reinstatement. Holds and payments of an older attempt mean nothing to the latest.
    attempt integer not null check (attempt > 0),
    -- What the attempt asked for, as far as it was answered. Null: the order needs none.
    stock_hold text check (stock_hold in ('asked', 'held', 'rejected', 'released')),
    shares_hold text check (shares_hold in ('asked', 'held', 'rejected', 'released')),
    -- Whether the closed attempt has its receipt: nothing is held any more.
    released boolean not null,
    currency text not null check (length(currency) = 3),
    total_minor bigint not null check (total_minor between 1 and 1000000000000),
    -- Of the payment that paid the order. Late payments and their refunds are among the refunds, and count nowhere else.
    captured_minor bigint not null check (captured_minor between 0 and total_minor),
    refunding_minor bigint not null check (refunding_minor >= 0),
    refunded_minor bigint not null check (refunded_minor >= 0),
    -- As they were ordered, [{"sku": "mug", "quantity": 2, "unit_price_minor": 450}]; written once.
    lines jsonb not null,
    round_id uuid,
    share_count bigint check (share_count > 0),
    share_price_minor bigint check (share_price_minor > 0),
    -- The payment that paid the order; of a pending one, the late payment that will once everything is held again.
    payment_id uuid,
    payment_method text not null,
    late_payment_policy text not null check (late_payment_policy in ('refund', 'rehold')),
    placed_at timestamptz not null,
    time_to_pay interval not null,
    -- Null: it is paid with late money and waits for its holds only.
    expires_at timestamptz,
    -- By refund, {"<refund_id>": {"payment_id", "attempt", "amount_minor", "reason", "status", "lines", "return_shares"}}.
    refunds jsonb not null,
    -- How the round failed, if the refund of the shares waits until no other one is under way.
    deferred_share_refund text,
    -- Why it was closed or reopened, or what became of its last refund.
    note text not null,
    -- Events of stream `order-<order_id>`.
    version bigint not null check (version > 0),
    constraint refunds_are_captured check (refunded_minor + refunding_minor <= captured_minor),
    constraint paid_by_a_payment check (captured_minor = 0 or payment_id is not null),
    constraint paid_states_are_paid check
        ((status in ('paid', 'refunding', 'partially_refunded', 'refunded')) = (captured_minor > 0)),
    constraint only_closed_is_released check (not released or status in ('expired', 'cancelled', 'rejected')),
    constraint asks_for_something check (num_nonnulls(stock_hold, shares_hold) > 0),
    constraint shares_of_a_round check (num_nulls(shares_hold, round_id, share_count, share_price_minor) in (0, 4))
)
-- Room for updates in place. No index on what changes: the timers table knows what is due.
with (fillfactor = 45);

grant select, insert, update on orders.orders to holdfast_orders;
