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
    let catalog = if args.scenario == Scenario::Hot { Catalog::HOT } else { Catalog::MANY };
    let mut bench_fleet = BenchFleet::start(args.replicas, catalog).await?;
    let next = orders(OrderGenerator::new(catalog, 1, "sandbox:succeed"));
    let middle = MeasuredPart::Time(Duration::from_secs(args.seconds));
    let (span, sent) = closed_loop::run(&bench_fleet, middle, args.in_flight, next, completed).await?;
    let count = u64::try_from(sent.len())?;
    let report = Report::of(args.scenario, &bench_fleet, &span);
    let verify = bench_fleet.audit().await?;
    let times = log_latency::times(&bench_fleet.pool, &sent, span.from..span.to, &ENDS).await?;
    let events = baseline::events_per_order(&bench_fleet.pool, count).await?;
    bench_fleet.stop_workers().await?;
    let url = &bench_fleet.address.database_url;
    let procedures = baseline::procedures::lifecycles_per_second(url, catalog).await?;
    let append = baseline::append::orders_per_second(url, count).await?;
    bench_fleet.stop().await?;
    let limits = vec![
        Baseline::new(baseline::procedures::LIFECYCLE, procedures, span.per_second()),
        Baseline::new(baseline::append::WORDS, append, span.per_second()),
    ];
    Ok(report
        .with_times("sent to committed and sold, with so many in flight", &times)
        .with_limits(limits)
        .with_verify(verify)
        .with("work", catalog.words())
        .with("in_flight", args.in_flight)
        .with("events_per_order", events))
}
