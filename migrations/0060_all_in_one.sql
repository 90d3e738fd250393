-- The role of a process that runs all four services: whatever each of them may do, and nothing else.
do $$
begin
    if not exists (select from pg_roles where rolname = 'holdfast_all_in_one') then
        create role holdfast_all_in_one login in role holdfast_orders, holdfast_inventory, holdfast_rounds, holdfast_payments;
    end if;
exception
    -- Two databases migrated at the same moment: the other one made the role.
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the role just now; run the migration again';
end
$$;
