//! `holdfast replay`: stock, shares, orders, payments, coupons or wallets as they were, with the evidence above.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    process::ExitCode,
};

use anyhow::Result;
use audit::replay::{At, Choice, Chosen, Kind, Question, Sample, replay};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use platform::print::Paint;

use crate::{archived::Archived, bar::Bar, global_args::GlobalArgs, listing::Format};

mod columns;
mod spool;
mod write;

use spool::Spool;

const EXAMPLES: &str = "\
Examples:
  holdfast replay stock --at 2026-12-31T23:59:59+01:00
  holdfast replay stock --key MUG-01 --at 4711 --movements
  holdfast replay wallets --format csv > wallets.csv
  holdfast replay orders --at 2026-12-31T23:59:59+01:00 --status paid --sample 60 --seed 2027-03-01

Exit codes: 0 all is told; 1 a key has no row then; 2 wrong usage; 3 it could not be replayed.";

/// Options of `holdfast replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to replay.
    #[arg(value_name = "KIND", value_parser = kinds())]
    kind: Kind,
    /// As it was with the event at this position, or at this time: RFC 3339 with its zone. Without it: at the end of the log.
    #[arg(long, value_name = "POSITION|TIME", allow_hyphen_values = true)]
    at: Option<At>,
    /// Only what has this key: a sku, the id of a round, order, payment or wallet, the code of a coupon. May be said again; memory
    /// is then that of the rows asked for.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Tell every change as well: when, by which event, for which order, how much, and what it came to.
    #[arg(long)]
    movements: bool,
    /// Only what stands here: the word that is shown as status.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// So many of them, which follow from the seed: those whose keys have the lowest SHA-256 of the seed, a line feed and the key.
    #[arg(long, value_name = "ROWS", requires = "seed", conflicts_with = "movements")]
    sample: Option<NonZeroUsize>,
    /// Any text, said before anybody knows what it chooses: the same text always chooses the same rows.
    #[arg(long, value_name = "TEXT", requires = "sample")]
    seed: Option<String>,
    /// How to print. csv has one table: the movements, if they are asked for, else the rows.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Read no more than so many events of the log in a second.
    #[arg(long, value_name = "EVENTS")]
    max_rate: Option<NonZeroU32>,
    #[command(flatten)]
    archived: Archived,
}

pub(crate) fn kinds() -> impl TypedValueParser<Value = Kind> {
    let words = Kind::ALL.iter().map(|kind| kind.as_str());
    PossibleValuesParser::new(words).try_map(|word| Kind::parse(&word).ok_or("no such kind"))
}

/// Replays: exit code 0; 1 if a key has no row; 2 if it cannot have one.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { kind, at, keys, movements, status, sample, seed, format, max_rate, archived } = args;
    let Some(format) = Format::asked(format, global.json) else { return Ok(ExitCode::from(2)) };
    let keys = match keys.iter().map(|key| kind.read_key(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => keys,
        Err(rejection) => {
            eprintln!("holdfast: --key: {}", rejection.reason);
            return Ok(ExitCode::from(2));
        }
    };
    let sample = sample.zip(seed).map(|(size, seed)| Sample { size, seed });
    let choice = (status.is_some() || sample.is_some()).then_some(Choice { status, sample });
    let question = Question { kind, at, keys, movements, choice, max_rate };
    let bar = Bar::new();
    let url = global.database_url()?;
    let answer = replay(archived.with(&url), &question, Spool::default(), |progress| bar.show(progress)).await;
    bar.end();
    let mut answer = answer?;
    write::write(&question, &mut answer, format, Paint::for_stdout())?;
    for key in &answer.unknown {
        let cut = answer.evidence.cut.position;
        eprintln!("holdfast: there is no {} {key} up to position {cut}", kind.key_name());
    }
    let none = answer.evidence.chosen.as_ref().filter(|chosen| chosen.population == 0);
    if let Some(Chosen { status: Some(status), statuses, .. }) = none {
        let there = statuses.iter().map(|(status, rows)| format!("{rows} {status}")).collect::<Vec<_>>().join(", ");
        eprintln!("holdfast: of the {} none has the status {status:?}; there are: {there}", kind.as_str());
    }
    Ok(if answer.unknown.is_empty() && none.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
