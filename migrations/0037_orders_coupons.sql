-- The coupon that an order asks for, and what it takes off. Most orders have none, so old workers need not know of it.
alter table orders.orders
    add column coupon_code text,
    add column coupon_hold text check (coupon_hold in ('asked', 'held', 'rejected', 'released')),
    -- What it took off when it was held last, {"lines": [100, 0], "shares": 0} in minor units; null: it was never held.
    add column discount jsonb,
    add column discount_minor bigint not null default 0 check (discount_minor >= 0),
    add constraint a_hold_of_a_coupon check ((coupon_code is null) = (coupon_hold is null)),
    add constraint a_discount_by_a_coupon check (discount is null or coupon_code is not null),
    add constraint never_below_nothing check (discount_minor <= total_minor),
    -- An order whose coupon leaves nothing to pay is paid with nothing.
    drop constraint paid_states_are_paid,
    add constraint paid_states_are_paid check (
        case when status in ('paid', 'refunding', 'partially_refunded', 'refunded')
            then captured_minor = total_minor - discount_minor
            else captured_minor = 0 end),
    drop constraint paid_by_a_payment,
    add constraint paid_by_a_payment check
        (payment_id is not null or status not in ('paid', 'refunding', 'partially_refunded', 'refunded'));
