//! `holdfast check`: whether an export is as it was written. It needs no database.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use audit::export::{Checked, check};
use platform::print;

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast check /backup/2026
  holdfast check december/manifest.json --json

Exit codes: 0 it is as it was written; 1 it is not; 2 wrong usage; 3 it cannot be read.";

/// Options of `holdfast check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory of an export, or its manifest.
    path: PathBuf,
}

/// Checks: exit code 0 if nothing is wrong, 1 if something is.
pub fn run(args: &Args, global: &GlobalArgs) -> Result<ExitCode> {
    let checked = check(&args.path)?;
    if global.json {
        print::json(&checked)?;
    } else {
        print::out(&words(&checked))?;
    }
    Ok(if checked.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn words(checked: &Checked) -> String {
    let Checked { ok, files, events, postings, postings_recomputed, findings } = checked;
    let mut words: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    let verdict = if *ok { "ok" } else { "NOT ok" };
    let recomputed = match postings_recomputed {
        true if *ok => "; each posting follows from the events",
        true => "",
        false => "; the postings were not computed again, for the export does not begin with the log",
    };
    words
        .push_str(&format!("check: {verdict}: {events} events and {postings} postings in {files} files{recomputed}\n"));
    words
}
