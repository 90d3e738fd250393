//! `holdfast verify`: the audit, with a bar while it runs, once or again and again.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use audit::{GRACE, Progress, Report, Settings, audit_telling};
use indicatif::{ProgressBar, ProgressStyle};
use platform::{
    clock,
    print::{self, Paint},
};

use crate::{archived::Archived, global_args::GlobalArgs};

mod text;

const EXAMPLES: &str = "\
Examples:
  holdfast verify
  holdfast verify --books /var/lib/auditor
  holdfast verify --watch --every 60

Exit codes: 0 nothing is wrong; 1 something is, and it is told what; 2 wrong usage; 3 it could not look.";

/// Options of `holdfast verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How long a closed order may take to give back what it held, an order to expire, and a refund to be counted.
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE.as_secs())]
    grace_seconds: u64,
    /// Keep books in this directory, and take in only what came since the last audit that kept them.
    #[arg(long, value_name = "DIR")]
    books: Option<PathBuf>,
    /// Read the whole log nevertheless, and begin the books anew.
    #[arg(long)]
    whole: bool,
    /// Again and again, with a line each, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// How long to wait in between.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "watch")]
    every: u64,
    #[command(flatten)]
    archived: Archived,
}

/// Audits the fleet: exit code 0 if all is well, 1 with findings.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let url = global.database_url()?;
    let grace = Duration::from_secs(args.grace_seconds);
    let archive = args.archived.directories;
    let settings = Settings { grace, books: args.books, whole: args.whole, archive, ..Settings::default() };
    if args.watch {
        return watch(&url, settings, Duration::from_secs(args.every), global).await;
    }
    let progress = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {human_pos} of {human_len} positions") {
        progress.set_style(style);
    }
    let bar = progress.clone();
    let show = move |progress| match progress {
        Progress::Folding(events, of) => {
            bar.set_message("folding");
            bar.set_length(of);
            bar.set_position(events);
        }
        Progress::Comparing => bar.set_message("comparing"),
    };
    let report = audit_telling(&url, &settings, show).await;
    progress.finish_and_clear();
    let report = report?;
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&text::text(&report, Paint::for_stdout()))?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Audits again and again. Exit code 1 if anything was found.
async fn watch(url: &str, mut settings: Settings, every: Duration, global: &GlobalArgs) -> Result<ExitCode> {
    let own = tempfile::tempdir().context("making a directory for the books")?;
    settings.books.get_or_insert_with(|| own.path().to_owned());
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut found = false;
    loop {
        let report = tokio::select! {
            _interrupted = &mut interrupted => break,
            report = audit_telling(url, &settings, |_progress| ()) => report?,
        };
        found |= !report.ok;
        tell(&report, global)?;
        settings.whole = false;
        tokio::select! {
            _interrupted = &mut interrupted => break,
            () = clock::sleep(every) => {}
        }
    }
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell(report: &Report, global: &GlobalArgs) -> Result<()> {
    if global.json { print::json(report) } else { print::out(&text::line(report, Paint::for_stdout())) }
}
