-- Which log this is. The broker's streams bear the same id, so that two logs on one broker are noticed.
create table log.installation (
    only_row boolean primary key default true check (only_row),
    id uuid not null default gen_random_uuid(),
    -- The name that its workers are given (setting database.installation); the first that has one sets it.
    name text
);

insert into log.installation default values;

-- Epochs of the log. A new one begins when published events are given up, because the database went back to before them: an event
-- outside is known by its epoch and position.
create table log.epochs (
    epoch integer primary key check (epoch > 0),
    -- Events of the epoch before it count up to this position only,
    after bigint not null,
    -- and without these, which were given up although they are before it.
    given_up bigint[] not null default '{}',
    began_at timestamptz not null default clock_timestamp(),
    reason text not null
);

insert into log.epochs (epoch, after, reason) values (1, 0, 'the log was made');

-- What was done each time after the database had gone back.
create table log.recoveries (
    id bigint generated always as identity primary key,
    recovered_at timestamptz not null default clock_timestamp(),
    -- Where the log ended before it.
    log_ended bigint not null,
    -- Published events that were taken back into the log, and those that were given up.
    adopted bigint not null,
    given_up bigint not null,
    -- The epoch since then.
    epoch integer not null references log.epochs,
    reason text not null,
    done_by text not null default session_user
);

create or replace function log.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the log is append-only: % of %.% is refused', tg_op, tg_table_schema, tg_table_name;
end
$$;

create trigger append_only before update or delete or truncate on log.epochs
    for each statement execute function log.refuse_change();
create trigger append_only before update or delete or truncate on log.recoveries
    for each statement execute function log.refuse_change();

grant select, update (name) on log.installation to holdfast_worker;
grant select on log.epochs, log.recoveries to holdfast_worker;

-- Of which cluster of Postgres, and which of its timelines, the relay knows what was published. Another one now: a standby was promoted,
-- or a backup restored, and what had been committed, handled and acknowledged since may be gone.
alter table log.relay add column timeline text;
