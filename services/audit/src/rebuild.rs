//! Rows of one kind against the fold of their events, in one moment of the database, and the fold ready to be folded on: what a rebuild
//! puts right, and what it puts there. It changes nothing.
//!
//! Why it is so: services/audit/README.md#a-rebuild-folds-first-and-locks-last

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use domain::GlobalPosition;
use futures::TryStreamExt;
use platform::clock;
use runtime::{
    log::rebuild::strays,
    service::{RowTable, Service, is_rejection},
};
use serde::Serialize;
use sqlx::PgConnection;

use super::{
    archive::LogAt,
    difference::{add_words, in_words},
    fold::json,
    replay::{
        Database, Kind, Progress,
        fold::LogEvent,
        prefix::{self, Log, Reader},
    },
    snapshot::Snapshot,
};

/// How long a fold may stand still before it is given up.
pub const STALL_MAX: Duration = Duration::from_secs(30);

/// What is to be compared, and how.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// Rows of this kind, and what orders hold of them.
    pub kind: Kind,
    /// The most events to read in a second.
    pub max_rate: Option<NonZeroU32>,
    /// How long the fold may stand still.
    pub stall_max: Duration,
}

/// How a row is not what its events say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It is another.
    Differs,
    /// There is none.
    Missing,
    /// There is one, or a part of one, and no event made it.
    Orphan,
}

/// A row that is not what its events say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The row, as `holdfast verify` names it.
    pub name: String,
    /// How.
    pub drift: Drift,
    /// In words.
    pub what: String,
}

/// Rows and folds, compared.
pub struct Found<S: Service> {
    /// Of which database, when and by whom.
    pub database: Database,
    /// What differs, in the order of the names.
    pub differences: Vec<Difference>,
    /// Rows that were compared.
    pub rows: u64,
    fold: Fold<S>,
    tail: Tail,
}

/// Events of one kind of rows, folded by the rules of their service.
struct Fold<S: Service> {
    kind: Kind,
    state: S::State,
    events: u64,
}

/// The end of the log, which may still have been written to when it was first read.
struct Tail {
    /// Up to here all is folded.
    after: GlobalPosition,
    /// What is folded behind.
    folded: BTreeSet<GlobalPosition>,
}

/// The tables of a kind of rows.
#[must_use]
pub fn tables<S: Service>(kind: Kind) -> Vec<RowTable> {
    S::TABLES.iter().filter(|table| is_of(kind, table.category)).copied().collect()
}

/// What a customer has used of a coupon has no stream of its own.
fn is_of(kind: Kind, category: &str) -> bool {
    kind.streams().contains(&category) || (kind == Kind::Coupons && category == "customer")
}

impl<S: Service> Reader for Fold<S>
where
    S::State: 'static,
{
    fn take(&mut self, event: &LogEvent<'_>) -> Result<()> {
        if !self.kind.streams().contains(&event.category()) || is_rejection(event.message_type) {
            return Ok(());
        }
        self.fold(event).with_context(|| {
            let LogEvent { position, stream, version, message_type, .. } = event;
            format!(
                "the rebuild stopped at position {position}, at the event {message_type}, version {version} of {stream}; no row was changed"
            )
        })
    }
}

impl<S: Service> Fold<S> {
    fn fold(&mut self, event: &LogEvent<'_>) -> Result<()> {
        if event.service != S::NAME {
            bail!("{:?} has written it, and only {:?} writes to such streams", event.service, S::NAME);
        }
        let read = S::decode_event(event.message_type, event.data)
            .map_err(|rejection| anyhow::anyhow!("it cannot be read by this release: {rejection}"))?;
        S::evolve(&mut self.state, &read);
        let (stream, version) = S::place(&self.state, &read);
        if stream != event.stream || version != event.version {
            bail!("it folds as version {version} of {stream}: the log lacks an event of it, or has one twice");
        }
        self.events += 1;
        Ok(())
    }
}

impl<S: Service> Found<S> {
    /// Folds what has come to the log since, as this connection sees it: all that moved a row which it has locked.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn fold_on(&mut self, connection: &mut PgConnection) -> Result<()> {
        self.tail.read(connection, &mut self.fold).await
    }

    /// The rows, as all events say that were folded so far.
    #[must_use]
    pub const fn state(&self) -> &S::State {
        &self.fold.state
    }

    /// The last event that was read.
    #[must_use]
    pub fn position(&self) -> GlobalPosition {
        self.tail.folded.last().copied().unwrap_or(self.tail.after)
    }

    /// How many events were folded.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.fold.events
    }
}

impl Tail {
    async fn read<S: Service>(&mut self, connection: &mut PgConnection, fold: &mut Fold<S>) -> Result<()> {
        let query = "select position, stream, version, event_id, service, type, recorded_at,
                case when service = $2 then data else '' end, correlation_id, causation_id, traceparent
            from log.events where position > $1 order by position";
        let mut rows = sqlx::query(query).bind(self.after.get()).bind(S::NAME).fetch(connection);
        while let Some(row) = rows.try_next().await.context("reading the end of the log")? {
            let event = prefix::event(&row).context("reading the end of the log")?;
            if self.folded.insert(event.position) {
                fold.take(&event)?;
            }
        }
        Ok(())
    }
}

