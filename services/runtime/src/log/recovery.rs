//! Taking back into the log what it has lost and the broker still has. An event is what it was: at its old position, with its old id. Rows
//! are made from events by the service's own rules, and so are due timers and outside calls; answers are kept for commands that come again.
//!
//! A call of which nobody knows how it ended may have been made: it is made again by its key, after looking what became of it. One whose
//! end is known is not: one that was declined, and followed by another, would be made once more.
//!
//! Why it is so: services/runtime/README.md#what-is-lost-of-the-log-is-at-the-broker

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::{
    consumer::{DeliverPolicy, pull},
    stream::Stream,
};
use domain::{BrokerSequence, Effect, GlobalPosition, StreamVersion, Timer, Timestamp};
use futures::StreamExt;
use platform::{broker::Broker, database::column, error::Error};
use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    batch::draft::{Answered, accepted, rejected_before},
    log::{
        append::save_rows,
        archive,
        divergence::{PublishedEvent, lacks, log_ends},
        event_store::StoredEvent,
        lineage::Lineage,
        partitions,
    },
    service::{Service, is_rejection},
};

/// How long before the last event of the log the broker's stream is read from: what is missing was published after that, by whatever
/// clock.
const BEFORE: time::Duration = time::Duration::minutes(15);

/// Messages that are compared with the log at once.
const PAGE: usize = 1_000;

/// What the log has lost.
#[derive(Debug, Default)]
pub struct Lost {
    /// The last position of the log.
    pub log_ends: GlobalPosition,
    /// What can be taken back, in order of position.
    pub adoptable: Vec<PublishedEvent>,
    /// What cannot, and why.
    pub left_out: Vec<(PublishedEvent, String)>,
}

impl Lost {
    /// All of it.
    pub fn all(&self) -> impl Iterator<Item = &PublishedEvent> {
        self.adoptable.iter().chain(self.left_out.iter().map(|(published, _)| published))
    }

    /// Whether the log has lost nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.adoptable.is_empty() && self.left_out.is_empty()
    }
}

/// Compares the broker's stream of events with the log, as far back as anything can be missing.
///
/// # Errors
/// One of both could not be read.
pub async fn find(broker: &Broker, connection: &mut PgConnection, lineage: &Lineage) -> Result<Lost, Error> {
    let failed = |error| Error::database("reading the log", error);
    let last: Option<OffsetDateTime> =
        sqlx::query_scalar("select recorded_at from log.events order by position desc limit 1")
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
    let stream = broker.events_stream().await?;
    let mut lost = Vec::new();
    let mut messages = Messages::open(&stream, last.map(|last| last - BEFORE)).await?;
    loop {
        let page = messages.page().await?;
        if page.is_empty() {
            break;
        }
        lost.extend(lacks(connection, lineage, &page).await?.into_iter().cloned());
    }
    let streams: Vec<&str> = lost.iter().map(|published| published.event.stream.as_str()).collect();
    let versions: Vec<(String, i64)> =
        sqlx::query_as("select stream, max(version) from log.events where stream = any($1) group by stream")
            .bind(streams)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
    let versions = versions.into_iter().map(|(stream, version)| (stream, StreamVersion::new(version)));
    let positions: Vec<i64> = lost.iter().map(|published| published.event.position.get()).collect();
    let taken: Vec<i64> = sqlx::query_scalar("select position from log.events where position = any($1)")
        .bind(positions)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let versions: BTreeMap<String, StreamVersion> = versions.collect();
    let known: BTreeSet<String> = versions.keys().cloned().collect();
    let (adoptable, mut left_out) =
        sort_out(lost, lineage.epoch(), versions, &taken.into_iter().map(GlobalPosition::new).collect());
    if !archive::archived(connection).await.map_err(failed)?.is_empty() {
        for (_, why) in left_out.iter_mut().filter(|(published, _)| !known.contains(&published.event.stream)) {
            why.push_str(
                "; what came before may be archived, and is to be brought back first: `holdfast archive restore`",
            );
        }
    }
    Ok(Lost { log_ends: log_ends(connection).await?, adoptable, left_out })
}

