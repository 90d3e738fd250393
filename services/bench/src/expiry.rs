//! Mass expiry: orders that nobody pays fall due together; how fast each is expired, frees what it held, and has its receipt.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domain::Timestamp;
use platform::clock;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::{
    Args, Report, baseline,
    bench_fleet::{BenchFleet, Counts, LOOK_EVERY, progress, published},
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart, WindowStart},
    lifecycle::{completed, orders},
    numbers::{Times, per_second},
    pipelined_client::{Outgoing, Progress},
    report::Baseline,
};

const ORDERS: u64 = 50_000;

/// Orders under way while they are placed: few, so that none waits long and all fall due within a moment.
const IN_FLIGHT: u64 = 1_000;

/// The shortest time to pay that there is, and a bit.
const TIME_TO_PAY_MIN: Duration = Duration::from_millis(5_500);

/// Warms up with orders that are paid.
const PAID: u64 = 10_000;

fn held(counts: &Counts) -> u64 {
    published(counts, "evt.orders.OrderReserved")
}

fn released(counts: &Counts) -> u64 {
    published(counts, "evt.orders.OrderReleased")
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let count = args.orders.unwrap_or(ORDERS);
    let catalog = Catalog::MANY;
    let mut bench_fleet = BenchFleet::start(args.size(), catalog).await?;
    let mut order = orders(OrderGenerator::new(catalog, 1, "sandbox:succeed"));
    let mut paid = (0..PAID).filter_map(|_| order());
    let begun = Instant::now();
    closed_loop::run(&bench_fleet, MeasuredPart::Of(PAID), args.in_flight, || paid.next(), completed).await?;
    place(&bench_fleet, catalog, count, begun.elapsed()).await?;
    let before = baseline::events(&bench_fleet.pool).await?;

    let (first, last) = due(&bench_fleet.pool).await?;
    clock::sleep(last.since(clock::now())).await;
    let early = released(&bench_fleet.counter.counts().await?);
    let beginning = WindowStart::now(&bench_fleet, early);
    bench_fleet.counter.until(count, released).await?;
    let span = beginning.end(&bench_fleet, count);
    let report = Report::of(args.scenario, &bench_fleet, &span);
    let verify = bench_fleet.audit().await?;
    let times = times(&bench_fleet.pool).await?;
    let events = baseline::events(&bench_fleet.pool).await? - before;
    bench_fleet.stop_workers().await?;
    let url = &bench_fleet.address.database_url;
    let statement = baseline::procedures::expiries_per_second(url, catalog, count).await?;
    let append = baseline::append::per_second_of(url, events, count).await?;
    bench_fleet.stop().await?;
    let limits = vec![
        Baseline::new(baseline::procedures::EXPIRY, statement, span.per_second()),
        Baseline::new(baseline::append::WORDS, append, span.per_second()),
    ];
    Ok(report
        .with_times("due to released with a receipt", &times)
        .with_limits(limits)
        .with_verify(verify)
        .with("work", catalog.words())
        .with("all_due_within_ms", u64::try_from(last.since(first).as_millis())?)
        .with("released_before_the_last_was_due", early)
        .with("events_per_order", baseline::each(events, count)?))
}

/// Places orders that nobody pays, all with the same end of their time to pay, and waits until all is held.
async fn place(bench_fleet: &BenchFleet, catalog: Catalog, count: u64, warm_up: Duration) -> Result<()> {
    let speed = per_second(PAID, warm_up).max(100);
    // Twice as long as it should take.
    let due = clock::now() + TIME_TO_PAY_MIN + Duration::from_secs(10) + Duration::from_millis(2_000 * count / speed);
    let mut buyers = OrderGenerator::new(catalog, 2, "sandbox:never");
    let mut numbers = 0..count;
    let mut late = 0_u64;
    let next = || {
        numbers.next()?;
        let time_to_pay = due.since(clock::now());
        late += u64::from(time_to_pay < TIME_TO_PAY_MIN);
        let (id, order) = buyers.order(Some(time_to_pay.max(TIME_TO_PAY_MIN)));
        Some(Outgoing::new(id, &order))
    };
    let before = held(&bench_fleet.counter.counts().await?);
    let (tell, told) = progress();
    let watch = async {
        loop {
            let done = held(&bench_fleet.counter.counts().await?).saturating_sub(before);
            if tell.send(Progress { done, stop: false }).is_err() {
                return Ok::<_, anyhow::Error>(());
            }
            clock::sleep(LOOK_EVERY).await;
        }
    };
    tokio::try_join!(bench_fleet.client().await?.run(next, IN_FLIGHT, told), watch)?;
    ensure!(
        late == 0,
        "placing took so long that {late} orders would fall due later than the others; place fewer (--orders)"
    );
    bench_fleet.counter.until(before + count, held).await
}

/// When the first and the last order falls due.
async fn due(pool: &PgPool) -> Result<(Timestamp, Timestamp)> {
    let query = "select min(expires_at), max(expires_at) from orders.orders where payment_method = 'sandbox:never'";
    let (first, last): (OffsetDateTime, OffsetDateTime) =
        sqlx::query_as(query).fetch_one(pool).await.context("reading when orders fall due")?;
    Ok((first.into(), last.into()))
}

/// From falling due to the receipt.
async fn times(pool: &PgPool) -> Result<Times> {
    let late: Vec<(i64,)> = sqlx::query_as(
        "select (extract(epoch from e.recorded_at - o.expires_at) * 1000000)::bigint
         from log.events e join orders.orders o on e.stream = 'order-' || o.order_id
         where e.type = 'holdfast.orders.v1.OrderReleased'",
    )
    .fetch_all(pool)
    .await
    .context("reading how long releases took")?;
    let mut times = Times::new()?;
    for (micros,) in late {
        times.add(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    }
    Ok(times)
}
