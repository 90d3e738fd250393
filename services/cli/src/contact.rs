//! `holdfast contact`: forgets where buyers are reached. The log never knew it, so nothing else has to change.

use std::process::ExitCode;

use ::mail::operators;
use anyhow::Result;
use platform::print;
use uuid::Uuid;

use crate::global_args::GlobalArgs;

/// Options of `holdfast contact`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Forget the addresses of an order, or of all orders of a customer. Mail that was not sent yet is not sent any more.
    Forget(Forget),
}

const EXAMPLES: &str = "\
Examples:
  holdfast contact forget --order 0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f
  holdfast contact forget --customer ann

Exit codes: 0 they are forgotten, also if there were none; 2 wrong usage; 3 the database is away.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
struct Forget {
    /// Of this order.
    #[arg(long, group = "whose", value_name = "UUID")]
    order: Option<Uuid>,
    /// Of all orders of this customer.
    #[arg(long, group = "whose", value_name = "NAME")]
    customer: Option<String>,
}

/// Forgets: exit code 0, also if there was nothing.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Verb::Forget(Forget { order, customer }) = args.verb;
    let mut connection = global.database().await?;
    let report = operators::forget(&mut connection, order, customer.as_deref()).await?;
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&format!("{} addresses forgotten, {} mails will not be sent\n", report.forgotten, report.mails))?;
    }
    Ok(ExitCode::SUCCESS)
}
