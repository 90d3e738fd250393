//! `holdfast verify`: the audit, with a bar while it runs.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use audit::{GRACE, Progress, Settings, audit_telling};
use indicatif::{ProgressBar, ProgressStyle};
use platform::print::{self, Paint};

use crate::global_args::GlobalArgs;

mod text;

/// Options of `holdfast verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long a closed order may take to give back what it held, an order to expire, and a refund to be counted.
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE.as_secs())]
    grace_seconds: u64,
}

/// Audits the fleet: exit code 0 if all is well, 1 with findings.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let url = global.database_url()?;
    let progress = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {human_pos} of {human_len} events") {
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
    let settings = Settings { grace: Duration::from_secs(args.grace_seconds), ..Settings::default() };
    let report = audit_telling(&url, settings, show).await;
    progress.finish_and_clear();
    let report = report?;
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&text::text(&report, Paint::for_stdout()))?;
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
