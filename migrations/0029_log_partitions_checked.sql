-- no-transaction
alter table log.events validate constraint events_1_positions;
