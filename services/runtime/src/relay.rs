//! The relay: sees to it that every event of the log is published, gap-aware. Workers publish what they commit; the relay checks
//! that it arrived, publishes what did not, and again what the broker lost. One per database is active; every worker stands by.

mod again;
mod copies;
pub(crate) mod position_set;
mod retention;
mod stand_by;
mod state;
mod watermarks;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    Subscriber,
    jetstream::stream::{RawMessageErrorKind, Stream},
};
use domain::{BrokerSequence, GlobalPosition, Timestamp};
use futures::{FutureExt, StreamExt, TryStreamExt, future::try_join_all};
use platform::{
    broker::{Broker, PUBLISHED},
    clock,
    config::{self, ms},
    database::answered,
    error::Error,
    health::Health,
    message::header,
    shutdown::Shutdown,
};
use sqlx::{Connection, PgConnection, Row};
use time::OffsetDateTime;
use tokio::task::unconstrained;

use copies::Copies;
use retention::Gone;
pub use state::{Checkpoint, RelayState};

use crate::{
    context::Context,
    log::{divergence, event_store::Follower, partitions},
    outbound::{
        notices::{self, Notice, RELAY, Topic},
        publish::{PublishResult, Publisher, REPORTED_WITHIN, Report, StreamMarker},
        refusals,
    },
    telemetry,
};
use stand_by::{Differences, StandBy};

/// How long no worker is believed once consumers that stood too far are gone. Some of it is for a report's way.
const DISTRUST_FOR: Duration = REPORTED_WITHIN.saturating_mul(2);

/// What the probes call this part of the worker.
const PART: &str = "the relay";

/// Stands by, and publishes while it is the one, until asked to stop.
pub(crate) async fn run(service: &'static str, context: Context, health: Health) {
    let (settings, mut shutdown) = (&context.config.relay, context.shutdown.clone());
    let mut differences = Differences::new(service, context.broker.clone());
    while !shutdown.is_requested() {
        let lead = lead(&context, &mut differences, &health).await;
        telemetry::relay_active(false);
        if let Err(error) = lead {
            let error = error.chain();
            tracing::warn!(error, "the relay begins again");
            health.stuck(PART, error);
        }
        tokio::select! {
            () = clock::sleep(ms(settings.compare_ms)) => {}
            () = shutdown.requested() => {}
        }
    }
}

