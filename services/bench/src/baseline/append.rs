//! The limit of an event store: the same events, appended 500 a transaction over one connection, and nothing else.

use std::time::Instant;

use anyhow::{Context, Result};
use domain::GlobalPosition;
use runtime::log::event_store::{StoredEvent, read_page};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{TRIES, fresh};
use crate::numbers::{median, per_second};

/// What this limit is.
pub(crate) const WORDS: &str = "the same events appended, 500 a transaction, one connection";

/// Events of one transaction.
const BATCH: usize = 500;

/// Events that are appended, at most: the latest of the log.
const EVENTS_MAX: i64 = 200_000;

const PAGE: i64 = 10_000;

/// How many orders' events can be appended in a second, if all events of the log are of so many orders.
pub(crate) async fn orders_per_second(database_url: &str, orders: u64) -> Result<u64> {
    let mut connection = PgConnection::connect(database_url).await?;
    let logged: i64 = sqlx::query_scalar("select count(*) from log.events").fetch_one(&mut connection).await?;
    connection.close().await?;
    per_second_of(database_url, u64::try_from(logged)?, orders).await
}

/// How many orders' events can be appended in a second, if the last `count` events of the log are of so many orders.
pub(crate) async fn per_second_of(database_url: &str, count: u64, orders: u64) -> Result<u64> {
    let mut connection = fresh(database_url).await?;
    let latest: i64 =
        sqlx::query_scalar("select coalesce(max(position), 0) from log.events").fetch_one(&mut connection).await?;
    let after = GlobalPosition::new(latest - EVENTS_MAX.min(i64::try_from(count)?));
    let events = read(&mut connection, after).await?;
    let mut speeds = Vec::new();
    for _try in 0..TRIES {
        sqlx::raw_sql("truncate bench.events; checkpoint").execute(&mut connection).await?;
        let begun = Instant::now();
        for batch in events.chunks(BATCH) {
            append(&mut connection, INTO_OWN, batch).await?;
        }
        speeds.push(per_second(u64::try_from(events.len())?, begun.elapsed()));
    }
    connection.close().await?;
    // Events a second, over events an order.
    let speed = u128::from(median(speeds).unwrap_or(0)) * u128::from(orders);
    Ok(u64::try_from(speed / u128::from(count.max(1)))?)
}

async fn read(connection: &mut PgConnection, mut after: GlobalPosition) -> Result<Vec<StoredEvent>> {
    let mut events = Vec::new();
    loop {
        let (page, _) =
            read_page(connection, after, GlobalPosition::MAX, PAGE).await.context("reading events to append")?;
        let Some(last) = page.last() else { return Ok(events) };
        after = last.position;
        events.extend(page);
    }
}

/// Appends events to the log itself.
pub(crate) async fn append_to_log(connection: &mut PgConnection, events: &[StoredEvent]) -> Result<()> {
    append(connection, INTO_LOG, events).await
}

macro_rules! insert_into {
    ($table:literal) => {
        concat!(
            "insert into ",
            $table,
            " (stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent, recorded_at)
             select * from unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::bytea[], $7::uuid[],
                 $8::uuid[], $9::text[], $10::timestamptz[])"
        )
    };
}

const INTO_OWN: &str = insert_into!("bench.events");

const INTO_LOG: &str = insert_into!("log.events");

/// Appends events with one statement, as the workers do.
async fn append(connection: &mut PgConnection, statement: &'static str, events: &[StoredEvent]) -> Result<()> {
    sqlx::query(statement)
        .bind(events.iter().map(|event| event.stream.as_str()).collect::<Vec<&str>>())
        .bind(events.iter().map(|event| event.version.get()).collect::<Vec<i64>>())
        .bind(events.iter().map(|event| event.event_id).collect::<Vec<Uuid>>())
        .bind(events.iter().map(|event| event.service.as_str()).collect::<Vec<&str>>())
        .bind(events.iter().map(|event| event.message_type.as_str()).collect::<Vec<&str>>())
        .bind(events.iter().map(|event| event.data.as_slice()).collect::<Vec<&[u8]>>())
        .bind(events.iter().map(|event| event.correlation_id).collect::<Vec<Uuid>>())
        .bind(events.iter().map(|event| event.causation_id).collect::<Vec<Uuid>>())
        .bind(events.iter().map(|event| event.traceparent.as_deref()).collect::<Vec<Option<&str>>>())
        .bind(events.iter().map(|event| OffsetDateTime::from(event.recorded_at)).collect::<Vec<OffsetDateTime>>())
        .execute(connection)
        .await
        .context("appending events")?;
    Ok(())
}
