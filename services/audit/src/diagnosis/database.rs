//! What the database says, each thing in a short statement of its own: nothing is held up by the look, and what takes too long is unknown.

use std::time::Duration;

use anyhow::{Context, Result};
use domain::Timestamp;
use platform::clock;
use proto::SERVICES;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use time::OffsetDateTime;

use super::{ANSWER_WITHIN, Known, within};
use crate::{
    status::database::{self as status, Due, LettersOf, Log, Notice, Stopped},
    waiting::{self, Waiting},
};

/// So many orders are looked at, the latest first: `verify` looks at all.
const ORDERS_LOOKED_AT: i64 = 10_000;

/// Of each kind, so many are named.
const NAMED_MAX: i64 = 20;

/// What the database says.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) waiting: Known<Waiting>,
    pub(super) stopped: Known<Vec<Stopped>>,
    pub(super) orphans: Known<Vec<Orphan>>,
    pub(super) due: Known<Vec<Work>>,
    pub(super) log: Known<Log>,
    pub(super) transactions: Known<Vec<Transaction>>,
    pub(super) letters: Known<Vec<LettersOf>>,
    pub(super) notices: Known<Vec<Notice>>,
    /// Consumers that an operator has stand still. Without them, who has paused one is not told.
    pub(super) pauses: Known<Vec<Pause>>,
}

/// Due work of one service.
#[derive(Debug)]
pub struct Work {
    /// The service.
    pub service: &'static str,
    /// `timers` or `outside calls`.
    pub what: &'static str,
    /// How much of it there is.
    pub due: Due,
}

/// A consumer that an operator has stand still.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Pause {
    pub(super) consumer: String,
    pub(super) until: OffsetDateTime,
    /// Who says so, and why.
    pub(super) by: String,
    pub(super) reason: String,
}

/// A closed order that still holds something.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Orphan {
    /// All of them.
    pub(super) count: i64,
    pub(super) order_id: uuid::Uuid,
    pub(super) status: String,
    pub(super) stock_held: bool,
    pub(super) shares_held: bool,
    /// When its last event was written.
    pub(super) since: OffsetDateTime,
}

/// An open transaction that has written.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Transaction {
    /// Whether it is prepared: then it has no session.
    pub(super) is_prepared: bool,
    /// The pid of its session, or its name.
    pub(super) id: String,
    /// `app "report", user etl, 10.0.3.7`.
    pub(super) whose: String,
    pub(super) state: String,
    pub(super) since: OffsetDateTime,
    /// Whether it is a session of the fleet's own.
    pub(super) is_ours: bool,
}

/// Asks the database.
pub(super) async fn look(database_url: &str, late: Duration) -> Facts {
    match within(connect(database_url)).await {
        Ok((connection, now)) => ask(connection, now, late).await,
        Err(why) => Facts::unknown(&why),
    }
}

async fn connect(database_url: &str) -> Result<(PgConnection, Timestamp)> {
    let options: PgConnectOptions = database_url.parse().context("reading the address of Postgres")?;
    let limit = ANSWER_WITHIN.as_millis().to_string();
    let options = options
        .application_name("holdfast-diagnose")
        .options([("default_transaction_read_only", "on"), ("statement_timeout", limit.as_str())]);
    // The address is not named: it may have a password in it.
    let mut connection =
        PgConnection::connect_with(&options).await.context("connecting to Postgres; is the fleet up?")?;
    let now: OffsetDateTime = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut connection).await?;
    Ok((connection, now.into()))
}

async fn ask(mut connection: PgConnection, now: Timestamp, late: Duration) -> Facts {
    let connection = &mut connection;
    Facts {
        now,
        log: within(status::log(connection, now)).await,
        transactions: within(transactions(connection, late)).await,
        waiting: within(waiting::look(connection)).await,
        stopped: within(stopped(connection, now)).await,
        due: within(due(connection, now)).await,
        letters: within(letters(connection)).await,
        notices: within(status::notices(connection)).await,
        orphans: within(orphans(connection, late)).await,
        pauses: within(pauses(connection)).await,
    }
}

impl Facts {
    pub(super) fn unknown(why: &str) -> Self {
        let why = why.to_owned();
        Self {
            now: clock::now(),
            log: Err(why.clone()),
            transactions: Err(why.clone()),
            waiting: Err(why.clone()),
            stopped: Err(why.clone()),
            due: Err(why.clone()),
            letters: Err(why.clone()),
            notices: Err(why.clone()),
            orphans: Err(why.clone()),
            pauses: Err(why),
        }
    }
}

async fn stopped(connection: &mut PgConnection, now: Timestamp) -> Result<Vec<Stopped>, sqlx::Error> {
    let mut all = Vec::new();
    for service in SERVICES {
        all.extend(status::stopped(connection, service, now).await?);
    }
    Ok(all)
}

