-- no-transaction
-- All orders, the newest first. Of columns that never change, so that updates of an order stay in place.
create index concurrently orders_by_time on orders.orders (placed_at, order_id);
