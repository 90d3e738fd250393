//! The relay: publishes the log, in order, gap-aware. One per database is active; every worker stands by.

use std::{collections::BTreeSet, time::Instant};

use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use futures::{StreamExt, future::try_join_all};
use sqlx::{Connection, PgConnection, Row};
use time::OffsetDateTime;

use crate::{
    broker::{Broker, LOG_GREW, event_subject, events_consumer, is_owed},
    clock,
    config::{self, ms},
    error::Error,
    event_store::{Follower, Recorded},
    message::header,
    shutdown::Shutdown,
    telemetry,
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
    /// That stream's last sequence number then.
    stream_sequence: i64,
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
    let mut connection = PgConnection::connect(database_url).await.map_err(database("connecting the relay"))?;
    while !takes_over(&mut connection).await.map_err(database("standing by as the relay"))? {
        tokio::select! {
            () = clock::sleep(ms(settings.compare_ms)) => {}
            () = shutdown.pulled() => return Ok(()),
        }
    }
    tracing::info!("this process is the relay");
    telemetry::relay_active(true);
    let mut relay =
        Relay { connection, broker: broker.clone(), settings: settings.clone(), follower: Follower::after(0) };
    relay.publish_until(shutdown).await
}

/// Whether this session holds the lock now.
async fn takes_over(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK_KEY).fetch_one(connection).await
}

struct Relay {
    connection: PgConnection,
    broker: Broker,
    settings: config::Relay,
    follower: Follower,
}

impl Relay {
    async fn publish_until(&mut self, mut shutdown: Shutdown) -> Result<(), Error> {
        let nats = |error| Error::transient("listening for news of the log", error);
        let mut grew = self.broker.client.subscribe(LOG_GREW).await.map_err(nats)?;
        let mut connections = self.broker.connections();
        self.broker.ensure_streams().await?;
        let mut standing = self.compare().await?;
        self.follower = Follower::after(standing.published);
        let mut compared = Instant::now();
        let mut gap_since = None;
        while !shutdown.is_pulled() {
            let reconnected = connections.has_changed().unwrap_or(false);
            if reconnected || compared.elapsed() >= ms(self.settings.compare_ms) {
                connections.mark_unchanged();
                if reconnected {
                    self.broker.ensure_streams().await?;
                }
                standing = self.compare().await?;
                compared = Instant::now();
            }
            let more = self.publish_page(&mut standing).await?;
            let waiting = self.follower.is_waiting();
            gap_since = if waiting { gap_since.or_else(|| Some(Instant::now())) } else { None };
            telemetry::relay_gap(gap_since.map(|since| since.elapsed()).unwrap_or_default());
            if more {
                continue;
            }
            let poll = if waiting { self.settings.hole_poll_ms } else { self.settings.poll_ms };
            tokio::select! {
                news = grew.next() => if news.is_none() {
                    return Err(Error::transient("listening for news of the log", "the subscription ended"));
                },
                () = clock::sleep(ms(poll)) => {}
                () = shutdown.pulled() => {}
            }
        }
        Ok(())
    }

    /// Publishes the next page; whether there is more to publish at once.
    async fn publish_page(&mut self, standing: &mut Standing) -> Result<bool, Error> {
        let database = |what| move |error| Error::database(what, error);
        let (events, more) = self
            .follower
            .next(&mut self.connection, self.settings.page_max)
            .await
            .map_err(database("reading the log"))?;
        let Some(last) = events.last() else { return Ok(false) };
        let sequence = self.publish(&events, standing.stream_sequence).await?;
        standing.published = last.position;
        standing.stream_sequence = standing.stream_sequence.max(sequence);
        sqlx::query("update log.relay set published = $1, stream_sequence = $2")
            .bind(standing.published)
            .bind(standing.stream_sequence)
            .execute(&mut self.connection)
            .await
            .map_err(database("noting what is published"))?;
        telemetry::relay_published(events.len(), standing.published);
        Ok(more)
    }

    /// Publishes events and waits for every acknowledgement; the highest sequence number of them.
    async fn publish(&self, events: &[Recorded], sequence_before: i64) -> Result<i64, Error> {
        let nats = |error| Error::transient("publishing the log", error);
        let mut acknowledgements = Vec::with_capacity(events.len());
        for event in events {
            let subject = event_subject(&event.service, &event.message_type);
            let message = PublishMessage::build()
                .payload(event.data.clone().into())
                .headers(headers(event))
                .message_id(event.event_id.to_string());
            acknowledgements.push(self.broker.jetstream.send_publish(subject, message).await.map_err(nats)?);
        }
        let mut highest = 0;
        for acknowledged in
            try_join_all(acknowledgements.into_iter().map(IntoFuture::into_future)).await.map_err(nats)?
        {
            let sequence = i64::try_from(acknowledged.sequence).unwrap_or(i64::MAX);
            if sequence <= sequence_before && !acknowledged.duplicate {
                let lost = format!("the broker counted {sequence} after {sequence_before}: it has lost messages");
                return Err(Error::transient("publishing the log", lost));
            }
            highest = highest.max(sequence);
        }
        Ok(highest)
    }

