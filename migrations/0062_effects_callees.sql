-- Whom a call is made to: each has slots of its own, so that one who does not answer holds up no others. Empty: nobody in particular, as all calls were
-- that were added before; those share slots.
do $$
declare
    service text;
begin
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        execute format('alter table %I.effects add column callee text collate "C" not null default %L', service, '');
        execute format('create index effects_due_by_callee on %I.effects (callee, due_at)', service);
    end loop;
end
$$;
