//! Latency: orders at steady rates, whether or not the fleet keeps up, each timed from the moment it was to be sent; the same of a plain
//! app on the same Postgres; and one order at a time on an idle fleet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream::select};
use platform::{broker::subjects_of, clock, message::header};
use tokio::{sync::Notify, task::JoinHandle};
use uuid::Uuid;

use super::{
    Args, Report, baseline,
    bench_fleet::{BenchFleet, published},
    catalog::{Catalog, OrderGenerator},
    closed_loop::{WARM_UP, WindowStart},
    numbers::{Thousandths, Times},
    pipelined_client::Outgoing,
    report::{AtRate, Baseline},
};

/// Orders that are placed one after the other on an idle fleet.
const ALONE: u32 = 200;

/// How long a paid order may take, at most.
const PAID_WITHIN: Duration = Duration::from_secs(30);

/// Hears when orders are paid, as any subscriber would.
struct PaidListener {
    heard: Arc<Mutex<HashMap<Uuid, Instant>>>,
    news: Arc<Notify>,
    listener: JoinHandle<()>,
}

impl PaidListener {
    async fn open(broker_url: &str) -> Result<Self> {
        let client = async_nats::ConnectOptions::new().subscription_capacity(262_144).connect(broker_url).await?;
        let [fresh, handled] = subjects_of("orders", "OrderPaid");
        let mut events = select(client.subscribe(fresh).await?, client.subscribe(handled).await?);
        client.flush().await?;
        let (heard, news) = (Arc::new(Mutex::new(HashMap::new())), Arc::new(Notify::new()));
        let (told, tell) = (Arc::clone(&heard), Arc::clone(&news));
        let listener = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let at = Instant::now();
                let stream = event.headers.as_ref().and_then(|headers| headers.get(header::SUBJECT));
                let id = stream.and_then(|stream| Uuid::try_parse(stream.as_str().strip_prefix("order-")?).ok());
                if let Some(id) = id {
                    told.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_insert(at);
                    tell.notify_one();
                }
            }
        });
        Ok(Self { heard, news, listener })
    }

    /// When an order was heard to be paid.
    fn heard(&self, id: Uuid) -> Option<Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    async fn until_heard(&self, id: Uuid) -> Result<Instant> {
        let deadline = Instant::now() + PAID_WITHIN;
        loop {
            if let Some(at) = self.heard(id) {
                return Ok(at);
            }
            if Instant::now() > deadline {
                bail!("order {id} was not heard to be paid within {} s", PAID_WITHIN.as_secs());
            }
            // The timeout is for a notice that went to the look before.
            drop(tokio::time::timeout(Duration::from_millis(100), self.news.notified()).await);
        }
    }
}

