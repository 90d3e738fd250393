//! The relay: sees to it that every event of the log is published, gap-aware. Workers publish what they commit; the relay checks
//! that it arrived, publishes what did not, and again what the broker lost. One per database is active; every worker stands by.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use futures::{StreamExt, TryStreamExt, future::try_join_all};
use sqlx::{Connection, PgConnection, Row};
use time::OffsetDateTime;

use crate::{
    broker::{Broker, PUBLISHED},
    clock,
    config::{self, ms},
    database::session,
    error::Error,
    event_store::{Follower, Recorded},
    marks::Marks,
    message::header,
    publish::{Publication, Publisher, Witness},
    ranges::Ranges,
    shutdown::Shutdown,
    telemetry, window,
};

/// Key of the advisory lock that makes one relay active: "holdfast" in ASCII.
const LOCK_KEY: i64 = 0x686f_6c64_6661_7374;

/// Where the relay stands, as its row in `log.relay` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// Every position up to here is published or will never come.
    published: i64,
    /// The broker stream it was published to, by when it was made.
    stream_created: Option<OffsetDateTime>,
    /// One of that stream's last messages.
    witness: Witness,
}

impl Standing {
    async fn read(connection: &mut PgConnection) -> Result<Self, Error> {
        sqlx::query("select published, stream_created, stream_sequence, stream_position from log.relay")
            .fetch_one(connection)
            .await
            .and_then(|row| {
                let witness = Witness { sequence: row.try_get(2)?, position: row.try_get(3)? };
                Ok(Self { published: row.try_get(0)?, stream_created: row.try_get(1)?, witness })
            })
            .map_err(|error| Error::database("reading where the relay stands", error))
    }
}

/// Stands by, and publishes while it is the one, until asked to stop.
pub(crate) async fn run(database_url: String, broker: Broker, settings: config::Relay, mut shutdown: Shutdown) {
    while !shutdown.is_pulled() {
        let lead = lead(&database_url, &broker, &settings, shutdown.clone()).await;
        telemetry::relay_active(false);
        if let Err(error) = lead {
            tracing::warn!(error = error.chain(), "the relay begins again");
        }
        tokio::select! {
            () = clock::sleep(ms(settings.compare_ms)) => {}
            () = shutdown.pulled() => {}
        }
    }
}

/// Publishes while this session holds the lock. Every write to `log.relay` goes through the same session: whoever lost the
/// lock has lost the session too, and can no longer move the checkpoint.
async fn lead(
    database_url: &str,
    broker: &Broker,
    settings: &config::Relay,
    mut shutdown: Shutdown,
) -> Result<(), Error> {
    let database = |what| move |error| Error::database(what, error);
    // Never idle for long: a relay that stands still must not keep its place.
    let session = session(database_url, "holdfast-relay")?.options([("idle_session_timeout", "15s")]);
    let mut connection = PgConnection::connect_with(&session).await.map_err(database("connecting the relay"))?;
    while !takes_over(&mut connection).await.map_err(database("standing by as the relay"))? {
        tokio::select! {
            () = clock::sleep(ms(settings.compare_ms)) => {}
            () = shutdown.pulled() => return Ok(()),
        }
    }
    tracing::info!("this process is the relay");
    telemetry::relay_active(true);
    let mut connections = broker.connections();
    connections.mark_unchanged();
    let publishing =
        async { Relay::new(connection, broker.clone(), settings.clone()).await?.publish_until(shutdown).await };
    tokio::select! {
        ended = publishing => ended,
        // What it had asked the broker is answered by nobody any more, and much may be lost.
        _reconnected = connections.changed() => {
            Err(Error::transient("publishing the log", "the connection to the broker was lost"))
        }
    }
}

/// Whether this session holds the lock now.
async fn takes_over(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK_KEY).fetch_one(connection).await
}

