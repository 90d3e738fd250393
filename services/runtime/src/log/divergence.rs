//! Whether the broker has events that the log lacks. Only what is committed is published, so the log has lost them: its database was
//! restored from a backup, or is a standby that was promoted before it had all.

use std::collections::BTreeMap;

use async_nats::{
    HeaderMap,
    jetstream::stream::{RawMessageErrorKind, Stream},
};
use domain::{BrokerSequence, GlobalPosition, StreamVersion, Timestamp};
use futures::{StreamExt, TryStreamExt};
use platform::{
    broker::{Broker, EVENTS, check_installation, is_not_there},
    error::Error,
    message::{header, plain_text},
};
use sqlx::PgConnection;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::log::{archive, event_store::StoredEvent, identity::event_id, lineage::Lineage};

/// How many of the stream's last messages are looked at before anything is taken from it. Only what was published again after a loss
/// may lie behind what was lost.
const END: u64 = 512;

/// Messages that are asked for at once.
const ASKED_AT_ONCE: usize = 64;

/// The code of a log that lacks what was published.
pub const DATABASE_BEHIND_BROKER: &str = "DATABASE_BEHIND_BROKER";

/// An event as the broker has it.
#[derive(Debug, Clone)]
pub struct PublishedEvent {
    /// Its place in the stream.
    pub sequence: BrokerSequence,
    /// The epoch in which it was published.
    pub epoch: i32,
    /// As the log has it, or had.
    pub event: StoredEvent,
}

impl PublishedEvent {
    /// Reads a message of the stream of events. `None`: no worker has sent it, for the id of an event follows from what else it says.
    #[must_use]
    pub fn read(sequence: BrokerSequence, headers: &HeaderMap, data: &[u8]) -> Option<Self> {
        let text = |name: &str| headers.get(name).map(|value| value.as_str());
        let uuid = |name: &str| text(name).and_then(|value| Uuid::try_parse(value).ok());
        let event = StoredEvent {
            position: text(header::POSITION)?.parse().ok().map(GlobalPosition::new)?,
            stream: plain_text(text(header::SUBJECT)?)?,
            version: text(header::STREAM_VERSION)?.parse().ok().map(StreamVersion::new)?,
            event_id: uuid(header::ID)?,
            service: text(header::SOURCE)?.strip_prefix("/holdfast/")?.to_owned(),
            message_type: text(header::TYPE)?.to_owned(),
            data: data.to_vec(),
            correlation_id: uuid(header::CORRELATION_ID)?,
            causation_id: uuid(header::CAUSATION_ID)?,
            traceparent: text(header::TRACEPARENT).map(str::to_owned),
            recorded_at: OffsetDateTime::parse(text(header::TIME)?, &Rfc3339).ok().map(Timestamp::from)?,
            is_handled: false,
        };
        // Who published before there were epochs did so in the first.
        let epoch = text(header::EPOCH).map_or(Ok(1), str::parse).ok()?;
        let is_ours = event.event_id == event_id(event.causation_id, &event.stream, event.version);
        is_ours.then_some(Self { sequence, epoch, event })
    }
}

/// Events at the end of the broker's stream that the log lacks.
struct Behind {
    /// The last position of the log.
    log_ends: GlobalPosition,
    /// The first and the last position of what it lacks, among what was looked at.
    lacks: (GlobalPosition, GlobalPosition),
}

impl Behind {
    /// As an error that lasts until an operator has decided.
    fn error(self) -> Error {
        let Self { log_ends, lacks: (first, last) } = self;
        let why = format!(
            "{DATABASE_BEHIND_BROKER}: the log has gone back: it ends at position {log_ends}, and the broker's stream {EVENTS} has events that \
             the log lacks, from position {first} to {last}. This database was restored from a backup, or promoted before it had all. \
             Nothing is consumed, written or called until that is decided: bring the right database back, or see \
             `holdfast recover --dry-run`"
        );
        Error::transient("comparing the log with the broker", why)
    }
}

/// Compares the end of the broker's stream with the log: why they do not belong together, if they do not.
///
/// # Errors
/// One of both could not be asked.
pub async fn look(broker: &Broker, connection: &mut PgConnection, lineage: &Lineage) -> Result<Option<Error>, Error> {
    look_at(broker, connection, lineage, END).await
}

