-- Which nats-server the relay was connected to, by the id that each gets when it starts, once the relay had looked what that one
-- may have lost. Another one now: it may have lost events that no relay has noted.
alter table log.relay add column broker text;
