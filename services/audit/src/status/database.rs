//! What the database says, at one moment: rows by status, money, due work, dead letters, and how far the relay is behind.

#![expect(
    missing_docs,
    reason = "a count says what it counts by its name, as in the JSON; what is not plain is documented"
)]

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use domain::Timestamp;
use proto::SERVICES;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use time::OffsetDateTime;

use crate::{
    snapshot::Snapshot,
    waiting::{self, Waiting},
};

/// Beyond this, unpublished events are not counted one by one.
const LAG_COUNTED_MAX: i64 = 100_000;

/// Rows by status.
pub type Counts = BTreeMap<String, i64>;

/// What the database says.
#[derive(Debug, Serialize)]
pub struct Database {
    pub at: String,
    pub orders: Counts,
    pub stock_holds: Counts,
    pub share_holds: Counts,
    pub rounds: Counts,
    pub coupon_uses: Counts,
    /// Money of wallets that is set aside for a payment, was taken, or was let go.
    pub funds: Counts,
    pub coupons: Counts,
    pub payments: Vec<Money>,
    pub refunds: Counts,
    pub timers: BTreeMap<&'static str, Due>,
    pub effects: BTreeMap<&'static str, Due>,
    pub dead_letters: BTreeMap<&'static str, Letters>,
    pub log: Log,
    pub notices: Vec<Notice>,
    pub stopped: Vec<Stopped>,
    pub mails: Counts,
    pub waiting: Waiting,
}

/// Payments of one status and one currency, in minor units.
#[derive(Debug, Serialize)]
pub struct Money {
    pub status: String,
    pub currency: String,
    pub payments: i64,
    pub asked_minor: i64,
    pub captured_minor: i64,
    /// Promised to refunds that are not over.
    pub refunding_minor: i64,
    pub refunded_minor: i64,
    /// Taken by disputes, and not given back.
    pub charged_back_minor: i64,
}

/// Due work of one service.
#[derive(Debug, Serialize)]
pub struct Due {
    pub waiting: i64,
    /// Of those, how many should be done by now.
    pub overdue: i64,
    /// How long the oldest of those has been due.
    pub oldest_ms: u64,
}

/// Outside calls of one service that wait until a person has seen to somebody who refuses how they are asked.
#[derive(Debug, Serialize)]
pub struct Stopped {
    pub service: &'static str,
    /// Who that is: the name of a provider.
    pub by: String,
    pub calls: i64,
    /// How long the first of them has waited.
    pub for_ms: u64,
    /// What it was told.
    pub says: String,
}

/// Messages that one service could not handle.
#[derive(Debug, Serialize)]
pub struct Letters {
    pub count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
}

/// The latest of them.
#[derive(Debug, Serialize)]
pub struct Latest {
    pub received_at: String,
    pub subject: String,
    pub code: String,
    pub reason: String,
}

/// Messages that one service could not handle, for one reason.
#[derive(Debug)]
pub(crate) struct LettersOf {
    pub(crate) service: &'static str,
    pub(crate) code: String,
    pub(crate) count: i64,
    /// When the first of them came.
    pub(crate) since: OffsetDateTime,
    /// What was said of the latest.
    pub(crate) reason: String,
}

/// The log and the relay.
#[derive(Debug, Serialize)]
pub struct Log {
    /// The last position.
    pub head: i64,
    /// The relay has published everything up to here.
    pub published: i64,
    /// Every consumer has handled everything up to here.
    pub handled: i64,
    /// Events that wait to be published, counted up to a limit.
    pub lag: i64,
    /// How long the first of them has waited.
    pub lag_ms: u64,
    /// The position that the relay waits for: it was drawn by a transaction that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_at: Option<i64>,
    /// Its partitions that are still empty. What finds none is refused.
    pub partitions_ahead: i64,
}

/// What a worker has to say although it goes on.
#[derive(Debug, Serialize)]
pub struct Notice {
    /// What it is about: `clock`, `settings`, `copies`, `refused`.
    pub topic: String,
    /// The service whose worker says it, or `relay`.
    pub said_by: String,
    pub says: String,
    /// How long it has been so.
    pub for_ms: u64,
}

