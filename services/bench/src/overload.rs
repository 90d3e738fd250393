//! Overload: orders at three times the rate that the fleet can do, whatever becomes of them, sent to a queue that is soon full.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use platform::clock;
use tokio::sync::mpsc;

use super::{
    Args, Report,
    bench_fleet::BenchFleet,
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart, WARM_UP, Window, WindowStart},
    lifecycle::{completed, orders},
    numbers::{Thousandths, per_second},
    pipelined_client::{self, IN_FLIGHT_MAX, Outgoing},
    report::Baseline,
    usage,
};

/// What is sent, in parts of what the fleet can do.
const TIMES: u64 = 3;

/// How long the fleet is measured with no more than it can do.
const IN_PEACE: Duration = Duration::from_secs(10);

/// Room for so many bytes of commands: full after seconds.
const QUEUE_BYTES: u64 = 16 * 1_024 * 1_024;

/// The broker may be as busy as the fleet.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// The slowest of spans of this length shows whether anything stood still.
const WINDOW: Duration = Duration::from_secs(5);

/// What the broker said of the orders that were sent.
#[derive(Debug, Default)]
struct Told {
    stored: u64,
    /// How many it refused, by what it said.
    refused: BTreeMap<String, u64>,
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let catalog = Catalog::MANY;
    let settings = BTreeMap::from([("HOLDFAST_BROKER_COMMANDS_BYTES_MAX".to_owned(), QUEUE_BYTES.to_string())]);
    let mut bench_fleet = BenchFleet::with(args.size(), catalog, settings).await?;
    let next = orders(OrderGenerator::new(catalog, 1, "sandbox:succeed"));
    let (peace, before) =
        closed_loop::run(&bench_fleet, MeasuredPart::Time(IN_PEACE), args.in_flight, next, completed).await?;
    let before = u64::try_from(before.len())?;

    let rate = TIMES * peace.per_second();
    let lasts = WARM_UP + Duration::from_secs(args.seconds);
    let (sent, told) = (flood(&bench_fleet, catalog, rate, lasts), watch(&bench_fleet, lasts));
    let ((sent, told), (span, slowest)) = tokio::try_join!(sent, told)?;
    let report = Report::of(args.scenario, &bench_fleet, &span);
    let nats_mib = bench_fleet.fleet.nats.pid().map_or(0, usage::resident_max_kib).div_ceil(1_024);
    let ended = Instant::now();
    let verify = bench_fleet.audit().await?;
    let drained = ended.elapsed();
    let known: i64 = sqlx::query_scalar("select count(*) from orders.orders").fetch_one(&bench_fleet.pool).await?;
    let expected = before + told.stored;
    ensure!(
        u64::try_from(known)? == expected,
        "{known} orders are known, and {expected} of {sent} were stored, which is not the same; refused: {:?}",
        told.refused
    );
    bench_fleet.stop_workers().await?;
    bench_fleet.stop().await?;
    let limit = Baseline::new("the same fleet with no more than it can do", peace.per_second(), span.per_second());
    Ok(report
        .with_limits(vec![limit])
        .with_verify(verify)
        .with("work", catalog.words())
        .with("rate", rate)
        .with("sent", sent)
        .with("stored", told.stored)
        .with("refused", serde_json::to_value(told.refused)?)
        .with("slowest_per_second", slowest)
        .with("drained_seconds", serde_json::to_value(Thousandths::seconds(drained))?)
        .with("nats_mib", nats_mib))
}

/// Sends at this rate, and hears what the broker says of it. How much was sent, and what was said.
async fn flood(bench_fleet: &BenchFleet, catalog: Catalog, rate: u64, lasts: Duration) -> Result<(u64, Told)> {
    let jetstream = pipelined_client::connect(&bench_fleet.address.broker_url, TOLD_WITHIN).await?;
    let (untold, fates) = mpsc::channel(IN_FLIGHT_MAX);
    let send = async move {
        let mut buyers = OrderGenerator::new(catalog, 2, "sandbox:succeed");
        let (begun, mut sent) = (Instant::now(), 0);
        while begun.elapsed() < lasts {
            let due = u128::from(rate) * begun.elapsed().as_millis() / 1_000;
            while u128::from(sent) < due {
                let (id, order) = buyers.order(None);
                untold.send(Outgoing::new(id, &order).send(&jetstream).await?).await?;
                sent += 1;
            }
            clock::sleep(Duration::from_millis(2)).await;
        }
        Ok(sent)
    };
    tokio::try_join!(send, hear(fates))
}

async fn hear(mut fates: mpsc::Receiver<PublishAckFuture>) -> Result<Told> {
    let mut told = Told::default();
    while let Some(fate) = fates.recv().await {
        match fate.await {
            Ok(_stored) => told.stored += 1,
            Err(error) if error.kind() == PublishErrorKind::TimedOut => {
                return Err(error).context("the broker did not say what became of an order");
            }
            Err(refusal) => *told.refused.entry(refusal.to_string()).or_default() += 1,
        }
    }
    Ok(told)
}

/// What is done meanwhile, once the flood has begun, and the lowest rate of any window.
async fn watch(bench_fleet: &BenchFleet, lasts: Duration) -> Result<(Window, u64)> {
    let begun = Instant::now();
    clock::sleep(WARM_UP).await;
    let (mut since, mut before) = (Instant::now(), sold(bench_fleet).await?);
    let beginning = WindowStart::now(bench_fleet, before);
    let mut slowest = u64::MAX;
    while begun.elapsed() < lasts {
        clock::sleep(WINDOW.min(lasts.saturating_sub(begun.elapsed()))).await;
        let now = sold(bench_fleet).await?;
        if since.elapsed() >= WINDOW {
            slowest = slowest.min(per_second(now.saturating_sub(before), since.elapsed()));
            (since, before) = (Instant::now(), now);
        }
    }
    Ok((beginning.end(bench_fleet, sold(bench_fleet).await?), slowest))
}

/// Pieces that were sold, one an order. (The broker, which counts more cheaply, may have forgotten some events by now.)
async fn sold(bench_fleet: &BenchFleet) -> Result<u64> {
    let sold: i64 = sqlx::query_scalar("select coalesce(sum(committed), 0)::bigint from inventory.stock")
        .fetch_one(&bench_fleet.pool)
        .await
        .context("asking how many pieces were sold")?;
    Ok(u64::try_from(sold)?)
}
