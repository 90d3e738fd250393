-- Where buyers are reached by mail: beside the log and in no event, so that it can be forgotten (`holdfast contact forget`). Orders writes
-- it together with the order and never reads it.
create table orders.contacts (
    order_id uuid primary key,
    email text not null check (octet_length(email) between 3 and 254)
);

grant insert on orders.contacts to holdfast_orders;
