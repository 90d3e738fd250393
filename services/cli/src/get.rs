//! `holdfast get`: one thing as it stands, through the gateway.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use domain::legible;
use platform::print::{self, Paint};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    gateway::{
        Gateway, encoded,
        failure::{Failure, UNKNOWN, USAGE},
    },
    global_args::GlobalArgs,
    output::Output,
    search::{self, Hit},
    shown::{self, Times},
    verb::Way,
};

const EXAMPLES: &str = "\
Examples:
  holdfast get order 0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f
  holdfast get order R-1001 -o json
  holdfast get order 0199a1c2
  holdfast get refund e4d3… --order R-1001
  holdfast get product MUG-01 --context shop

An order may be named by the shop's own number of it, or by the first 8 digits of its id or more, if it is the only one.

Exit codes: 0 it is told; 1 there is no such thing, and what is near is named; 2 wrong usage, or no context; 3 the gateway is away;
4 the token is not good for it.";

/// Options of `holdfast get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What it is.
    #[arg(value_name = "KIND", value_enum)]
    kind: Kind,
    /// Its id; of an order also the shop's own number of it, of a product its SKU, of a coupon its code, of a wallet its customer.
    #[arg(value_name = "ID")]
    id: String,
    /// The order of a refund.
    #[arg(long, value_name = "ORDER", required_if_eq("kind", "refund"))]
    order: Option<String>,
    #[command(flatten)]
    times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Order,
    Refund,
    Product,
    Round,
    Coupon,
    Wallet,
    Command,
}

/// The fields that are told first, and those by which a thing is called.
impl Kind {
    const fn first(self) -> &'static [&'static str] {
        match self {
            Self::Order => &[
                "order_id",
                "reference",
                "status",
                "payment_status",
                "fulfillment_status",
                "customer_id",
                "total",
                "placed_at",
                "expires_at",
            ],
            Self::Refund => &["refund_id", "order_id", "reference", "status", "step", "amount", "reason"],
            Self::Product => &["sku", "name", "available", "held", "on_hand"],
            Self::Round => &["round_id", "prize", "status", "available", "held", "sold", "total_shares", "share_price"],
            Self::Coupon => &["coupon_code", "status", "available", "held", "redeemed", "uses_max"],
            Self::Wallet => &["customer_id"],
            Self::Command => &["command_id", "outcome", "code", "reason", "stream", "version", "events"],
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Refund => "refund",
            Self::Product => "product",
            Self::Round => "round",
            Self::Coupon => "coupon",
            Self::Wallet => "wallet",
            Self::Command => "command",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Order => "/v1/orders/",
            Self::Product => "/v1/products/",
            Self::Round => "/v1/rounds/",
            Self::Coupon => "/v1/coupons/",
            Self::Wallet => "/v1/wallets/",
            Self::Refund | Self::Command => "/v1/commands/",
        }
    }

    const fn is_by_uuid(self) -> bool {
        matches!(self, Self::Order | Self::Refund | Self::Round | Self::Command)
    }
}

/// Tells of it: exit code 0, or 1 if there is none.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let gateway = Gateway::in_use(global)?;
    let Args { kind, id, order, times } = args;
    let path = match (kind, &order) {
        (Kind::Refund, Some(order)) => {
            let order = order_id(&gateway, order).await?;
            format!("/v1/orders/{order}/refunds/{}", uuid(kind, &id)?)
        }
        (Kind::Order, _) => format!("{}{}", kind.path(), order_id(&gateway, &id).await?),
        (Kind::Round, _) => format!("{}{}", kind.path(), the_one(&gateway, kind, &id).await?),
        (Kind::Command | Kind::Refund, _) => format!("{}{}", kind.path(), uuid(kind, &id)?),
        (Kind::Product | Kind::Coupon | Kind::Wallet, _) => format!("{}{}", kind.path(), encoded(&id)),
    };
    let Some(thing) = gateway.find(&path).await? else { return Err(unknown(&gateway, kind, &id).await?) };
    match global.output() {
        Output::Json | Output::Jsonl => print::json(&thing)?,
        Output::Name => print::out(&format!("{}\n", called(&thing, kind)))?,
        Output::Table => print::out(&shown::one(&thing, kind.first(), &times.zone(), Paint::for_stdout()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What a thing is called by.
fn called(thing: &Value, kind: Kind) -> String {
    let name = kind.first().first().copied().unwrap_or_default();
    thing.get(name).and_then(Value::as_str).map(|id| legible(id, 256)).unwrap_or_default()
}

fn uuid(kind: Kind, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text)
        .map_err(|_not_one| Failure::error(USAGE, format!("{} is a UUID in full, and {text:?} is none", kind.word())))
}

/// The order that somebody names: by its id, the first digits of that, or the shop's own number of it.
///
/// # Errors
/// It is none, or one of several.
pub(crate) async fn order_id(gateway: &Gateway, text: &str) -> Result<Uuid> {
    the_one(gateway, Kind::Order, text).await
}

/// The same for a verb: only a gateway knows more than ids.
///
/// # Errors
/// As above.
pub(crate) async fn order_by(way: &Way, text: &str) -> Result<Uuid> {
    match way {
        Way::Gateway(gateway) => order_id(gateway, text).await,
        Way::Servers => uuid(Kind::Order, text),
    }
}

/// The only thing of this kind that is named so.
async fn the_one(gateway: &Gateway, kind: Kind, text: &str) -> Result<Uuid> {
    if let Ok(id) = Uuid::try_parse(text) {
        return Ok(id);
    }
    let found = search::search(gateway, text).await?;
    let hits: Vec<&Hit> = found.hits.iter().filter(|hit| hit.kind == kind.word() && hit.by != "customer").collect();
    let only = if let [hit] = hits.as_slice() { Uuid::try_parse(&hit.id).ok() } else { None };
    if let Some(id) = only {
        return Ok(id);
    }
    if hits.is_empty() {
        return Err(unknown(gateway, kind, text).await?);
    }
    let several: String = hits.iter().map(|hit| format!("\n  {hit}")).collect();
    let more = if found.has_more { "\n  and more" } else { "" };
    Err(Failure::error(UNKNOWN, format!("which {}? {text:?} may be each of these:{several}{more}", kind.word())))
}

/// That there is no such thing, and what is near.
async fn unknown(gateway: &Gateway, kind: Kind, text: &str) -> Result<anyhow::Error> {
    let mut words = format!("there is no {} {text:?}", kind.word());
    // What is called by words begins alike; of ids and numbers, the first digits.
    let half: String = text.chars().take(text.chars().count().div_ceil(2).max(3)).collect();
    let tries = if kind.is_by_uuid() { vec![text.chars().take(8).collect()] } else { vec![text.to_owned(), half] };
    for near in tries {
        let found = search::search(gateway, &near).await?;
        let near: String =
            found.hits.iter().filter(|hit| hit.kind == kind.word()).take(5).map(|hit| format!("\n  {hit}")).collect();
        if !near.is_empty() {
            words.push_str("; near:");
            words.push_str(&near);
            break;
        }
    }
    Ok(Failure::error(UNKNOWN, words))
}