/// Folds the log, and compares all rows of a kind with it. Traffic may run.
///
/// # Errors
/// The database is away, the log is empty, nothing goes on for too long, or an event or a row cannot be read.
pub async fn look<S: Service>(
    log: impl Into<LogAt<'_>>,
    question: Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Found<S>>
where
    S::State: 'static,
{
    let at = log.into();
    let Question { kind, max_rate, stall_max } = question;
    let watch = Watch::new(stall_max);
    let shown = |now: Progress| {
        watch.goes_on(now);
        progress(now);
    };
    let begun = async {
        let mut log = Log::open(at, max_rate).await?;
        let database = log.database().await?;
        let end = log.end(None, &shown).await?;
        let fold = Fold::<S> { kind, state: S::State::default(), events: 0 };
        let (fold, _read) = log.read(Some(kind.streams()), &end, fold, &shown).await?;
        log.close().await?;
        Ok((database, end.up_to, fold))
    };
    let (database, after, fold) = watch.unless_it_stalls(begun).await?;
    let tail = Tail { after, folded: BTreeSet::new() };
    let mut found = Found { database, differences: Vec::new(), rows: 0, fold, tail };
    let mut snapshot = Snapshot::take(at.database_url).await?;
    found.fold_on(&mut snapshot.connection).await?;
    found.compare(&mut snapshot.connection).await?;
    snapshot.close().await?;
    Ok(found)
}

impl<S: Service> Found<S> {
    async fn compare(&mut self, connection: &mut PgConnection) -> Result<()> {
        let kind = self.fold.kind;
        let reading = || format!("reading the rows of {}", S::NAME);
        let state = match S::load_all(connection).await {
            Ok(state) => state,
            Err(error @ (sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })) => {
                return Err(error).with_context(|| {
                    format!("{}: one cannot be read. Delete that row, and a rebuild makes it anew", reading())
                });
            }
            Err(error) => return Err(error).with_context(reading),
        };
        let (rows, mut by_events) = (S::rows(&state), S::rows(&self.fold.state));
        let is_ours = |name: &String| is_of(kind, name.split_once('-').map_or(name, |(category, _)| category));
        by_events.retain(|name, _| is_ours(name));
        let names: BTreeSet<&String> = by_events.keys().chain(rows.keys().filter(|name| is_ours(name))).collect();
        self.rows = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let mut differences = BTreeMap::new();
        for name in strays(connection, &tables::<S>(kind)).await.with_context(reading)? {
            let what = "its tables have parts of it, and no row, and no event made it".to_owned();
            differences.insert(name.clone(), Difference { name, drift: Drift::Orphan, what });
        }
        for name in names {
            let (row, events) = (rows.get(name), by_events.get(name));
            let drift = match (row, events) {
                (row, events) if row == events => continue,
                (Some(_), Some(_)) => Drift::Differs,
                (None, _) => Drift::Missing,
                (Some(_), None) => Drift::Orphan,
            };
            let what = in_words(row.map(json).as_ref(), events.map(json).as_ref());
            differences.insert(name.clone(), Difference { name: name.clone(), drift, what });
        }
        let derived = S::check_derived(connection, &state).await.with_context(reading)?;
        let of_tables = S::check_derived_tables(connection).await.with_context(reading)?;
        for (name, what) in derived.into_iter().chain(of_tables).filter(|(name, _)| is_ours(name)) {
            let fresh = Difference { name: name.clone(), drift: Drift::Differs, what: String::new() };
            let difference = differences.entry(name).or_insert(fresh);
            add_words(&mut difference.what, &what);
        }
        self.differences = differences.into_values().collect();
        Ok(())
    }
}

/// Whether the fold goes on.
struct Watch {
    stall_max: Duration,
    last: Mutex<(Instant, GlobalPosition)>,
}

impl Watch {
    fn new(stall_max: Duration) -> Self {
        Self { stall_max, last: Mutex::new((Instant::now(), GlobalPosition::default())) }
    }

    fn goes_on(&self, now: Progress) {
        if let Progress::Folding { position, .. } = now {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), position);
        }
    }

    /// Does this, unless it stands still for too long.
    async fn unless_it_stalls<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            position = self.stalls() => bail!(
                "the fold has stood still behind position {position} for {} s: something holds the log up (see pg_stat_activity); no row \
                 was changed",
                self.stall_max.as_secs()
            ),
        }
    }

    /// Behind which position it stands still.
    async fn stalls(&self) -> GlobalPosition {
        loop {
            let (at, position) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let left = self.stall_max.saturating_sub(at.elapsed());
            if left.is_zero() {
                return position;
            }
            clock::sleep(left).await;
        }
    }
}
