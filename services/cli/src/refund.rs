//! `holdfast refund`: money of an order goes back, all that is left of it or so much.

use std::process::ExitCode;

use anyhow::Result;
use proto::{common::v1::Money, orders::v1::RequestRefund};

use crate::{
    get,
    global_args::GlobalArgs,
    send::{deliver, new_id},
    verb::{Meant, Said, Way, Why},
};

const EXAMPLES: &str = "\
Examples:
  holdfast refund R-1001 --context shop --reason 'broken'
  holdfast refund R-1001 --minor-units 500 --currency EUR --context shop --reason 'one of two was broken'
  holdfast refund 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81 --actor mira --reason 'broken'

Without an amount, all that is left goes back, and what it paid for is returned. `holdfast get refund` says how far it is.

Exit codes: 0 it is accepted; 1 it is refused; 2 wrong usage; 3 nobody has answered; through a context 4 the token is not good for it, and 5
it does not go with how things stand.";

/// Options of `holdfast refund`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The order; through a context also the shop's own number of it.
    #[arg(value_name = "ORDER")]
    order: String,
    /// How much, in cents, pence or yen.
    #[arg(long, value_name = "COUNT", requires = "currency", value_parser = clap::value_parser!(i64).range(1..))]
    minor_units: Option<i64>,
    /// Of which currency.
    #[arg(long, value_name = "CODE", requires = "minor_units")]
    currency: Option<String>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Asks for it, by the command that anybody else sends for it.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { order, minor_units, currency, why, meant } = args;
    let way = Way::of(global)?;
    let order = get::order_by(&way, &order).await?;
    let amount = minor_units.zip(currency).map(|(minor_units, currency)| Money { minor_units, currency });
    let what = match &amount {
        Some(Money { minor_units, currency }) => {
            format!("give back {} of order {order}", domain::written(*minor_units, currency))
        }
        None => format!("give back all that is left of order {order}"),
    };
    let Some(Said { actor, note }) = why.said(&way, &what, meant)? else { return Ok(ExitCode::from(2)) };
    let (order_id, refund_id) = (order.to_string(), new_id().to_string());
    let command = RequestRefund { order_id, refund_id, amount, actor, note, ..RequestRefund::default() };
    deliver(&command, (&way, why.dry_run), global).await
}