impl Drop for PaidListener {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let catalog = Catalog::MANY;
    let mut bench_fleet = BenchFleet::start(args.size(), catalog).await?;
    let ear = PaidListener::open(&bench_fleet.address.broker_url).await?;
    let mut buyers = OrderGenerator::new(catalog, 1, "sandbox:succeed");
    let mut windows = Vec::new();
    for rate in &args.rate {
        warm_up(&bench_fleet, &ear, &mut buyers, *rate).await?;
        let (beginning, count) = (WindowStart::now(&bench_fleet, 0), rate * args.seconds);
        let times = steadily(&bench_fleet, &ear, &mut buyers, *rate, count).await?;
        windows.push((*rate, beginning.end(&bench_fleet, count), times));
    }
    let alone = one_by_one(&bench_fleet, &ear, &mut buyers).await?;
    let verify = bench_fleet.audit().await?;
    drop(ear);
    let Some((rate, window, times)) = windows.first() else { bail!("no rate is given") };
    // While there are workers, whose memory it reads.
    let mut report = Report::of(args.scenario, &bench_fleet, window);
    report.per_second = *rate;
    bench_fleet.stop_workers().await?;
    let (database_url, seconds) = (bench_fleet.address.database_url.clone(), args.seconds.min(10));
    let mut at_rates = Vec::new();
    for (at, window, times) in &windows {
        let plain = baseline::plain_app::steadily(&database_url, catalog, *at, seconds).await?;
        at_rates.push(AtRate::new(*at, times, window, &plain));
    }
    let plain = baseline::procedures::times(&database_url, catalog, *rate, seconds).await?;
    bench_fleet.stop().await?;
    let (Some(p50), Some(limit)) = (times.p50(), plain.p50()) else { bail!("nothing was measured") };
    // The shorter the better, so that here too a larger ratio is better.
    let limits = vec![Baseline {
        limit: format!(
            "half within {limit} ms, 99 % {} ms: {}",
            plain.p99().unwrap_or_default(),
            baseline::procedures::LIFECYCLE
        ),
        per_second: *rate,
        ratio: Thousandths::ratio(limit.0, p50.0),
    }];
    Ok(report
        .with_times("due to be sent to heard to be paid", times)
        .with_limits(limits)
        .with_rates(at_rates)
        .with_verify(verify)
        .with("work", catalog.words())
        .with("longest_ms", serde_json::to_value(times.longest())?)
        .with("idle_p50_ms", serde_json::to_value(alone.p50())?)
        .with("idle_p99_ms", serde_json::to_value(alone.p99())?))
}

async fn warm_up(bench_fleet: &BenchFleet, ear: &PaidListener, buyers: &mut OrderGenerator, rate: u64) -> Result<()> {
    let (before, count) =
        (published(&bench_fleet.counter.counts().await?, "evt.rounds.SharesSold"), rate * WARM_UP.as_secs());
    steadily(bench_fleet, ear, buyers, rate, count).await?;
    bench_fleet.counter.until_published("evt.rounds.SharesSold", before + count).await
}

/// Waits until an order is due, of those that begin then and come at this rate; when that is.
pub(super) async fn until_due(begun: Instant, number: u64, rate: u64) -> Instant {
    let due = begun + Duration::from_micros(number * 1_000_000 / rate);
    let wait = due.saturating_duration_since(Instant::now());
    if !wait.is_zero() {
        clock::sleep(wait).await;
    }
    due
}

/// Sends each order when it is due, whatever became of those before it.
async fn steadily(
    bench_fleet: &BenchFleet,
    ear: &PaidListener,
    buyers: &mut OrderGenerator,
    rate: u64,
    count: u64,
) -> Result<Times> {
    let mut client = bench_fleet.client().await?;
    let before = published(&bench_fleet.counter.counts().await?, "evt.orders.OrderPaid");
    let mut due_at = Vec::new();
    let begun = Instant::now();
    for number in 0..count {
        let due = until_due(begun, number, rate).await;
        let (id, order) = buyers.order(None);
        client.send(Outgoing::new(id, &order)).await?;
        due_at.push((id, due));
    }
    client.flush().await?;
    bench_fleet.counter.until_published("evt.orders.OrderPaid", before + count).await?;
    let mut times = Times::new()?;
    for (id, due) in due_at {
        let heard = ear.until_heard(id).await?;
        times.add(heard.saturating_duration_since(due));
    }
    Ok(times)
}

/// One order after the other, each on an idle fleet.
async fn one_by_one(bench_fleet: &BenchFleet, ear: &PaidListener, buyers: &mut OrderGenerator) -> Result<Times> {
    let mut client = bench_fleet.client().await?;
    let mut times = Times::new()?;
    for _order in 0..ALONE {
        let (id, order) = buyers.order(None);
        let command = Outgoing::new(id, &order);
        let sent = Instant::now();
        client.send(command).await?;
        let heard = ear.until_heard(id).await.context("placing one order at a time")?;
        times.add(heard.saturating_duration_since(sent));
        // Until its stock is committed and its shares are sold, too.
        clock::sleep(Duration::from_millis(30)).await;
    }
    Ok(times)
}
