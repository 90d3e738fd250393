//! The log in Postgres: what an event is there, and reading events back in order.

use std::pin::pin;

use domain::{EncodedEvent, GlobalPosition, StreamVersion, Timestamp};
use futures::{StreamExt, TryStreamExt};
use platform::error::Error;
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::log::{gap::GapTracker, positions::Place};

/// The last event of the log, and the id of the one that is where it was seen to end before.
pub(crate) async fn head_and(
    connection: &mut PgConnection,
    before: Option<Place>,
) -> Result<(Option<Place>, Option<Uuid>), Error> {
    let query = "select position, event_id, (select event_id from log.events where position = $1)
        from log.events order by position desc limit 1";
    let head: Option<(i64, Uuid, Option<Uuid>)> = sqlx::query_as(query)
        .bind(before.map(|before| before.position.get()))
        .fetch_optional(connection)
        .await
        .map_err(|error| Error::database("reading where the log ends", error))?;
    let place = |position, event_id| Place { position: GlobalPosition::new(position), event_id };
    Ok(head.map_or((None, None), |(position, event_id, there)| (Some(place(position, event_id)), there)))
}

/// An event that is about to be appended.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// Who writes it.
    pub(crate) service: &'static str,
    pub(crate) record: EncodedEvent,
    pub(crate) event_id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) causation_id: Uuid,
    pub(crate) traceparent: Option<String>,
    /// Whether all that follows from it in the fleet is written with it.
    pub(crate) is_handled: bool,
}

impl NewEvent {
    /// Its stream, its version and its type.
    pub(crate) fn place(&self) -> (&str, StreamVersion, &str) {
        (&self.record.stream, self.record.version, self.record.message_type)
    }

    /// The event as the log has it now.
    pub(crate) fn recorded(self, position: GlobalPosition, at: Timestamp) -> StoredEvent {
        StoredEvent {
            position,
            stream: self.record.stream,
            version: self.record.version,
            event_id: self.event_id,
            service: self.service.to_owned(),
            message_type: self.record.message_type.to_owned(),
            data: self.record.data,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent,
            recorded_at: at,
            is_handled: self.is_handled,
        }
    }
}

/// An event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the log: unique and rising, with gaps.
    pub position: GlobalPosition,
    /// Its stream.
    pub stream: String,
    /// The stream's version with it.
    pub version: StreamVersion,
    /// Its id, derived from its cause.
    pub event_id: Uuid,
    /// The service that wrote it.
    pub service: String,
    /// Full type name.
    pub message_type: String,
    /// Protobuf bytes.
    pub data: Vec<u8>,
    /// What all events of one story share.
    pub correlation_id: Uuid,
    /// The message that caused it.
    pub causation_id: Uuid,
    /// W3C trace context, if the story began with one.
    pub traceparent: Option<String>,
    /// When it was committed, by the writer's clock.
    pub recorded_at: Timestamp,
    /// Whether all that follows from it in the fleet was written with it. Only its writer knows; to whoever reads the log it makes no difference.
    pub is_handled: bool,
}

impl StoredEvent {
    /// What folding needs of it.
    #[must_use]
    pub fn fact(&self) -> StoredEventRef<'_> {
        let Self { position, service, message_type, data, .. } = self;
        StoredEventRef { position: *position, service, message_type, data }
    }
}

macro_rules! columns {
    () => {
        "position, stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent, recorded_at"
    };
}

pub(crate) use columns;

/// An event, from these columns.
pub(crate) fn recorded(row: &PgRow) -> Result<StoredEvent, sqlx::Error> {
    Ok(StoredEvent {
        position: GlobalPosition::new(row.try_get(0)?),
        stream: row.try_get(1)?,
        version: StreamVersion::new(row.try_get(2)?),
        event_id: row.try_get(3)?,
        service: row.try_get(4)?,
        message_type: row.try_get(5)?,
        data: row.try_get(6)?,
        correlation_id: row.try_get(7)?,
        causation_id: row.try_get(8)?,
        traceparent: row.try_get(9)?,
        recorded_at: row.try_get::<OffsetDateTime, _>(10)?.into(),
        is_handled: false,
    })
}

