//! `holdfast expire`: expires orders now, by the same command that anybody else sends for it.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, stream};
use platform::{client::CommandClient, print};
use proto::{common::v1::command_reply::Outcome, orders::v1::ExpireOrder};
use serde::Serialize;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::global_args::GlobalArgs;

/// Orders that are asked for at the same time.
const AT_ONCE: usize = 64;

/// How long a worker may take for one.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What is due is found by its timer, which has an index.
const DUE: &str = "select substr(stream, 7)::uuid from orders.timers where due_at <= now() order by due_at limit $1";

const OF_CUSTOMER: &str = "select order_id from orders.orders
    where customer_id = $2 and status in ('pending', 'reserved') order by placed_at limit $1";

const EXAMPLES: &str = "\
Examples:
  holdfast expire 0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f --actor eva --note 'the buyer has called'
  holdfast expire --customer ann --actor eva --note 'account closed' --dry-run

Exit codes: 0 all of them are over; 1 some are not, and it is told why; 2 wrong usage; 3 it could not be done.";

/// Options of `holdfast expire`. Without orders and without a customer: all that are due.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// These orders.
    #[arg(value_name = "UUID", num_args = 0..=1_000)]
    orders: Vec<Uuid>,
    /// Those of this customer that wait for their money.
    #[arg(long, value_name = "NAME", conflicts_with = "orders")]
    customer: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// Who asks.
    #[arg(long, value_name = "NAME", value_parser = word)]
    actor: String,
    /// Why, in words.
    #[arg(long, value_name = "WORDS", value_parser = word)]
    note: String,
    /// Only say which they are.
    #[arg(long)]
    dry_run: bool,
}

fn word(text: &str) -> Result<String, &'static str> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty()).ok_or("it is empty")
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    released: usize,
    skipped: usize,
    failed: usize,
    orders: Vec<Expired>,
}

/// What came of one.
#[derive(Debug, Serialize)]
struct Expired {
    order_id: Uuid,
    /// released, skipped (it was expired before), failed, or due in a dry run.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Expires them: exit code 0, or 1 if one could not be.
pub async fn run(mut args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut named = HashSet::new();
    args.orders.retain(|order_id| named.insert(*order_id));
    let found = find(&args, &global.database_url()?).await.context("looking for the orders")?;
    let orders: Vec<Expired> = if args.dry_run {
        found.into_iter().map(|order_id| Expired { order_id, outcome: "due", reason: None }).collect()
    } else {
        let client = CommandClient::connect_as(&global.broker()?, ANSWER_WITHIN).await?;
        let expire = |order_id| expire(&client, order_id, &args);
        stream::iter(found).map(expire).buffered(AT_ONCE).collect().await
    };
    let count = |outcome: &str| orders.iter().filter(|order| order.outcome == outcome).count();
    let (released, skipped, failed) = (count("released"), count("skipped"), count("failed"));
    let report = Report { dry_run: args.dry_run, released, skipped, failed, orders };
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text())?;
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn find(args: &Args, database_url: &str) -> Result<Vec<Uuid>, sqlx::Error> {
    if !args.orders.is_empty() {
        return Ok(args.orders.clone());
    }
    let mut connection = PgConnection::connect(database_url).await?;
    let limit = i64::from(args.limit);
    match &args.customer {
        Some(customer) => sqlx::query_scalar(OF_CUSTOMER).bind(limit).bind(customer).fetch_all(&mut connection).await,
        None => sqlx::query_scalar(DUE).bind(limit).fetch_all(&mut connection).await,
    }
}

async fn expire(client: &CommandClient, order_id: Uuid, args: &Args) -> Expired {
    let (actor, note) = (args.actor.clone(), args.note.clone());
    let command = ExpireOrder { order_id: order_id.to_string(), actor, note, expected_version: 0 };
    let (outcome, reason) = match client.send(new_id(), &command).await.map(|reply| reply.outcome) {
        Ok(Some(Outcome::Accepted(accepted))) if accepted.events.is_empty() => ("skipped", None),
        Ok(Some(Outcome::Accepted(_))) => ("released", None),
        Ok(Some(Outcome::Rejected(rejection))) => ("failed", Some(rejection.reason)),
        Ok(None) => ("failed", Some("the worker's answer says neither yes nor no".to_owned())),
        Err(error) => ("failed", Some(format!("{error:#}"))),
    };
    Expired { order_id, outcome, reason }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command from a person is an edge: its id names it, and derives from nothing"
)]
fn new_id() -> Uuid {
    Uuid::now_v7()
}

impl Report {
    fn text(&self) -> String {
        let line = |order: &Expired| {
            let reason = order.reason.iter().map(|reason| format!(": {reason}")).collect::<String>();
            format!("{} {}{reason}\n", order.order_id, order.outcome)
        };
        let orders: String = self.orders.iter().map(line).collect();
        let Self { released, skipped, failed, .. } = self;
        match self.dry_run {
            true => format!("{orders}{} due; nothing was done\n", self.orders.len()),
            false => format!("{orders}{released} released, {skipped} skipped, {failed} failed\n"),
        }
    }
}
