//! Growth: what an order costs with a long history in the store, against what it cost when the log was nearly empty.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Args, Report, baseline,
    bench_fleet::BenchFleet,
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart, Window},
    lifecycle::{completed, orders},
    numbers::Thousandths,
    report::Baseline,
    seed_log,
};

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let catalog = Catalog::MANY;
    let mut bench_fleet = BenchFleet::start(args.size(), catalog).await?;
    let young = lifecycles(&bench_fleet, args, 1).await?;
    bench_fleet.audit().await?;
    let before = Report::of(args.scenario, &bench_fleet, &young);
    bench_fleet.stop_workers().await?;

    let begun = Instant::now();
    seed_log::write(&bench_fleet.address.database_url, catalog, args.events).await?;
    let wrote = begun.elapsed();
    bench_fleet.fleet.start_workers()?;
    bench_fleet.fleet.ready().await?;

    let old = lifecycles(&bench_fleet, args, 2).await?;
    let report = Report::of(args.scenario, &bench_fleet, &old);
    let verify = bench_fleet.audit().await?;
    let events = baseline::events(&bench_fleet.pool).await?;
    bench_fleet.stop().await?;
    let cost = |span: &Window| span.usage.worker() + span.usage.postgres + span.usage.nats;
    let each = |span: &Window| Thousandths::ms_each(cost(span), span.done);
    let limits = vec![Baseline::new("the same on a nearly empty log", young.per_second(), old.per_second())];
    Ok(report
        .with_limits(limits)
        .with_verify(verify)
        .with("work", catalog.words())
        .with("events", events)
        .with("history_written_in_s", wrote.as_secs())
        .with("cpu_ms_per_order_before", serde_json::to_value(&before.cpu_ms_per_order)?)
        .with("cpu_ms_per_order_in_all", serde_json::to_value([each(&young), each(&old)])?))
}

async fn lifecycles(bench_fleet: &BenchFleet, args: &Args, seed: u64) -> Result<Window> {
    let next = orders(OrderGenerator::new(Catalog::MANY, seed, "sandbox:succeed"));
    let middle = MeasuredPart::Time(Duration::from_secs(args.seconds));
    Ok(closed_loop::run(bench_fleet, middle, args.in_flight, next, completed).await?.0)
}
