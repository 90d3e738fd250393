-- Mail to buyers: one row for each mail, from the event that it follows from to what its server said. A role of its own, which reads the
-- log and where buyers are reached, and writes nothing else than this.
do $$
begin
    if not exists (select from pg_roles where rolname = 'holdfast_mail') then
        create role holdfast_mail login;
    end if;
exception
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the role just now; run the migration again';
end
$$;

create schema mail;
grant usage on schema mail, log, orders to holdfast_mail;
grant select on log.events, log.epochs, log.installation, orders.contacts to holdfast_mail;

create table mail.mails (
    mail_id uuid primary key,
    order_id uuid not null,
    kind text not null check (kind in ('paid', 'refunded')),
    -- Of a mail about a refund.
    refund_id uuid,
    -- The event that it follows from, and when that was.
    position bigint not null,
    happened_at timestamptz not null,
    state text not null check (state in ('queued', 'sending', 'sent', 'refused', 'unknown', 'forgotten')),
    -- Times that it was begun to be sent, and of these how often nobody knows what became of it.
    attempt integer not null default 0 check (attempt >= 0),
    unknowns integer not null default 0 check (unknowns >= 0),
    -- When to send it, or, while it is sent, when its sender counts as gone. Null: nothing happens by itself.
    due_at timestamptz,
    -- After this it is not tried again.
    give_up_at timestamptz not null,
    -- While it may be sent again: what is sent, byte for byte.
    message bytea,
    -- What the server said last, or why it was not asked.
    reply text not null default '',
    queued_at timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp(),
    -- One mail for each order and kind; of refunds one for each.
    constraint sent_for_one_thing unique nulls not distinct (order_id, kind, refund_id),
    constraint a_refund_has_its_id check ((kind = 'refunded') = (refund_id is not null)),
    constraint what_is_over_has_no_time check (state not in ('sent', 'refused', 'forgotten') or due_at is null),
    constraint what_is_over_keeps_no_words check (state not in ('sent', 'refused', 'forgotten') or message is null)
);
create index mails_due on mail.mails (due_at) where due_at is not null;
create index mails_open on mail.mails (state) where state <> 'sent';

-- What happened before mail was first switched on sends none.
create table mail.began (
    only_row boolean primary key default true check (only_row),
    at timestamptz not null default clock_timestamp()
);

grant select, insert, update on mail.mails to holdfast_mail;
grant select, insert on mail.began to holdfast_mail;

-- What operators have asked to be sent again, and why.
create table mail.resent (
    id bigint generated always as identity primary key,
    mail_id uuid not null references mail.mails,
    reason text not null check (length(reason) between 1 and 512),
    state_before text not null,
    at timestamptz not null default clock_timestamp(),
    done_by text not null default session_user
);
