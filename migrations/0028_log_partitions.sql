-- The log will be in partitions by position: the indexes that are written to stay small, and a part of the past can be moved as a whole.

create table log.partitioning (
    only_row boolean primary key default true check (only_row),
    -- Positions of one partition.
    positions bigint not null check (positions > 0)
);

-- Some 14 to 27 GB each. Whoever migrates may ask for another size: PGOPTIONS='-c holdfast.partition_positions=…'.
insert into log.partitioning (positions)
    values (coalesce(nullif(current_setting('holdfast.partition_positions', true), ''), '33554432')::bigint);

-- The partitions, and which positions are in them.
create table log.partitions (
    number integer primary key check (number > 0),
    first bigint not null unique,
    last bigint not null unique check (last >= first)
);

-- What is there becomes the first, with room for as much as comes until then.
insert into log.partitions
    select 1, 1, (last_value / positions + 2) * positions from log.events_position_seq, log.partitioning;

-- Checked for what comes from now on; 0029 checks what is there, while workers write.
do $$
declare
    ends bigint := (select last from log.partitions);
begin
    execute format('alter table log.events add constraint events_1_positions check (position between 1 and %s) not valid', ends);
end
$$;