/// Follows the log from a position on, in order, losing nothing: stops at gaps until it is known what becomes of them.
#[derive(Debug)]
pub struct Follower {
    checkpoint: GlobalPosition,
    gaps: GapTracker,
}

impl Follower {
    /// Follows from after this position.
    #[must_use]
    pub fn after(checkpoint: GlobalPosition) -> Self {
        Self { checkpoint, gaps: GapTracker::default() }
    }

    /// Goes on after this position, which somebody else vouches for.
    pub(crate) fn skip_to(&mut self, position: GlobalPosition) {
        self.checkpoint = self.checkpoint.max(position);
    }

    /// The next events up to a position, at most `limit`, and whether there may be more right behind them.
    ///
    /// # Errors
    /// Postgres failed.
    pub async fn next(
        &mut self,
        connection: &mut PgConnection,
        up_to: GlobalPosition,
        limit: i64,
    ) -> Result<(Vec<StoredEvent>, bool), sqlx::Error> {
        let (mut events, xmin) = read_page(connection, self.checkpoint, up_to, limit).await?;
        let positions: Vec<GlobalPosition> = events.iter().map(|event| event.position).collect();
        let taken = self.gaps.admit(self.checkpoint, &positions, xmin);
        if self.gaps.wants_bound() {
            let xid = sqlx::query_scalar("select pg_current_xact_id()::text::bigint").fetch_one(connection).await?;
            self.gaps.bind(xid);
        }
        let more = taken == events.len() && i64::try_from(taken).unwrap_or(i64::MAX) >= limit;
        events.truncate(taken);
        if let Some(last) = events.last() {
            self.checkpoint = last.position;
        }
        Ok((events, more))
    }

    /// Whether it waits at a gap.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.gaps.is_waiting()
    }
}

/// Reads events after a position and up to another, not caring for gaps, and the `xmin` of the snapshot they were read in.
///
/// # Errors
/// Postgres failed.
pub async fn read_page(
    connection: &mut PgConnection,
    after: GlobalPosition,
    up_to: GlobalPosition,
    limit: i64,
) -> Result<(Vec<StoredEvent>, i64), sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        ", pg_snapshot_xmin(pg_current_snapshot())::text::bigint
         from log.events where position > $1 and position <= $2 order by position limit $3"
    ))
    .bind(after.get())
    .bind(up_to.get())
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let xmin = rows.first().map_or(Ok(0), |row| row.try_get(11))?;
    Ok((rows.iter().map(recorded).collect::<Result<_, _>>()?, xmin))
}

/// What folding needs of an event.
#[derive(Debug, Clone, Copy)]
pub struct StoredEventRef<'row> {
    /// Its place in the log.
    pub position: GlobalPosition,
    /// The service that wrote it.
    pub service: &'row str,
    /// Full type name.
    pub message_type: &'row str,
    /// Protobuf bytes.
    pub data: &'row [u8],
}

/// Replays the whole log: reads it in order of position while another thread takes each event in, and gives back what took
/// them in. For audits: in a repeatable-read snapshot.
///
/// # Errors
/// Postgres failed.
pub async fn replay<T: Send + 'static>(
    connection: &mut PgConnection,
    into: T,
    mut take: impl FnMut(&mut T, StoredEventRef<'_>) + Send + 'static,
) -> Result<T, sqlx::Error> {
    let query = "select position, service, type, data from log.events order by position";
    fold_rows(connection, query, into, move |into, row| {
        let (position, service) = (GlobalPosition::new(row.try_get(0)?), row.try_get(1)?);
        take(into, StoredEventRef { position, service, message_type: row.try_get(2)?, data: row.try_get(3)? });
        Ok(())
    })
    .await
}

/// Rows that go from one thread to the other at once.
const PAGE: usize = 1_000;

/// Pages that are read ahead, at most.
const PAGES_AHEAD: usize = 4;

