//! The audit: in one moment of the database, every row is the fold of its events, nothing was invented or lost, and nothing that
//! is over still holds anything. It prints nothing.
//!
//! Read it in this order: [`audit_within`] is the whole of it; `log` looks at the log by itself, `causes` at what
//! caused each event, `fold` folds it by the services' own rules and compares the rows, `ledger` books it again by none of
//! their rules, `tables` compares the ledger with the tables' figures. All folds and books are in memory, a few hundred bytes a
//! row, and so are the ids of all events and commands; the events are not.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use domain::{GlobalPosition, Timestamp};
use runtime::log::event_store::{StoredEvent, replay_whole};

pub mod catalogue;
mod causes;
pub mod diagnosis;
mod difference;
pub mod export;
mod fold;
mod ledger;
mod log;
pub mod questions;
pub mod quiescence;
pub mod rebuild;
pub mod reconcile;
pub mod replay;
mod report;
pub mod seal;
pub mod snapshot;
pub mod status;
mod tables;
pub mod timeline;
pub mod waiting;
pub mod what_if;

pub use report::{Check, CheckReport, EventName, Finding, Report};

use causes::Causes;
use fold::Folds;
use ledger::{Ledger, promises::Grace};
use log::Log;
use report::Findings;
use snapshot::Snapshot;

/// How long after an event what must follow from it may take, unless the caller says otherwise.
pub const GRACE: Duration = Duration::from_secs(30);

/// How many events go by between two words about the progress.
const PROGRESS_EVERY: u64 = 4_096;

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
    audit_within(database_url, GRACE).await
}

/// Audits a database, with this grace for what must follow from an event.
///
/// # Errors
/// The database is away, or lacks Holdfast's tables. What is wrong in them is in the report.
pub async fn audit_within(database_url: &str, grace: Duration) -> Result<Report> {
    audit_telling(database_url, grace, |_progress| ()).await
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
        let words = |found: &report::Found| match found.position {
            Some(position) => format!("{}: {} (#{position})", found.subject, found.what),
            None => format!("{}: {}", found.subject, found.what),
        };
        self.findings.kept().iter().map(words).collect()
    }
}

/// What the log is read into.
struct Books {
    log: Log,
    causes: Causes,
    folds: Folds,
    ledger: Ledger,
    findings: Findings,
}

impl Books {
    fn take(&mut self, event: &StoredEvent) {
        self.log.take(event, &mut self.findings);
        self.causes.take(event, &mut self.findings);
        self.folds.take(event, &mut self.findings);
        self.ledger.take(event, &mut self.findings);
    }
}

/// Audits a database, and says again and again how far it is.
///
/// # Errors
/// The database is away, or lacks Holdfast's tables. What is wrong in them is in the report.
pub async fn audit_telling<F>(database_url: &str, grace: Duration, progress: F) -> Result<Report>
where
    F: Fn(Progress) + Clone + Send + 'static,
{
    let begun = Instant::now();
    let mut snapshot = Snapshot::take(database_url).await?;
    let grace = Grace { now: snapshot.now, grace };
    let findings = Findings::default();
    let connection = &mut snapshot.connection;

    let head: i64 = sqlx::query_scalar("select count(*) from log.events")
        .fetch_one(&mut *connection)
        .await
        .context("reading the log; are its migrations applied?")?;
    let head = u64::try_from(head).unwrap_or(0);
    let causes = Causes::of_answered(tables::answered(connection).await?);
    let books = Books { log: Log::default(), causes, folds: Folds::new(), ledger: Ledger::default(), findings };
    let folding = progress.clone();
    let take = move |books: &mut Books, event: &StoredEvent| {
        books.take(event);
        if books.log.events.is_multiple_of(PROGRESS_EVERY) {
            folding(Progress::Folding(books.log.events, head));
        }
    };
    let books = replay_whole(connection, books, take).await.context("reading the log")?;
    let Books { log, causes: _, folds, ledger, mut findings } = books;
    findings.checked(Check::Log, usize::try_from(log.events).unwrap_or(usize::MAX));

    progress(Progress::Comparing);
    let drift = folds.compare(connection).await?;
    let rows = u64::try_from(drift.rows).unwrap_or(u64::MAX);
    drift.tell(connection, &mut findings).await?;
    ledger.check_promises(grace, &mut findings);
    tables::check(connection, &ledger, &mut findings).await?;
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

/// The findings, each with the name of its event.
async fn name_events(findings: &mut Findings, connection: &mut sqlx::PgConnection) -> Result<Vec<Finding>> {
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
