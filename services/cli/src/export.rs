//! `holdfast export`: the log as files that other programs read.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use audit::{
    export::{BLOCK, Form, MANIFEST, Order, export, export_zip},
    replay::At,
};
use clap::ValueEnum;
use platform::print;

use crate::{archived::Archived, bar::Bar, global_args::GlobalArgs};

const EXAMPLES: &str = "\
Examples:
  holdfast export /backup/2026
  holdfast export december --from 4711 --to 2026-12-31T23:59:59+01:00
  holdfast check december
  holdfast export lake --format parquet
  holdfast export 2026.zip --format gdpdu --from 2026-01-01T00:00:00+01:00 --to 2026-12-31T23:59:59+01:00

Exit codes: 0 it is written; 2 wrong usage; 3 it could not be written: without its manifest it is no export.";

/// Options of `holdfast export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to: a directory that is empty, or not there yet; of gdpdu a zip file that is not there yet.
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// How to write it.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "jsonl")]
    format: Format,
    /// From this position on, or from this time on: RFC 3339 with its zone.
    #[arg(long, value_name = "POSITION|TIME", default_value = "1", allow_hyphen_values = true)]
    from: At,
    /// With the event at this position, or up to this time: RFC 3339 with its zone. Without it: to the end of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    to: Option<At>,
    /// How many positions one file is for.
    #[arg(long, value_name = "POSITIONS", default_value_t = BLOCK)]
    block: NonZeroU64,
    /// Read no more than so many events of the log in a second. Without it, reading pauses while the fleet writes.
    #[arg(long, value_name = "EVENTS")]
    max_rate: Option<NonZeroU32>,
    #[command(flatten)]
    archived: Archived,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Parquet, as DuckDB, Spark, Trino and ClickHouse read it.
    Parquet,
    /// One zip file with csv and its description, as German tax auditors take it (GoBD, Z3).
    Gdpdu,
}

/// Exports.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { path, format, from, to, block, max_rate, archived } = args;
    let form = match format {
        Format::Jsonl => Form::Jsonl,
        Format::Parquet => Form::Parquet,
        Format::Gdpdu => Form::Csv,
    };
    let order = Order { from, to, block, form, max_rate };
    let (bar, url) = (Bar::new(), global.database_url()?);
    let exported = match format {
        Format::Jsonl | Format::Parquet => {
            export(archived.with(&url), &order, &path, |progress| bar.show(progress)).await
        }
        Format::Gdpdu => export_zip(archived.with(&url), &order, &path, |progress| bar.show(progress)).await,
    };
    bar.end();
    let manifest = exported?;
    if global.json {
        print::json(&manifest)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines = |files: &[audit::export::Listed]| files.iter().map(|file| file.lines).sum::<u64>();
    let contents = &manifest.contents;
    print::out(&format!(
        "{} events and {} postings up to position {}, recorded at {}, in {} files; {}\n",
        lines(&contents.events),
        lines(&contents.postings),
        manifest.cut.position,
        manifest.cut.recorded_at,
        contents.events.len() + contents.postings.len(),
        match format {
            Format::Jsonl | Format::Parquet => format!("{} names them", path.join(MANIFEST).display()),
            Format::Gdpdu => format!("{} has them", path.display()),
        }
    ))?;
    Ok(ExitCode::SUCCESS)
}