/// The same with the last message only: cheap enough for every second.
///
/// # Errors
/// One of both could not be asked.
pub async fn look_at_last(
    broker: &Broker,
    connection: &mut PgConnection,
    lineage: &Lineage,
) -> Result<Option<Error>, Error> {
    look_at(broker, connection, lineage, 1).await
}

async fn look_at(
    broker: &Broker,
    connection: &mut PgConnection,
    lineage: &Lineage,
    count: u64,
) -> Result<Option<Error>, Error> {
    let stream = match broker.jetstream.get_stream(EVENTS).await {
        Ok(stream) => stream,
        Err(error) if is_not_there(&error.kind()) => return Ok(None),
        Err(error) => return Err(Error::transient("asking the broker for its last events", error.to_string())),
    };
    if let Err(another) = check_installation(&stream.cached_info().config, lineage.installation) {
        return Ok(Some(another));
    }
    // The broker first: what is published is in the log before.
    let published = end_of(&stream, count).await?;
    let lacks = lacks(connection, lineage, &published).await?;
    let positions = lacks.iter().map(|lacking| lacking.event.position);
    let (Some(first), Some(last)) = (positions.clone().min(), positions.max()) else { return Ok(None) };
    let log_ends = log_ends(connection).await?;
    Ok(Some(Behind { log_ends, lacks: (first, last) }.error()))
}

/// The last position of the log.
///
/// # Errors
/// Postgres failed.
pub async fn log_ends(connection: &mut PgConnection) -> Result<GlobalPosition, Error> {
    sqlx::query_scalar("select coalesce(max(position), 0) from log.events")
        .fetch_one(connection)
        .await
        .map(GlobalPosition::new)
        .map_err(|error| Error::database("reading where the log ends", error))
}

/// Those of some published events that the log lacks, but for what was given up.
///
/// # Errors
/// Postgres failed.
pub async fn lacks<'a>(
    connection: &mut PgConnection,
    lineage: &Lineage,
    published: &'a [PublishedEvent],
) -> Result<Vec<&'a PublishedEvent>, Error> {
    let counts = |one: &&PublishedEvent| !lineage.is_given_up(one.epoch, one.event.position);
    let published: Vec<&PublishedEvent> = published.iter().filter(counts).collect();
    if published.is_empty() {
        return Ok(Vec::new());
    }
    let positions: Vec<i64> = published.iter().map(|one| one.event.position.get()).collect();
    let found: Vec<(i64, Uuid)> = sqlx::query_as("select position, event_id from log.events where position = any($1)")
        .bind(positions)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| Error::database("looking for what is published", error))?;
    let found: BTreeMap<GlobalPosition, Uuid> =
        found.into_iter().map(|(position, id)| (GlobalPosition::new(position), id)).collect();
    let is_there = |one: &&PublishedEvent| found.get(&one.event.position) == Some(&one.event.event_id);
    let mut lacking: Vec<&PublishedEvent> = published.into_iter().filter(|one| !is_there(one)).collect();
    if !lacking.is_empty() {
        // What the table has no more is in files.
        let archived = archive::archived(connection).await;
        let archived = archived.map_err(|error| Error::database("asking what of the log is archived", error))?;
        let is_archived = |position| archived.iter().any(|it| it.part.first <= position && position <= it.part.last);
        lacking.retain(|one| !is_archived(one.event.position));
    }
    Ok(lacking)
}

/// The last events of the stream.
async fn end_of(stream: &Stream, count: u64) -> Result<Vec<PublishedEvent>, Error> {
    let state = &stream.cached_info().state;
    let first = state.first_sequence.max(state.last_sequence.saturating_sub(count - 1)).max(1);
    let messages: Vec<Option<PublishedEvent>> = futures::stream::iter(first..=state.last_sequence)
        .map(|sequence| published_at(stream, BrokerSequence::new(sequence)))
        .buffered(ASKED_AT_ONCE)
        .try_collect()
        .await?;
    Ok(messages.into_iter().flatten().collect())
}

async fn published_at(stream: &Stream, sequence: BrokerSequence) -> Result<Option<PublishedEvent>, Error> {
    match stream.get_raw_message(sequence.get()).await {
        Ok(message) => Ok(PublishedEvent::read(sequence, &message.headers, &message.payload)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(Error::transient("asking the broker for its last events", error.to_string())),
    }
}
