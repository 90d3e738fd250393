//! The audit: in one moment of the database, every row is the fold of its events, nothing was invented or lost, and nothing that
//! is over still holds anything. It prints nothing.
//!
//! Read it in this order: [`audit_telling`] is the whole of it; `log` looks at the log by itself, `causes` at what
//! caused each event, `fold` folds it by the services' own rules, `ledger` books it again by none of their rules, `compare` compares rows and
//! folds, `tables` the ledger and the tables' figures. In memory is what is open and what was touched lately: `cases` says of what that is,
//! and `books` lets go of the rest.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use domain::{GlobalPosition, Timestamp};
use runtime::log::event_store::{StoredEvent, read_streams_before, read_whole};
use sqlx::PgConnection;
use tokio::sync::mpsc;

mod agreement;
mod books;
mod cases;
pub mod catalogue;
mod causes;
mod compare;
pub mod diagnosis;
mod difference;
pub mod export;
mod fold;
pub mod in_memory;
mod ledger;
mod log;
pub mod questions;
pub mod quiescence;
pub mod rebuild;
pub mod replay;
mod report;
pub mod snapshot;
pub mod status;
mod tables;
mod trace;
pub mod waiting;

pub use report::{Check, CheckReport, EventName, Finding, Report};

use books::Books;
use cases::Wanted;
use causes::Causes;
use compare::Comparison;
use ledger::{Ledger, promises::Grace};
use log::Log;
use report::Findings;
use snapshot::Snapshot;
use tables::Asked;

/// How long after an event what must follow from it may take, unless the caller says otherwise.
pub const GRACE: Duration = Duration::from_secs(30);

/// How many events after its last an order that is over is let go, unless the caller says otherwise: with what belongs to them, about 50 MiB.
const LATELY: u64 = 65_536;

/// Events after which it is looked for what can be let go.
const STEP_MAX: usize = 16_384;

/// Pages of the log that are read ahead, at most.
const PAGES_AHEAD: usize = 8;

/// Rows that were let go together and are not compared yet, at most.
const ROWS_BEHIND: usize = 2;

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The log is read: so many events of so many.
    Folding(u64, u64),
    /// All of it is read, and compared with the rows.
    Comparing,
}

/// Audits a database. Traffic may run.
///
/// # Errors
/// The database is away, or lacks Holdfast's tables. What is wrong in them is in the report.
pub async fn audit(database_url: &str) -> Result<Report> {
    audit_telling(database_url, Settings::default(), |_progress| ()).await
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
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long after an event what must follow from it may take.
    pub grace: Duration,
    /// How many events after its last an order that is over is let go: what was touched since is in memory.
    pub lately: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { grace: GRACE, lately: LATELY }
    }
}

/// Audits a database, and says again and again how far it is.
///
/// # Errors
/// The database is away, or lacks Holdfast's tables. What is wrong in them is in the report.
pub async fn audit_telling<F>(database_url: &str, settings: Settings, progress: F) -> Result<Report>
where
    F: Fn(Progress),
{
    let begun = Instant::now();
    let mut snapshot = Snapshot::take(database_url).await?;
    let grace = Grace { now: snapshot.now, grace: settings.grace };
    let connection = &mut snapshot.connection;
    let head: i64 = sqlx::query_scalar("select count(*) from log.events")
        .fetch_one(&mut *connection)
        .await
        .context("reading the log; are its migrations applied?")?;
    let head = u64::try_from(head).unwrap_or(0);
    let causes = Causes::of_answered(tables::answered(connection).await?);
    let books = Books::new(causes, settings.lately);
    let told = |events| progress(Progress::Folding(events, head));
    let (mut snapshot, books, comparison) = read(database_url, snapshot, books, settings.lately, told).await?;
    let Books { log, folds, ledger, mut findings, .. } = books;
    findings.checked(Check::Log, usize::try_from(log.events).unwrap_or(usize::MAX));

    progress(Progress::Comparing);
    let connection = &mut snapshot.connection;
    let asked = Asked::of(&folds);
    let drift = comparison.end(connection, folds).await?;
    let rows = u64::try_from(drift.rows).unwrap_or(u64::MAX);
    drift.tell(connection, &mut findings).await?;
    ledger.check_promises(grace, &mut findings);
    tables::check(connection, &ledger, asked, &mut findings).await?;
    tables::provider::check(connection, &ledger.refunds, grace, &mut findings).await?;
    let dead_letters = tables::dead_letters(connection).await?;
    let waiting = waiting::look(connection).await.context("reading what waits for a person")?;
    let named = name_events(&mut findings, connection).await?;
    snapshot.close().await?;

    Ok(Report {
        ok: findings.total() == 0,
        at: grace.now.to_string(),
        position: log.position,
        events: log.events,
        streams: log.streams(),
        rows,
        dead_letters: u64::try_from(dead_letters).unwrap_or(0),
        waiting,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        checks: findings.checks(),
        findings_total: findings.total(),
        findings: named,
    })
}

