-- Ends the statement that calls it, and its transaction with it: how a writer says in SQL that what it has read is no longer so.
create function log.refuse(code text, reason text) returns bigint language plpgsql as $$
begin
    raise exception using errcode = code, message = reason;
end
$$;