/// The messages of a stream, from some time on, up to where it ends now.
struct Messages {
    fetched: Option<pull::Ordered>,
    last: BrokerSequence,
}

impl Messages {
    async fn open(stream: &Stream, from: Option<OffsetDateTime>) -> Result<Self, Error> {
        let failed = |error: String| Error::transient("reading the broker's stream of events", error);
        let deliver_policy = match from {
            Some(start_time) => DeliverPolicy::ByStartTime { start_time },
            None => DeliverPolicy::All,
        };
        let config = pull::OrderedConfig { deliver_policy, ..Default::default() };
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(error.to_string()))?;
        let is_empty = consumer.cached_info().num_pending == 0;
        let fetched =
            if is_empty { None } else { Some(consumer.messages().await.map_err(|error| failed(error.to_string()))?) };
        Ok(Self { fetched, last: BrokerSequence::new(stream.cached_info().state.last_sequence) })
    }

    /// The next events. None: that was all.
    async fn page(&mut self) -> Result<Vec<PublishedEvent>, Error> {
        let failed = |error: String| Error::transient("reading the broker's stream of events", error);
        let mut page = Vec::new();
        while page.len() < PAGE
            && let Some(fetched) = &mut self.fetched
        {
            let Some(message) = fetched.next().await else { break };
            let message = message.map_err(|error| failed(error.to_string()))?;
            let info = message.info().map_err(|error| failed(error.to_string()))?;
            let sequence = BrokerSequence::new(info.stream_sequence);
            let is_last = info.pending == 0 || sequence >= self.last;
            let headers = message.headers.as_ref();
            page.extend(headers.and_then(|headers| PublishedEvent::read(sequence, headers, &message.payload)));
            if is_last {
                self.fetched = None;
            }
        }
        Ok(page)
    }
}

/// What continues its stream as the log has it, and what does not.
fn sort_out(
    mut lost: Vec<PublishedEvent>,
    epoch: i32,
    mut versions: BTreeMap<String, StreamVersion>,
    taken: &BTreeSet<GlobalPosition>,
) -> (Vec<PublishedEvent>, Vec<(PublishedEvent, String)>) {
    lost.sort_by_key(|published| published.event.position);
    // Some are published twice.
    lost.dedup_by(|one, other| {
        one.event.position == other.event.position && one.event.event_id == other.event.event_id
    });
    let (mut adoptable, mut left_out): (Vec<PublishedEvent>, Vec<(PublishedEvent, String)>) = (Vec::new(), Vec::new());
    for published in lost {
        let event = &published.event;
        let version = versions.entry(event.stream.clone()).or_default();
        let is_taken = taken.contains(&event.position)
            || adoptable.last().is_some_and(|before| before.event.position == event.position);
        let why = if published.epoch != epoch {
            Some(format!("it is of epoch {}, and the log is in epoch {epoch}", published.epoch))
        } else if is_taken {
            Some(format!("the log has another event at position {}", event.position))
        } else if event.version != version.next() {
            Some(format!("it is version {}, and {} of the stream is not there", event.version, version.next()))
        } else {
            None
        };
        match why {
            Some(why) => left_out.push((published, why)),
            None => {
                *version = version.next();
                adoptable.push(published);
            }
        }
    }
    (adoptable, left_out)
}

/// Writes events to the log at the positions that they had, and lets no position be given out again.
///
/// # Errors
/// Postgres failed.
pub async fn append(connection: &mut PgConnection, events: &[&StoredEvent]) -> Result<(), Error> {
    let failed = |error| Error::database("taking events back into the log", error);
    if let Some(last) = events.iter().map(|event| event.position).max() {
        partitions::make(connection, Some(last)).await.map_err(failed)?;
    }
    for page in events.chunks(PAGE) {
        insert(connection, "log.events", page).await.map_err(failed)?;
    }
    Ok(())
}