async fn fold_rows<T: Send + 'static>(
    connection: &mut PgConnection,
    query: &'static str,
    mut into: T,
    mut take: impl FnMut(&mut T, &PgRow) -> Result<(), sqlx::Error> + Send + 'static,
) -> Result<T, sqlx::Error> {
    let (pages, mut read) = mpsc::channel::<Vec<PgRow>>(PAGES_AHEAD);
    let folding = tokio::task::spawn_blocking(move || {
        while let Some(page) = read.blocking_recv() {
            for row in &page {
                take(&mut into, row)?;
            }
        }
        Ok(into)
    });
    let mut rows = pin!(sqlx::query(query).fetch(connection).try_chunks(PAGE));
    while let Some(page) = rows.next().await {
        // Who no longer takes pages in has failed, which is heard below.
        if pages.send(page.map_err(|error| error.1)?).await.is_err() {
            break;
        }
    }
    drop(pages);
    folding.await.unwrap_or_else(|broken| Err(sqlx::Error::Io(std::io::Error::other(broken))))
}

/// Reads the log behind a position in order, and sends it on page by page. For audits: in a repeatable-read snapshot.
///
/// # Errors
/// Postgres failed. That nobody takes the pages is none: whoever stopped knows why.
pub async fn read_after(
    connection: &mut PgConnection,
    after: GlobalPosition,
    pages: mpsc::Sender<Vec<StoredEvent>>,
) -> Result<(), sqlx::Error> {
    let query = concat!("select ", columns!(), " from log.events where position > $1 order by position");
    let mut rows = pin!(sqlx::query(query).bind(after.get()).fetch(connection).try_chunks(PAGE));
    while let Some(page) = rows.next().await {
        let page = page.map_err(|error| error.1)?;
        if pages.send(page.iter().map(recorded).collect::<Result<_, _>>()?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Events between these positions, each pair the first and the last, in order.
///
/// # Errors
/// Postgres failed.
pub async fn read_between(
    connection: &mut PgConnection,
    between: &[(GlobalPosition, GlobalPosition)],
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let (firsts, lasts): (Vec<i64>, Vec<i64>) = between.iter().map(|(first, last)| (first.get(), last.get())).unzip();
    let rows = sqlx::query(concat!(
        "select ",
        columns!(),
        " from unnest($1::int8[], $2::int8[]) as asked (first, last)
         join log.events on position between asked.first and asked.last order by position"
    ))
    .bind(firsts)
    .bind(lasts)
    .fetch_all(connection)
    .await?;
    rows.iter().map(recorded).collect()
}

/// Events of these streams before this position, in no order.
///
/// # Errors
/// Postgres failed.
pub async fn read_streams_before(
    connection: &mut PgConnection,
    streams: &[String],
    before: GlobalPosition,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = concat!("select ", columns!(), " from log.events where stream = any($1) and position < $2");
    let rows = sqlx::query(query).bind(streams).bind(before.get()).fetch_all(connection).await?;
    rows.iter().map(recorded).collect()
}

/// Events of one story, in order of position.
///
/// # Errors
/// Postgres failed.
pub async fn read_streams(connection: &mut PgConnection, streams: &[String]) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let rows = sqlx::query(concat!("select ", columns!(), " from log.events where stream = any($1) order by position"))
        .bind(streams)
        .fetch_all(connection)
        .await?;
    rows.iter().map(recorded).collect()
}

/// The last events of a stream, in order.
///
/// # Errors
/// Postgres failed.
pub async fn read_end_of_stream(
    connection: &mut PgConnection,
    stream: &str,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = concat!("select ", columns!(), " from log.events where stream = $1 order by version desc limit $2");
    let rows = sqlx::query(query).bind(stream).bind(limit).fetch_all(connection).await?;
    rows.iter().rev().map(recorded).collect()
}

/// The last events before a position, in order.
///
/// # Errors
/// Postgres failed.
pub async fn read_page_before(
    connection: &mut PgConnection,
    before: GlobalPosition,
    limit: i64,
) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = concat!("select ", columns!(), " from log.events where position < $1 order by position desc limit $2");
    let rows = sqlx::query(query).bind(before.get()).bind(limit).fetch_all(connection).await?;
    rows.iter().rev().map(recorded).collect()
}

/// The first events that services are to hear of again.
pub(crate) async fn asked_again(connection: &mut PgConnection, limit: i64) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let query = concat!(
        "select ",
        columns!(),
        " from log.events join log.asked_again using (position) order by position limit $1"
    );
    let rows = sqlx::query(query).bind(limit).fetch_all(connection).await?;
    rows.iter().map(recorded).collect()
}
