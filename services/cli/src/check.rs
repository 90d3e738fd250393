//! `holdfast check`: whether an export is as it was written, or an answer as it was printed. It needs no database.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use audit::{
    export::{self, Checked, check, is_export},
    seal::{self, Sealed},
};
use platform::print;

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast check /backup/2026
  holdfast check december/manifest.json --json
  holdfast check 2026.zip
  holdfast check stock.csv

Exit codes: 0 it is as it was written; 1 it is not; 2 wrong usage; 3 it cannot be read.";

/// Options of `holdfast check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The directory of an export, its manifest or its zip file; or an answer: a table, csv, JSON, jsonl, Parquet or a page.
    path: PathBuf,
}

/// Checks: exit code 0 if nothing is wrong, 1 if something is.
pub fn run(args: &Args, global: &GlobalArgs) -> Result<ExitCode> {
    if !is_export(&args.path) {
        return answer(args, global);
    }
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
        false if *postings == 0 => "",
        false => "; the postings were not computed again, for the export does not begin with the log",
    };
    words
        .push_str(&format!("check: {verdict}: {events} events and {postings} postings in {files} files{recomputed}\n"));
    words
}

/// Checks an answer that was printed into a file.
fn answer(args: &Args, global: &GlobalArgs) -> Result<ExitCode> {
    let path = args.path.display();
    let mut file = File::open(&args.path).with_context(|| format!("reading {path}"))?;
    let sealed = if export::sealed::is_parquet(&mut file) {
        export::sealed::check(file)
    } else {
        seal::check(&fs::read(&args.path).with_context(|| format!("reading {path}"))?)
    };
    let sealed = sealed.with_context(|| format!("checking {path}"))?;
    if global.json {
        print::json(&sealed)?;
    } else {
        print::out(&words_of_answer(&sealed))?;
    }
    Ok(if sealed.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn words_of_answer(sealed: &Sealed) -> String {
    let Sealed { ok, sha256, said, command } = sealed;
    if *ok {
        return format!(
            "check: ok: it is as it was printed, SHA-256 {sha256}. What the log says is said again by: {command}\n"
        );
    }
    format!(
        "check: NOT ok: it was changed, or a part is missing: its SHA-256 is {sha256}, and it was printed with {said}\n"
    )
}
