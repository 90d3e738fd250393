-- Where the relay stands: one row. Any worker may be the relay, so all roles share it.
create table log.relay (
    only_row boolean primary key default true check (only_row),
    -- Every event up to here was published and acknowledged by the broker, or never committed.
    published bigint not null default 0,
    -- Every event up to here was also handled by every consumer: what a lost broker need not hear again.
    handled bigint not null default 0,
    -- Which broker stream that was: when it was made, and one of its last messages, by sequence number and position.
    stream_created timestamptz,
    stream_sequence bigint not null default 0,
    stream_position bigint not null default 0,
    check (handled <= published)
);

insert into log.relay default values;

grant select, update on log.relay to holdfast_worker;
