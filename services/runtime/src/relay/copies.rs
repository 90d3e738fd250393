//! Copies in JSON: how far they are published, and publishing those that did not get in, beside the relay and without holding it up.
//!
//! Why it is so: services/runtime/README.md#copies-in-json-hold-up-nobody

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::GlobalPosition;
use platform::{
    database::{Pool, answered},
    error::Error,
};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::{
    context::Context,
    log::event_store::{StoredEvent, read_page},
    outbound::{
        notices::{self, Notice, RELAY, Topic},
        publish::Publisher,
    },
    relay::position_set::PositionSet,
};

/// How long to wait before what was refused is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A notice counts a little longer than a try may take.
const COUNTS_FOR: Duration = Duration::from_secs(15);

/// How often to say in the log that copies are behind.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How far copies are published, where they are wanted.
pub(super) struct Copies {
    copier: Arc<Copier>,
    /// Every event up to here has its copy.
    copied: GlobalPosition,
    /// What has one beyond that.
    confirmed: PositionSet,
    /// The one that is being made, and up to where.
    running: JoinSet<Ended>,
    /// When what was refused was tried last.
    refused: Option<Instant>,
    warned: Option<Instant>,
    /// Whether the stream is as it should be, as far as is known.
    is_settled: bool,
    /// Whether a notice may be there.
    is_noted: bool,
}

/// What it takes to publish copies.
struct Copier {
    context: Context,
    publisher: Publisher,
}

/// What came of publishing copies.
struct Ended {
    copied: GlobalPosition,
    begun: Instant,
    result: Result<(), Error>,
}

impl Copies {
    /// Goes on from where the last relay was; without one, from what is published by now. `None`: nobody wants copies.
    pub(super) async fn open(
        context: &Context,
        copied: Option<GlobalPosition>,
        published: GlobalPosition,
    ) -> Result<Option<Self>, Error> {
        if !context.broker.publishes_json() {
            return Ok(None);
        }
        // Of its own: copies that are not answered would take the room of events.
        let publisher = Publisher::open(context.broker.clone(), Arc::clone(&context.lineage)).await?;
        Ok(Some(Self {
            copier: Arc::new(Copier { context: context.clone(), publisher }),
            copied: copied.unwrap_or(published),
            confirmed: PositionSet::default(),
            running: JoinSet::new(),
            refused: None,
            warned: None,
            is_settled: false,
            is_noted: true,
        }))
    }

    pub(super) const fn copied(&self) -> GlobalPosition {
        self.copied
    }

    /// A worker says that these events have their copies.
    pub(super) fn on_report(&mut self, ranges: impl IntoIterator<Item = (GlobalPosition, GlobalPosition)>) {
        ranges.into_iter().for_each(|(first, last)| self.confirmed.insert(first, last));
        self.copied = self.confirmed.absorb(self.copied);
    }

    /// Copies may be lost as their events are, after this position.
    pub(super) fn rewind(&mut self, position: GlobalPosition) {
        self.running = JoinSet::new();
        self.confirmed = PositionSet::default();
        self.copied = self.copied.min(position);
    }

    /// Begins to publish what is missing among the published, and notes what came of it.
    pub(super) async fn tick(&mut self, published: GlobalPosition, connection: &mut PgConnection) -> Result<(), Error> {
        while let Some(ended) = self.running.try_join_next() {
            let ended = ended.map_err(|error| Error::transient("publishing copies in JSON", error))?;
            self.on_report([(self.copied.next(), ended.copied)]);
            answered(self.note(ended, published, connection)).await?;
        }
        let is_behind = self.copied < published || !self.is_settled;
        let may_try = self.refused.is_none_or(|refused| refused.elapsed() >= AGAIN_AFTER);
        if is_behind && may_try && self.running.is_empty() {
            let missing = Missing { after: self.copied, up_to: published, confirmed: self.confirmed.clone() };
            self.running.spawn(Arc::clone(&self.copier).publish(missing, self.is_settled).in_current_span());
        }
        Ok(())
    }

    async fn note(
        &mut self,
        ended: Ended,
        published: GlobalPosition,
        connection: &mut PgConnection,
    ) -> Result<(), Error> {
        let Err(error) = ended.result else {
            (self.refused, self.is_settled) = (None, true);
            if std::mem::take(&mut self.is_noted) {
                notices::is_over(connection, Topic::Copies, RELAY).await?;
            }
            return Ok(());
        };
        // Somebody may have changed or deleted it.
        (self.refused, self.is_settled, self.is_noted) = (Some(Instant::now()), false, true);
        let error = error.chain();
        let (copied, behind) = (self.copied.get(), published.saturating_since(self.copied));
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            let published = published.get();
            tracing::warn!(copied, published, error, "copies in JSON are behind; events are published without them");
        }
        let says = format!("copies in JSON are behind by {behind} positions of the log: {error}");
        let (lasted, counts_for) = (ended.begun.elapsed(), AGAIN_AFTER + COUNTS_FOR + self.copier.timeout());
        Notice { topic: Topic::Copies, said_by: RELAY, says: &says, lasted, counts_for }.note(connection).await
    }
}

/// Of which events copies are to be published: not of those that have one.
struct Missing {
    after: GlobalPosition,
    up_to: GlobalPosition,
    confirmed: PositionSet,
}

impl Copier {
    fn timeout(&self) -> Duration {
        self.context.broker.publish_timeout()
    }

    /// Publishes copies, page by page, until one is refused. Sees to the stream first where something may be wrong with it.
    async fn publish(self: Arc<Self>, missing: Missing, is_settled: bool) -> Ended {
        let begun = Instant::now();
        let settled = match is_settled {
            true => Ok(()),
            false => self.context.broker.settle_copies(self.context.lineage.installation).await,
        };
        let mut copied = missing.after;
        let published = self.publish_missing(&missing, &mut copied).await;
        // Why the stream could not be put right tells more than what came of that.
        Ended { copied, begun, result: settled.and(published) }
    }

    async fn publish_missing(&self, missing: &Missing, copied: &mut GlobalPosition) -> Result<(), Error> {
        while *copied < missing.up_to {
            let page = read(&self.context.pool, *copied, missing.up_to, self.context.config.relay.page_max).await?;
            // Behind the last one there are only places that were never taken.
            let last = page.last().map_or(missing.up_to, |event| event.position);
            let without: Vec<_> =
                page.into_iter().filter(|event| !missing.confirmed.contains(event.position)).collect();
            let published = self.publisher.publish_copies(&without).await;
            *copied = without.get(published.count).map_or(last, |unpublished| unpublished.position.previous());
            published.result?;
        }
        Ok(())
    }
}

/// Everything up to the end is published, so nothing comes into gaps any more.
async fn read(
    pool: &Pool,
    after: GlobalPosition,
    up_to: GlobalPosition,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    let page = answered(async { read_page(&mut *pool.session().await?, after, up_to, limit).await }).await;
    Ok(page.map_err(|error| Error::database("reading the log", error))?.0)
}
