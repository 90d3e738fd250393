//! Lifecycles a second: many orders, or many orders of one hot product, from placing to stock committed and shares sold.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Args, Report, Scenario, baseline,
    bench_fleet::{BenchFleet, Counts, Size, published},
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

/// Measures, with each number of replicas on servers of its own.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let mut all = args.replicas.iter();
    let first = all.next().context("no number of replicas is given")?;
    let (report, catalog) = (measure(args, *first).await?, catalog(args));
    let mut report = with_limits(report, catalog).await?;
    for replicas in all {
        let Measured { report: other, bench_fleet, .. } = measure(args, *replicas).await?;
        bench_fleet.stop().await?;
        report = report.beside(other);
    }
    Ok(report.with("work", catalog.words()).with("in_flight", args.in_flight))
}

fn catalog(args: &Args) -> Catalog {
    if args.scenario == Scenario::Hot { Catalog::HOT } else { Catalog::MANY }
}

/// A fleet that was measured, and whose workers are stopped.
struct Measured {
    report: Report,
    bench_fleet: BenchFleet,
    orders: u64,
    events_per_order: Value,
}

async fn measure(args: &Args, replicas: u8) -> Result<Measured> {
    let catalog = catalog(args);
    let mut bench_fleet = BenchFleet::start(Size { replicas, ..args.size() }, catalog).await?;
    let next = orders(OrderGenerator::new(catalog, 1, "sandbox:succeed"));
    let middle = MeasuredPart::Time(Duration::from_secs(args.seconds));
    let (span, sent) = closed_loop::run(&bench_fleet, middle, args.in_flight, next, completed).await?;
    let orders = u64::try_from(sent.len())?;
    let report = Report::of(args.scenario, &bench_fleet, &span);
    let verify = bench_fleet.audit().await?;
    let times = log_latency::times(&bench_fleet.pool, &sent, span.from..span.to, &ENDS).await?;
    let events_per_order = baseline::events_per_order(&bench_fleet.pool, orders).await?;
    bench_fleet.stop_workers().await?;
    let report = report.with_times("sent to committed and sold, with so many in flight", &times).with_verify(verify);
    Ok(Measured { report, bench_fleet, orders, events_per_order })
}

/// Adds what the machine could do at most.
async fn with_limits(measured: Measured, catalog: Catalog) -> Result<Report> {
    let Measured { report, bench_fleet, orders, events_per_order } = measured;
    let url = &bench_fleet.address.database_url;
    let procedures = baseline::procedures::lifecycles_per_second(url, catalog).await?;
    let append = baseline::append::orders_per_second(url, orders).await?;
    bench_fleet.stop().await?;
    let limits = vec![
        Baseline::new(baseline::procedures::LIFECYCLE, procedures, report.per_second),
        Baseline::new(baseline::append::WORDS, append, report.per_second),
    ];
    Ok(report.with_limits(limits).with("events_per_order", events_per_order))
}
