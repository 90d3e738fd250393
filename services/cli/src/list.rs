//! `holdfast list`: orders, products, rounds or coupons, page by page, through the gateway.

use std::{num::NonZeroUsize, process::ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;
use domain::legible;
use platform::print::{self, Paint};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    gateway::{
        Gateway, encoded,
        failure::{AWAY, Failure, USAGE},
    },
    global_args::GlobalArgs,
    output::Output,
    shown::{self, Times},
};

const EXAMPLES: &str = "\
Examples:
  holdfast list orders --customer customer-42
  holdfast list orders --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --limit 1000 -o jsonl
  holdfast list products -o name
  holdfast list rounds --limit 5

Orders come the newest first, all others in the order of what they are called by. Pages are fetched until there are as many as --limit says.

Exit codes: 0 they are told, also if there are none; 2 wrong usage, or no context; 3 the gateway is away; 4 the token is not good for it.";

/// The most that the gateway has on a page.
const PAGE_MAX: usize = 100;

/// Options of `holdfast list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What they are.
    #[arg(value_name = "KIND", value_enum)]
    kind: Kind,
    /// Orders of this customer only.
    #[arg(long, value_name = "NAME")]
    customer: Option<String>,
    /// Orders that were placed at this time or later: RFC 3339 with its zone.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Orders that were placed before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many at most.
    #[arg(long, value_name = "COUNT", default_value = "20")]
    limit: NonZeroUsize,
    #[command(flatten)]
    times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Orders,
    Products,
    Rounds,
    Coupons,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Orders => "/v1/orders",
            Self::Products => "/v1/products",
            Self::Rounds => "/v1/rounds",
            Self::Coupons => "/v1/coupons",
        }
    }

    /// What is told of each: first what it is called by.
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Orders => &["order_id", "reference", "status", "payment_status", "total", "customer_id", "placed_at"],
            Self::Products => &["sku", "name", "available", "held", "on_hand"],
            Self::Rounds => &["round_id", "status", "available", "held", "sold", "total_shares", "closes_at", "prize"],
            Self::Coupons => &["coupon_code", "status", "available", "held", "redeemed", "valid_until"],
        }
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Value>,
    has_more: bool,
}

/// Lists them: exit code 0.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let gateway = Gateway::in_use(global)?;
    let filter = filter(&args)?;
    let (kind, limit) = (args.kind, args.limit.get());
    let (mut all, mut told, mut after, mut has_more) = (Vec::new(), 0, None, true);
    while told < limit && has_more {
        let count = PAGE_MAX.min(limit - told);
        let behind = after.as_deref().map(|after| format!("&starting_after={}", encoded(after))).unwrap_or_default();
        let page = gateway.get(&format!("{}?limit={count}{filter}{behind}", kind.path())).await?;
        let page: Page = serde_json::from_value(page).context("reading a page of the list")?;
        has_more = page.has_more;
        after = page.data.last().map(|last| called(last, kind));
        if has_more && after.is_none() {
            return Err(Failure::error(AWAY, "the gateway says that there are more, and gives none"));
        }
        told += page.data.len();
        // What is a line each is told as it comes.
        match global.output() {
            Output::Jsonl => page.data.iter().try_for_each(print::json)?,
            Output::Name => page.data.iter().try_for_each(|one| print::out(&format!("{}\n", called(one, kind))))?,
            Output::Json | Output::Table => all.extend(page.data),
        }
    }
    match global.output() {
        Output::Json => print::json(&json!({ "data": all, "has_more": has_more }))?,
        Output::Table if all.is_empty() => print::out("there are none\n")?,
        Output::Table => print::out(&shown::many(&all, kind.columns(), &args.times.zone(), Paint::for_stdout()))?,
        Output::Jsonl | Output::Name => {}
    }
    if has_more {
        eprintln!("holdfast: there are more: --limit says how many are told");
    }
    Ok(ExitCode::SUCCESS)
}

fn called(one: &Value, kind: Kind) -> String {
    let name = kind.columns().first().copied().unwrap_or_default();
    one.get(name).and_then(Value::as_str).map(|id| legible(id, 256)).unwrap_or_default()
}

/// What the gateway is to leave out.
fn filter(args: &Args) -> Result<String> {
    let said = [("customer_id", &args.customer), ("placed_from", &args.since), ("placed_before", &args.until)];
    let said: Vec<(&str, &String)> =
        said.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
    if args.kind != Kind::Orders && !said.is_empty() {
        return Err(Failure::error(USAGE, "--customer, --since and --until are of orders only"));
    }
    Ok(said.iter().map(|(name, value)| format!("&{name}={}", encoded(value))).collect())
}