    /// Compares store and stream. What the broker lost is published again, from the first event on that some consumer may not
    /// have handled; what all have handled is noted, so that this stays short.
    async fn compare(&mut self) -> Result<Standing, Error> {
        let database = |what| move |error| Error::database(what, error);
        let stream = self.broker.events_stream().await?;
        let info = stream.cached_info();
        let (created, last) = (to_micros(info.created), i64::try_from(info.state.last_sequence).unwrap_or(i64::MAX));
        let row = sqlx::query("select published, handled, stream_created, stream_sequence from log.relay")
            .fetch_one(&mut self.connection)
            .await
            .map_err(database("reading where the relay stands"))?;
        let read = || -> Result<(i64, Standing), sqlx::Error> {
            let standing = Standing {
                published: row.try_get(0)?,
                stream_created: row.try_get(2)?,
                stream_sequence: row.try_get(3)?,
            };
            Ok((row.try_get(1)?, standing))
        };
        let (handled, mut standing) = read().map_err(database("reading where the relay stands"))?;
        let is_same = standing.stream_created == Some(created);
        if is_same && last >= standing.stream_sequence {
            self.note_handled(&stream, created).await?;
            return Ok(standing);
        }
        if standing.stream_created.is_some() {
            let (published, known) = (standing.published, standing.stream_sequence);
            tracing::warn!(
                published,
                handled,
                known,
                last,
                "the broker lost events; publishing again what may be missing"
            );
            telemetry::relay_loss();
            self.drop_consumers_ahead(&stream, info.state.last_sequence).await?;
            standing.published = handled;
        }
        standing.stream_created = Some(created);
        standing.stream_sequence = last;
        self.follower = Follower::after(standing.published);
        sqlx::query("update log.relay set published = $1, stream_created = $2, stream_sequence = $3")
            .bind(standing.published)
            .bind(created)
            .bind(last)
            .execute(&mut self.connection)
            .await
            .map_err(database("noting that the broker lost events"))?;
        Ok(standing)
    }

    /// A consumer that stands beyond the end of its stream would pass over what comes next. Its owner makes it again.
    async fn drop_consumers_ahead(
        &self,
        stream: &async_nats::jetstream::stream::Stream,
        last: u64,
    ) -> Result<(), Error> {
        let mut consumers = stream.consumers();
        while let Some(consumer) = consumers.next().await {
            let consumer = consumer.map_err(|error| Error::transient("asking for consumers", error))?;
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
    async fn note_handled(
        &mut self,
        stream: &async_nats::jetstream::stream::Stream,
        created: OffsetDateTime,
    ) -> Result<(), Error> {
        let nats = |error| Error::transient("asking for consumers", error);
        let last = stream.cached_info().state.last_sequence;
        let mut floor = last;
        let mut missing: BTreeSet<String> = proto::SERVICES.iter().map(|service| events_consumer(service)).collect();
        let mut consumers = stream.consumers();
        while let Some(consumer) = consumers.next().await {
            let consumer = consumer.map_err(nats)?;
            if is_owed(&consumer.config.metadata) {
                missing.remove(&consumer.name);
                let idle = consumer.num_pending == 0 && consumer.num_ack_pending == 0;
                floor = floor.min(if idle { last } else { consumer.ack_floor.stream_sequence });
            }
        }
        // A service that has not made its consumer yet is owed all that the stream has.
        if !missing.is_empty() || floor == 0 {
            return Ok(());
        }
        let Ok(message) = stream.get_raw_message(floor).await else { return Ok(()) };
        let position = message.headers.get(header::POSITION).and_then(|value| value.as_str().parse::<i64>().ok());
        let after = self.broker.events_stream().await?;
        if to_micros(after.cached_info().created) != created {
            return Ok(());
        }
        if let Some(position) = position {
            sqlx::query("update log.relay set handled = $1 where handled < $1 and published >= $1")
                .bind(position)
                .execute(&mut self.connection)
                .await
                .map_err(|error| Error::database("noting what is handled", error))?;
        }
        Ok(())
    }
}

/// Postgres keeps microseconds.
fn to_micros(time: OffsetDateTime) -> OffsetDateTime {
    domain::Timestamp::from(time).into()
}

fn headers(event: &Recorded) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ID, event.event_id.to_string());
    headers.insert(header::TYPE, event.message_type.as_str());
    headers.insert(header::SOURCE, format!("/holdfast/{}", event.service));
    headers.insert(header::TIME, event.recorded_at.to_string());
    headers.insert(header::SPEC_VERSION, "1.0");
    headers.insert(header::SUBJECT, event.stream.as_str());
    headers.insert(header::STREAM_VERSION, event.version.to_string());
    headers.insert(header::POSITION, event.position.to_string());
    headers.insert(header::CORRELATION_ID, event.correlation_id.to_string());
    headers.insert(header::CAUSATION_ID, event.causation_id.to_string());
    headers.insert(header::CONTENT_TYPE, "application/protobuf");
    if let Some(traceparent) = &event.traceparent {
        headers.insert(header::TRACEPARENT, traceparent.as_str());
    }
    headers
}
