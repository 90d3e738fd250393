//! `holdfast reconcile`: a provider's payout reports against the log.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use audit::{
    reconcile::{Outcome, Question, Row, reconcile},
    replay::At,
};

use crate::{
    archived::Archived,
    bar::Bar,
    global_args::GlobalArgs,
    listing::{self, Format},
};

const EXAMPLES: &str = "\
Examples:
  holdfast reconcile stripe november.csv
  holdfast reconcile stripe november.csv december.csv --all --format csv > reconciled.csv

Exit codes: 0 all agrees; 1 something differs; 2 wrong usage; 3 it could not be compared, such as a report of another account.";

const HEADING: [&str; 13] = [
    "outcome",
    "category",
    "reference",
    "line",
    "balance_transaction_id",
    "ours_minor",
    "theirs_minor",
    "currency",
    "payment_id",
    "refund_id",
    "order_id",
    "at",
    "note",
];

/// Options of `holdfast reconcile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    provider: Provider,
}

/// Whose report it is.
#[derive(Debug, clap::Subcommand)]
enum Provider {
    /// Stripe's itemised payout reconciliation report.
    Stripe(StripeArgs),
}

/// Which reports, and what to print.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct StripeArgs {
    /// The report, as Stripe writes it: with all columns, a point in amounts, and times in UTC.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The log with the event at this position, or up to this time: RFC 3339 with its zone. Without it: all of it.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    at: Option<At>,
    /// Lines that agree, too.
    #[arg(long)]
    all: bool,
    /// How to print.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    archived: Archived,
}

/// Compares: exit code 0 if all agrees, 1 if something differs.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Provider::Stripe(StripeArgs { files, at, all, format, archived }) = args.provider;
    let Some(format) = Format::asked(format, global) else { return Ok(ExitCode::from(2)) };
    let bar = Bar::new();
    let compared =
        reconcile(archived.with(&global.database_url()?), &Question { files, at, all }, |progress| bar.show(progress))
            .await;
    bar.end();
    let answer = compared?;
    listing::write(&answer, &HEADING, format, values)?;
    let is_well = answer.rows.iter().all(|row| row.outcome == Outcome::Matched);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn values(row: &Row) -> Vec<String> {
    let told = |text: &Option<String>| text.clone().unwrap_or_default();
    let amount = |minor: &Option<i64>| minor.map(|minor| minor.to_string()).unwrap_or_default();
    vec![
        row.outcome.as_str().to_owned(),
        row.category.clone(),
        row.reference.clone(),
        told(&row.line),
        told(&row.balance_transaction_id),
        amount(&row.ours_minor),
        amount(&row.theirs_minor),
        row.currency.clone(),
        told(&row.payment_id),
        told(&row.refund_id),
        told(&row.order_id),
        row.at.to_string(),
        told(&row.note),
    ]
}