struct Relay {
    connection: PgConnection,
    broker: Broker,
    publisher: Publisher,
    settings: config::Relay,
    standing: Standing,
    /// What workers say they have published, to be checked.
    reported: Vec<Publication>,
    /// What is published beyond the checkpoint.
    confirmed: Ranges,
    /// Messages that were seen in the stream since stores were compared last: if one is gone, the broker has lost it.
    witnesses: Vec<Witness>,
    /// Where the log ended, and when: what is older and still not published, nobody else will publish.
    heads: VecDeque<(Instant, i64)>,
    /// The checkpoint at some moments, and the stream's last sequence number after it.
    marks: Marks,
    follower: Follower,
    gap_since: Option<Instant>,
}

impl Relay {
    /// Takes up where the last relay stood.
    async fn new(mut connection: PgConnection, broker: Broker, settings: config::Relay) -> Result<Self, Error> {
        broker.ensure_streams().await?;
        let standing = Standing::read(&mut connection).await?;
        let mut relay = Self {
            connection,
            publisher: Publisher::open(broker.clone()).await?,
            broker,
            settings,
            follower: Follower::after(standing.published),
            standing,
            reported: Vec::new(),
            confirmed: Ranges::default(),
            witnesses: Vec::new(),
            heads: VecDeque::new(),
            marks: Marks::default(),
            gap_since: None,
        };
        relay.compare().await?;
        // What was lost may be what no relay had noted yet; the consumers have seen it all the same.
        relay.drop_consumers_ahead(&relay.broker.events_stream_unasked().await?).await?;
        Ok(relay)
    }

    async fn publish_until(&mut self, mut shutdown: Shutdown) -> Result<(), Error> {
        let nats = |error| Error::transient("listening to what workers publish", error);
        let mut reports = self.broker.client.subscribe(PUBLISHED).await.map_err(nats)?;
        let mut compared = Instant::now();
        let mut next_tick = Instant::now();
        while !shutdown.is_pulled() {
            if compared.elapsed() >= ms(self.settings.compare_ms) {
                self.compare().await?;
                compared = Instant::now();
            }
            tokio::select! {
                report = reports.next() => match report {
                    Some(report) => self.hear(&report.payload),
                    None => return Err(Error::transient("listening to what workers publish", "the subscription ended")),
                },
                () = clock::sleep(next_tick.saturating_duration_since(Instant::now())) => {
                    self.tick().await?;
                    next_tick = Instant::now() + ms(self.settings.tick_ms);
                }
                () = shutdown.pulled() => {}
            }
        }
        Ok(())
    }

    fn hear(&mut self, payload: &[u8]) {
        match serde_json::from_slice(payload) {
            Ok(publication) => self.reported.push(publication),
            Err(error) => tracing::warn!(%error, "a report of what is published cannot be read"),
        }
    }

    /// Notes what workers have published, and publishes what they have not.
    async fn tick(&mut self) -> Result<(), Error> {
        let before = self.standing;
        self.check_reports().await?;
        self.standing.published = self.confirmed.absorb(self.standing.published);
        let swept = self.sweep().await;
        self.gap_since = self.follower.is_waiting().then(|| self.gap_since.unwrap_or_else(Instant::now));
        telemetry::relay_gap(self.gap_since.map(|since| since.elapsed()).unwrap_or_default());
        if self.standing != before {
            self.save("noting what is published").await?;
            telemetry::relay_published(self.standing.published);
        }
        swept
    }

    /// Believes what was published on a connection only if the last message of it is in the stream: it may be lost by now. What
    /// came before on the same connection is there too.
    async fn check_reports(&mut self) -> Result<(), Error> {
        let reported = std::mem::take(&mut self.reported);
        let mut last: BTreeMap<&str, Witness> = BTreeMap::new();
        for publication in &reported {
            let witness = last.entry(&publication.connection).or_insert(publication.witness);
            *witness = publication.witness.max(*witness);
        }
        let checks = try_join_all(last.values().map(|witness| self.is_there(*witness))).await?;
        let last: BTreeMap<_, _> =
            last.into_iter().zip(checks).filter_map(|(last, is_there)| is_there.then_some(last)).collect();
        for publication in reported.iter().filter(|publication| last.contains_key(publication.connection.as_str())) {
            for (first, end) in &publication.ranges {
                self.confirmed.insert(*first, *end);
            }
        }
        self.witness(last.values().max().copied());
        Ok(())
    }

