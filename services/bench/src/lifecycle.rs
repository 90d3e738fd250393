//! Lifecycles a second: many orders, or many orders of one hot product, from placing to stock committed and shares sold.

use std::time::Duration;

use anyhow::Result;

use super::{
    Args, Report, Scenario, baseline,
    bench_fleet::{BenchFleet, Counts, published},
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart},
    log_latency,
    pipelined_client::Outgoing,
    report::Baseline,
};

/// The events that end a lifecycle.
pub(super) const ENDS: [&str; 2] = ["holdfast.inventory.v1.StockCommitted", "holdfast.rounds.v1.SharesSold"];

/// Orders that are at their end.
pub(super) fn completed(counts: &Counts) -> u64 {
    published(counts, "evt.inventory.StockCommitted").min(published(counts, "evt.rounds.SharesSold"))
}

/// Places an order after the other.
pub(super) fn orders(mut buyers: OrderGenerator) -> impl FnMut() -> Option<Outgoing> {
    move || {
        let (id, order) = buyers.order(None);
        Some(Outgoing::new(id, &order))
    }
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let goods = if args.scenario == Scenario::Hot { Catalog::HOT } else { Catalog::MANY };
    let mut stand = BenchFleet::start(args.replicas, goods).await?;
    let next = orders(OrderGenerator::new(goods, 1, "sandbox:succeed"));
    let middle = MeasuredPart::Time(Duration::from_secs(args.seconds));
    let (span, sent) = closed_loop::run(&stand, middle, args.in_flight, next, completed).await?;
    let count = u64::try_from(sent.len())?;
    let report = Report::of(args.scenario, &stand, &span);
    let verify = stand.audit().await?;
    let times = log_latency::times(&stand.pool, &sent, span.from..span.to, &ENDS).await?;
    let events = baseline::events_per_order(&stand.pool, count).await?;
    stand.stop_workers().await?;
    let url = &stand.address.database_url;
    let procedures = baseline::procedures::lifecycles_per_second(url, goods).await?;
    let append = baseline::append::orders_per_second(url, count).await?;
    stand.stop().await?;
    let limits = vec![
        Baseline::new(baseline::procedures::LIFECYCLE, procedures, span.per_second()),
        Baseline::new(baseline::append::WORDS, append, span.per_second()),
    ];
    Ok(report
        .with_times("sent to committed and sold, with so many in flight", &times)
        .with_limits(limits)
        .with_verify(verify)
        .with("work", goods.words())
        .with("in_flight", args.in_flight)
        .with("events_per_order", events))
}
