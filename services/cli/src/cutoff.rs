//! `holdfast cutoff`: the last events before a moment and the first behind it.

use std::{num::NonZeroUsize, process::ExitCode};

use anyhow::Result;
use audit::{
    questions::{Entry, Side, cutoff},
    replay::At,
};

use crate::{
    archived::Archived,
    global_args::GlobalArgs,
    listing::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  holdfast cutoff --at 2026-12-31T23:59:59+01:00
  holdfast cutoff --at 4711 --around 5 --event OrderPaid --event OrderRefunded --format csv

Exit codes: 0 all is told; 2 wrong usage; 3 it could not be read.";

const HEADING: [&str; 8] =
    ["side", "position", "recorded_at", "event", "order_id", "placed_at", "paid_at", "clock_disagrees"];

/// Options of `holdfast cutoff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The moment: with the event at this position, or at this time: RFC 3339 with its zone.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    at: At,
    /// How many events on each side.
    #[arg(long, value_name = "EVENTS", default_value = "20")]
    around: NonZeroUsize,
    /// Events of this type; may be said again.
    #[arg(long = "event", value_name = "TYPE", default_value = "StockCommitted")]
    events: Vec<String>,
    /// How to print.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    archived: Archived,
}

/// Tells them.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { at, around, events, format, archived } = args;
    let Some(format) = Format::asked(format, global) else { return Ok(ExitCode::from(2)) };
    let answer = cutoff(archived.with(&global.database_url()?), &at, around, &events).await?;
    listing::write(&answer, &HEADING, format, values)?;
    Ok(ExitCode::SUCCESS)
}

fn values(entry: &Entry) -> Vec<String> {
    let Entry { side, position, recorded_at, event, order_id, placed_at, paid_at, clock_disagrees, .. } = entry;
    let side = match side {
        Side::Before => "before",
        Side::After => "after",
    };
    let told = |text: &Option<String>| text.clone().unwrap_or_default();
    let clock = if *clock_disagrees { "yes" } else { "" };
    vec![
        side.to_owned(),
        position.to_string(),
        recorded_at.clone(),
        event.clone(),
        told(order_id),
        told(placed_at),
        told(paid_at),
        clock.to_owned(),
    ]
}