async fn due(connection: &mut PgConnection, now: Timestamp) -> Result<Vec<Work>, sqlx::Error> {
    let mut all = Vec::new();
    for service in SERVICES {
        for (what, table) in [("timers", "timers"), ("outside calls", "effects")] {
            let due = status::due(connection, &format!("{service}.{table}"), now).await?;
            all.push(Work { service, what, due });
        }
    }
    Ok(all)
}

async fn letters(connection: &mut PgConnection) -> Result<Vec<LettersOf>, sqlx::Error> {
    let mut all = Vec::new();
    for service in SERVICES {
        all.extend(status::letters_by_code(connection, service).await?);
    }
    Ok(all)
}

/// What may have drawn a position has a transaction id. A reader has none: it holds up vacuum, and neither relay nor replay. All
/// databases of the server count, for a snapshot waits for all of them.
const TRANSACTIONS: &str = "select false as is_prepared, pid::text as id,
        format('app \"%s\", user %s, database %s, %s', application_name, usename, datname,
            coalesce(host(client_addr), 'this machine')) as whose,
        coalesce(state, '') as state, xact_start as since,
        application_name like 'holdfast%' or usename in ('holdfast_orders', 'holdfast_inventory', 'holdfast_rounds',
            'holdfast_payments', 'holdfast_all_in_one', 'holdfast_gateway', 'holdfast_mail', 'holdfast_traces') as is_ours
    from pg_stat_activity
    where backend_xid is not null and backend_type <> 'autovacuum worker' and pid <> pg_backend_pid()
        and xact_start <= clock_timestamp() - $1 * interval '1 second'
    union all
    select true, gid, format('user %s, database %s', owner, database), 'prepared', prepared, false
    from pg_prepared_xacts where prepared <= clock_timestamp() - $1 * interval '1 second'
    order by since limit $2";

/// Whether somebody who sees others' sessions says as much of them as is needed here.
const MAY_ASK: &str = "select has_function_privilege('log.open_transactions(double precision, bigint)', 'execute')";

async fn transactions(connection: &mut PgConnection, late: Duration) -> Result<Vec<Transaction>> {
    let sees_all = "select pg_has_role(current_user, 'pg_read_all_stats', 'usage')";
    if !sqlx::query_scalar::<_, bool>(sees_all).fetch_one(&mut *connection).await? {
        if sqlx::query_scalar::<_, bool>(MAY_ASK).fetch_one(&mut *connection).await? {
            let asked = "select * from log.open_transactions($1, $2)";
            return Ok(sqlx::query_as(asked).bind(late.as_secs_f64()).bind(NAMED_MAX).fetch_all(connection).await?);
        }
        anyhow::bail!(
            "this role does not see what others' sessions do: grant holdfast_diagnose or pg_read_all_stats to it"
        );
    }
    Ok(sqlx::query_as(TRANSACTIONS).bind(late.as_secs_f64()).bind(NAMED_MAX).fetch_all(connection).await?)
}

async fn pauses(connection: &mut PgConnection) -> Result<Vec<Pause>, sqlx::Error> {
    let query = "select consumer, until, coalesce(actor, 'database role ' || done_by) as by, reason
        from log.pauses join log.acts on acts.id = act_id where until > clock_timestamp()";
    sqlx::query_as(query).fetch_all(connection).await
}

/// `limit 1` keeps Postgres from reading all holds and all events that there ever were.
const ORPHANS: &str = "with latest as (
        select order_id, status, released, version from orders.orders order by placed_at desc, order_id desc limit $2
    ), orphans as (
        select o.order_id, o.status, o.version, stock.held as stock_held, shares.held as shares_held
        from latest o
        cross join lateral (select exists (
            select from (select 1 from inventory.holds h where h.order_id = o.order_id and h.status = 'held' limit 1) x
        ) as held) stock
        cross join lateral (select exists (
            select from (select 1 from rounds.holds h where h.order_id = o.order_id and h.status = 'held' limit 1) x
        ) as held) shares
        where o.status in ('expired', 'cancelled', 'rejected') and (not o.released or stock.held or shares.held)
    )
    select count(*) over () as count, o.order_id, o.status, o.stock_held, o.shares_held, e.recorded_at as since
    from orphans o cross join lateral (
        select recorded_at from log.events where stream = 'order-' || o.order_id and version = o.version limit 1
    ) e
    where e.recorded_at <= clock_timestamp() - $1 * interval '1 second'
    order by e.recorded_at limit $3";

async fn orphans(connection: &mut PgConnection, late: Duration) -> Result<Vec<Orphan>, sqlx::Error> {
    sqlx::query_as(ORPHANS).bind(late.as_secs_f64()).bind(ORDERS_LOOKED_AT).bind(NAMED_MAX).fetch_all(connection).await
}
