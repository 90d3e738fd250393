-- The shop's own number of an order. Null: it has none. Workers of before know nothing of it, and place orders without.
alter table orders.orders add column reference text collate "C" check (length(reference) between 1 and 64);
