//! `holdfast rebuild`: rows that are not what their events say are made anew from the log, while the fleet is at work.

use std::{collections::BTreeSet, num::NonZeroU32, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use audit::{
    rebuild::{Difference, Found, Question, STALL_MAX, look, tables},
    replay::Kind,
};
use domain::GlobalPosition;
use platform::{
    clock,
    print::{self, Paint},
    retry,
};
use runtime::{
    log::rebuild::{Rebuilt, begin_alone, contents, lock, put_in, take_out, who_rebuilds},
    service::Service,
};
use serde::Serialize;
use sqlx::{PgConnection, error::DatabaseError};

use crate::{archived::Archived, bar::Bar, global_args::GlobalArgs, replay::kinds};

mod text;

/// How often others may get in the way.
const TRIES_MAX: u32 = 10;

const EXAMPLES: &str = "\
Examples:
  holdfast rebuild stock --dry-run
  holdfast rebuild stock --reason 'a script has changed rows, incident 4711'

Exit codes: 0 no row differs any more; 1 rows differ, and none was changed; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast rebuild`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whose rows to rebuild, with what orders hold of them.
    #[arg(value_name = "KIND", value_parser = kinds())]
    kind: Kind,
    /// Show which rows differ, and change none, whatever the reason.
    #[arg(long)]
    dry_run: bool,
    /// Put right the rows that differ, and note why for whoever reads it later. Without it they are shown.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Read no more than so many events of the log in a second. Without it, reading pauses while the fleet writes.
    #[arg(long, value_name = "EVENTS")]
    max_rate: Option<NonZeroU32>,
    #[command(flatten)]
    archived: Archived,
}

impl Args {
    /// Whether it changes nothing.
    #[must_use]
    pub const fn only_shows(&self) -> bool {
        self.dry_run || self.reason.is_none()
    }
}

/// What differs, and what was done about it.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    /// The last event that was folded.
    position: GlobalPosition,
    /// Of which log, as which role.
    database: audit::replay::Database,
    events_folded: u64,
    rows_compared: u64,
    differences: Vec<Difference>,
    /// What was put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt: Option<Done>,
}

#[derive(Debug, Serialize)]
struct Done {
    /// As `log.rebuilds` has it.
    rebuild_id: i64,
    rows: usize,
    reason: String,
}

/// Rebuilds: exit code 0 if no row differs (any more), 1 if some do.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let url = global.database_url()?;
    let done = match args.kind {
        Kind::Stock => rebuild::<inventory::Inventory>(args, &url).await,
        Kind::Shares => rebuild::<rounds::Rounds>(args, &url).await,
        Kind::Orders => rebuild::<orders::Orders>(args, &url).await,
        Kind::Payments | Kind::Coupons | Kind::Wallets => rebuild::<payments::Payments>(args, &url).await,
    };
    let report = done.map_err(|error| match code(&error).as_deref() {
        Some("42501") => error.context(
            "this role may not rebuild rows: use the owner of the database, or a login that was granted holdfast_rebuild",
        ),
        _ => error,
    })?;
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text(Paint::for_stdout()))?;
    }
    let is_well = report.differences.is_empty() || report.rebuilt.is_some();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything but the commit may be broken off at any moment: then nothing has happened.
async fn rebuild<S: Service>(args: Args, url: &str) -> Result<Report>
where
    S::State: 'static,
{
    let bar = Bar::new();
    let prepared = tokio::select! {
        prepared = prepare::<S>(args, url, &bar) => prepared,
        _interrupted = tokio::signal::ctrl_c() => Err(anyhow!("it was broken off: no row was changed")),
    };
    bar.end();
    let (report, written) = prepared?;
    if let Some(mut connection) = written {
        sqlx::raw_sql("commit")
            .execute(&mut connection)
            .await
            .with_context(|| "committing: whether it came to that, `holdfast rebuild` with --dry-run tells")?;
    }
    Ok(report)
}

/// Compares, and writes what is to be put right: not committed yet.
async fn prepare<S: Service>(args: Args, url: &str, bar: &Bar) -> Result<(Report, Option<PgConnection>)>
where
    S::State: 'static,
{
    let Args { kind, dry_run, reason, max_rate, archived } = args;
    let alone = match reason {
        Some(reason) if !dry_run => Some((alone(url).await?, reason)),
        _ => None,
    };
    let question = Question { kind, max_rate, stall_max: STALL_MAX };
    let mut found = look::<S>(archived.with(url), question, |progress| bar.show(progress)).await?;
    let differences = std::mem::take(&mut found.differences);
    let (mut rebuilt, mut written) = (None, None);
    if let Some((mut connection, reason)) = alone
        && !differences.is_empty()
    {
        let names = differences.iter().map(|difference| difference.name.clone()).collect();
        rebuilt = Some(put_right(&mut connection, (kind, &reason), &mut found, &names).await?);
        written = Some(connection);
    }
    let report = Report {
        kind: kind.as_str(),
        position: found.position(),
        events_folded: found.events(),
        rows_compared: found.rows,
        database: found.database,
        differences,
        rebuilt,
    };
    Ok((report, written))
}

/// A session that rebuilds, and no other does.
async fn alone(url: &str) -> Result<PgConnection> {
    let mut connection = GlobalArgs::connect(url).await?;
    if !begin_alone(&mut connection).await? {
        let who = who_rebuilds(&mut connection).await?.unwrap_or_else(|| "a session that has just ended".to_owned());
        bail!("another rebuild is at work ({who}): wait for its end, or end it. No row was changed");
    }
    Ok(connection)
}

/// Writes what the events say in place of what is there. Others may get in the way: then it is tried again.
async fn put_right<S: Service>(
    connection: &mut PgConnection,
    why: (Kind, &str),
    found: &mut Found<S>,
    names: &BTreeSet<String>,
) -> Result<Done> {
    let mut waits = retry::backoff(Duration::from_millis(50), Duration::from_secs(2));
    let mut tries = 1;
    loop {
        let tried = write(connection, why, found, names).await;
        let is_held_up = tried
            .as_ref()
            .is_err_and(|error| code(error).is_some_and(|code| ["40P01", "55P03", "40001"].contains(&code.as_str())));
        if !is_held_up {
            return tried;
        }
        if tries == TRIES_MAX {
            return tried.with_context(|| {
                format!("others have held up the rebuild {TRIES_MAX} times, each with rows of the same tables; no row was changed")
            });
        }
        sqlx::raw_sql("rollback").execute(&mut *connection).await?;
        clock::sleep(waits.next().unwrap_or(Duration::from_secs(2))).await;
        tries += 1;
    }
}

async fn write<S: Service>(
    connection: &mut PgConnection,
    (kind, reason): (Kind, &str),
    found: &mut Found<S>,
    names: &BTreeSet<String>,
) -> Result<Done> {
    let tables = tables::<S>(kind);
    // Most of what is left to fold is folded before anybody has to wait.
    found.fold_on(connection).await?;
    sqlx::raw_sql("begin").execute(&mut *connection).await?;
    lock(connection, &tables).await.context("waiting until nobody else writes")?;
    found.fold_on(connection).await?;
    let before = take_out(connection, &tables, names).await.context("taking rows out")?;
    put_in::<S>(connection, found.state(), names).await.context("putting rows in")?;
    let after = contents(connection, &tables, names).await.context("reading rows again")?;
    let position = found.position();
    let rebuilt = Rebuilt { kind: kind.as_str(), position, reason, before: &before, after: &after };
    let rebuild_id = rebuilt.note(connection).await.context("noting what was done in log.rebuilds")?;
    Ok(Done { rebuild_id, rows: rebuilt.names().len(), reason: reason.to_owned() })
}

/// What Postgres says, by its SQLSTATE.
fn code(error: &anyhow::Error) -> Option<String> {
    let error = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>())?;
    error.as_database_error().and_then(DatabaseError::code).map(|code| code.into_owned())
}
