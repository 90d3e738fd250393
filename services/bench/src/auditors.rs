//! What auditors run, on a long log: how fast beside a bare read of the same rows, in how much memory, and what a fleet at full load loses
//! meanwhile.

use std::{
    fs, io,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use audit::quiescence::until_settled;
use platform::clock;
use serde_json::{Map, Value, json};
use sqlx::{Connection, PgConnection};
use testbed::fleet::{DATABASE, program};
use tokio::process::{Child, Command};

use super::{
    Args, Report, baseline,
    bench_fleet::{BenchFleet, SETTLES_WITHIN},
    catalog::{Catalog, OrderGenerator},
    closed_loop::{self, MeasuredPart, Window},
    lifecycle::{completed, orders},
    numbers::{Thousandths, median, per_second},
    report::Baseline,
    seed_log, sink, usage,
};

/// Orders that an audit takes in which goes on: 100,000 events and some.
const ORDERS_SINCE: u64 = 12_500;

/// So that it begins with the log.
const WHOLE: &str = "--whole";

/// Where an export goes.
const EXPORT: &str = "export";

/// How often to look how much memory a command has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is asked of the `holdfast` command.
struct Ask {
    name: &'static str,
    words: Vec<String>,
}

/// How long an answer took, and the most memory meanwhile.
struct Answered {
    time: Duration,
    mib: u64,
}

/// What auditors ask. Their files are below this directory.
fn asks(dir: &Path) -> [Ask; 4] {
    let ask = |name, words: &[&str], dir: Option<&Path>| {
        let words = words.iter().copied().map(str::to_owned);
        Ask { name, words: words.chain(dir.map(|dir| dir.display().to_string())).collect() }
    };
    [
        ask("verify", &["verify", WHOLE, "--books"], Some(&dir.join("books"))),
        ask("replay_stock", &["replay", "stock"], None),
        ask("rebuild_stock", &["rebuild", "stock", "--dry-run"], None),
        ask("export", &["export"], Some(&dir.join(EXPORT))),
    ]
}

impl Ask {
    fn begin(&self, database_url: &str) -> Result<Child> {
        let mut command = Command::new(program("holdfast")?);
        command.args(&self.words).args(["--database-url", database_url]).stdout(Stdio::null()).kill_on_drop(true);
        command.spawn().with_context(|| format!("starting holdfast {}", self.name))
    }

    async fn answer(&self, database_url: &str) -> Result<Answered> {
        let begun = Instant::now();
        let mut child = self.begin(database_url)?;
        let pid = child.id().context("it has ended at once")?;
        let (mut most_kib, mut ended) = (0, None);
        while ended.is_none() {
            most_kib = usage::resident_max_kib(pid).max(most_kib);
            clock::sleep(LOOK_EVERY).await;
            ended = child.try_wait()?;
        }
        let time = begun.elapsed();
        ensure!(ended.is_some_and(|status| status.success()), "holdfast {} has failed: {ended:?}", self.name);
        Ok(Answered { time, mib: most_kib.div_ceil(1_024) })
    }
}

/// Measures.
pub(super) async fn run(args: &Args) -> Result<Report> {
    let catalog = Catalog::MANY;
    let mut bench_fleet = BenchFleet::start(args.size(), catalog).await?;
    bench_fleet.stop_workers().await?;
    let url = bench_fleet.address.database_url.clone();
    seed_log::write(&url, catalog, args.events).await?;
    bench_fleet.fleet.start_workers()?;
    bench_fleet.fleet.ready().await?;

    let scratch = tempfile::tempdir()?;
    let asks = asks(scratch.path());
    let events = baseline::events(&bench_fleet.pool).await?;
    let (answers, read) = alone(&asks, &url, events, scratch.path()).await?;
    let (since, resumed) = since(&asks, &bench_fleet, args, events).await?;
    let collector = sink::start().await?;
    let traces = || traces(&bench_fleet, &collector);
    let begins = asks.iter().map(|ask| (ask.name, Begin::Asked(ask))).chain([("traces", Begin::Other(&traces))]);
    let (without, beside) = beside(begins, &bench_fleet, args, scratch.path()).await?;

    let mut report = Report::of(args.scenario, &bench_fleet, &without);
    let audited = bench_fleet.audit().await?;
    bench_fleet.stop().await?;
    let whole = answers.first().context("nothing was asked")?;
    (report.orders, report.seconds) = (events, Thousandths::seconds(whole.time));
    report.per_second = per_second(events, whole.time);
    let limit = Baseline::new(baseline::BARE_READ, per_second(events, read), report.per_second);
    let mut report = report.with_limits(vec![limit]).with_verify(audited);
    for (ask, Answered { time, mib }) in asks.iter().zip(&answers) {
        let ratio = Thousandths::ratio(per_second(events, *time), per_second(events, read));
        let says = json!({ "per_second": per_second(events, *time), "ratio": ratio, "mib": mib });
        report = report.with(&format!("holdfast_{}", ask.name), says);
    }
    let resumed = json!({ "events": since, "seconds": Thousandths::seconds(resumed.time), "mib": resumed.mib });
    Ok(report
        .with("holdfast_verify_of_what_came_since", resumed)
        .with("rate_of_lifecycles_beside", beside)
        .with("unit", "events of the log, read by verify; CPU and memory of workers are of orders placed afterwards"))
}

/// Asks on an idle fleet, in turns with a bare read.
async fn alone(asks: &[Ask], url: &str, events: u64, dir: &Path) -> Result<(Vec<Answered>, Duration)> {
    let mut connection = PgConnection::connect(url).await?;
    let (mut reads, mut answers) = (Vec::new(), Vec::new());
    for ask in asks {
        reads.push(baseline::bare_read(&mut connection, events).await?);
        answers.push(ask.answer(url).await?);
        remove_export(dir)?;
    }
    connection.close().await?;
    Ok((answers, median(reads).context("nothing was read")?))
}

/// An audit that goes on from the books of the one before: how many events it has taken in, and what it took.
async fn since(asks: &[Ask], bench_fleet: &BenchFleet, args: &Args, events: u64) -> Result<(u64, Answered)> {
    let mut order = orders(OrderGenerator::new(Catalog::MANY, 1, "sandbox:succeed"));
    let mut next = (0..ORDERS_SINCE).map(|_| order()).fuse();
    let next = || next.next().flatten();
    closed_loop::run(bench_fleet, MeasuredPart::Of(ORDERS_SINCE), args.in_flight, next, completed).await?;
    let url = &bench_fleet.address.database_url;
    until_settled(url, SETTLES_WITHIN).await?;
    let since = baseline::events(&bench_fleet.pool).await? - events;
    let ask = asks.first().context("nothing is asked")?;
    let words = ask.words.iter().filter(|word| *word != WHOLE).cloned().collect();
    Ok((since, Ask { name: ask.name, words }.answer(url).await?))
}

/// What runs beside a fleet.
enum Begin<'a> {
    Asked(&'a Ask),
    Other(&'a dyn Fn() -> Result<Child>),
}

/// What tells a collector of the fleet's orders.
fn traces(bench_fleet: &BenchFleet, collector: &str) -> Result<Child> {
    let mut command = Command::new(program("holdfast-traces")?);
    command
        .env("HOLDFAST_DATABASE_URL", bench_fleet.fleet.postgres.url("holdfast_traces", DATABASE))
        .env("HOLDFAST_TRACES_URL", collector)
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().context("starting holdfast-traces")
}

/// Lifecycles with the fleet alone, and how many of them are left beside each: of what the fleet does alone just before and after it.
async fn beside(
    begins: impl Iterator<Item = (&'static str, Begin<'_>)>,
    bench_fleet: &BenchFleet,
    args: &Args,
    dir: &Path,
) -> Result<(Window, Value)> {
    let url = &bench_fleet.address.database_url;
    let mut seeds = 2..;
    let mut seed = || seeds.next().unwrap_or_default();
    let first = lifecycles(bench_fleet, args, seed()).await?;
    let mut before = first.per_second();
    let mut beside = Map::new();
    for (name, begin) in begins {
        let mut begun = match begin {
            Begin::Asked(ask) => ask.begin(url)?,
            Begin::Other(begin) => begin()?,
        };
        let span = lifecycles(bench_fleet, args, seed()).await?;
        // It may be over by now.
        begun.kill().await.unwrap_or_default();
        remove_export(dir)?;
        let after = lifecycles(bench_fleet, args, seed()).await?.per_second();
        let ratio = Thousandths::ratio(span.per_second() * 2, before + after);
        beside.insert(name.to_owned(), Value::from(ratio));
        before = after;
    }
    Ok((first, beside.into()))
}

async fn lifecycles(bench_fleet: &BenchFleet, args: &Args, seed: u64) -> Result<Window> {
    let next = orders(OrderGenerator::new(Catalog::MANY, seed, "sandbox:succeed"));
    let middle = MeasuredPart::Time(Duration::from_secs(args.seconds));
    Ok(closed_loop::run(bench_fleet, middle, args.in_flight, next, completed).await?.0)
}

/// An export takes as much room as the log.
fn remove_export(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir.join(EXPORT)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("removing an export"),
        Ok(()) | Err(_) => Ok(()),
    }
}
