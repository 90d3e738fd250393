//! Raw limits: what the same Postgres does of the same work with nothing around it, in tables of its own.

use anyhow::{Context, Result};
use serde_json::Value;
use sqlx::{Connection, PgConnection, PgPool};

use super::numbers::Thousandths;

pub(super) mod append;
pub(super) mod plain_app;
pub(super) mod procedures;

/// Tables and functions of the limits.
const SCHEMA: &str = include_str!("baseline/schema.sql");

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
