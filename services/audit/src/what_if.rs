//! What if: which orders of a period would have ended otherwise, had their time to pay or the policy for late money been another one.
//!
//! Read it in this order: [`what_if`] is the whole of it; `story` is what the log says of one order, and what would have become
//! of it.
//!
//! Only first-order differences: each order by itself, with all others as they are recorded. What would have been otherwise for others is
//! marked and not guessed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, bail};
use domain::{GlobalPosition, Timestamp, words};
use proto::{Name, inventory::v1 as inventory, orders::v1 as orders, payments::v1 as payments};
use serde::Serialize;

mod story;

use story::Shop;

use crate::{
    archive::LogAt,
    questions::{Answer, Evidence},
    replay::{
        At, Progress,
        fold::LogEvent,
        prefix::{LOOK, Log},
    },
};

words!(
    /// What becomes of money that comes when its order has expired.
    Policy {
        /// It goes back.
        Refund = "refund",
        /// The order is held again, if all of it is free.
        Rehold = "rehold",
    }
);

words!(
    /// How an order ends.
    End {
        /// Paid in time.
        Paid = "paid",
        /// Its money came late, and it was held again.
        HeldAgain = "held_again",
        /// Its money came late, and went back.
        GivenBack = "given_back",
        /// Its time ended, and no money came.
        Expired = "expired",
        /// Somebody cancelled it before it was paid.
        Cancelled = "cancelled",
        /// It could not be held.
        Rejected = "rejected",
        /// It waits.
        Open = "open",
        /// The log cannot say.
        Unknown = "unknown",
    }
);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Of orders that were placed behind this moment. `None`: from the beginning of the log.
    pub from: Option<At>,
    /// Up to this one. `None`: to the end of the log.
    pub to: Option<At>,
    /// Had this been the policy for late money of all of them.
    pub late_payment: Option<Policy>,
    /// Had this been the time to pay of all of them.
    pub time_to_pay: Option<Duration>,
}

/// An order that would have ended otherwise, or of which the log cannot say how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its id.
    pub order_id: String,
    /// Where it was placed.
    pub position: GlobalPosition,
    /// When.
    pub placed_at: Timestamp,
    /// How it ended.
    pub recorded: End,
    /// How it would have ended.
    pub would_be: End,
    /// Why.
    pub why: String,
    /// Orders of the period that were placed later and ask for what it would have held otherwise: they may have ended otherwise, too.
    pub dependants: usize,
}

/// What stands above the rows besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Orders that were placed in the period.
    pub orders: usize,
    /// How they ended,
    pub recorded: BTreeMap<&'static str, usize>,
    /// and how they would have.
    pub would_be: BTreeMap<&'static str, usize>,
    /// What the log cannot know.
    pub not_known: Vec<&'static str>,
}

/// What no log can say about what never was.
const NOT_KNOWN: [&str; 3] = [
    "commands that were refused: what they asked for is not in the log",
    "what people would have done: who sees another deadline pays sooner, later or not at all",
    "what others would have got: an order that ends otherwise moves what later ones ask for (dependants)",
];

/// Tells which orders would have ended otherwise. Traffic may run.
///
/// # Errors
/// The database is away, a moment is beyond the log or before it, or an event cannot be read: all name what it is.
pub async fn what_if(
    at: impl Into<LogAt<'_>>,
    question: &Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Answer<Row>> {
    let mut log = Log::open(at, None).await?;
    let database = log.database().await?;
    let end = log.end(None, &progress).await?;
    let from = match &question.from {
        Some(from) => log.end(Some(from), &progress).await?.up_to,
        None => GlobalPosition::default(),
    };
    let to = match &question.to {
        Some(to) => log.end(Some(to), &progress).await?.up_to,
        None => end.up_to,
    };
    if from >= to {
        bail!("no order can be placed behind position {from} and up to position {to}");
    }
    let mut shop = Shop::new((from, to));
    let (mut after, up_to) = (0, end.up_to.get());
    while after < up_to {
        let until = up_to.min(i64::from(LOOK).saturating_add(after));
        let rows = log.of_types(&types(), (GlobalPosition::new(after), GlobalPosition::new(until))).await?;
        for row in &rows {
            shop.take(&LogEvent::of(row))?;
        }
        after = until;
        let position = GlobalPosition::new(after);
        progress(Progress::Folding { events: u64::try_from(after).unwrap_or(0), position, up_to: end.up_to });
    }
    log.close().await?;
    let (rows, what_if) = compare(&shop, question, end.recorded_at);
    let what_if = Some(what_if);
    let evidence = Evidence { what_if, ..Evidence::new(command(question), database, end.cut(), rows.len()) };
    Ok(Answer { evidence, rows })
}

/// Events that say how an order ended, or what was free.
fn types() -> Vec<String> {
    vec![
        orders::OrderPlaced::full_name(),
        orders::OrderPaid::full_name(),
        orders::OrderExpired::full_name(),
        orders::OrderCancelled::full_name(),
        orders::OrderRejected::full_name(),
        orders::OrderReinstated::full_name(),
        orders::RefundRequested::full_name(),
        orders::VoidRequested::full_name(),
        payments::PaymentSucceeded::full_name(),
        payments::PaymentAuthorised::full_name(),
        inventory::StockReceived::full_name(),
        inventory::StockAdjusted::full_name(),
        inventory::StockHeld::full_name(),
        inventory::StockReleased::full_name(),
        inventory::StockReturned::full_name(),
    ]
}

fn compare(shop: &Shop, question: &Question, now: Timestamp) -> (Vec<Row>, Compared) {
    let mut compared = Compared { orders: shop.stories.len(), not_known: NOT_KNOWN.to_vec(), ..Compared::default() };
    let mut rows = Vec::new();
    let asks = askers(shop);
    for (order_id, story) in &shop.stories {
        let recorded = story.recorded();
        let (would_be, why) = story.would_be(question, now);
        *compared.recorded.entry(recorded.as_str()).or_insert(0) += 1;
        *compared.would_be.entry(would_be.as_str()).or_insert(0) += 1;
        if would_be == recorded {
            continue;
        }
        let later = story.lines.keys().filter_map(|sku| asks.get(sku.as_str())).flatten();
        let dependants = later.filter(|position| **position > story.position).collect::<BTreeSet<_>>().len();
        rows.push(Row {
            order_id: order_id.clone(),
            position: story.position,
            placed_at: story.placed_at,
            recorded,
            would_be,
            why,
            dependants,
        });
    }
    rows.sort_by_key(|row| row.position);
    (rows, compared)
}

/// Of each product, where the orders were placed that ask for it.
fn askers(shop: &Shop) -> BTreeMap<&str, BTreeSet<GlobalPosition>> {
    let mut asks: BTreeMap<&str, BTreeSet<GlobalPosition>> = BTreeMap::new();
    for story in shop.stories.values() {
        for sku in story.lines.keys() {
            asks.entry(sku).or_default().insert(story.position);
        }
    }
    asks
}

fn command(question: &Question) -> String {
    let Question { from, to, late_payment, time_to_pay } = question;
    let moment = |name: &str, at: &Option<At>| at.as_ref().map(|at| format!(" --{name} {at}")).unwrap_or_default();
    let policy = late_payment.map(|policy| format!(" --policy late_payment={}", policy.as_str())).unwrap_or_default();
    let time = time_to_pay.map(|time| format!(" --time-to-pay {}s", time.as_secs())).unwrap_or_default();
    format!("holdfast what-if{policy}{time}{}{}", moment("from", from), moment("to", to))
}

#[cfg(test)]
mod tests;
