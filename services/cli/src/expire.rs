//! `holdfast expire`: expires orders now, by the same command that anybody else sends for it.

use std::{borrow::Cow, collections::HashSet, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, stream};
use platform::{client::CommandClient, print};
use proto::{common::v1::command_reply::Outcome, orders::v1::ExpireOrder};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::{
    gateway::Gateway,
    global_args::GlobalArgs,
    send::new_id,
    verb::{Meant, Way},
};

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
  holdfast expire 0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f --actor eva --reason 'the buyer has called'
  holdfast expire --customer ann --actor eva --reason 'account closed' --dry-run
  holdfast expire --customer ann --context shop --reason 'account closed'

Exit codes: 0 all of them are over; 1 some are not, and it is told why; 2 wrong usage; 3 it could not be done; 4 the token of a context is
not good for it.";

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
    /// Who asks: needed where the command goes to the fleet's own servers.
    #[arg(long, value_name = "NAME", value_parser = word)]
    actor: Option<String>,
    /// Why, in words.
    #[arg(long, alias = "note", value_name = "TEXT", value_parser = word)]
    reason: String,
    /// Only say which they are.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    meant: Meant,
}

fn word(text: &str) -> Result<String, &'static str> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty()).ok_or("it is empty")
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    dry_run: bool,
    released: usize,
    skipped: usize,
    failed: usize,
    orders: Vec<Expired>,
}

/// What came of one.
#[derive(Debug, Serialize, Deserialize)]
struct Expired {
    order_id: Uuid,
    /// released, skipped (it was expired before), failed, or due in a dry run.
    outcome: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Expires them: exit code 0, or 1 if one could not be.
pub async fn run(mut args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut named = HashSet::new();
    args.orders.retain(|order_id| named.insert(*order_id));
    let report = match (Way::of(global)?, args.actor.clone()) {
        (Way::Gateway(_), Some(_)) => {
            eprintln!("holdfast: through the gateway you are who your token says: leave --actor out");
            return Ok(ExitCode::from(2));
        }
        (Way::Gateway(gateway), None) => {
            if !args.dry_run && !gateway.is_meant("expire orders", args.meant.yes)? {
                return Ok(ExitCode::from(2));
            }
            through(&gateway, &args).await?
        }
        (Way::Servers, Some(actor)) => directly(&args, &actor, global).await?,
        (Way::Servers, None) => {
            eprintln!("holdfast: who says so? The command bears a name: --actor NAME");
            return Ok(ExitCode::from(2));
        }
    };
    if global.json {
        print::json(&report)?;
    } else {
        print::out(&report.text())?;
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// By one request to the gateway, which sends the commands.
async fn through(gateway: &Gateway, args: &Args) -> Result<Report> {
    const PATH: &str = "/v1/admin/expire";
    let Args { orders, customer, limit, reason, dry_run, .. } = args;
    let mut body = json!({ "note": reason, "order_ids": orders, "limit": limit, "dry_run": dry_run });
    if let (Some(customer), Some(body)) = (customer, body.as_object_mut()) {
        body.insert("customer_id".to_owned(), customer.as_str().into());
    }
    let answer = gateway.post(PATH, new_id(), &body).await?;
    match answer.status {
        200 => serde_json::from_value(answer.json).context("reading what became of the orders"),
        status => Err(gateway.refused(status, &answer.json, PATH)),
    }
}

/// By commands to the fleet's own servers.
async fn directly(args: &Args, actor: &str, global: &GlobalArgs) -> Result<Report> {
    let found = find(args, &global.database_url()?).await.context("looking for the orders")?;
    let orders: Vec<Expired> = if args.dry_run {
        found.into_iter().map(|order_id| Expired { order_id, outcome: "due".into(), reason: None }).collect()
    } else {
        let client = CommandClient::connect_as(&global.broker()?, ANSWER_WITHIN).await?;
        let expire = |order_id| expire(&client, order_id, (actor, &args.reason));
        stream::iter(found).map(expire).buffered(AT_ONCE).collect().await
    };
    let count = |outcome: &str| orders.iter().filter(|order| order.outcome == outcome).count();
    let (released, skipped, failed) = (count("released"), count("skipped"), count("failed"));
    Ok(Report { dry_run: args.dry_run, released, skipped, failed, orders })
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

async fn expire(client: &CommandClient, order_id: Uuid, (actor, reason): (&str, &str)) -> Expired {
    let (actor, note) = (actor.to_owned(), reason.to_owned());
    let command = ExpireOrder { order_id: order_id.to_string(), actor, note, expected_version: 0 };
    let (outcome, reason) = match client.send(new_id(), &command).await.map(|reply| reply.outcome) {
        Ok(Some(Outcome::Accepted(accepted))) if accepted.events.is_empty() => ("skipped", None),
        Ok(Some(Outcome::Accepted(_))) => ("released", None),
        Ok(Some(Outcome::Rejected(rejection))) => ("failed", Some(rejection.reason)),
        Ok(None) => ("failed", Some("the worker's answer says neither yes nor no".to_owned())),
        Err(error) => ("failed", Some(format!("{error:#}"))),
    };
    Expired { order_id, outcome: outcome.into(), reason }
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
