-- How long the outcome of a call may stay unknown counts from the first try that may have done something, not from the commit that asked for it:
-- until then its worker may be away, or its provider busy. And a key that is answered with an error for ever has been found so at some time.
do $$
declare
    service text;
begin
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        execute format('alter table %I.effects
            add column begun_at timestamptz,
            add column key_spent_at timestamptz', service);
    end loop;
end
$$;
