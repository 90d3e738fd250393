-- How far the log's copies in JSON are published: every event up to here has its copy. Null: no relay publishes any.
alter table log.relay add column copied bigint;

-- What a worker tells an operator, or the other workers, although it goes on. What nobody says again in time is over.
create table log.notices (
    topic text not null,
    said_by text not null,
    says text not null,
    since timestamptz not null,
    valid_until timestamptz not null,
    primary key (topic, said_by)
);

grant select, insert, update, delete on log.notices to holdfast_worker;
