-- One schema and one login role per service. A role reaches its own schema and the log, nothing else.
-- Roles belong to the whole cluster, so another database of it may have made them already.
do $$
declare
    service text;
begin
    if not exists (select from pg_roles where rolname = 'holdfast_worker') then
        create role holdfast_worker nologin;
    end if;
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        if not exists (select from pg_roles where rolname = 'holdfast_' || service) then
            execute format('create role %I login in role holdfast_worker', 'holdfast_' || service);
        end if;
        execute format('create schema %I', service);
        execute format('grant usage on schema %I to %I', service, 'holdfast_' || service);
    end loop;
exception
    -- Two databases migrated at the same moment: the other one made the role.
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the roles just now; run the migration again';
end
$$;

create schema log;
grant usage on schema log to holdfast_worker;
