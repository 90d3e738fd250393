//! A real fleet with several replicas of each worker, a real Postgres, a cluster of three nats-servers, people who order, and a nemesis
//! that does one harm after another. After each round everything must settle, the audit must find nothing, and what every caller
//! was told must be true.

#![expect(
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::wildcard_enum_match_arm,
    reason = "a run that breaks has found something"
)]

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use platform::clock;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use sqlx::{Connection, PgConnection};
use testbed::servers::wait_until;
use tokio::signal::unix::{SignalKind, signal};

mod cluster;
mod disk;
mod harm;
mod network;
mod report;
mod shop;
mod truth;
mod world;

use cluster::Cluster;
use harm::Kind;
use report::{Fault, Report};
use shop::Shop;

/// After a fault is undone, orders that were sent before may take so long to their end; more is a violation.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

/// Does one harm after another to a real fleet, and checks what must hold.
#[derive(Debug, Parser)]
struct Args {
    /// How long, in minutes. The round that has begun by then is ended.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Which harm, to whom, in which order, and what people order, follow from it. Chosen by chance if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Orders a second.
    #[arg(long, default_value_t = 60)]
    rate: u64,
    /// Faults between two looks at the whole truth.
    #[arg(long, default_value_t = 8)]
    faults: usize,
    /// By how much a restored database is older, in seconds. By chance if not given.
    #[arg(long)]
    lag: Option<f64>,
    /// A directory with workers of another build, for rolling restarts between the two.
    #[arg(long, value_name = "DIR")]
    other_build: Option<PathBuf>,
    /// Where to write the report, as a web page.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Only these kinds of harm, by a part of their name, for whoever looks for the cause of something.
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut asked_to_stop = signal(SignalKind::terminate())?;
    // Whatever has been started is ended, and whatever was mounted is unmounted, when the run is dropped.
    tokio::select! {
        ended = run(args) => ended,
        _interrupted = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        _asked = asked_to_stop.recv() => Ok(ExitCode::from(143)),
    }
}

async fn run(args: Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}");
    let mut stage = Cluster::set(args.other_build.clone(), args.lag.map(Duration::from_secs_f64)).await?;
    let shop_url = stage.shop_url().await?;
    let shop = Shop::open(&shop_url, stage.database_url(), seed).await?;
    let mut run = Run {
        deck: Vec::new(),
        chance: StdRng::seed_from_u64(seed),
        faults: Vec::new(),
        violations: Vec::new(),
        compared: 0,
        payments_compared: 0,
        shop: Arc::clone(&shop),
    };
    let watching = tokio::spawn(Arc::clone(&shop).watch());
    let operating = tokio::spawn(world::operate(Arc::clone(&shop)));
    let mut rounds = 0;
    while shop.begun().elapsed().as_secs_f64() < args.minutes * 60.0 && run.violations.is_empty() {
        run.round(&mut stage, rounds, &args).await?;
        rounds += 1;
    }
    watching.abort();
    operating.abort();
    let report = run.report(&stage, &args, seed, rounds).await?;
    println!("\n{}", report.text());
    if let Some(file) = &args.report {
        fs::write(file, report.html()).with_context(|| format!("writing the report {}", file.display()))?;
    }
    if report.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("logs and data: {}", stage.keep().display());
    Ok(ExitCode::FAILURE)
}

/// A lock, whatever became of whoever held it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run so far.
struct Run {
    /// Kinds that come next, so that all have had their turn before one has another.
    deck: Vec<Kind>,
    chance: StdRng,
    faults: Vec<Fault>,
    violations: Vec<String>,
    compared: u64,
    payments_compared: u64,
    shop: Arc<Shop>,
}

