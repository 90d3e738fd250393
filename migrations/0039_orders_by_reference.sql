-- no-transaction
-- A reference names one order. Of a column that never changes, so that updates of an order stay in place; orders without one are not in it.
create unique index concurrently orders_by_reference on orders.orders (reference) where reference is not null;
