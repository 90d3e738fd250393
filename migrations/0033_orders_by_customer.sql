-- no-transaction
-- Orders of a customer, the newest first. Of columns that never change, so that updates of an order stay in place.
create index concurrently orders_by_customer on orders.orders (customer_id, placed_at, order_id);
