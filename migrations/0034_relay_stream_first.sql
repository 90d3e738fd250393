-- The first message that the relay has left in the stream of events. Whatever is gone from there on, somebody else has taken away.
alter table log.relay
    -- 0: not known.
    add column stream_first bigint not null default 0 check (stream_first >= 0);
