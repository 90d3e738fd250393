//! Raw limits: what the same Postgres does of the same work with nothing around it, in tables of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool, Row};

use super::numbers::Thousandths;

pub(super) mod append;
pub(super) mod plain_app;
pub(super) mod procedures;

/// Tables and functions of the limits.
const SCHEMA: &str = include_str!("baseline/schema.sql");

/// What reading the log comes to at most.
pub(super) const BARE_READ: &str = "a bare streaming read of the same rows";

/// Times each limit is measured; the middle one counts.
const TRIES: usize = 3;

/// A connection to fresh tables.
async fn fresh(database_url: &str) -> Result<PgConnection> {
    let mut connection = PgConnection::connect(database_url).await.context("connecting to measure a limit")?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await.context("making the tables of the limits")?;
    Ok(connection)
}

/// Events of the log.
pub(super) async fn events(pool: &PgPool) -> Result<u64> {
    let count: i64 = sqlx::query_scalar("select count(*) from log.events").fetch_one(pool).await?;
    Ok(u64::try_from(count)?)
}

/// Events of the log for each order.
pub(super) async fn events_per_order(pool: &PgPool, orders: u64) -> Result<Value> {
    each(events(pool).await?, orders)
}

/// So many for each.
pub(super) fn each(events: u64, orders: u64) -> Result<Value> {
    Ok(serde_json::to_value(Thousandths::ratio(events, orders))?)
}

/// Reads all columns of all rows, and does nothing with them.
pub(super) async fn bare_read(connection: &mut PgConnection, events: u64) -> Result<Duration> {
    let begun = Instant::now();
    let query =
        "select position, stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent,
        recorded_at from log.events order by position";
    let mut rows = sqlx::query(query).fetch(connection);
    let (mut count, mut bytes) = (0, 0);
    while let Some(row) = rows.try_next().await.context("reading the log")? {
        count += 1;
        bytes += row.try_get::<&str, _>(1)?.len() + row.try_get::<&[u8], _>(6)?.len();
    }
    ensure!(count == events && bytes > 0, "the log has {count} events, not {events}");
    Ok(begun.elapsed())
}
