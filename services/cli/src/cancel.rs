//! `holdfast cancel`: an order is not wanted any more; if it is paid, its money goes back.

use std::process::ExitCode;

use anyhow::Result;
use proto::orders::v1::CancelOrder;

use crate::{
    get,
    global_args::GlobalArgs,
    send::deliver,
    verb::{Meant, Said, Way, Why},
};

const EXAMPLES: &str = "\
Examples:
  holdfast cancel R-1001 --context shop --reason 'changed his mind'
  holdfast cancel 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --dry-run
  holdfast cancel 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --actor mira --reason 'changed his mind'

Exit codes: 0 it is accepted; 1 it is refused; 2 wrong usage; 3 nobody has answered; through a context 4 the token is not good for it, and 5
it does not go with how things stand.";

/// Options of `holdfast cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The order; through a context also the shop's own number of it.
    #[arg(value_name = "ORDER")]
    order: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Cancels it, by the command that anybody else sends for it.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { order, why, meant } = args;
    let way = Way::of(global)?;
    let order = get::order_by(&way, &order).await?;
    let Some(Said { actor, note }) = why.said(&way, &format!("cancel order {order}"), meant)? else {
        return Ok(ExitCode::from(2));
    };
    let command = CancelOrder { order_id: order.to_string(), actor, note, expected_version: 0 };
    deliver(&command, (&way, why.dry_run), global).await
}
