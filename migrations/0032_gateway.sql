-- The role of the gateway: it reads rows, answers and events, and writes nothing.
do $$
declare
    service text;
begin
    if not exists (select from pg_roles where rolname = 'holdfast_gateway') then
        create role holdfast_gateway login;
    end if;
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        execute format('grant usage on schema %I to holdfast_gateway', service);
        execute format('grant select on %I.inbox to holdfast_gateway', service);
    end loop;
exception
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the role just now; run the migration again';
end
$$;

grant usage on schema log to holdfast_gateway;
grant select on log.events, log.relay to holdfast_gateway;
grant select on orders.orders, inventory.stock, inventory.holds, rounds.rounds, rounds.holds,
    payments.payments, payments.refunds to holdfast_gateway;
