-- A call may wait until a person has seen to somebody who refuses how they are asked: a provider whose key was revoked. Who that is, and
-- since when the call waits for them, is kept beside it, so that any worker, and an operator, can say how many do.
do $$
declare
    service text;
begin
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        execute format('alter table %I.effects
            add column stopped_by text,
            add column stopped_since timestamptz', service);
        execute format('create index effects_stopped on %I.effects (stopped_by) where stopped_by is not null', service);
    end loop;
end
$$;
