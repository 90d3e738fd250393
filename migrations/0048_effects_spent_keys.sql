-- A provider may answer the key of a call with an error for ever. Then what became of it is looked up, and nothing is sent under it again.
do $$
declare
    service text;
begin
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        execute format('alter table %I.effects add column key_spent boolean not null default false', service);
    end loop;
end
$$;