/// Reads the log into the books over one connection, brings back over a second what was let go and is touched again, and compares over a
/// third what is let go.
async fn read(
    database_url: &str,
    mut snapshot: Snapshot,
    mut books: Books,
    lately: u64,
    told: impl Fn(u64),
) -> Result<(Snapshot, Books, Comparison)> {
    let mut past = snapshot.another(database_url).await?;
    let mut tables = snapshot.another(database_url).await?;
    let (pages, mut coming) = mpsc::channel(PAGES_AHEAD);
    let reading = tokio::spawn(async move {
        let read = read_whole(&mut snapshot.connection, pages).await.context("reading the log");
        read.map(|()| snapshot)
    });
    let (rows, mut going) = mpsc::channel(ROWS_BEHIND);
    let comparing = tokio::spawn(async move {
        let mut comparison = Comparison::default();
        while let Some(rows) = going.recv().await {
            comparison.take(&mut tables.connection, rows).await?;
        }
        tables.close().await.map(|()| comparison)
    });
    let step = usize::try_from(lately).unwrap_or(usize::MAX).clamp(1, STEP_MAX);
    let mut since_look = 0;
    while let Some(page) = coming.recv().await {
        for events in page.chunks(step) {
            if let Some(first) = events.first() {
                let wanted = books.cases.wanted(events);
                bring_back(&mut books, wanted, first.position, &mut past.connection).await?;
            }
            events.iter().for_each(|event| books.take(event));
            since_look += events.len();
            if since_look >= step {
                since_look = 0;
                // Who takes no more of them has failed, which is heard below.
                rows.send(books.let_go()).await.unwrap_or_default();
            }
        }
        told(books.log.events);
    }
    drop((coming, rows));
    let comparison: Comparison = comparing.await.context("comparing rows")??;
    // What differs is looked at with all that belongs to it.
    let wanted = books.cases.wanted_by_name(comparison.differing());
    bring_back(&mut books, wanted, GlobalPosition::MAX, &mut past.connection).await?;
    past.close().await?;
    let snapshot = reading.await.context("reading the log")??;
    Ok((snapshot, books, comparison))
}

/// Brings back what was let go, as it was before this position.
async fn bring_back(
    books: &mut Books,
    mut wanted: Wanted,
    before: GlobalPosition,
    past: &mut PgConnection,
) -> Result<()> {
    loop {
        let streams = wanted.streams();
        if streams.is_empty() {
            break;
        }
        let events = read_streams_before(past, &streams, before).await.context("reading the log again")?;
        wanted.take(events);
    }
    books.take_back(wanted);
    Ok(())
}

/// The findings, each with the name of its event.
async fn name_events(findings: &mut Findings, connection: &mut PgConnection) -> Result<Vec<Finding>> {
    let positions = findings.kept().iter().filter_map(|found| found.position).collect();
    let events = tables::events_at(connection, positions).await?;
    let events: BTreeMap<GlobalPosition, EventName> = events.into_iter().map(|event| (event.position, event)).collect();
    let named = findings.kept().iter().map(|found| Finding {
        check: found.check,
        subject: found.subject.clone(),
        what: found.what.clone(),
        event: found.position.and_then(|position| events.get(&position).cloned()),
    });
    Ok(named.collect())
}
