-- Coupons: one row a coupon. A breach of its limit fails the transaction, it is never clamped.
create table payments.coupons (
    code text collate "C" primary key check (code ~ '^[A-Z0-9_-]{1,64}$'),
    -- What it takes off: one of the two.
    basis_points integer check (basis_points between 1 and 10000),
    fixed_minor bigint check (fixed_minor > 0),
    currency text not null check (length(currency) = 3),
    -- Limits; null: none.
    discount_max_minor bigint check (discount_max_minor > 0),
    spend_min_minor bigint check (spend_min_minor > 0),
    valid_from timestamptz,
    valid_until timestamptz,
    uses_max bigint check (uses_max > 0),
    uses_per_customer_max bigint check (uses_per_customer_max > 0),
    -- The products that it is for, ["mug", "cup"]; none: for everything.
    skus jsonb not null,
    status text not null check (status in ('open', 'closed')),
    -- Uses kept for orders that are not paid yet.
    held bigint not null check (held >= 0),
    -- Uses of paid orders.
    redeemed bigint not null check (redeemed >= 0),
    -- Events of stream `coupon-<code>`.
    version bigint not null check (version > 0),
    constraint takes_off_one_thing check (num_nonnulls(basis_points, fixed_minor) = 1),
    constraint never_more_than_its_uses check (held + redeemed <= uses_max)
)
-- Room for updates in place: a popular coupon is one page, rewritten once a batch.
with (fillfactor = 70);

-- What each attempt of an order holds of a coupon, held, or gave up before it came.
create table payments.coupon_uses (
    order_id uuid not null,
    attempt integer not null check (attempt > 0),
    -- Null: released before it was held, so nobody has said which. No foreign key: a refused hold may name a coupon that is none.
    code text collate "C",
    -- Whose use it is; empty if it never was one.
    customer_id text collate "C" not null,
    status text not null check (status in ('held', 'committed', 'released', 'rejected')),
    -- Events of stream `use-<order_id>.<attempt>`.
    version bigint not null check (version > 0),
    primary key (order_id, attempt),
    constraint uses_are_of_a_coupon check (code is not null or status = 'released')
)
-- Room for the update in place that closes the hold.
with (fillfactor = 45);

-- What each customer has used of a coupon.
create table payments.coupon_customers (
    code text collate "C" not null,
    customer_id text collate "C" not null,
    held bigint not null check (held >= 0),
    redeemed bigint not null check (redeemed >= 0),
    primary key (code, customer_id)
)
with (fillfactor = 70);

grant select, insert, update on payments.coupons, payments.coupon_uses, payments.coupon_customers to holdfast_payments;
grant select on payments.coupons, payments.coupon_uses to holdfast_gateway;
