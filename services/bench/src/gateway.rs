//! The gateway: the same orders through HTTP and through NATS in one run, what HTTP adds to an answer at an ordinary rate, and how long a
//! refund's request waits at full load.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use platform::client::CommandClient;
use proto::{Message, Name, common::v1::command_reply::Outcome, orders::v1::PlaceOrder};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Args, Report,
    bench_fleet::{BenchFleet, Counts, published},
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart, WARM_UP},
    http_client::HttpClient,
    latency::until_due,
    lifecycle::{completed, orders},
    numbers::Times,
    pipelined_client::{Progress, Sent},
    report::Baseline,
};

/// Orders a second where the time of one answer is measured: what a shop that does well has.
const RATE: u64 = 300;

/// Refunds asked for each second at full load.
const REFUNDS_PER_SECOND: u64 = 20;

const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Orders that are placed and paid.
fn paid(counts: &Counts) -> u64 {
    published(counts, "evt.orders.OrderPaid")
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let catalog = Catalog::MANY;
    // As many at once as there are orders under way: what is compared is the way, and not how many may take it.
    let at_once = (args.in_flight + 100).to_string();
    let settings = BTreeMap::from([
        ("HOLDFAST_GATEWAY_REQUESTS_MAX".to_owned(), at_once.clone()),
        ("HOLDFAST_GATEWAY_CONNECTIONS_MAX".to_owned(), at_once),
    ]);
    let mut bench_fleet = BenchFleet::with(args.size(), catalog, settings).await?;
    let http = HttpClient::new(&bench_fleet.fleet.start_gateway().await?)?;
    let mut buyers = OrderGenerator::new(catalog, 1, "sandbox:succeed");
    let middle = MeasuredPart::Time(Duration::from_secs(args.seconds));

    let (window, placed) =
        closed_loop::run_with(&bench_fleet, middle, paid, |told| place_all(&http, &mut buyers, args.in_flight, told))
            .await?;
    let report = Report::of(args.scenario, &bench_fleet, &window);
    let next = orders(OrderGenerator::new(catalog, 2, "sandbox:succeed"));
    let (by_nats, _) = closed_loop::run(&bench_fleet, middle, args.in_flight, next, paid).await?;
    let next = orders(OrderGenerator::new(catalog, 3, "sandbox:succeed"));
    let loaded = closed_loop::run(&bench_fleet, middle, args.in_flight, next, paid);
    let asked = ask_for_refunds(&http, &placed, args.seconds);
    let (_, (refunds, handed_in)) = tokio::try_join!(loaded, asked)?;

    let all = paid(&bench_fleet.counter.counts().await?);
    bench_fleet.counter.until(all, completed).await?;
    let mut buyers = OrderGenerator::new(catalog, 4, "sandbox:succeed");
    let nats = CommandClient::connect(&bench_fleet.address.broker_url, ANSWERED_WITHIN).await?;
    steadily(&mut buyers, WARM_UP.as_secs(), async |_, id, order| place(&http, id, order).await).await?;
    // One by one in turns: what holds up the fleet for a moment, or the machine, holds up both.
    let (over_http, over_nats) = steadily(&mut buyers, 2 * args.seconds, async |number, id, order| {
        if is_even(number) { place(&http, id, order).await } else { place_over_nats(&nats, id, order).await }
    })
    .await?;
    let verify = bench_fleet.audit().await?;
    bench_fleet.stop_workers().await?;
    bench_fleet.stop().await?;
    let limit = Baseline::new("the same orders through NATS", by_nats.per_second(), window.per_second());
    let times = |times: &Times| -> Result<_> { Ok(serde_json::json!({ "p50": times.p50(), "p99": times.p99() })) };
    Ok(report
        .with_times("a request to its answer, 300 orders a second", &over_http)
        .with_limits(vec![limit])
        .with_verify(verify)
        .with("work", catalog.words())
        .with("in_flight", args.in_flight)
        .with("over_nats_answered_ms", times(&over_nats)?)
        .with("over_http_answered_ms", times(&over_http)?)
        .with("refund_answered_at_full_load_ms", times(&refunds)?)
        .with("refund_handed_in_at_full_load_ms", times(&handed_in)?))
}

