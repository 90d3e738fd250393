-- The log: every event of every service, append-only, one event per place in a stream.
create table log.events (
    position bigint generated always as identity primary key,
    -- Sorted by bytes: the index compares faster, and the same whatever the database's locale.
    stream text collate "C" not null,
    version bigint not null check (version > 0),
    -- Derived from its cause and its place, so unique as that place is, without an index of its own.
    event_id uuid not null,
    -- Who wrote it, and what it is: `orders`, `holdfast.orders.v1.OrderPlaced`.
    service text not null,
    type text not null,
    data bytea not null,
    correlation_id uuid not null,
    causation_id uuid not null,
    -- W3C trace context of what caused it, if the sender gave one.
    traceparent text,
    recorded_at timestamptz not null,
    unique (stream, version)
);

create function log.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'the log is append-only: % of log.events is refused', tg_op;
end
$$;

-- Not even the owner changes it by mistake.
create trigger append_only before update or delete or truncate on log.events
    for each statement execute function log.refuse_change();

grant select, insert on log.events to holdfast_worker;