    fn witness(&mut self, witness: Option<Witness>) {
        if let Some(witness) = witness {
            self.witnesses.push(witness);
            self.standing.witness = self.standing.witness.max(witness);
        }
    }

    /// Whether a message is in the stream still.
    async fn is_there(&self, witness: Witness) -> Result<bool, Error> {
        let sequence = u64::try_from(witness.sequence).unwrap_or(0);
        Ok(self.position_at(sequence).await? == Some(witness.position))
    }

    /// The position of the event at a place in the stream, if there is one.
    async fn position_at(&self, sequence: u64) -> Result<Option<i64>, Error> {
        let stream = self.broker.events_stream_unasked().await?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(message.headers.get(header::POSITION).and_then(|value| value.as_str().parse().ok())),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::transient("asking the broker for a message", error.to_string())),
        }
    }

    /// Publishes what was committed a while ago and is not published: its worker crashed, or the broker was away.
    async fn sweep(&mut self) -> Result<(), Error> {
        let database = |what| move |error| Error::database(what, error);
        let head: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from log.events")
            .fetch_one(&mut self.connection)
            .await
            .map_err(database("reading where the log ends"))?;
        self.heads.push_back((Instant::now(), head));
        let mut overdue = 0;
        while let Some((seen, head)) = self.heads.front().filter(|(seen, _)| seen.elapsed() >= self.patience()) {
            (overdue, _) = (*head, seen);
            self.heads.pop_front();
        }
        while self.standing.published < overdue {
            self.follower.skip_to(self.standing.published);
            let page = self.follower.next(&mut self.connection, overdue, self.settings.page_max).await;
            let (events, more) = page.map_err(database("reading the log"))?;
            let Some(last) = events.last().map(|event| event.position) else { break };
            let missing: Vec<Recorded> =
                events.into_iter().filter(|event| !self.confirmed.contains(event.position)).collect();
            let published = self.publisher.publish(&missing).await;
            self.witness(published.witness);
            telemetry::relay_swept(published.count);
            let last = missing.get(published.count).map_or(last, |unpublished| unpublished.position - 1);
            self.standing.published = self.confirmed.absorb(last);
            published.result?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        ms(self.settings.sweep_after_ms)
    }

    async fn save(&mut self, what: &'static str) -> Result<(), Error> {
        sqlx::query(
            "update log.relay
             set published = $1, stream_created = $2, stream_sequence = $3, stream_position = $4, handled = least(handled, $1)",
        )
        .bind(self.standing.published)
        .bind(self.standing.stream_created)
        .bind(self.standing.witness.sequence)
        .bind(self.standing.witness.position)
        .execute(&mut self.connection)
        .await
        .map_err(|error| Error::database(what, error))?;
        Ok(())
    }

    /// Compares store and stream. What the broker lost is published again, from the first event on that some consumer may not
    /// have handled; what all have handled is noted, so that this stays short.
    async fn compare(&mut self) -> Result<(), Error> {
        let stream = self.broker.events_stream().await?;
        let info = stream.cached_info();
        let created = to_micros(info.created);
        let mut is_whole = self.standing.stream_created == Some(created);
        let witnesses: Vec<Witness> =
            std::mem::take(&mut self.witnesses).into_iter().chain([self.standing.witness]).collect();
        for witness in witnesses.into_iter().filter(|witness| witness.sequence > 0) {
            is_whole = is_whole && self.is_there(witness).await?;
        }
        if is_whole {
            return self.note_handled(&stream).await;
        }
        if self.standing.stream_created.is_some() {
            self.drop_consumers_ahead(&stream).await?;
            self.rewind().await?;
        }
        self.standing.stream_created = Some(created);
        self.standing.witness = Witness { sequence: 0, position: 0 };
        self.save("noting which stream is published to").await
    }

    /// Back to the first event that some consumer may not have handled.
    async fn rewind(&mut self) -> Result<(), Error> {
        let handled: i64 = sqlx::query_scalar("select handled from log.relay")
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| Error::database("reading what is handled", error))?;
        let published = self.standing.published;
        tracing::warn!(published, handled, "the broker lost events; publishing again what may be missing");
        telemetry::relay_loss();
        self.standing.published = handled;
        self.follower = Follower::after(handled);
        self.reported.clear();
        self.confirmed.clear();
        self.witnesses.clear();
        self.marks.clear();
        // What is in the log by now is overdue at once.
        if let Some((_, head)) = self.heads.back().copied() {
            let long_ago = Instant::now().checked_sub(self.patience());
            self.heads = long_ago.map(|seen| (seen, head)).into_iter().collect();
        }
        Ok(())
    }

    /// A consumer that stands beyond the end of its stream would pass over what comes next. Its owner makes it again.
    async fn drop_consumers_ahead<I>(&self, stream: &Stream<I>) -> Result<(), Error> {
        let consumers: Vec<_> =
            stream.consumers().try_collect().await.map_err(|error| Error::transient("asking for consumers", error))?;
        // Asked for after the consumers: others publish meanwhile, and a healthy consumer follows at once.
        let last = self.broker.events_stream().await?.cached_info().state.last_sequence;
        for consumer in consumers {
            if consumer.delivered.stream_sequence > last {
                tracing::warn!(consumer = consumer.name, "a consumer stands beyond what is left of its stream");
                stream
                    .delete_consumer(&consumer.name)
                    .await
                    .map_err(|error| Error::transient("removing a consumer that lost its stream", error))?;
            }
        }
        Ok(())
    }

    /// Notes the position up to which every consumer that is owed events has handled them.
    ///
    /// When the stream's last sequence number is read, all events up to the checkpoint are in the stream, at or before it.
    /// Once every consumer has come that far, it has handled them all.
    async fn note_handled(&mut self, stream: &Stream) -> Result<(), Error> {
        let last = stream.cached_info().state.last_sequence;
        self.marks.note(self.standing.published, last);
        let Some(floor) = window::floor(stream).await? else { return Ok(()) };
        if let Some(position) = self.marks.handled(floor) {
            sqlx::query("update log.relay set handled = $1 where handled < $1 and published >= $1")
                .bind(position)
                .execute(&mut self.connection)
                .await
                .map_err(|error| Error::database("noting what is handled", error))?;
        }
        self.make_room(stream, floor).await
    }

    /// Lets the broker forget events that all have handled, if it is time. A witness stays: it proves that the stream is the one
    /// that it was.
    async fn make_room(&mut self, stream: &Stream, floor: u64) -> Result<(), Error> {
        let Some(first_kept) = window::first_kept(stream, floor, self.broker.events_age_max()).await else {
            return Ok(());
        };
        if self.standing.witness.sequence < i64::try_from(first_kept).unwrap_or(i64::MAX) {
            // The stream has just been found whole, so its last message is as good a witness.
            let sequence = stream.cached_info().state.last_sequence;
            let Some(position) = self.position_at(sequence).await? else { return Ok(()) };
            self.standing.witness = Witness { sequence: i64::try_from(sequence).unwrap_or(i64::MAX), position };
            self.save("noting the last message of the stream").await?;
        }
        window::forget_before(stream, first_kept).await
    }
}

/// Postgres keeps microseconds.
fn to_micros(time: OffsetDateTime) -> OffsetDateTime {
    domain::Timestamp::from(time).into()
}
