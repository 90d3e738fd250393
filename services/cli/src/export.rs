//! `holdfast export`: the log as files that other programs read.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use audit::{
    export::{BLOCK, MANIFEST, Order, export},
    replay::At,
};
use domain::GlobalPosition;
use platform::print;

use crate::{bar::Bar, global_args::GlobalArgs};

const EXAMPLES: &str = "\
Examples:
  holdfast export /backup/2026
  holdfast export december --from 4711 --to 2026-12-31T23:59:59+01:00
  holdfast check december

Exit codes: 0 it is written; 2 wrong usage; 3 it could not be written: without its manifest it is no export.";

/// Options of `holdfast export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where to: a directory that is empty, or not there yet.
    dir: PathBuf,
    /// From this position on.
    #[arg(long, value_name = "POSITION", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// With the event at this position, or up to this time: RFC 3339 with its zone. Without it: to the end of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    to: Option<At>,
    /// How many positions one file is for.
    #[arg(long, value_name = "POSITIONS", default_value_t = BLOCK)]
    block: NonZeroU64,
    /// Read no more than so many events of the log in a second.
    #[arg(long, value_name = "EVENTS")]
    max_rate: Option<NonZeroU32>,
}

/// Exports.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { dir, from, to, block, max_rate } = args;
    let order = Order { from: GlobalPosition::new(from), to, block, max_rate };
    let bar = Bar::new();
    let exported = export(&global.database_url()?, &order, &dir, |progress| bar.show(progress)).await;
    bar.end();
    let manifest = exported?;
    if global.json {
        print::json(&manifest)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines = |files: &[audit::export::Listed]| files.iter().map(|file| file.lines).sum::<u64>();
    let contents = &manifest.contents;
    print::out(&format!(
        "{} events and {} postings up to position {}, recorded at {}, in {} files; {} names them\n",
        lines(&contents.events),
        lines(&contents.postings),
        manifest.cut.position,
        manifest.cut.recorded_at,
        contents.events.len() + contents.postings.len(),
        dir.join(MANIFEST).display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
