-- What a plain application would have: tables, and one stored procedure for each step of an order. No log, no messages.
drop schema if exists bench cascade;
create schema bench;

create table bench.products (
    sku text collate "C" primary key,
    on_hand bigint not null,
    held bigint not null check (held between 0 and on_hand)
) with (fillfactor = 70);

create table bench.rounds (
    round_id uuid primary key,
    total bigint not null,
    sold bigint not null,
    held bigint not null check (held >= 0 and sold + held <= total)
) with (fillfactor = 70);

create table bench.orders (
    order_id uuid primary key,
    customer_id text not null,
    status text not null,
    sku text not null,
    quantity bigint not null,
    round_id uuid not null,
    shares bigint not null,
    total_minor bigint not null,
    placed_at timestamptz not null,
    expires_at timestamptz not null,
    paid_at timestamptz
) with (fillfactor = 70);

-- Of an application that does it in steps.
create table bench.holds (
    order_id uuid not null,
    resource text not null,
    status text not null,
    primary key (order_id, resource)
) with (fillfactor = 70);

create table bench.payments (
    order_id uuid primary key,
    amount_minor bigint not null,
    status text not null
) with (fillfactor = 70);

-- Places an order and holds what it needs.
create function bench.place(id uuid, customer text, product text, round uuid) returns void language plpgsql as $$
begin
    insert into bench.orders
    values (id, customer, 'reserved', product, 1, round, 1, 1750, now(), now() + interval '30 minutes', null);
    update bench.products set held = held + 1 where sku = product and on_hand - held >= 1;
    if not found then raise exception 'sold out'; end if;
    update bench.rounds set held = held + 1 where round_id = round and total - sold - held >= 1;
    if not found then raise exception 'sold out'; end if;
end
$$;

-- Pays an order and commits what it holds.
create function bench.pay(id uuid) returns void language plpgsql as $$
declare
    paid bench.orders;
begin
    update bench.orders set status = 'paid', paid_at = now() where order_id = id and status = 'reserved' returning * into paid;
    if not found then raise exception 'not to be paid'; end if;
    update bench.products set held = held - paid.quantity, on_hand = on_hand - paid.quantity where sku = paid.sku;
    update bench.rounds set held = held - paid.shares, sold = sold + paid.shares where round_id = paid.round_id;
end
$$;

-- Gives back all that an order cost and got.
create function bench.refund(id uuid) returns void language plpgsql as $$
declare
    refunded bench.orders;
begin
    update bench.orders set status = 'refunded' where order_id = id and status = 'paid' returning * into refunded;
    if not found then raise exception 'not to be refunded'; end if;
    update bench.products set on_hand = on_hand + refunded.quantity where sku = refunded.sku;
    update bench.rounds set sold = sold - refunded.shares where round_id = refunded.round_id;
end
$$;

-- Expires all orders that are due, and frees what they held, in one statement.
create function bench.expire() returns bigint language sql as $$
    with expired as (
        update bench.orders set status = 'expired' where status = 'reserved' and expires_at <= now()
        returning sku, quantity, round_id, shares
    ),
    products as (
        update bench.products p set held = p.held - e.quantity
        from (select sku, sum(quantity) as quantity from expired group by sku) as e where p.sku = e.sku
    ),
    rounds as (
        update bench.rounds r set held = r.held - e.shares
        from (select round_id, sum(shares) as shares from expired group by round_id) as e where r.round_id = e.round_id
    )
    select count(*) from expired
$$;

-- Puts in orders that are due, reserved or paid, and what they hold or got.
create function bench.fill(ids uuid[], products text[], rounds uuid[], new_status text) returns void language sql as $$
    insert into bench.orders
    select order_id, 'customer', new_status, sku, 1, round_id, 1, 1750, now() - interval '1 hour', now(), null
    from unnest(ids, products, rounds) as new (order_id, sku, round_id);
    update bench.products p set held = held + o.quantity
    from (select sku, sum(quantity) as quantity from bench.orders where status = 'reserved' group by sku) as o
    where p.sku = o.sku;
    update bench.rounds r
    set held = held + o.shares * (new_status = 'reserved')::int, sold = sold + o.shares * (new_status = 'paid')::int
    from (select round_id, sum(shares) as shares from bench.orders group by round_id) as o
    where r.round_id = o.round_id
$$;

-- The log's own layout: the same columns, checks and indexes.
create table bench.events (like log.events including all, unique (stream, version));
