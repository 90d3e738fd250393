-- Traces: how far a collector was told of the log. A role of its own, which reads the log and writes nothing else than this.
do $$
begin
    if not exists (select from pg_roles where rolname = 'holdfast_traces') then
        create role holdfast_traces login;
    end if;
exception
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the role just now; run the migration again';
end
$$;

create schema traces;
create table traces.told (
    only_row boolean primary key default true check (only_row),
    position bigint not null check (position >= 0),
    told_at timestamptz not null default clock_timestamp()
);

grant usage on schema traces, log to holdfast_traces;
grant select on log.events, log.relay to holdfast_traces;
grant select, insert, update on traces.told to holdfast_traces;
