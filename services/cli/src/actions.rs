//! `holdfast actions`: who did what, and what was refused.

use std::process::ExitCode;

use anyhow::Result;
use audit::{
    questions::{Action, Period, actions},
    replay::At,
};

use crate::{
    archived::Archived,
    global_args::GlobalArgs,
    listing::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  holdfast actions --after 2026-12-01T00:00:00+01:00 --to 2026-12-31T23:59:59+01:00
  holdfast actions --actor token:till --format csv > till.csv

Exit codes: 0 all is told; 2 wrong usage; 3 it could not be read.";

const HEADING: [&str; 7] = ["position", "recorded_at", "actor", "what", "stream", "reason", "refused"];

/// Options of `holdfast actions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Behind the event at this position, or behind this time: RFC 3339 with its zone. Without it: from the beginning of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    after: Option<At>,
    /// With the event at this position, or up to this time. Without it: to the end of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    to: Option<At>,
    /// Only what this actor did, written as it is shown.
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Orders that were placed, too.
    #[arg(long)]
    with_orders: bool,
    /// How to print.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    archived: Archived,
}

/// Tells it.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { after, to, actor, with_orders, format, archived } = args;
    let Some(format) = Format::asked(format, global) else { return Ok(ExitCode::from(2)) };
    let answer = actions(archived.with(&global.database_url()?), &Period { after, to, actor, with_orders }).await?;
    listing::write(&answer, &HEADING, format, values)?;
    Ok(ExitCode::SUCCESS)
}

fn values(action: &Action) -> Vec<String> {
    let Action { position, recorded_at, actor, what, stream, reason, refused, said: _ } = action;
    let told = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![
        position.to_string(),
        recorded_at.clone(),
        told(actor),
        what.clone(),
        told(stream),
        told(reason),
        told(refused),
    ]
}
