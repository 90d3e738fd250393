//! `holdfast archive`: the beginning of the log leaves its table for files, one partition after the other, and comes back.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use audit::{
    archive::{Block, Plan, Stays, compare, find, plan, write},
    replay::At,
};
use clap::builder::NonEmptyStringValueParser;
use platform::{clock, print};
use runtime::log::archive::{Note, Part, Place, archived, begin_alone, detach, drop_table, note_copied, parts, place};
use serde::Serialize;
use sqlx::PgConnection;

use crate::global_args::GlobalArgs;

mod restore;
mod text;

/// How long events stay in the table, unless the caller says otherwise: what the last three months had is at hand.
const AT_HAND: Duration = Duration::from_hours(92 * 24);

const EXAMPLES: &str = "\
Examples:
  holdfast archive /backup/log --dry-run
  holdfast archive /backup/log --before 2026-01-01T00:00:00+01:00 --reason 'the year is closed'
  holdfast archive /backup/log --drop --reason 'both copies are in the vault'
  holdfast archive restore /backup/log 3 --reason 'the auditor of 2026'

Exit codes: 0 it is done; 1 nothing may go, and it says why; 2 wrong usage; 3 it could not be done: called again, it goes on.";

/// Options of `holdfast archive`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Where the files go: a directory that all partitions share. What is there already is compared again.
    #[arg(value_name = "DIR", required = true)]
    directory: Option<PathBuf>,
    /// Partitions that are wholly before this position, or recorded before this time: RFC 3339 with its zone. Without it: 92 days ago.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    before: Option<At>,
    /// Drop the tables that were set aside, once their files are read again and are what was noted. None goes that was not archived before.
    #[arg(long, conflicts_with = "before")]
    drop: bool,
    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new(), required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What else is done with an archive.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Bring a partition back from its files into the log's table: the last that was archived first.
    Restore(restore::Args),
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    /// Archive, drop or restore.
    what: &'static str,
    /// Whether it was done, or only would be.
    dry_run: bool,
    directory: PathBuf,
    /// With these partitions, in order.
    parts: Vec<Done>,
    /// The first that stays where it is, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    stays: Option<Stays>,
}

/// A partition that something was done with.
#[derive(Debug, Serialize)]
struct Done {
    partition: i32,
    first: domain::GlobalPosition,
    last: domain::GlobalPosition,
    /// Of its files, once they are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_sha256: Option<String>,
}

impl Done {
    fn of(Part { number, first, last }: Part, block: Option<&Block>) -> Self {
        let (events, manifest_sha256) = block.map(|block| (block.len(), block.manifest_sha256().to_owned())).unzip();
        Self { partition: number, first, last, events, manifest_sha256 }
    }
}

/// Archives, drops or restores: exit code 1 if nothing may go.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { verb, directory, before, drop, reason, dry_run } = args;
    let mut connection = global.database().await?;
    let why = reason.as_deref().filter(|_| !dry_run);
    let done = match (verb, directory) {
        (Some(Verb::Restore(args)), _) => restore::restore(&mut connection, args).await,
        (None, Some(directory)) if drop => drop_all(&mut connection, &directory, why).await,
        (None, Some(directory)) => archive(&mut connection, &directory, before, why).await,
        (None, None) => bail!("DIR is missing: say where the files go"),
    };
    let report = done.map_err(explained)?;
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text())?;
    }
    Ok(if report.parts.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Keeps others from doing the same meanwhile.
async fn alone(connection: &mut PgConnection) -> Result<()> {
    if begin_alone(connection).await? {
        return Ok(());
    }
    bail!("another session archives or restores parts of this log: wait for its end. Nothing was done")
}

async fn archive(
    connection: &mut PgConnection,
    directory: &Path,
    before: Option<At>,
    why: Option<&str>,
) -> Result<Report> {
    let before = before.unwrap_or_else(|| At::Time(clock::now() - AT_HAND));
    let mut report = Report {
        what: "archive",
        dry_run: why.is_none(),
        directory: directory.to_owned(),
        parts: Vec::new(),
        stays: None,
    };
    let Some(reason) = why else {
        let Plan { parts, stays } = plan(connection, &before).await?;
        report.parts = parts.into_iter().map(|part| Done::of(part, None)).collect();
        report.stays = stays;
        return Ok(report);
    };
    alone(connection).await?;
    let Plan { parts, stays } = plan(connection, &before).await?;
    report.stays = stays;
    for part in parts {
        let block = archive_part(connection, part, directory, reason).await.with_context(|| {
            format!("archiving positions {} to {} to {}", part.first, part.last, directory.display())
        })?;
        report.parts.push(Done::of(part, Some(&block)));
    }
    Ok(report)
}

/// Takes one partition through all its steps: from the one that an earlier try has come to.
async fn archive_part(connection: &mut PgConnection, part: Part, directory: &Path, reason: &str) -> Result<Block> {
    let table = part.table(place(connection, part).await?).context("it has no table any more")?;
    let block = match find(part, directory)? {
        Some(block) => block,
        None => write(connection, (part, &table), directory).await?,
    };
    compare(connection, &table, &block).await?;
    let named = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()).display().to_string();
    let note = Note { part, events: block.len(), manifest_sha256: block.manifest_sha256(), directory: &named, reason };
    // Before the table has it no more: whoever misses it is to know where it is.
    note_copied(connection, &note).await.context("noting in log.archives that it is copied")?;
    detach(connection, &note).await.context("taking it out of the log's table")?;
    Ok(block)
}

/// Drops what was set aside, and is in these files.
async fn drop_all(connection: &mut PgConnection, directory: &Path, why: Option<&str>) -> Result<Report> {
    let mut report = Report {
        what: "drop",
        dry_run: why.is_none(),
        directory: directory.to_owned(),
        parts: Vec::new(),
        stays: None,
    };
    if why.is_some() {
        alone(connection).await?;
    }
    let noted = archived(connection).await.context("asking what of the log is archived")?;
    let aside = parts(connection).await.context("reading the partitions of the log")?;
    for (part, _) in aside.into_iter().filter(|(_, place)| *place == Place::Aside) {
        let failed = || format!("dropping the table of positions {} to {}", part.first, part.last);
        let copy = noted.iter().find(|archived| archived.part == part).and_then(|archived| archived.copy.as_ref());
        let (block, table) =
            proven(part, directory, copy.map(|copy| copy.manifest_sha256.as_str())).with_context(failed)?;
        compare(connection, &table, &block).await.with_context(failed)?;
        if let Some(reason) = why {
            let named = directory.display().to_string();
            let (events, manifest_sha256) = (block.len(), block.manifest_sha256());
            let note = Note { part, events, manifest_sha256, directory: &named, reason };
            drop_table(connection, &note).await.with_context(failed)?;
        }
        report.parts.push(Done::of(part, Some(&block)));
    }
    Ok(report)
}

/// The files of a part that was set aside, which are those that were noted, and its table.
fn proven(part: Part, directory: &Path, noted: Option<&str>) -> Result<(Block, String)> {
    let block = find(part, directory)?;
    let block =
        block.with_context(|| format!("{} has no files of it: name the right directory", directory.display()))?;
    let noted = noted.context("log.archives has no note of its files: archive it first")?;
    block.is_as_noted(Some(noted))?;
    let table = part.table(Place::Aside).context("it has no table")?;
    Ok((block, table))
}

/// What Postgres refuses, with what to do about it.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let database = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    let code = database.and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
    match code.map(|code| code.into_owned()).as_deref() {
        Some("42501") => {
            error.context("this role may not archive: only the owner of the log's table may take a part out of it")
        }
        _ => error,
    }
}
