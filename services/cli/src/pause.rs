//! `holdfast pause` and `holdfast resume`: a consumer stands still for a while, and its service hears of nothing that it is owed by it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use audit::status::broker::consumers;
use domain::Timestamp;
use platform::print;
use runtime::log::acts::Act;
use serde::Serialize;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::{
    global_args::GlobalArgs,
    verb::{Why, explained},
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
    #[arg(long, value_name = "COUNT", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1_440))]
    minutes: u16,
    #[command(flatten)]
    why: Why,
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
}

/// Reads the name of a durable consumer of the fleet.
fn consumer(name: &str) -> Result<String, String> {
    let known = consumers();
    if known.contains_key(name) {
        return Ok(name.to_owned());
    }
    let known: Vec<String> = known.into_keys().collect();
    Err(format!("{name:?} is no consumer of the fleet: there are {}", known.join(", ")))
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    consumer: String,
    /// Until when it stands still, or stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// due (in a dry run), paused, resumed, or refused.
    outcome: &'static str,
    says: String,
}

/// Until when a consumer is to stand still.
const UNTIL: &str = "select until from log.pauses where consumer = $1 and until > clock_timestamp()";

/// Has a consumer stand still: exit code 0; 1 if it does already.
pub async fn pause(args: Pause, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    ended(paused(&mut connection, &args).await.map_err(explained)?, global)
}

/// Lets it go on: exit code 0; 1 if nobody has it stand still.
pub async fn resume(args: Resume, global: &GlobalArgs) -> Result<ExitCode> {
    let mut connection = global.database().await?;
    ended(resumed(&mut connection, &args).await.map_err(explained)?, global)
}

fn ended(report: Report, global: &GlobalArgs) -> Result<ExitCode> {
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&format!("{}\n", report.says))?;
    }
    Ok(if report.outcome == "refused" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn paused(connection: &mut PgConnection, args: &Pause) -> Result<Report> {
    let Pause { consumer, minutes, why } = args;
    let mut transaction = connection.begin().await?;
    let known = until(&mut transaction, consumer).await?;
    let report = |outcome, until: Timestamp, says: &str| {
        let (dry_run, until) = (why.dry_run, until.to_string());
        let says = says.replace("{consumer}", consumer).replace("{until}", &until);
        Report { dry_run, consumer: consumer.clone(), until: Some(until), outcome, says }
    };
    if let Some(known) = known {
        return Ok(report("refused", known, "{consumer} is paused already, until {until}: resume it first"));
    }
    let Some(reason) = why.reason() else {
        let until: OffsetDateTime = sqlx::query_scalar("select clock_timestamp() + $1 * interval '1 minute'")
            .bind(i32::from(*minutes))
            .fetch_one(&mut *transaction)
            .await?;
        let says = "{consumer} would be paused until {until}, and its service hear of nothing by it; nothing was done";
        return Ok(report("due", until.into(), says));
    };
    let act_id = act("Pause", consumer, why, reason, json!({ "minutes": minutes })).note(&mut transaction).await?;
    sqlx::query("delete from log.pauses where consumer = $1").bind(consumer).execute(&mut *transaction).await?;
    let insert = "insert into log.pauses (consumer, until, act_id)
        values ($1, clock_timestamp() + $2 * interval '1 minute', $3) returning until";
    let until: OffsetDateTime = sqlx::query_scalar(insert)
        .bind(consumer)
        .bind(i32::from(*minutes))
        .bind(act_id)
        .fetch_one(&mut *transaction)
        .await
        .context("noting the pause")?;
    transaction.commit().await?;
    Ok(report("paused", until.into(), "{consumer} is paused until {until}: its workers see to it within seconds"))
}

async fn resumed(connection: &mut PgConnection, args: &Resume) -> Result<Report> {
    let Resume { consumer, why } = args;
    let mut transaction = connection.begin().await?;
    let known = until(&mut transaction, consumer).await?;
    let report = |outcome, says: String| {
        let until = known.map(|until| until.to_string());
        Report { dry_run: why.dry_run, consumer: consumer.clone(), until, outcome, says }
    };
    if known.is_none() {
        let says = format!("{consumer} is not to stand still: if it is paused, its workers let it go on by themselves");
        return Ok(report("refused", says));
    }
    let Some(reason) = why.reason() else {
        return Ok(report("due", format!("{consumer} would go on at once; nothing was done")));
    };
    act("Resume", consumer, why, reason, json!({})).note(&mut transaction).await?;
    sqlx::query("delete from log.pauses where consumer = $1").bind(consumer).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(report("resumed", format!("{consumer} goes on: its workers see to it within seconds")))
}

async fn until(connection: &mut PgConnection, consumer: &str) -> Result<Option<Timestamp>> {
    let until: Option<OffsetDateTime> =
        sqlx::query_scalar(UNTIL).bind(consumer).fetch_optional(connection).await.context("looking for pauses")?;
    Ok(until.map(Timestamp::from))
}

fn act<'a>(verb: &'a str, consumer: &'a str, why: &'a Why, reason: &'a str, said: serde_json::Value) -> Act<'a> {
    Act { verb, target: consumer, stream: None, reason, actor: why.actor.as_deref(), said }
}
