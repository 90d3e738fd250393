//! `holdfast pause` and `holdfast resume`: a consumer stands still for a while, and its service hears of nothing that it is owed by it.

use std::process::ExitCode;

use anyhow::Result;
use operate::pause::{self, MINUTES, MINUTES_MAX, Report, consumer};
use serde_json::json;

use crate::{
    global_args::GlobalArgs,
    verb::{Meant, Verb, Why, explained, told},
};

const EXAMPLES: &str = "\
Examples:
  holdfast pause inventory-events --minutes 10 --reason 'a new index' --dry-run
  holdfast pause inventory-events --minutes 10 --reason 'a new index'
  holdfast resume inventory-events --reason 'the index is there'

Exit codes: 0 it is so; 1 it is so already, or by somebody else; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Pause {
    /// The consumer.
    #[arg(value_name = "CONSUMER", value_parser = consumer)]
    consumer: String,
    /// For how long: it goes on by itself then.
    #[arg(long, value_name = "COUNT", default_value_t = MINUTES, value_parser = clap::value_parser!(u16).range(1..=i64::from(MINUTES_MAX)))]
    minutes: u16,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Options of `holdfast resume`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Resume {
    /// The consumer.
    #[arg(value_name = "CONSUMER", value_parser = consumer)]
    consumer: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    meant: Meant,
}

/// Has a consumer stand still: exit code 0; 1 if it does already.
pub async fn pause(args: Pause, global: &GlobalArgs) -> Result<ExitCode> {
    let Pause { consumer, minutes, why, meant } = args;
    let report: Report = match Verb::of(&why, ("pause a consumer", meant), global)? {
        None => return Ok(ExitCode::from(2)),
        Some(Verb::Through(gateway)) => {
            gateway.act(&format!("/v1/admin/consumers/{consumer}/pause"), json!({ "minutes": minutes }), &why).await?
        }
        Some(Verb::Directly(why)) => {
            let mut connection = global.database().await?;
            pause::pause(&mut connection, &consumer, minutes, &why).await.map_err(explained)?
        }
    };
    told(global, &report, report.is_well(), &report.text())
}

/// Lets it go on: exit code 0; 1 if nobody has it stand still.
pub async fn resume(args: Resume, global: &GlobalArgs) -> Result<ExitCode> {
    let Resume { consumer, why, meant } = args;
    let report: Report = match Verb::of(&why, ("let a consumer go on", meant), global)? {
        None => return Ok(ExitCode::from(2)),
        Some(Verb::Through(gateway)) => {
            gateway.act(&format!("/v1/admin/consumers/{consumer}/resume"), json!({}), &why).await?
        }
        Some(Verb::Directly(why)) => {
            let mut connection = global.database().await?;
            pause::resume(&mut connection, &consumer, &why).await.map_err(explained)?
        }
    };
    told(global, &report, report.is_well(), &report.text())
}
