-- What must be remembered of an order until all of it is done.
alter table orders.orders
    -- What everything that is left is to go back for, {"refund_id", "reason", "actor", "note"}; null: nobody asked for that.
    add column everything jsonb,
    -- The late payment that waits for the receipt, and then holds everything again. It is of the order's total.
    add column waiting_payment_id uuid,
    -- Money that was to go back, does not, and is on no way: somebody must see to it. It follows from the refunds.
    add column owed_minor bigint not null default 0 check (owed_minor >= 0),
    -- What is on its way back may have gone back elsewhere meanwhile, and is then refused: only what went back is bound.
    drop constraint refunds_are_captured,
    add constraint refunds_are_captured check (refunded_minor <= captured_minor);

create index orders_owed on orders.orders (order_id) where owed_minor > 0;
