//! A run of the synthetic mix: prepare, place, wait for the end of every story, and read what became of them.

use std::time::Duration;

use anyhow::{Context, Result};
use audit::quiescence::until_settled_watched;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    driver::{Driver, Heard, Way},
    figures::{Samples, Summary, grouped, lasting, seconds},
    outcomes::{self, Outcomes},
    progress::ProgressBars,
    target_fleet::TargetFleet,
    workload::Workload,
};

/// How long to wait while no further order comes to its end. Longer than an outside call's lease, after which another worker
/// takes over what a killed one had begun.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until our orders are at their end. Others may be under way on the same fleet.
    OrdersEnd,
    /// Until the whole fleet has settled.
    AllIsSettled,
}

/// How to run it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Orders a second; `None`: as many as are answered.
    pub rate: Option<u64>,
    /// How long it goes on.
    pub until: Until,
    /// Where progress shows.
    pub progress: ProgressBars,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What the answers were.
    pub heard: Heard,
    /// What became of the orders.
    pub outcomes: Outcomes,
    /// From the first order to the last command's answer.
    pub placing: Duration,
    /// From the first order until everything had settled.
    pub settled: Duration,
}

/// Runs the mix. `placed` hears how many orders are placed, after each.
pub async fn run(target: &TargetFleet, workload: &Workload, options: &Options, placed: impl Fn(u64)) -> Result<Run> {
    let progress = &options.progress;
    let way = target.shop.as_ref().map_or(Way::Broker(&target.client), Way::Gateway);
    let driver = Driver::new(workload, way, &target.pool, options.rate);
    driver.prepare().await.context("preparing products and rounds")?;
    let begun = Instant::now();
    let bar = progress.bar("orders placed", workload.orders);
    let heard = driver
        .live(|count| {
            bar.set_position(count);
            placed(count);
        })
        .await?;
    bar.finish_and_clear();
    let placing = begun.elapsed();
    if let Some(stripe) = &target.stripe {
        stripe.all_is_told().await?;
    }
    let bar = progress.bar("at their end", workload.orders);
    outcomes::until_ended(&target.pool, workload, PATIENCE, |ended| bar.set_position(ended)).await?;
    bar.finish_and_clear();
    if options.until == Until::AllIsSettled {
        settle(&target.address.database_url, progress).await?;
    }
    let settled = begun.elapsed();
    let outcomes = outcomes::read(&target.pool, workload).await?;
    Ok(Run { heard, outcomes, placing, settled })
}

/// Waits until the whole fleet has settled.
async fn settle(database_url: &str, progress: &ProgressBars) -> Result<Duration> {
    let spinner = progress.line("still to settle: ");
    let settled = until_settled_watched(database_url, PATIENCE, |left| spinner.set_message(left.to_string())).await;
    spinner.finish_and_clear();
    settled
}

impl Run {
    /// Whether every order ended as its story says.
    #[must_use]
    pub const fn is_as_told(&self) -> bool {
        self.outcomes.unexpected == 0
    }

    fn times(&self) -> [(&'static str, &'static str, Option<Summary>); 4] {
        let summary = |samples: &Samples| samples.clone().summary();
        [
            ("placed_to_answered", "order sent, to its answer", summary(&self.heard.placing)),
            (
                "placed_to_paid",
                "order placed, to paid (buyers take 20 to 820 ms)",
                summary(&self.outcomes.placed_to_paid),
            ),
            ("expired_late", "due to expire, to expired", summary(&self.outcomes.expired_late)),
            ("closed_to_released", "closed unpaid, to all given back", summary(&self.outcomes.closed_to_released)),
        ]
    }

    /// For people: how the orders ended, and how long things took.
    #[must_use]
    pub fn text(&self) -> String {
        let Outcomes { orders, paid, refunded, refunded_in_part, expired, cancelled, declined, rejected, .. } =
            self.outcomes;
        let (late, again) = (self.outcomes.late_payments, self.outcomes.held_again);
        let mut lines = vec![
            "How the orders ended".to_owned(),
            ending(paid, "paid", "and nothing was given back"),
            ending(refunded, "refunded", &format!("of them {} in part", grouped(refunded_in_part))),
            ending(
                expired,
                "expired",
                &format!("what they held is free again; {} paid too late and got it back", grouped(late)),
            ),
            ending(
                cancelled,
                "cancelled",
                &format!("of them {} because their payment was declined", grouped(declined)),
            ),
            ending(rejected, "rejected", "there was not enough stock, or not enough shares"),
            ending(orders, "in all", &format!("{} of them held again after they had expired", grouped(again))),
            String::new(),
            format!("{:<50}{:>10}{:>12}{:>12}", "How long things took", "half", "99 of 100", "longest"),
        ];
        let times = self.times().into_iter().filter_map(|(_, what, times)| Some((what, times?)));
        lines.extend(times.map(|(what, Summary { p50, p99, max, .. })| {
            format!("  {what:<48}{:>10}{:>12}{:>12}", lasting(p50), lasting(p99), lasting(max))
        }));
        lines.join("\n")
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Map<String, Value> {
        let outcomes = &self.outcomes;
        let times = self.times().into_iter().filter_map(|(name, _, times)| Some((name.to_owned(), times?.json())));
        let fields = [
            ("orders", json!(outcomes.orders)),
            ("paid", json!(outcomes.paid)),
            ("refunded", json!(outcomes.refunded)),
            ("refunded_in_part", json!(outcomes.refunded_in_part)),
            ("expired", json!(outcomes.expired)),
            ("late_payments_refunded", json!(outcomes.late_payments)),
            ("held_again", json!(outcomes.held_again)),
            ("cancelled", json!(outcomes.cancelled)),
            ("declined", json!(outcomes.declined)),
            ("rejected", json!(outcomes.rejected)),
            ("unexpected", json!(outcomes.unexpected)),
            ("placed_seconds", seconds(self.placing)),
            ("settled_seconds", seconds(self.settled)),
            ("commands_refused", json!(self.heard.refused)),
            ("times", Value::Object(times.collect())),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn ending(count: u64, how: &str, more: &str) -> String {
    format!("  {:>9} {how:<10} {more}", grouped(count))
}