impl Run {
    /// Some faults while people order, then the whole truth.
    async fn round(&mut self, stage: &mut Cluster, round: u64, args: &Args) -> Result<()> {
        let shop = Arc::clone(&self.shop);
        let selling = tokio::spawn({
            let (shop, rate) = (Arc::clone(&shop), args.rate);
            async move { shop.sell(round, rate).await }
        });
        for _ in 0..args.faults {
            let until = Duration::from_millis(self.chance.random_range(200..2_000));
            clock::sleep(until).await;
            let kind = self.next(stage, &args.only).context("no kind of harm has any of these words in its name")?;
            self.harm(stage, kind).await?;
            if !self.violations.is_empty() {
                break;
            }
        }
        shop.close();
        selling.await?;
        let begun = Instant::now();
        let (compared, payments, violations) = truth::violations(&shop, stage.gone_back > 0).await?;
        self.compared += compared;
        self.payments_compared += payments;
        self.violations.extend(violations);
        println!(
            "{:>6.1} s  round {} settled and compared in {:.1} s: {} violations",
            shop.begun().elapsed().as_secs_f64(),
            round + 1,
            begun.elapsed().as_secs_f64(),
            self.violations.len()
        );
        Ok(())
    }

    fn next(&mut self, stage: &Cluster, only: &[String]) -> Option<Kind> {
        if self.deck.is_empty() {
            let named = |kind: &Kind| only.is_empty() || only.iter().any(|words| kind.name().contains(words.as_str()));
            self.deck = Kind::ALL.iter().copied().filter(|kind| kind.is_possible(stage) && named(kind)).collect();
            self.deck.shuffle(&mut self.chance);
        }
        self.deck.pop()
    }

    async fn harm(&mut self, stage: &mut Cluster, kind: Kind) -> Result<()> {
        let begun = self.shop.begun().elapsed();
        let harm = kind.inflict(stage, &mut self.chance).await.with_context(|| format!("harm: {}", kind.name()))?;
        clock::sleep(harm.lasts).await;
        stage.mend().await.with_context(|| format!("undoing: {}", kind.name()))?;
        let undone = Instant::now();
        let recovered =
            wait_until(RECOVERS_WITHIN, || async { Ok((self.shop.waiting_since_before(undone) == 0).then_some(())) });
        let recovery = recovered.await?.map(|()| undone.elapsed());
        let fault = Fault { kind, what: harm.what, begun, undone: undone.duration_since(self.shop.begun()), recovery };
        println!(
            "{:>6.1} s  {} {}: for {:.1} s, recovery {}",
            begun.as_secs_f64(),
            kind.name(),
            fault.what,
            (fault.undone - begun).as_secs_f64(),
            recovery.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
        );
        if recovery.is_none() {
            let waiting = self.shop.waiting_since_before(undone);
            self.violations.push(format!(
                "{} {}: {waiting} orders were not at their end {} s after it was undone",
                kind.name(),
                fault.what,
                RECOVERS_WITHIN.as_secs()
            ));
        }
        self.faults.push(fault);
        Ok(())
    }

    async fn report(self, stage: &Cluster, args: &Args, seed: u64, rounds: u64) -> Result<Report> {
        let mut connection = PgConnection::connect(&stage.database_url()).await?;
        let events = sqlx::query_scalar("select count(*) from log.events").fetch_one(&mut connection).await?;
        let version: String = sqlx::query_scalar("show server_version").fetch_one(&mut connection).await?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Report {
            date: clock::now().to_string().chars().take(10).collect(),
            seed,
            command: format!("just nemesis --minutes {} --seed {seed} --rate {}", args.minutes, args.rate),
            machine: format!(
                "{cores} cores for everything: {} replicas of each worker, Postgres {version}, {} nats-servers",
                cluster::REPLICAS,
                cluster::NODES
            ),
            lasted: self.shop.begun().elapsed(),
            rounds,
            orders: self.shop.orders(),
            turned_away: self.shop.turned_away(),
            commands_compared: self.compared,
            payments_compared: self.payments_compared,
            events,
            impossible: Kind::ALL.iter().copied().filter(|kind| !kind.is_possible(stage)).collect(),
            faults: self.faults,
            violations: self.violations,
            curve: self.shop.curve(),
        })
    }
}
