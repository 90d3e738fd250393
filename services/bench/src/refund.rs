//! Refunds a second: paid orders, all asked to be refunded at full speed, with a provider that pays out at once.

use anyhow::Result;
use proto::orders::v1::RequestRefund;
use uuid::Uuid;

use super::{
    Args, Report, baseline,
    bench_fleet::{BenchFleet, Counts, published},
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart},
    lifecycle::{completed, orders},
    log_latency,
    pipelined_client::Outgoing,
    report::Baseline,
};

const ORDERS: u64 = 30_000;

/// The events that end a refund.
const ENDS: [&str; 3] =
    ["holdfast.orders.v1.OrderRefunded", "holdfast.inventory.v1.StockReturned", "holdfast.rounds.v1.SharesReturned"];

/// Orders whose money, pieces and shares are back.
fn refunded(counts: &Counts) -> u64 {
    let money = published(counts, "evt.orders.OrderRefunded");
    let pieces = published(counts, "evt.inventory.StockReturned");
    money.min(pieces).min(published(counts, "evt.rounds.SharesReturned"))
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let count = args.orders.unwrap_or(ORDERS);
    let catalog = Catalog::MANY;
    let mut bench_fleet = BenchFleet::start(args.size(), catalog).await?;
    let mut order = orders(OrderGenerator::new(catalog, 1, "sandbox:succeed"));
    let next = (0..count).map(|_| order());
    let mut next = next.flatten();
    let (_, paid) =
        closed_loop::run(&bench_fleet, MeasuredPart::Of(count), args.in_flight, || next.next(), completed).await?;
    let before = baseline::events(&bench_fleet.pool).await?;

    let mut paid = paid.iter().map(|sent| sent.id);
    let next = || {
        let order_id = paid.next()?;
        let request = RequestRefund { order_id: order_id.to_string(), actor: "bench".to_owned(), ..Default::default() };
        Some(Outgoing::new(Uuid::new_v5(&order_id, b"refund"), &request))
    };
    let (span, sent) = closed_loop::run(&bench_fleet, MeasuredPart::Of(count), args.in_flight, next, refunded).await?;
    let report = Report::of(args.scenario, &bench_fleet, &span);
    let verify = bench_fleet.audit().await?;
    let times = log_latency::times(&bench_fleet.pool, &sent, span.from..span.to, &ENDS).await?;
    let events = baseline::events(&bench_fleet.pool).await? - before;
    bench_fleet.stop_workers().await?;
    let url = &bench_fleet.address.database_url;
    let procedure = baseline::procedures::refunds_per_second(url, catalog, count).await?;
    let append = baseline::append::per_second_of(url, events, count).await?;
    bench_fleet.stop().await?;
    let limits = vec![
        Baseline::new(baseline::procedures::REFUND, procedure, span.per_second()),
        Baseline::new(baseline::append::WORDS, append, span.per_second()),
    ];
    Ok(report
        .with_times("refund requested to money, pieces and shares back, with so many in flight", &times)
        .with_limits(limits)
        .with_verify(verify)
        .with("work", catalog.words())
        .with("in_flight", args.in_flight)
        .with("events_per_order", baseline::each(events, count)?))
}
