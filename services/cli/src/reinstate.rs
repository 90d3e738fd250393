//! `holdfast reinstate`: an order that is over gets its holds back, if they are free still, and its buyer time to pay.

use std::process::ExitCode;

use anyhow::Result;
use proto::{orders::v1::ReinstateOrder, well_known::Duration};
use uuid::Uuid;

use crate::{
    global_args::GlobalArgs,
    send::deliver,
    verb::{Meant, Said, Way, Why},
};

const EXAMPLES: &str = "\
Examples:
  holdfast reinstate 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --dry-run
  holdfast reinstate 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --actor mira --reason 'called us' --minutes 60
  holdfast reinstate 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --context shop --reason 'called us'

Exit codes: 0 it is accepted; 1 it is refused; 2 wrong usage; 3 nobody has answered; through a context 4 the token is not good for it, and 5\nit does not go with how things stand.";

/// Options of `holdfast reinstate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The order.
    #[arg(value_name = "UUID")]
    order: Uuid,
    /// How long its buyer has to pay. Without it: as long as any.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=43_200))]
    minutes: Option<u32>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Reinstates it, by the command that anybody else sends for it.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { order, minutes, why, meant } = args;
    let way = Way::of(global)?;
    let Some(Said { actor, note }) = why.said(&way, "reinstate this order", meant)? else {
        return Ok(ExitCode::from(2));
    };
    let seconds = |minutes| Duration { seconds: i64::from(minutes) * 60, nanos: 0 };
    let command = ReinstateOrder {
        order_id: order.to_string(),
        actor,
        note,
        time_to_pay: minutes.map(seconds),
        expected_version: 0,
    };
    deliver(&command, (&way, why.dry_run), global).await
}