/// Asks the database.
pub(super) async fn look(database_url: &str) -> Result<Database> {
    let mut snapshot = Snapshot::take(database_url).await?;
    let database = ask(&mut snapshot).await.context("reading the fleet's tables; are its migrations applied?")?;
    snapshot.close().await?;
    Ok(database)
}

async fn ask(snapshot: &mut Snapshot) -> Result<Database, sqlx::Error> {
    let now = snapshot.now;
    let connection = &mut snapshot.connection;
    let mut database = Database {
        at: now.to_string(),
        orders: counts(connection, "select status, count(*) from orders.orders group by status").await?,
        stock_holds: counts(connection, "select status, count(*) from inventory.holds group by status").await?,
        share_holds: counts(connection, "select status, count(*) from rounds.holds group by status").await?,
        rounds: counts(connection, "select status, count(*) from rounds.rounds group by status").await?,
        coupon_uses: counts(connection, "select status, count(*) from payments.coupon_uses group by status").await?,
        funds: counts(connection, "select status, count(*) from payments.funds group by status").await?,
        coupons: counts(connection, "select status, count(*) from payments.coupons group by status").await?,
        payments: money(connection).await?,
        refunds: counts(connection, "select status, count(*) from payments.refunds group by status").await?,
        timers: BTreeMap::new(),
        effects: BTreeMap::new(),
        dead_letters: BTreeMap::new(),
        log: log(connection, now).await?,
        notices: notices(connection).await?,
        stopped: Vec::new(),
        mails: counts(connection, "select state, count(*) from mail.mails group by state").await?,
        waiting: waiting::look(connection).await?,
    };
    for service in SERVICES {
        database.timers.insert(service, due(connection, &format!("{service}.timers"), now).await?);
        database.effects.insert(service, due(connection, &format!("{service}.effects"), now).await?);
        database.dead_letters.insert(service, letters(connection, service).await?);
        database.stopped.extend(stopped(connection, service, now).await?);
    }
    Ok(database)
}

/// Those that count still, by the clock that they were noted by.
pub(crate) async fn notices(connection: &mut PgConnection) -> Result<Vec<Notice>, sqlx::Error> {
    let query = "select topic, said_by, says, greatest(0, extract(epoch from clock_timestamp() - since) * 1000)::bigint
        from log.notices where valid_until > clock_timestamp() order by topic, said_by";
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(query).fetch_all(connection).await?;
    let notice =
        |(topic, said_by, says, for_ms)| Notice { topic, said_by, says, for_ms: u64::try_from(for_ms).unwrap_or(0) };
    Ok(rows.into_iter().map(notice).collect())
}

