-- Parts of the log that are in files instead of its table: what `holdfast archive` has done with each, step by step.

-- Their tables, until they are dropped. Nobody but the owner looks into it.
create schema archived;

create table log.archives (
    id bigint generated always as identity primary key,
    noted_at timestamptz not null default clock_timestamp(),
    -- Copied: the files are there, and have every event byte for byte. Detached: the log's table has it no more. Dropped: nor has the
    -- database. Restored: the log's table has it again.
    step text not null check (step in ('copied', 'detached', 'dropped', 'restored')),
    partition integer not null references log.partitions,
    -- Its positions, and how many events it has.
    first bigint not null,
    last bigint not null,
    events bigint not null,
    -- Of the file that names all others, and has their hashes.
    manifest_sha256 text not null check (manifest_sha256 ~ '^[0-9a-f]{64}$'),
    -- Where the files were put, as whoever put them there calls it.
    directory text not null,
    reason text not null check (reason <> ''),
    done_by text not null default session_user
);

create trigger append_only before update or delete or truncate on log.archives
    for each statement execute function log.refuse_change();

-- The parts that the log's table has no more, and where they went. Whoever reads the log has to know, and sees no more by it. Which these are
-- is asked as whoever reads the table asks: also in a snapshot that is older than its detaching, and before anybody has noted that.
create function log.archived_parts()
    returns table (partition integer, first bigint, last bigint, archived_at timestamptz, directory text, manifest_sha256 text)
    language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
    select parts.number, parts.first, parts.last, noted.noted_at, noted.directory, noted.manifest_sha256
    from log.partitions as parts
    left join lateral (
        select noted_at, directory, manifest_sha256 from log.archives
        where archives.partition = parts.number and step = 'copied' order by id desc limit 1
    ) as noted on true
    where not exists (
        select from pg_partition_tree('log.events') as there
        where there.relid = to_regclass(format('log.events_%s', parts.number))
    )
    order by parts.number
$$;

grant select on log.archives to holdfast_worker, holdfast_diagnose;
