//! `holdfast unblock`: ends a session of Postgres that keeps the log from being read to its end.

use std::process::ExitCode;

use anyhow::Result;
use operate::unblock::{self, Report};
use serde_json::json;

use crate::{
    global_args::GlobalArgs,
    verb::{Meant, Verb, Why, explained, told},
};

const EXAMPLES: &str = "\
Examples:
  holdfast unblock 812 --dry-run
  holdfast unblock 812 --reason 'a report that was left open'

Exit codes: 0 it has ended; 1 it is not one to end; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast unblock`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The session, as HORIZON_HELD names it: its process id.
    #[arg(value_name = "SESSION", value_parser = clap::value_parser!(i32).range(1..))]
    session: i32,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Ends a session: exit code 0; 1 if it is not one to end.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { session, why, meant } = args;
    let report: Report = match Verb::of(&why, ("end a session of the database", meant), global)? {
        None => return Ok(ExitCode::from(2)),
        Some(Verb::Through(gateway)) => {
            gateway.act(&format!("/v1/admin/sessions/{session}/unblock"), json!({}), &why).await?
        }
        Some(Verb::Directly(why)) => {
            let mut connection = global.database().await?;
            unblock::unblock(&mut connection, session, &why).await.map_err(explained)?
        }
    };
    told(global, &report, report.is_well(), &report.text())
}
