-- What `holdfast rebuild` has done: rows that were not what their events say, as they were and as they were made.
create table log.rebuilds (
    -- Workers know the last one. What they remember of a row may be older than its rebuild, and then they write nothing.
    id bigint generated always as identity primary key,
    rebuilt_at timestamptz not null default clock_timestamp(),
    -- As of `holdfast rebuild`: stock, shares, orders, payments, coupons, wallets.
    kind text not null,
    -- The last event that was folded.
    position bigint not null,
    reason text not null check (reason <> ''),
    done_by text not null default session_user
);

create table log.rebuilt_rows (
    rebuild_id bigint not null references log.rebuilds,
    -- As `holdfast verify` names it: product-mug.
    name text not null,
    -- What the tables had and what they have since, by table: {"inventory.stock": [{"sku": "mug", …}]}. Null: nothing.
    before jsonb,
    after jsonb,
    primary key (rebuild_id, name)
);

create index rebuilt_rows_by_name on log.rebuilt_rows (name);

create trigger append_only before update or delete or truncate on log.rebuilds
    for each statement execute function log.refuse_change();
create trigger append_only before update or delete or truncate on log.rebuilt_rows
    for each statement execute function log.refuse_change();

grant select on log.rebuilds to holdfast_worker;

-- Who may rebuild rows, beside the owner: grant it to the login of an operator. It may do no more than a rebuild does.
do $$
begin
    if not exists (select from pg_roles where rolname = 'holdfast_rebuild') then
        create role holdfast_rebuild nologin;
    end if;
exception
    -- Two databases migrated at the same moment: the other one made the role.
    when unique_violation or duplicate_object then
        raise exception 'another migration of this cluster made the role just now; run the migration again';
end
$$;

grant usage on schema log, orders, inventory, rounds, payments to holdfast_rebuild;
grant select on log.events, log.relay, log.installation, log.epochs, log.rebuilds, log.rebuilt_rows to holdfast_rebuild;
grant insert (kind, position, reason) on log.rebuilds to holdfast_rebuild;
grant insert on log.rebuilt_rows to holdfast_rebuild;
grant select, insert, update, delete on inventory.stock, inventory.holds, rounds.rounds, rounds.holds, orders.orders, payments.payments,
    payments.refunds, payments.reports, payments.coupons, payments.coupon_uses, payments.coupon_customers, payments.wallets,
    payments.funds to holdfast_rebuild;
-- What providers know charges by is written with a payment, once and for all.
grant select, insert on payments.charges to holdfast_rebuild;
