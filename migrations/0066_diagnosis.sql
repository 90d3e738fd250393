-- Who may say what is wrong with a fleet, beside whoever may read everything: what `holdfast diagnose` looks at, and nothing that a message, a
-- call or another's query says.
do $$
declare
    service text;
begin
    if not exists (select from pg_roles where rolname = 'holdfast_diagnose') then
        create role holdfast_diagnose nologin;
    end if;
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        execute format('grant usage on schema %I to holdfast_diagnose', service);
        execute format('grant select on %I.timers to holdfast_diagnose', service);
        execute format('grant select (key, type, deadline, attempts, due_at, last_error, callee, stopped_by, stopped_since) on %I.effects
            to holdfast_diagnose', service);
        execute format('grant select (id, subject, code, reason, received_at, act_id, settled_at) on %I.dead_letters to holdfast_diagnose', service);
    end loop;
exception
    -- Two databases migrated at the same moment: the other one made the role.
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the role just now; run the migration again';
end
$$;

grant usage on schema log to holdfast_diagnose;
grant select on log.events, log.relay, log.partitions, log.installation, log.epochs, log.notices, log.acts, log.pauses to holdfast_diagnose;
grant select on orders.orders, inventory.holds, rounds.holds, payments.payments, payments.refunds, payments.reports to holdfast_diagnose;

-- Transactions that have written and are open for a while, and whose they are. Postgres shows others' sessions to few: so this is done by the
-- owner, and tells no query of anybody.
create function log.open_transactions(seconds double precision, most bigint)
    returns table (is_prepared boolean, id text, whose text, state text, since timestamptz, is_ours boolean)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not pg_has_role(current_user, 'pg_read_all_stats', 'usage') then
        raise exception 'the owner of this database does not see what others'' sessions do: grant pg_read_all_stats to %', current_user;
    end if;
    return query
        select false, pid::text, format('app "%s", user %s, database %s, %s', application_name, usename, datname,
                coalesce(host(client_addr), 'this machine')),
            coalesce(activity.state, ''), xact_start,
            application_name like 'holdfast%' or usename in ('holdfast_orders', 'holdfast_inventory', 'holdfast_rounds',
                'holdfast_payments', 'holdfast_all_in_one', 'holdfast_gateway', 'holdfast_mail')
        from pg_stat_activity as activity
        where backend_xid is not null and backend_type <> 'autovacuum worker' and pid <> pg_backend_pid()
            and xact_start <= clock_timestamp() - seconds * interval '1 second'
        union all
        select true, gid, format('user %s, database %s', owner, database), 'prepared', prepared, false
        from pg_prepared_xacts where prepared <= clock_timestamp() - seconds * interval '1 second'
        order by 5 limit most;
end
$$;

revoke all on function log.open_transactions from public;
grant execute on function log.open_transactions to holdfast_diagnose;

grant holdfast_diagnose to holdfast_gateway;
