-- The shop's own number of the order, for every page on which the payment is paid. Null: the order has none, or its payment was requested by
-- workers that passed over it; then a page shows the order's id.
alter table payments.payments add column order_reference text;
