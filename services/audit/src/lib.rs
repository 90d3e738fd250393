//! The audit: in one moment of the database, every row is the fold of its events, nothing was invented or lost, and nothing that
//! is over still holds anything. It prints nothing.
//!
//! Read it in this order: [`audit_telling`] is the whole of it; `log` looks at the log by itself, `causes` at what
//! caused each event, `fold` folds it by the services' own rules, `ledger` books it again by none of their rules, `compare` compares rows and
//! folds, `tables` the ledger and the tables' figures. In memory is what is open and what was touched lately: `cases` says of what that is,
//! and `books` lets go of the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use domain::{GlobalPosition, Timestamp};
use runtime::log::event_store::StoredEvent;
use sqlx::{Connection, PgConnection};

mod agreement;
pub mod archive;
mod books;
mod cases;
pub mod catalogue;
mod causes;
mod compare;
pub mod diagnosis;
mod difference;
pub mod draw;
pub mod export;
mod fold;
pub mod in_memory;
mod kept;
mod ledger;
mod log;
mod pace;
mod past;
pub mod questions;
pub mod quiescence;
mod read;
pub mod rebuild;
pub mod reconcile;
pub mod replay;
mod report;
pub mod seal;
pub mod snapshot;
pub mod status;
mod tables;
pub mod timeline;
mod trace;
pub mod waiting;
pub mod what_if;

pub use report::{Check, CheckReport, EventName, Finding, Report};

use archive::Archive;
use causes::Causes;
use kept::{Kept, Shelf};
use ledger::{Ledger, promises::Grace};
use log::Log;
use read::{Done, Start, read};
use report::Findings;
use snapshot::{Snapshot, connect};
use tables::Asked;

/// How long after an event what must follow from it may take, unless the caller says otherwise.
pub const GRACE: Duration = Duration::from_secs(30);

/// How many events after its last an order that is over is let go, unless the caller says otherwise: with what belongs to them, about 50 MiB.
const LATELY: u64 = 65_536;

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The log is read: so many of its positions of so many.
    Folding(u64, u64),
    /// All of it is read, and compared with the rows.
    Comparing,
}

/// Audits a database. Traffic may run.
///
/// # Errors
/// The database is away, or lacks Holdfast's tables. What is wrong in them is in the report.
pub async fn audit(database_url: &str) -> Result<Report> {
    audit_telling(database_url, &Settings::default(), |_progress| ()).await
}

/// The audit of a log alone, event by event as it grows.
#[derive(Debug, Default)]
pub struct Auditor {
    log: Log,
    causes: Causes,
    ledger: Ledger,
    findings: Findings,
}

impl Auditor {
    /// Takes the next event in, in order of position.
    pub fn take(&mut self, event: &StoredEvent) {
        self.log.take(event, &mut self.findings);
        self.causes.take(event, &mut self.findings);
        self.ledger.take(event, &mut self.findings);
    }

    /// Looks for what should have followed by now.
    pub fn promises(&mut self, now: Timestamp) {
        self.ledger.check_promises(Grace { now, grace: Duration::ZERO }, &mut self.findings);
    }

    /// What is wrong so far.
    pub fn findings(&mut self) -> Vec<String> {
        self.findings.kept().iter().map(report::Found::to_string).collect()
    }
}

/// How an audit is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long after an event what must follow from it may take.
    pub grace: Duration,
    /// How many events after its last an order that is over is let go: what was touched since is in memory.
    pub lately: u64,
    /// The directory of the books: what an earlier audit has read is not read again. `None`: all of it is.
    pub books: Option<PathBuf>,
    /// Whether to read all of it nevertheless, and begin the books anew.
    pub whole: bool,
    /// Where that part of the log is that was archived.
    pub archive: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { grace: GRACE, lately: LATELY, books: None, whole: false, archive: Vec::new() }
    }
}

/// Audits a database, and says again and again how far it is.
///
/// # Errors
/// The database is away, or lacks Holdfast's tables, or the books are of another log or at hand elsewhere. What is wrong in the database is in
/// the report.
pub async fn audit_telling<F>(database_url: &str, settings: &Settings, progress: F) -> Result<Report>
where
    F: Fn(Progress),
{
    let begun = Instant::now();
    let shelf = settings.books.as_deref().map(Shelf::open).transpose()?;
    let mut connection = connect(database_url).await?;
    let (mut start, mut of) = Start::of(&mut connection, shelf.as_ref(), settings).await?;
    connection.close().await?;
    let mut moment = None;
    if !start.is_settled() {
        let snapshot = moment.insert(Snapshot::take(database_url).await?);
        (start, of) = Start::of(&mut snapshot.connection, shelf.as_ref(), settings).await?;
    }
    let (since, anew, events_before) = (start.since, start.anew, start.books.log.events);
    let Done { mut snapshot, mut books, comparison, archive } =
        read(database_url, start, moment, settings.lately, &progress).await?;
    let grace = Grace { now: snapshot.now, grace: settings.grace };
    let read = books.log.events - events_before;
    books.check_answers();
    books.findings.checked(Check::Log, usize::try_from(read).unwrap_or(usize::MAX));

    progress(Progress::Comparing);
    let connection = &mut snapshot.connection;
    let asked = Asked::of(&books.folds);
    let drift = comparison.end(connection, &books.folds).await?;
    let rows = u64::try_from(drift.rows).unwrap_or(u64::MAX);
    let findings = &mut books.findings;
    drift.tell(connection, findings).await?;
    books.ledger.check_promises(grace, findings);
    tables::check(connection, &books.ledger, asked, findings).await?;
    tables::provider::check(connection, &books.ledger.refunds, grace, findings).await?;
    let (dead_letters, dead_letters_settled) = tables::dead_letters(connection).await?;
    let waiting = waiting::look(connection).await.context("reading what waits for a person")?;
    let named = name_events(findings, connection, &archive).await?;
    let report = Report {
        ok: findings.total() == 0,
        at: grace.now.to_string(),
        position: books.log.position,
        since,
        anew,
        events: books.log.events,
        read,
        streams: books.log.streams(),
        rows,
        dead_letters,
        dead_letters_settled,
        waiting,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        checks: findings.checks(),
        findings_total: findings.total(),
        findings: named,
    };
    // What was found is found again, until it is no more.
    if let Some((shelf, of)) = shelf.zip(of).filter(|_| report.ok && report.events > 0) {
        shelf.put(&Kept::of(of, books, connection).await?)?;
    }
    snapshot.close().await?;
    Ok(report)
}

/// The findings, each with the name of its event.
async fn name_events(
    findings: &mut Findings,
    connection: &mut PgConnection,
    archive: &Arc<Archive>,
) -> Result<Vec<Finding>> {
    let positions: BTreeSet<GlobalPosition> = findings.kept().iter().filter_map(|found| found.position).collect();
    let events = tables::events_at(connection, positions.iter().copied().collect()).await?;
    let mut events: BTreeMap<GlobalPosition, EventName> =
        events.into_iter().map(|event| (event.position, event)).collect();
    if positions.first().is_some_and(|first| *first <= archive.ends()) {
        let whole = (GlobalPosition::default(), archive.ends());
        let archived = archive.some(whole, move |event| positions.contains(&event.position)).await?;
        events.extend(archived.into_iter().map(|event| (event.position, EventName::of(event))));
    }
    let named = findings.kept().iter().map(|found| Finding {
        check: found.check,
        subject: found.subject.clone(),
        what: found.what.clone(),
        event: found.position.and_then(|position| events.get(&position).cloned()),
    });
    Ok(named.collect())
}