/// Inserts events into this table, at the positions that they had.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    table: &str,
    page: &[&StoredEvent],
) -> Result<(), sqlx::Error> {
    let query = format!(
        "insert into {table} (position, stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent,
             recorded_at)
         overriding system value
         select * from unnest($1::bigint[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::bytea[], $8::uuid[],
             $9::uuid[], $10::text[], $11::timestamptz[])"
    );
    sqlx::query(AssertSqlSafe(query))
        .bind(column(page, |event| event.position.get()))
        .bind(column(page, |event| event.stream.as_str()))
        .bind(column(page, |event| event.version.get()))
        .bind(column(page, |event| event.event_id))
        .bind(column(page, |event| event.service.as_str()))
        .bind(column(page, |event| event.message_type.as_str()))
        .bind(column(page, |event| event.data.as_slice()))
        .bind(column(page, |event| event.correlation_id))
        .bind(column(page, |event| event.causation_id))
        .bind(column(page, |event| event.traceparent.as_deref()))
        .bind(column(page, |event| OffsetDateTime::from(event.recorded_at)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Lets no position up to this one be given out again.
///
/// # Errors
/// Postgres failed.
pub async fn pass_over(connection: &mut PgConnection, position: GlobalPosition) -> Result<(), Error> {
    sqlx::query(
        "select setval('log.events_position_seq', greatest($1, (select last_value from log.events_position_seq)))",
    )
    .bind(position.get())
    .execute(connection)
    .await
    .map_err(|error| Error::database("setting the sequence of positions", error))?;
    Ok(())
}

/// Any call that is to be made may have been made in the time that is lost, or be under way still: whoever makes it looks first what became
/// of it, and takes no failure for sure before that is known.
///
/// # Errors
/// Postgres failed.
pub async fn doubt_calls(connection: &mut PgConnection, service: &str) -> Result<(), Error> {
    let doubt = format!(
        "update {service}.effects set attempts = greatest(attempts, 1), settled_attempts = 0, last_error = null"
    );
    sqlx::raw_sql(AssertSqlSafe(doubt))
        .execute(connection)
        .await
        .map_err(|error| Error::database("doubting outside calls", error))?;
    Ok(())
}

/// Makes these events of one service true in its tables: its rows, what is due, what is to be called, and what was answered.
///
/// # Errors
/// An event cannot be read or does not fit its stream, or Postgres failed.
pub async fn make_true<S: Service>(connection: &mut PgConnection, events: &[&StoredEvent]) -> Result<(), Error> {
    let failed = |error| Error::database("making events true", error);
    let own: Vec<&StoredEvent> = events.iter().copied().filter(|event| event.service == S::NAME).collect();
    if own.is_empty() {
        return Ok(());
    }
    let path = format!("set local search_path to {}", S::NAME);
    sqlx::raw_sql(AssertSqlSafe(path)).execute(&mut *connection).await.map_err(failed)?;
    let mut state = S::load_all(connection).await.map_err(failed)?;
    let TakenBack { timers, effects } = take_back::<S>(&mut state, &own)?;
    save_rows::<S>(connection, &state).await.map_err(failed)?;
    set(connection, &timers).await.map_err(failed)?;
    add(connection, &effects).await.map_err(failed)?;
    end::<S>(connection, &state).await.map_err(failed)?;
    keep(connection, &answers(&own)).await.map_err(failed)
}

/// What follows from events beside the rows.
#[derive(Debug, Default)]
pub(crate) struct TakenBack<'a> {
    /// By stream.
    pub(crate) timers: BTreeMap<&'a str, Timer>,
    pub(crate) effects: Vec<(Effect, &'a StoredEvent)>,
}

/// Makes events true in this state: by the service's own rules, and each where it stood.
pub(crate) fn take_back<'a, S: Service>(
    state: &mut S::State,
    events: &[&'a StoredEvent],
) -> Result<TakenBack<'a>, Error> {
    let mut back = TakenBack::default();
    for event in events.iter().copied().filter(|event| !is_rejection(&event.message_type)) {
        let read =
            S::decode_event(&event.message_type, &event.data).map_err(|rejection| unfit(event, &rejection.reason))?;
        S::evolve(state, &read);
        let (stream, version) = S::place(state, &read);
        if (stream.as_str(), version) != (event.stream.as_str(), event.version) {
            return Err(unfit(event, &format!("it folds as version {version} of {stream}")));
        }
        if let Some(timer) = S::timer(&read) {
            back.timers.insert(event.stream.as_str(), timer);
        }
        back.effects.extend(S::effect(&read).map(|effect| (effect, event)));
    }
    Ok(back)
}

/// What was answered to whoever caused these events, should that have been a command: the body of a command is not known any more, so its id
/// is enough.
pub(crate) fn answers(events: &[&StoredEvent]) -> Vec<(Uuid, Answered, Timestamp)> {
    let mut caused: BTreeMap<Uuid, Vec<&StoredEvent>> = BTreeMap::new();
    for event in events {
        caused.entry(event.causation_id).or_default().push(event);
    }
    let answer = |(cause, events): (Uuid, Vec<&StoredEvent>)| {
        let places = events.iter().map(|event| (event.stream.as_str(), event.version, event.message_type.as_str()));
        let reply = match events.iter().find(|event| is_rejection(&event.message_type)) {
            Some(refusal) => rejected_before(&refusal.data)?,
            None => accepted(cause, places),
        };
        Some((cause, Answered { body_hash: Vec::new(), reply }, events.last()?.recorded_at))
    };
    caused.into_iter().filter_map(answer).collect()
}

fn unfit(event: &StoredEvent, why: &str) -> Error {
    let why = format!("{} at position {} of {}: {why}", event.message_type, event.position, event.stream);
    Error::Permanent { what: "taking an event back into the log", source: why.into() }
}

async fn set(connection: &mut PgConnection, timers: &BTreeMap<&str, Timer>) -> Result<(), sqlx::Error> {
    let timers: Vec<(&&str, &Timer)> = timers.iter().collect();
    let streams: Vec<&str> = timers.iter().map(|(stream, _)| **stream).collect();
    sqlx::query("delete from timers where stream = any($1)").bind(&streams).execute(&mut *connection).await?;
    sqlx::query(
        "insert into timers (stream, due_at)
         select * from unnest($1::text[], $2::timestamptz[]) as new (stream, due_at) where due_at is not null",
    )
    .bind(&streams)
    .bind(column(&timers, |(_, timer)| timer.due_at().map(OffsetDateTime::from)))
    .execute(connection)
    .await?;
    Ok(())
}

async fn add(connection: &mut PgConnection, effects: &[(Effect, &StoredEvent)]) -> Result<(), sqlx::Error> {
    let effects: Vec<&(Effect, &StoredEvent)> = effects.iter().collect();
    sqlx::query(
        "insert into effects (key, type, data, deadline, attempts, due_at, created_at, correlation_id, causation_id, traceparent, callee)
         select key, type, data, deadline, 1, now(), created_at, correlation_id, causation_id, traceparent, callee
         from unnest($1::text[], $2::text[], $3::bytea[], $4::timestamptz[], $5::timestamptz[], $6::uuid[], $7::uuid[], $8::text[], $9::text[])
             as new (key, type, data, deadline, created_at, correlation_id, causation_id, traceparent, callee)
         on conflict do nothing",
    )
    .bind(column(&effects, |(effect, _)| effect.key.as_str()))
    .bind(column(&effects, |(effect, _)| effect.message_type))
    .bind(column(&effects, |(effect, _)| effect.data.as_slice()))
    .bind(column(&effects, |(effect, _)| OffsetDateTime::from(effect.deadline)))
    .bind(column(&effects, |(_, event)| OffsetDateTime::from(event.recorded_at)))
    .bind(column(&effects, |(_, event)| event.correlation_id))
    .bind(column(&effects, |(_, event)| event.causation_id))
    .bind(column(&effects, |(_, event)| event.traceparent.as_deref()))
    .bind(column(&effects, |(effect, _)| effect.callee))
    .execute(connection)
    .await?;
    Ok(())
}

/// No call is made again whose end is known.
async fn end<S: Service>(connection: &mut PgConnection, state: &S::State) -> Result<(), sqlx::Error> {
    let mut keys: Vec<String> = sqlx::query_scalar("select key from effects").fetch_all(&mut *connection).await?;
    keys.retain(|key| !S::is_call_open(state, key));
    sqlx::query("delete from effects where key = any($1)").bind(keys).execute(connection).await?;
    Ok(())
}

async fn keep(connection: &mut PgConnection, answers: &[(Uuid, Answered, Timestamp)]) -> Result<(), sqlx::Error> {
    let answers: Vec<&(Uuid, Answered, Timestamp)> = answers.iter().collect();
    sqlx::query(
        "insert into inbox (command_id, body_hash, reply, handled_at)
         select * from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::timestamptz[])
         on conflict do nothing",
    )
    .bind(column(&answers, |(command_id, _, _)| *command_id))
    .bind(column(&answers, |(_, answered, _)| answered.body_hash.as_slice()))
    .bind(column(&answers, |(_, answered, _)| answered.reply.as_slice()))
    .bind(column(&answers, |(_, _, at)| OffsetDateTime::from(*at)))
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use domain::{BrokerSequence, GlobalPosition, StreamVersion, Timestamp};
    use uuid::Uuid;

    use super::sort_out;
    use crate::log::{divergence::PublishedEvent, event_store::StoredEvent, identity::event_id};

    fn published(position: i64, stream: &str, version: i64) -> PublishedEvent {
        let cause = Uuid::from_u128(7);
        let version = StreamVersion::new(version);
        let event = StoredEvent {
            position: GlobalPosition::new(position),
            stream: stream.to_owned(),
            version,
            event_id: event_id(cause, stream, version),
            service: "library".to_owned(),
            message_type: "library.v1.Lent".to_owned(),
            data: Vec::new(),
            correlation_id: cause,
            causation_id: cause,
            traceparent: None,
            recorded_at: Timestamp::default(),
            is_handled: false,
        };
        PublishedEvent { sequence: BrokerSequence::new(1), epoch: 1, event }
    }

    /// The positions that can be taken back into a log that has `book-1` up to version 3 and something at position 11, and why others
    /// cannot.
    fn sorted(lost: Vec<PublishedEvent>) -> (Vec<i64>, Vec<String>) {
        let versions = BTreeMap::from([("book-1".to_owned(), StreamVersion::new(3))]);
        let (adoptable, left_out) = sort_out(lost, 1, versions, &BTreeSet::from([GlobalPosition::new(11)]));
        let adoptable = adoptable.iter().map(|published| published.event.position.get()).collect();
        (adoptable, left_out.into_iter().map(|(_, why)| why).collect())
    }

    #[test]
    fn what_continues_its_stream_is_taken_back_once_in_order_of_position() {
        let lost = vec![published(14, "book-1", 5), published(12, "book-1", 4), published(13, "book-2", 1)];
        let twice = [lost.clone(), lost].concat();
        assert_eq!(sorted(twice), (vec![12, 13, 14], vec![]));
    }

    #[test]
    fn what_is_behind_a_version_that_nobody_has_is_left_out_and_so_is_all_that_follows_it() {
        let lost = vec![published(12, "book-1", 5), published(13, "book-1", 6), published(14, "book-2", 1)];
        let (adoptable, left_out) = sorted(lost);
        assert_eq!(adoptable, [14]);
        assert!(
            left_out.len() == 2 && left_out.iter().all(|why| why.contains("4 of the stream is not there")),
            "{left_out:?}"
        );
    }

    #[test]
    fn what_has_lost_its_place_or_is_of_another_epoch_is_left_out() {
        let other = PublishedEvent { epoch: 2, ..published(15, "book-2", 1) };
        let (adoptable, left_out) = sorted(vec![published(11, "book-1", 4), other]);
        assert!(adoptable.is_empty());
        assert!(
            left_out[0].contains("another event at position 11") && left_out[1].contains("of epoch 2"),
            "{left_out:?}"
        );
    }
}