/// Publishes while this session holds the lock. Every write to `log.relay` goes through the same session: whoever lost the
/// lock has lost the session too, and can no longer move the checkpoint.
async fn lead(context: &Context, differences: &mut Differences, health: &Health) -> Result<(), Error> {
    let (settings, broker, mut shutdown) = (&context.config.relay, &context.broker, context.shutdown.clone());
    let database = |what| move |error| Error::database(what, error);
    // Never idle for long: a relay that stands still must not keep its place.
    let session = context.pool.beside("holdfast-relay").options([("idle_session_timeout", "15s")]);
    let mut connection =
        answered(async { PgConnection::connect_with(&session).await.map_err(database("connecting the relay")) })
            .await?;
    let mut stand_by = StandBy::new(context, differences);
    while !answered(stand_by.takes_over(&mut connection, differences)).await? {
        health.goes_on(PART);
        tokio::select! {
            () = clock::sleep(ms(settings.compare_ms)) => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
    tracing::info!("this process is the relay");
    telemetry::relay_active(true);
    let mut connections = broker.connections();
    connections.mark_unchanged();
    let publishing = async {
        let mut relay = Relay::new(connection, context, differences).await?;
        relay.publish_until(differences, health, shutdown).await
    };
    tokio::select! {
        ended = publishing => ended,
        // What it had asked the broker is answered by nobody any more, and much may be lost.
        _reconnected = connections.changed() => {
            Err(Error::transient("publishing the log", "the connection to the broker was lost"))
        }
    }
}

/// What a relay leaves to the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    checkpoint: Checkpoint,
    /// The broker whose losses it would have seen.
    broker: Option<String>,
    /// The cluster and the timeline of Postgres.
    timeline: Option<String>,
    /// Every event up to here has its copy in JSON, if copies are published.
    copied: Option<GlobalPosition>,
    /// The first message that is left in the stream; 0: not known.
    first: BrokerSequence,
}

/// What the last relay has left, and on which timeline this session is.
async fn read(connection: &mut PgConnection) -> Result<(Note, String), Error> {
    sqlx::query(
        "select published, stream_created, stream_sequence, stream_position, broker, timeline, copied, stream_first,
             system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         from log.relay, pg_control_system()",
    )
    .fetch_one(connection)
    .await
    .and_then(|row| {
        let position = |column| row.try_get(column).map(GlobalPosition::new);
        let marker = StreamMarker { sequence: BrokerSequence::from_bigint(row.try_get(2)?), position: position(3)? };
        let stream_created: Option<OffsetDateTime> = row.try_get(1)?;
        let stream_created = stream_created.map(Timestamp::from);
        let checkpoint = Checkpoint { published: position(0)?, stream_created, marker };
        let (broker, timeline) = (row.try_get(4)?, row.try_get(5)?);
        let copied = row.try_get::<Option<i64>, _>(6)?.map(GlobalPosition::new);
        let first = BrokerSequence::from_bigint(row.try_get(7)?);
        Ok((Note { checkpoint, broker, timeline, copied, first }, row.try_get(8)?))
    })
    .map_err(|error| Error::database("reading where the relay stands", error))
}

struct Relay {
    connection: PgConnection,
    broker: Broker,
    publisher: Publisher,
    settings: config::Relay,
    progress: RelayState,
    /// What its row says.
    saved: Note,
    timeline: String,
    begun: Instant,
    /// When it listened to workers last.
    listened: Duration,
    /// What is gone from the stream, and is published again where it has to be.
    gone: Gone,
    follower: Follower,
    gap_since: Option<Instant>,
    /// `None` where nobody wants them.
    copies: Option<Copies>,
    /// Where `published` stood when a refusal was noted, if one may be.
    refused_at: Option<GlobalPosition>,
}

impl Relay {
    /// Takes up where the last relay stood.
    async fn new(
        mut connection: PgConnection,
        context: &Context,
        differences: &mut Differences,
    ) -> Result<Self, Error> {
        let (broker, settings, lineage) =
            (context.broker.clone(), context.config.relay.clone(), Arc::clone(&context.lineage));
        // What it would note of another past would be lost for good.
        if let Some(another) = answered(divergence::look(&broker, &mut connection, &lineage)).await? {
            return Err(another);
        }
        let refused = broker.settle_streams(lineage.installation).await?;
        answered(differences.refused(refused, &mut connection)).await?;
        let (note, timeline) = answered(read(&mut connection)).await?;
        let (checkpoint, is_another_timeline) =
            (note.checkpoint, note.timeline.as_ref().is_some_and(|last| *last != timeline));
        let mut relay = Self {
            connection,
            publisher: Publisher::open(broker.clone(), lineage).await?,
            copies: Copies::open(context, note.copied, checkpoint.published).await?,
            broker,
            settings,
            follower: Follower::after(checkpoint.published),
            progress: RelayState::from(checkpoint),
            gone: Gone { holes: 0, first: note.first },
            saved: note,
            timeline,
            begun: Instant::now(),
            listened: Duration::ZERO,
            gap_since: None,
            refused_at: Some(checkpoint.published),
        };
        if is_another_timeline {
            // What was committed, handled and acknowledged, and not published yet, may be gone, and nobody else knows of it.
            tracing::warn!(timeline = relay.timeline, last = relay.saved.timeline, "Postgres was promoted or restored");
            relay.progress.distrust();
        }
        let is_another_broker = relay.saved.broker != Some(relay.broker_id());
        // Before anything is saved, so that nobody takes this broker for one that is known; and again once the consumers are gone.
        if is_another_broker {
            relay.distrust_reports();
        }
        relay.compare().await?;
        // What was lost may be what no relay had noted yet; the consumers have seen it all the same.
        relay.drop_consumers_ahead(&relay.broker.events_stream_unasked().await?).await?;
        if is_another_broker {
            relay.distrust_reports();
        }
        Ok(relay)
    }

    fn broker_id(&self) -> String {
        self.broker.server()
    }

    fn distrust_reports(&mut self) {
        self.progress.distrust_reports(self.begun.elapsed(), DISTRUST_FOR);
    }

    async fn publish_until(
        &mut self,
        differences: &mut Differences,
        health: &Health,
        mut shutdown: Shutdown,
    ) -> Result<(), Error> {
        let nats = |error| Error::transient("listening to what workers publish", error);
        let mut reports = self.broker.client.subscribe(PUBLISHED).await.map_err(nats)?;
        let mut compared = Instant::now();
        while !shutdown.is_requested() {
            if compared.elapsed() >= ms(self.settings.compare_ms) {
                self.compare().await?;
                again::publish(&mut self.connection, &self.publisher, self.settings.page_max).await?;
                answered(differences.compare_seldom(&mut self.connection)).await?;
                compared = Instant::now();
            }
            self.listen(&mut reports)?;
            self.tick().await?;
            health.goes_on(PART);
            tokio::select! {
                () = clock::sleep(ms(self.settings.tick_ms)) => {}
                () = shutdown.requested() => {}
            }
        }
        Ok(())
    }

    /// Hears all that has come since it listened last.
    fn listen(&mut self, reports: &mut Subscriber) -> Result<(), Error> {
        let since = std::mem::replace(&mut self.listened, self.begun.elapsed());
        while let Some(report) = unconstrained(reports.next()).now_or_never() {
            let ended = || Error::transient("listening to what workers publish", "the subscription ended");
            match serde_json::from_slice(&report.ok_or_else(ended)?.payload) {
                Ok(Report { publication, copied, more, server }) => {
                    let is_to_this_server_alone = self.broker.server_alone().is_some_and(|alone| alone == server);
                    if let Some(copies) = self.copies.as_mut().filter(|_| !self.progress.distrusts(since)) {
                        copies.on_report(copied);
                    }
                    for publication in [publication].into_iter().chain(more) {
                        self.progress.on_report(since, publication, is_to_this_server_alone);
                    }
                }
                Err(error) => tracing::warn!(%error, "a report of what is published cannot be read"),
            }
        }
        Ok(())
    }

    /// Notes what workers have published, and publishes what they have not.
    async fn tick(&mut self) -> Result<(), Error> {
        self.check().await?;
        let on_republished = self.sweep().await;
        if on_republished.as_ref().is_err_and(Error::is_unanswered) {
            return on_republished;
        }
        self.gap_since = self.follower.is_waiting().then(|| self.gap_since.unwrap_or_else(Instant::now));
        telemetry::relay_gap(self.gap_since.map(|since| since.elapsed()).unwrap_or_default());
        if let Some(copies) = &mut self.copies {
            copies.tick(self.progress.published(), &mut self.connection).await?;
        }
        if self.refused_at.is_some_and(|refused_at| refused_at < self.progress.published()) {
            self.refused_at = None;
            answered(notices::is_over(&mut self.connection, Topic::Refused, RELAY)).await?;
        }
        answered(self.save()).await?;
        telemetry::relay_published(self.progress.published());
        on_republished
    }

    /// Looks whether all that was there is there, and what workers have published.
    async fn check(&mut self) -> Result<(), Error> {
        self.check_markers().await?;
        let reported = self.progress.take_reported();
        let checks = try_join_all(reported.iter().map(|reported| self.is_there(reported.marker))).await?;
        self.progress.check(reported.into_iter().zip(checks));
        if self.progress.has_lost() { self.compare().await } else { Ok(()) }
    }

    async fn check_markers(&mut self) -> Result<(), Error> {
        let markers = self.progress.take_markers();
        let checks = try_join_all(markers.into_iter().map(|marker| self.is_there(marker))).await?;
        self.progress.check_markers(checks.into_iter().all(|is_there| is_there));
        Ok(())
    }

    /// Whether a message is in the stream still, or was until all had handled it.
    async fn is_there(&self, marker: StreamMarker) -> Result<bool, Error> {
        Ok(self.progress.is_forgotten(marker) || self.position_at(marker.sequence).await? == Some(marker.position))
    }

    /// The position of the event at a place in the stream, if there is one.
    async fn position_at(&self, sequence: BrokerSequence) -> Result<Option<GlobalPosition>, Error> {
        // The broker refuses to look there. It is the last place of a stream that nothing has been published to.
        if sequence == BrokerSequence::default() {
            return Ok(None);
        }
        let stream = self.broker.events_stream_unasked().await?;
        match stream.get_raw_message(sequence.get()).await {
            Ok(message) => {
                let position = message.headers.get(header::POSITION).and_then(|value| value.as_str().parse().ok());
                Ok(position.map(GlobalPosition::new))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::transient("asking the broker for a message", error.to_string())),
        }
    }

    /// Publishes what was committed a while ago and is not published: its worker crashed, or the broker was away.
    async fn sweep(&mut self) -> Result<(), Error> {
        let database = |what| move |error| Error::database(what, error);
        let head = answered(divergence::log_ends(&mut self.connection)).await?;
        let patience = ms(self.settings.sweep_after_ms);
        let overdue = self.progress.overdue(self.begun.elapsed(), head, patience);
        while self.progress.published() < overdue {
            self.follower.skip_to(self.progress.published());
            let page = answered(self.follower.next(&mut self.connection, overdue, self.settings.page_max)).await;
            let (events, more) = page.map_err(database("reading the log"))?;
            let Some(last) = events.last().map(|event| event.position) else { break };
            let missing = self.progress.missing(events);
            let begun = Instant::now();
            let published = self.publisher.publish(&missing).await;
            telemetry::relay_swept(published.count);
            let last = missing.get(published.count).map_or(last, |unpublished| unpublished.position.previous());
            self.progress.on_republished(last, published.marker);
            self.note_refusal(begun, &published).await?;
            published.result?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Tells all workers that the broker takes no events in, if so.
    async fn note_refusal(&mut self, begun: Instant, published: &PublishResult) -> Result<(), Error> {
        let Err(error) = &published.result else { return Ok(()) };
        if published.count > 0 {
            // It took some, so what was is over.
            answered(notices::is_over(&mut self.connection, Topic::Refused, RELAY)).await?;
        }
        if !self.broker.is_connected() {
            return Ok(());
        }
        self.refused_at = Some(self.progress.published());
        // Until the next relay has tried in vain too.
        let counts_for = self.broker.publish_timeout() + ms(self.settings.compare_ms) * 10;
        let (lasted, says) = (begun.elapsed(), refusals::explained(error));
        let notice = Notice { topic: Topic::Refused, said_by: RELAY, says: &says, lasted, counts_for };
        answered(notice.note(&mut self.connection)).await
    }

    /// Saves where it stands for the next relay, if that is news.
    async fn save(&mut self) -> Result<(), Error> {
        // Another relay is to distrust reports as well, as long as this one does.
        let broker = (!self.progress.distrusts(self.listened)).then(|| self.broker_id());
        let copied = self.copies.as_ref().map(Copies::copied);
        let (checkpoint, timeline, first) = (self.progress.checkpoint(), Some(self.timeline.clone()), self.gone.first);
        let note = Note { checkpoint, broker, timeline, copied, first };
        if note == self.saved {
            return Ok(());
        }
        sqlx::query(
            "update log.relay
             set published = $1, stream_created = $2, stream_sequence = $3, stream_position = $4, broker = $5, timeline = $6,
                 copied = $7, stream_first = $8, handled = least(handled, $1)",
        )
        .bind(checkpoint.published.get())
        .bind(checkpoint.stream_created.map(OffsetDateTime::from))
        .bind(checkpoint.marker.sequence.to_bigint())
        .bind(checkpoint.marker.position.get())
        .bind(&note.broker)
        .bind(&note.timeline)
        .bind(note.copied.map(GlobalPosition::get))
        .bind(note.first.to_bigint())
        .execute(&mut self.connection)
        .await
        .map_err(|error| Error::database("noting what is published", error))?;
        self.saved = note;
        Ok(())
    }

    /// Compares store and stream. What the broker lost is published again, from the first event on that some consumer may not
    /// have handled; what all have handled is noted, so that this stays short.
    async fn compare(&mut self) -> Result<(), Error> {
        let made = answered(partitions::make(&mut self.connection, None)).await;
        made.map_err(|error| Error::database("making partitions of the log", error))?;
        let known = self.progress.checkpoint().stream_created;
        let stream = self.broker.events_stream().await?;
        let info = stream.cached_info();
        let (created, last) = (Timestamp::from(info.created), BrokerSequence::new(info.state.last_sequence));
        // What is noted below must have been true of a stream that was whole, so the witnesses are looked for after these.
        let last_message = self.position_at(last).await?.map(|position| StreamMarker { sequence: last, position });
        let ack_floor = retention::ack_floor(&stream).await?;
        self.check_markers().await?;
        let gone = retention::gone(&self.broker).await?;
        let is_whole = known == Some(created) && !self.progress.has_lost() && !gone.is_more_than(self.gone);
        self.gone = gone;
        if !is_whole && known.is_some() {
            answered(self.rewind()).await?;
            self.drop_consumers_ahead(&stream).await?;
            // It may have passed over what was published just now.
            self.distrust_reports();
        }
        self.progress.resume(created, last_message);
        answered(self.save()).await?;
        match ack_floor.filter(|_| is_whole) {
            Some(ack_floor) => self.note_handled(&stream, ack_floor).await,
            None => Ok(()),
        }
    }

    /// Back to the first event that some consumer may not have handled.
    async fn rewind(&mut self) -> Result<(), Error> {
        let handled = sqlx::query_scalar("select handled from log.relay")
            .fetch_one(&mut self.connection)
            .await
            .map(GlobalPosition::new)
            .map_err(|error| Error::database("reading what is handled", error))?;
        let published = self.progress.published();
        tracing::warn!(
            published = published.get(),
            handled = handled.get(),
            "the broker lost events; publishing again what may be missing"
        );
        telemetry::relay_loss();
        self.progress.rewind(handled);
        if let Some(copies) = &mut self.copies {
            copies.rewind(handled);
        }
        self.follower = Follower::after(handled);
        Ok(())
    }

    /// A consumer that stands beyond the end of its stream would pass over what comes next. Its owner makes it again.
    async fn drop_consumers_ahead<I>(&self, stream: &Stream<I>) -> Result<(), Error> {
        let consumers: Vec<_> =
            stream.consumers().try_collect().await.map_err(|error| Error::transient("asking for consumers", error))?;
        // Asked for after the consumers: others publish meanwhile, and a healthy consumer follows at once.
        let last = BrokerSequence::new(self.broker.events_stream().await?.cached_info().state.last_sequence);
        for consumer in consumers {
            if BrokerSequence::new(consumer.delivered.stream_sequence) > last {
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
    async fn note_handled(&mut self, stream: &Stream, ack_floor: BrokerSequence) -> Result<(), Error> {
        let last = BrokerSequence::new(stream.cached_info().state.last_sequence);
        if let Some(position) = self.progress.handled(last, ack_floor) {
            let note = sqlx::query("update log.relay set handled = $1 where handled < $1 and published >= $1");
            let noted = answered(note.bind(position.get()).execute(&mut self.connection)).await;
            noted.map_err(|error| Error::database("noting what is handled", error))?;
        }
        // Never the last message, which proves that the stream is the one that it was.
        if let Some(first_kept) = retention::first_kept(stream, ack_floor, self.broker.events_age_max()).await {
            self.progress.let_forget(first_kept);
            retention::purge_before(stream, first_kept).await?;
            // Some holes are before it.
            self.gone = Gone { first: first_kept, ..retention::gone(&self.broker).await? };
        }
        Ok(())
    }
}
