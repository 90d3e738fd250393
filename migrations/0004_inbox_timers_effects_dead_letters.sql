-- What the runtime keeps for each service, in the service's own schema.
do $$
declare
    service text;
begin
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        -- Commands that were answered: a redelivered one gets the same answer, one with another body is refused.
        execute format('create table %I.inbox (
            command_id uuid primary key,
            body_hash bytea not null,
            -- Protobuf of holdfast.common.v1.CommandReply.
            reply bytea not null,
            handled_at timestamptz not null
        )', service);

        -- Due work. Claimed with SKIP LOCKED and deleted in the transaction that does it, never before.
        execute format('create table %I.timers (
            stream text collate "C" not null,
            due_at timestamptz not null,
            primary key (stream, due_at)
        )', service);
        execute format('create index timers_due on %I.timers (due_at)', service);

        -- Outside calls to be made. A lease that ran out means that its holder crashed.
        execute format('create table %I.effects (
            key text collate "C" primary key,
            type text not null,
            data bytea not null,
            deadline timestamptz not null,
            attempts integer not null default 0,
            due_at timestamptz not null,
            -- Of the tries, so many from the first on have left nothing on its way; one whose process was killed has not said so.
            settled_attempts integer not null default 0,
            last_error text,
            correlation_id uuid not null,
            causation_id uuid not null,
            traceparent text,
            created_at timestamptz not null
        )', service);
        execute format('create index effects_due on %I.effects (due_at)', service);

        -- Messages that could not be handled, whole, with the reason.
        execute format('create table %I.dead_letters (
            id bigint generated always as identity primary key,
            subject text not null,
            headers jsonb not null,
            payload bytea not null,
            code text not null,
            reason text not null,
            received_at timestamptz not null
        )', service);

        execute format('grant select, insert, update, delete on %I.inbox, %1$I.timers, %1$I.effects, %1$I.dead_letters to %I',
            service, 'holdfast_' || service);
    end loop;
end
$$;