/// Places an order and waits for the answer, over HTTP.
async fn place(http: &HttpClient, id: Uuid, order: PlaceOrder) -> Result<()> {
    let body = proto::to_json(&PlaceOrder::full_name(), &order.encode_to_vec())?;
    http.post("/v1/orders", id, &body).await
}

/// The same over NATS.
async fn place_over_nats(nats: &CommandClient, id: Uuid, order: PlaceOrder) -> Result<()> {
    match nats.send(id, &order).await?.outcome {
        Some(Outcome::Accepted(_)) => Ok(()),
        other @ (Some(Outcome::Rejected(_)) | None) => bail!("order {id} was not accepted: {other:?}"),
    }
}

/// Places orders over HTTP until told to stop, each waiting for its answer, with so many placed and not paid.
async fn place_all(
    http: &HttpClient,
    buyers: &mut OrderGenerator,
    in_flight: u64,
    mut progress: watch::Receiver<Progress>,
) -> Result<Vec<Sent>> {
    let (mut under_way, mut sent, mut count) = (FuturesUnordered::new(), Vec::new(), 0);
    loop {
        let Progress { done, stop } = *progress.borrow_and_update();
        if stop {
            break;
        }
        while count < done + in_flight {
            let (id, order) = buyers.order(None);
            sent.push(Sent { id, at: platform::clock::now() });
            under_way.push(place(http, id, order));
            count += 1;
        }
        tokio::select! {
            changed = progress.changed() => if changed.is_err() { break },
            Some(answered) = under_way.next() => answered?,
        }
    }
    under_way.try_collect::<()>().await?;
    Ok(sent)
}

/// Asks for refunds of paid orders while others are placed at full speed, from when that is warm: of every other one the worker's answer is
/// waited for, of the rest that the request is accepted.
async fn ask_for_refunds(http: &HttpClient, paid: &[Sent], seconds: u64) -> Result<(Times, Times)> {
    let begun = Instant::now() + WARM_UP;
    let asked = (0_u64..).zip(paid).take(usize::try_from(seconds * REFUNDS_PER_SECOND)?);
    let asked = asked.map(|(number, order)| async move {
        let due = until_due(begun, number, REFUNDS_PER_SECOND).await;
        let (path, body) = (format!("/v1/orders/{}/refunds", order.id), serde_json::json!({}));
        if is_even(number) {
            http.post(&path, order.id, &body).await?;
        } else {
            http.hand_in(&path, order.id, &body).await?;
        }
        Ok((number, due.elapsed()))
    });
    collect(asked.collect()).await
}

/// Places each order when it is due, whatever became of those before it, and times each from then to its answer: the even ones and the odd ones.
async fn steadily(
    buyers: &mut OrderGenerator,
    seconds: u64,
    place: impl AsyncFn(u64, Uuid, PlaceOrder) -> Result<()>,
) -> Result<(Times, Times)> {
    let (place, begun) = (&place, Instant::now());
    let orders = (0..RATE * seconds).map(|number| (number, buyers.order(None)));
    let timed = orders.map(|(number, (id, order))| async move {
        let due = until_due(begun, number, RATE).await;
        place(number, id, order).await?;
        Ok((number, due.elapsed()))
    });
    collect(timed.collect()).await
}

fn is_even(number: u64) -> bool {
    number.is_multiple_of(2)
}

/// The times of the even ones, and of the odd ones.
async fn collect(timed: FuturesUnordered<impl Future<Output = Result<(u64, Duration)>>>) -> Result<(Times, Times)> {
    let (mut even, mut odd) = (Times::new()?, Times::new()?);
    for (number, time) in timed.try_collect::<Vec<_>>().await.context("an answer through the gateway")? {
        if is_even(number) { &mut even } else { &mut odd }.add(time);
    }
    Ok((even, odd))
}