async fn counts(connection: &mut PgConnection, query: &'static str) -> Result<Counts, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(query).fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

async fn money(connection: &mut PgConnection) -> Result<Vec<Money>, sqlx::Error> {
    let query = "select status, coalesce(currency, '') as currency, count(*) as payments,
            coalesce(sum(amount_minor), 0)::int8 as asked, sum(captured_minor)::int8 as captured,
            sum(refunding_minor)::int8 as refunding, sum(refunded_minor)::int8 as refunded,
            sum(charged_back_minor)::int8 as charged_back
        from payments.payments group by 1, 2 order by 1, 2";
    let rows = sqlx::query(query).fetch_all(connection).await?;
    let money = rows.iter().map(|row| {
        Ok(Money {
            status: row.try_get("status")?,
            currency: row.try_get("currency")?,
            payments: row.try_get("payments")?,
            asked_minor: row.try_get("asked")?,
            captured_minor: row.try_get("captured")?,
            refunding_minor: row.try_get("refunding")?,
            refunded_minor: row.try_get("refunded")?,
            charged_back_minor: row.try_get("charged_back")?,
        })
    });
    money.collect()
}

/// `table` is one of our own names.
pub(crate) async fn due(connection: &mut PgConnection, table: &str, now: Timestamp) -> Result<Due, sqlx::Error> {
    let query = format!(
        "select count(*), count(*) filter (where due_at <= $1), min(due_at) filter (where due_at <= $1) from {table}"
    );
    let (waiting, overdue, oldest): (i64, i64, Option<OffsetDateTime>) =
        sqlx::query_as(AssertSqlSafe(query)).bind(OffsetDateTime::from(now)).fetch_one(connection).await?;
    Ok(Due { waiting, overdue, oldest_ms: oldest.map_or(0, |oldest| ms(now.since(oldest.into()))) })
}

pub(crate) async fn stopped(
    connection: &mut PgConnection,
    service: &'static str,
    now: Timestamp,
) -> Result<Vec<Stopped>, sqlx::Error> {
    let query = format!(
        "select stopped_by, count(*), min(stopped_since), coalesce((array_agg(last_error order by stopped_since, key))[1], '')
         from {service}.effects where stopped_by is not null group by stopped_by order by stopped_by"
    );
    let rows: Vec<(String, i64, OffsetDateTime, String)> =
        sqlx::query_as(AssertSqlSafe(query)).fetch_all(connection).await?;
    let stopped = |(by, calls, since, says): (String, i64, OffsetDateTime, String)| Stopped {
        service,
        by,
        calls,
        for_ms: ms(now.since(since.into())),
        says,
    };
    Ok(rows.into_iter().map(stopped).collect())
}

async fn letters(connection: &mut PgConnection, service: &str) -> Result<Letters, sqlx::Error> {
    let query = format!(
        "select count(*) over (), received_at, subject, code, reason from {service}.dead_letters
         where settled_at is null order by id desc limit 1"
    );
    let latest: Option<(i64, OffsetDateTime, String, String, String)> =
        sqlx::query_as(AssertSqlSafe(query)).fetch_optional(connection).await?;
    Ok(match latest {
        None => Letters { count: 0, latest: None },
        Some((count, received_at, subject, code, reason)) => {
            let received_at = Timestamp::from(received_at).to_string();
            Letters { count, latest: Some(Latest { received_at, subject, code, reason }) }
        }
    })
}

/// The open ones by their codes, of which there are few.
pub(crate) async fn letters_by_code(
    connection: &mut PgConnection,
    service: &'static str,
) -> Result<Vec<LettersOf>, sqlx::Error> {
    let query = format!(
        "select code, count(*), min(received_at), (array_agg(reason order by id desc))[1]
         from {service}.dead_letters where settled_at is null group by code order by code"
    );
    let rows: Vec<(String, i64, OffsetDateTime, String)> =
        sqlx::query_as(AssertSqlSafe(query)).fetch_all(connection).await?;
    let of = |(code, count, since, reason)| LettersOf { service, code, count, since, reason };
    Ok(rows.into_iter().map(of).collect())
}

pub(crate) async fn log(connection: &mut PgConnection, now: Timestamp) -> Result<Log, sqlx::Error> {
    let query = "select published, handled, head, (select count(*) from log.partitions where first > head)
        from log.relay, (select coalesce(max(position), 0) as head from log.events) as last";
    let (published, handled, head, partitions_ahead): (i64, i64, i64, i64) =
        sqlx::query_as(query).fetch_one(&mut *connection).await?;
    let query = "select count(*), min(position), min(recorded_at)
        from (select position, recorded_at from log.events where position > $1 order by position limit $2) as waiting";
    let (lag, first, since): (i64, Option<i64>, Option<OffsetDateTime>) =
        sqlx::query_as(query).bind(published).bind(LAG_COUNTED_MAX).fetch_one(connection).await?;
    Ok(Log {
        head,
        published,
        handled,
        lag,
        lag_ms: since.map_or(0, |since| ms(now.since(since.into()))),
        gap_at: first.filter(|first| *first > published + 1).map(|_| published + 1),
        partitions_ahead,
    })
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
