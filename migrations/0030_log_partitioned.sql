-- The table of events becomes the first partition, as it is and without a look at its rows. Writers wait for a moment, and go on by the same name.
do $$
declare
    following bigint;
    ends bigint := (select last from log.partitions);
begin
    lock table log.events in access exclusive mode;
    select last_value + is_called::integer into following from log.events_position_seq;
    alter table log.events alter position drop identity;
    alter table log.events rename to events_1;
    alter table log.events_1 rename constraint events_pkey to events_1_pkey;
    execute format(
        'create table log.events (
            position bigint generated always as identity (start with %s) primary key,
            stream text collate "C" not null,
            version bigint not null constraint events_version_check check (version > 0),
            event_id uuid not null,
            service text not null,
            type text not null,
            data bytea not null,
            correlation_id uuid not null,
            causation_id uuid not null,
            traceparent text,
            recorded_at timestamptz not null
        ) partition by range (position)',
        following
    );
    execute format('alter table log.events attach partition log.events_1 for values from (1) to (%s)', ends + 1);
end
$$;

-- A statement that names the log fires this one, one that names a partition the partition's own.
create trigger append_only before update or delete or truncate on log.events
    for each statement execute function log.refuse_change();

-- Without the right to read a partition nobody is told which of its keys was taken.
revoke insert on log.events_1 from holdfast_worker;
grant select on log.events to holdfast_worker;
-- Not the position, which is always drawn.
grant insert (stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent, recorded_at)
    on log.events to holdfast_worker;
grant select on log.partitioning, log.partitions to holdfast_worker;

-- Makes partitions until four lie beyond this position, or beyond the last that was drawn; how many that was. There is no default partition, for one could not be detached
-- while others write: what finds no partition is refused, and waits.
--
-- Places in a stream are unique within a partition. Two who want the same place meet within moments, so in one partition, or at the row
-- of the stream, which has its version: it is saved only where that is the one that was read.
create function log.make_partitions(beyond bigint default null) returns integer
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    size bigint := (select positions from log.partitioning);
    needed bigint := coalesce(beyond, (select last_value from log.events_position_seq)) + 4 * size;
    made integer := 0;
    latest log.partitions;
    name text;
begin
    select * into latest from log.partitions order by number desc limit 1;
    if latest.last >= needed then
        return 0;
    end if;
    lock table log.partitions in share row exclusive mode;
    select * into latest from log.partitions order by number desc limit 1;
    while latest.last < needed loop
        latest := (latest.number + 1, latest.last + 1, latest.last + size);
        name := 'events_' || latest.number;
        execute format('create table log.%I (like log.events including constraints including indexes)', name);
        execute format('alter table log.%I add constraint %I unique (stream, version)', name, name || '_stream_version_key');
        execute format(
            'create trigger append_only before update or delete or truncate on log.%I
                 for each statement execute function log.refuse_change()',
            name
        );
        execute format('grant select on log.%I to holdfast_worker', name);
        -- Blocks nobody who writes, unlike a table that is made as a partition.
        execute format(
            'alter table log.events attach partition log.%I for values from (%s) to (%s)', name, latest.first, latest.last + 1
        );
        insert into log.partitions select latest.*;
        made := made + 1;
    end loop;
    return made;
end
$$;

revoke all on function log.make_partitions from public;
grant execute on function log.make_partitions to holdfast_worker;

select log.make_partitions();
