-- What operators do that has no event of its own: dead letters are sent again or set aside, consumers stand still for a while, and sessions
-- that hold the log up are ended.
create table log.acts (
    id bigint generated always as identity primary key,
    acted_at timestamptz not null default clock_timestamp(),
    -- Where the log ended before it.
    log_ended bigint not null,
    -- Redrive, SetAside, Pause, Resume, Unblock.
    verb text not null check (verb <> ''),
    -- What it was done to: letter inventory-41.
    target text not null,
    -- The event stream that it is about, if that is known.
    stream text,
    reason text not null check (reason <> ''),
    -- As whoever acted calls himself.
    actor text check (actor <> ''),
    done_by text not null default session_user,
    said jsonb not null
);

create trigger append_only before update or delete or truncate on log.acts
    for each statement execute function log.refuse_change();

-- Events of the log that services are to hear of again: the relay publishes them, and takes them out.
create table log.asked_again (
    position bigint primary key,
    act_id bigint not null references log.acts
);

grant select, delete on log.asked_again to holdfast_worker;

-- Consumers that are to stand still: the workers of their services pause them, and let them go on when it is over.
create table log.pauses (
    consumer text primary key,
    until timestamptz not null,
    act_id bigint not null references log.acts
);

grant select on log.pauses to holdfast_worker;

-- Who may act, beside the owner: grant it to the login of an operator. It changes no row and no event.
do $$
begin
    if not exists (select from pg_roles where rolname = 'holdfast_operator') then
        create role holdfast_operator nologin;
    end if;
exception
    -- Two databases migrated at the same moment: the other one made the role.
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the role just now; run the migration again';
end
$$;

grant usage on schema log, orders, inventory, rounds, payments to holdfast_operator;
grant select on log.events, log.relay, log.installation, log.epochs, log.acts to holdfast_operator;
grant insert (log_ended, verb, target, stream, reason, actor, said) on log.acts to holdfast_operator;
grant select, insert on log.asked_again to holdfast_operator;
grant select, insert, delete on log.pauses to holdfast_operator;
-- To say what a letter would do now.
grant select on inventory.stock, inventory.holds, rounds.rounds, rounds.holds, orders.orders, payments.payments, payments.refunds,
    payments.reports, payments.charges, payments.coupons, payments.coupon_uses, payments.coupon_customers, payments.wallets,
    payments.funds to holdfast_operator;

do $$
declare
    service text;
begin
    foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
        -- What was done about a letter, and when that was done with. A letter is kept for ever.
        execute format('alter table %I.dead_letters add column act_id bigint references log.acts, add column settled_at timestamptz', service);
        execute format('create index dead_letters_open on %I.dead_letters (code) where settled_at is null', service);
        execute format('grant select, update (act_id, settled_at) on %I.dead_letters to holdfast_operator', service);
        -- A command that was given up is answered for ever, until it is sent again.
        execute format('grant select, delete on %I.inbox to holdfast_operator', service);
        -- What is owed comes again by itself; an operator has it come now.
        execute format('grant select, update (due_at) on %I.timers, %1$I.effects to holdfast_operator', service);
    end loop;
end
$$;
