//! `holdfast verify-draw`: whether the winner of a round is the one that everybody computes.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use audit::{
    draw::{Checked, Record, check},
    snapshot::Snapshot,
};
use domain::RoundId;
use platform::print;

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast verify-draw 0b52c6f4-8a51-4b7e-9d3a-2f4c5b6a7d81
  holdfast verify-draw --record draw.json --tickets tickets.txt

The second needs no fleet: both files are on the public page of the round. It says whether they fit each other, and the first also whether they
say what the log says. Both check the beacon's signature by its public key, and print where the beacon itself says the value.

Exit codes: 0 all is as it has to be; 1 something is not, or there is no draw; 2 wrong usage; 3 it could not be read.";

/// Options of `holdfast verify-draw`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The round, to be checked against the log.
    #[arg(value_name = "ROUND", value_parser = round_id, required_unless_present = "record", conflicts_with_all = ["record", "tickets"])]
    round_id: Option<RoundId>,
    /// A file of what is told of a draw, as the public page of a round has it.
    #[arg(long, value_name = "FILE", requires = "tickets")]
    record: Option<PathBuf>,
    /// The file of its tickets.
    #[arg(long, value_name = "FILE", requires = "record")]
    tickets: Option<PathBuf>,
}

fn round_id(text: &str) -> Result<RoundId, String> {
    RoundId::parse(text).map_err(|rejection| rejection.reason)
}

/// Checks it, and prints what was looked at.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let checked = match (args.round_id, args.record.zip(args.tickets)) {
        (Some(round_id), _) => of_log(round_id, global).await?,
        (None, Some((record, tickets))) => Some(of_files(&record, &tickets)?),
        (None, None) => None,
    };
    let Some(checked) = checked else {
        eprintln!("holdfast: the log has no such round, or it was opened without a draw: see rounds.draw_secrets");
        return Ok(ExitCode::FAILURE);
    };
    let is_well = checked.steps.iter().all(|step| step.is_so);
    if global.json {
        print::json(&checked)?;
    } else {
        print::out(&told(&checked, is_well))?;
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn of_log(round_id: RoundId, global: &GlobalArgs) -> Result<Option<Checked>> {
    let mut snapshot = Snapshot::take(&global.database_url()?).await?;
    let checked = check(&mut snapshot.connection, round_id).await?;
    snapshot.close().await?;
    Ok(checked)
}

fn of_files(record: &PathBuf, tickets: &PathBuf) -> Result<Checked> {
    let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let told: Record = serde_json::from_str(&read(record)?).with_context(|| format!("reading {}", record.display()))?;
    let steps = told.check(&read(tickets)?);
    Ok(Checked { record: told, order: None, steps })
}

fn told(checked: &Checked, is_well: bool) -> String {
    let Checked { record, order, steps } = checked;
    let mut lines: Vec<String> = steps
        .iter()
        .map(|step| format!("{:6}  {}: {}", if step.is_so { "ok" } else { "NOT SO" }, step.claim, step.because))
        .collect();
    if let Some(list) = &record.list {
        lines.push(format!("The value, as the beacon has it: {}", record.terms.beacon.address(list.beacon_round)));
    }
    lines.push(match (&record.winner, &record.list) {
        (Some(winner), _) => {
            let of = order.map(|order| format!(", of order {}", order.order_id)).unwrap_or_default();
            format!("Ticket {} has won, code {}{of}.", winner.winning_ticket, winner.winning_code)
        }
        (None, Some(list)) => format!("It is drawn at {}.", list.draws_at),
        (None, None) => "Its tickets are not listed yet.".to_owned(),
    });
    lines.push(if is_well { "verify-draw: ok\n" } else { "verify-draw: NOT OK\n" }.to_owned());
    lines.join("\n")
}
