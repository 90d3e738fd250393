-- Whoever is called may have accepted a call and not said yet how it ends: a refund that a bank takes days for. Such a call is known, and is no matter of
-- a person if it cannot be looked up just now.
do $$
declare
    service text;
begin
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        execute format('alter table %I.effects add column accepted boolean not null default false', service);
    end loop;
end
$$;

-- What was accepted before said so in words only.
update payments.effects set accepted = true where last_error like 'the provider accepted it as %';
