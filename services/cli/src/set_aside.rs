//! `holdfast set-aside`: dead letters that nobody is to send again. They are kept, and are no finding any more.

use std::process::ExitCode;

use anyhow::Result;
use operate::set_aside::{self, Report};

use crate::{
    global_args::GlobalArgs,
    letters::Letters,
    verb::{Meant, Verb, Why, explained, told},
};

const EXAMPLES: &str = "\
Examples:
  holdfast set-aside orders-7 --dry-run
  holdfast set-aside orders-7 --reason 'a test of the shop, its sender knows'

Exit codes: 0 all of them are set aside; 1 some are not; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast set-aside`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    letters: Letters,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Sets letters aside: exit code 0; 1 if one is settled already.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { letters, why, meant } = args;
    let report: Report = match Verb::of(&why, ("set dead letters aside", meant), global)? {
        None => return Ok(ExitCode::from(2)),
        Some(Verb::Through(gateway)) => gateway.act("/v1/admin/letters/set-aside", letters.asked(), &why).await?,
        Some(Verb::Directly(why)) => {
            let mut connection = global.database().await?;
            set_aside::set_aside(&mut connection, &letters.selection(), &why).await.map_err(explained)?
        }
    };
    told(global, &report, report.is_well(), &report.text())
}
