-- Products and their stock: one row a product. A breach of conservation fails the transaction, it is never clamped.
create table inventory.stock (
    -- Sorted by bytes, as the workers sort: rows are locked and written in one order, whatever the database's locale.
    sku text collate "C" primary key,
    name text not null,
    -- Totals over the product's life.
    received bigint not null check (received >= 0),
    adjusted bigint not null,
    committed bigint not null,
    returned bigint not null check (returned between 0 and committed),
    on_hand bigint generated always as (received + adjusted - committed + returned) stored,
    -- Kept for orders that are not paid yet.
    held bigint not null check (held >= 0),
    -- Events of stream `product-<sku>`.
    version bigint not null check (version > 0),
    constraint held_is_on_hand check (held <= received + adjusted - committed + returned)
)
-- Room for updates in place: a hot product is rewritten once a batch. No index on what changes, for the same reason.
with (fillfactor = 70);

grant select, insert, update on inventory.stock to holdfast_inventory;
