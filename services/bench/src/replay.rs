//! Replay: the whole log read and folded by the services' own rules, against a bare read of the same rows.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use audit::{
    audit,
    export::{BLOCK, Form, Order, export},
    replay::{At, Kind, Question, replay as replayed},
};
use domain::{Decider, GlobalPosition};
use proto::common::v1::CommandRejected;
use runtime::log::event_store::{StoredEventRef, replay};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{
    Args, Report, baseline,
    bench_fleet::BenchFleet,
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart},
    lifecycle::{completed, orders},
    numbers::{Thousandths, median, per_second},
    report::Baseline,
};

/// Times each is measured; the middle one counts.
const TRIES: usize = 3;

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let catalog = Catalog::MANY;
    let mut bench_fleet = BenchFleet::start(args.size(), catalog).await?;
    let next = orders(OrderGenerator::new(catalog, 1, "sandbox:succeed"));
    let middle = MeasuredPart::Time(Duration::from_secs(args.seconds));
    let (span, _) = closed_loop::run(&bench_fleet, middle, args.in_flight, next, completed).await?;
    let mut report = Report::of(args.scenario, &bench_fleet, &span);
    let verify = bench_fleet.audit().await?;
    bench_fleet.stop_workers().await?;
    let events = baseline::events(&bench_fleet.pool).await?;
    let mut connection = PgConnection::connect(&bench_fleet.address.database_url).await?;
    let (mut folds, mut reads, mut audits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut answers, mut exports) = (Vec::new(), Vec::new());
    // In turns: what disturbs the one disturbs the other.
    for _try in 0..TRIES {
        reads.push(baseline::bare_read(&mut connection, events).await?);
        folds.push(fold(&mut connection, events).await?);
        audits.push(audited(&bench_fleet.address.database_url, events).await?);
        answers.push(answer(&bench_fleet.address.database_url, events).await?);
        exports.push(exported(&bench_fleet.address.database_url).await?);
    }
    connection.close().await?;
    bench_fleet.stop().await?;
    let medians = [folds, reads, audits, answers, exports].map(|times| median(times).unwrap_or_default());
    let [fold, read, audit, answer, export] = medians;
    report.orders = events;
    report.seconds = Thousandths::seconds(fold);
    report.per_second = per_second(events, fold);
    let read_per_second = per_second(events, read);
    let limits = vec![
        Baseline::new(baseline::BARE_READ, read_per_second, report.per_second),
        Baseline::new("the same, for an audit", read_per_second, per_second(events, audit)),
    ];
    Ok(report
        .with_limits(limits)
        .with_verify(verify)
        .with("holdfast_replay_stock", answered(events, answer, read))
        .with("holdfast_export", answered(events, export, read))
        .with("unit", "events of the log, not orders; CPU and memory are of the orders that wrote it"))
}

/// What `holdfast verify` does.
async fn audited(database_url: &str, events: u64) -> Result<Duration> {
    let begun = Instant::now();
    let report = audit(database_url).await?;
    ensure!(report.ok && report.events == events, "it has read {} events, not {events}", report.events);
    Ok(begun.elapsed())
}

/// What `holdfast replay stock` does, but for the printing.
async fn answer(database_url: &str, events: u64) -> Result<Duration> {
    let begun = Instant::now();
    let question = Question {
        kind: Kind::Stock,
        at: None,
        keys: Vec::new(),
        movements: false,
        choice: None,
        shard: None,
        max_rate: None,
    };
    let answer = replayed(database_url, &question, Vec::new(), |_progress| ()).await?;
    let read = answer.evidence.events_read;
    ensure!(read == events && answer.evidence.rows > 0, "it has read {read} events, not {events}");
    Ok(begun.elapsed())
}

/// What `holdfast export` does.
async fn exported(database_url: &str) -> Result<Duration> {
    let (begun, dir) = (Instant::now(), tempfile::tempdir()?);
    let from = At::Position(GlobalPosition::default().next());
    let order = Order { from, to: None, block: BLOCK, form: Form::Jsonl, max_rate: None };
    export(database_url, &order, &dir.path().join("export"), |_progress| ()).await?;
    Ok(begun.elapsed())
}

/// How fast that was, and how fast beside a bare read of the same rows.
fn answered(events: u64, answer: Duration, read: Duration) -> Value {
    let per_second = per_second(events, answer);
    json!({ "per_second": per_second, "ratio": Thousandths::ratio(per_second, self::per_second(events, read)) })
}

#[derive(Default)]
struct Worlds {
    orders: <orders::Orders as Decider>::State,
    inventory: <inventory::Inventory as Decider>::State,
    rounds: <rounds::Rounds as Decider>::State,
    payments: <payments::Payments as Decider>::State,
}

/// Reads the log and makes every event true, in memory.
async fn fold(connection: &mut PgConnection, events: u64) -> Result<Duration> {
    let begun = Instant::now();
    let folded = replay(connection, Folded::default(), Folded::take).await.context("reading the log")?;
    let took = begun.elapsed();
    folded.failed.map_or(Ok(()), Err)?;
    ensure!(folded.count == events, "the log has {} events, not {events}", folded.count);
    ensure!(!folded.worlds.orders.orders.is_empty(), "no order was folded");
    Ok(took)
}

#[derive(Default)]
struct Folded {
    worlds: Worlds,
    count: u64,
    failed: Option<anyhow::Error>,
}

impl Folded {
    fn take(&mut self, event: StoredEventRef<'_>) {
        self.count += 1;
        if let Err(error) = self.worlds.take(event) {
            self.failed.get_or_insert(error);
        }
    }
}

impl Worlds {
    fn take(&mut self, event: StoredEventRef<'_>) -> Result<()> {
        match event.service {
            _ if event.message_type == <CommandRejected as proto::Name>::full_name() => Ok(()),
            orders::Orders::NAME => take::<orders::Orders>(&mut self.orders, event),
            inventory::Inventory::NAME => take::<inventory::Inventory>(&mut self.inventory, event),
            rounds::Rounds::NAME => take::<rounds::Rounds>(&mut self.rounds, event),
            _ => take::<payments::Payments>(&mut self.payments, event),
        }
    }
}

fn take<S: Decider>(state: &mut S::State, event: StoredEventRef<'_>) -> Result<()> {
    let read = S::decode_event(event.message_type, event.data);
    let read = read.with_context(|| format!("reading the event at position {}", event.position))?;
    S::evolve(state, &read);
    Ok(())
}
