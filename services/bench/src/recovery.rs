//! Recovery: each worker in turn is killed with SIGKILL at full load and started again, as a supervisor would; how much longer
//! any order waits because of it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use domain::Timestamp;
use platform::clock;
use serde_json::{Value, json};
use testbed::fleet::Fleet;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Args, Report,
    bench_fleet::{BenchFleet, Counter, LOOK_EVERY, progress},
    catalog::{Catalog, OrderGenerator},
    closed_loop::{WARM_UP, WindowStart},
    lifecycle::{ENDS, completed, orders},
    log_latency,
    numbers::{Thousandths, Times},
    pipelined_client::{Progress, Sent},
    report::Baseline,
};

/// A supervisor notices after this long, and starts the worker again.
const AWAY: Duration = Duration::from_millis(500);

/// How much longer an order may wait.
const GOAL_MS: u64 = 5_000;

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let catalog = Catalog::MANY;
    let mut bench_fleet = BenchFleet::start(args.size(), catalog).await?;
    let next = orders(OrderGenerator::new(catalog, 1, "sandbox:succeed"));
    let (tell, told) = progress();
    let client = bench_fleet.client().await?;
    let counter = bench_fleet.counter.clone();
    let beginning = WindowStart::now(&bench_fleet, 0);
    let calm_from = clock::now() + WARM_UP;
    let between = Duration::from_secs(args.seconds);
    let (sent, (), kills) = tokio::try_join!(
        client.run(next, args.in_flight, told),
        follow(&counter, &tell),
        kill_each(&mut bench_fleet.fleet, &tell, between),
    )?;
    let count = u64::try_from(sent.len())?;
    bench_fleet.counter.until(count, completed).await?;
    let span = beginning.end(&bench_fleet, count);
    let report = Report::of(args.scenario, &bench_fleet, &span);
    let verify = bench_fleet.audit().await?;
    let ends = log_latency::ends(&bench_fleet.pool, &ENDS).await?;
    bench_fleet.stop().await?;

    let first_kill = kills.first().map_or(span.to, |(_, at)| *at);
    let calm = waits(&sent, &ends, |sent, end| sent >= calm_from && end < first_kill)?;
    let usual = calm.p50().context("no order came to its end before the first kill")?;
    let mut longest = Thousandths::default();
    let mut stories = Vec::new();
    for (service, at) in kills {
        let until = at + between;
        let hit = waits(&sent, &ends, |sent, end| sent < until && end >= at)?.longest().unwrap_or_default();
        let longer = Thousandths(hit.0.saturating_sub(usual.0));
        longest = longest.max(longer);
        stories.push(json!({ "worker": service, "longest_ms": hit, "longer_ms": longer }));
    }
    // The shorter the better, so that here too a larger ratio is better.
    let limit = format!("no order waits more than {GOAL_MS} ms longer than half of them do undisturbed");
    let reached = Thousandths::ratio(GOAL_MS * 1_000, longest.0.max(1));
    Ok(report
        .with_times("sent to committed and sold, undisturbed", &calm)
        .with_limits(vec![Baseline { limit, per_second: span.per_second(), ratio: reached }])
        .with_verify(verify)
        .with("work", catalog.words())
        .with("in_flight", args.in_flight)
        .with("longest_extra_wait_ms", serde_json::to_value(longest)?)
        .with("undisturbed_longest_ms", serde_json::to_value(calm.longest())?)
        .with("kills", Value::Array(stories))
        .with("cpu_of_workers", "only since each was started again"))
}

/// Tells the sender how far the fleet is, until it is told to stop.
async fn follow(counter: &Counter, tell: &watch::Sender<Progress>) -> Result<()> {
    while !tell.borrow().stop {
        let done = completed(&counter.counts().await?);
        tell.send_if_modified(|progress| std::mem::replace(&mut progress.done, done) != done);
        clock::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Kills one worker after the other, and says when.
async fn kill_each(
    fleet: &mut Fleet,
    tell: &watch::Sender<Progress>,
    between: Duration,
) -> Result<Vec<(&'static str, Timestamp)>> {
    let mut kills = Vec::new();
    clock::sleep(WARM_UP + between).await;
    for service in fleet.workers() {
        let service = *service;
        let begun = Instant::now();
        kills.push((service, clock::now()));
        fleet.kill_worker(service, 0).await?;
        clock::sleep(AWAY).await;
        fleet.start_worker(service, 0)?;
        clock::sleep(between.saturating_sub(begun.elapsed())).await;
    }
    tell.send_modify(|progress| progress.stop = true);
    Ok(kills)
}

/// How long orders took that were sent and done at such times.
fn waits(
    sent: &[Sent],
    ends: &HashMap<Uuid, Timestamp>,
    counts: impl Fn(Timestamp, Timestamp) -> bool,
) -> Result<Times> {
    let mut times = Times::new()?;
    for sent in sent {
        let took = log_latency::took(sent, ends)?;
        if counts(sent.at, sent.at + took) {
            times.add(took);
        }
    }
    Ok(times)
}
