//! Measures a private fleet, and in the same run the raw limits of the same machine, so that the result is a
//! ratio that means something elsewhere too.
//!
//! An order is one line out of 1,000 products and one share out of 100 rounds, from placing to stock committed and shares sold,
//! unless the scenario says otherwise.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use platform::print;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

mod auditors;
mod baseline;
mod bench_fleet;
mod catalog;
mod check;
mod closed_loop;
mod expiry;
mod gateway;
mod growth;
mod http_client;
mod latency;
mod lifecycle;
mod log_latency;
mod numbers;
mod overload;
mod pipelined_client;
mod recovery;
mod refund;
mod replay;
mod report;
mod seed_log;
mod sink;
mod usage;

use bench_fleet::Size;
use report::Report;

/// Measures a private fleet, and in the same run the raw limits that it is compared with.
///
/// Exit codes: 0 all is well; 1 the audit afterwards found something, or a check fell under what was recorded; 2 wrong usage;
/// 3 it could not be measured.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench", version)]
struct Args {
    /// What is measured.
    scenario: Scenario,
    /// Seconds to measure, after the warm-up.
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Runs, each with servers of its own; the middle one is shown.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,
    /// Replicas of each worker. `lifecycle` and `hot` take several numbers, with commas between, and compare all with the first.
    #[arg(long, value_name = "N", default_value = "1", value_delimiter = ',',
        value_parser = clap::value_parser!(u8).range(1..=16))]
    replicas: Vec<u8>,
    /// Workers that are all services in one process, instead of four processes.
    #[arg(long)]
    all_in_one: bool,
    /// Have nats-server flush every message to the disk before it says that it has it
    #[arg(long)]
    synced: bool,
    /// Orders under way at once, where as many as possible are to be done a second.
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    in_flight: u64,
    /// Orders of `expiry` (50,000 if not given) and `refund` (30,000).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    orders: Option<u64>,
    /// Orders a second of `latency`: one rate, or some, with commas between.
    #[arg(long, value_name = "R", default_value = "1000", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: Vec<u64>,
    /// Events of the history that `growth` and `audit` write.
    #[arg(long, value_name = "N", default_value_t = 2_000_000,
        value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    events: u64,
    /// One JSON object on standard output instead of text.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Which workers are measured. Of several numbers of replicas, the first.
    fn size(&self) -> Size {
        Size { replicas: self.replicas.first().copied().unwrap_or(1), all_in_one: self.all_in_one, synced: self.synced }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Scenario {
    /// Orders a second, from placing to stock committed and shares sold.
    Lifecycle,
    /// The same with one product that everybody wants.
    Hot,
    /// Unpaid orders that fall due together, until all is released and has a receipt.
    Expiry,
    /// Refunds a second, until money, pieces and shares are back.
    Refund,
    /// From placing to paid at steady rates, beside a plain app at the same rates, and for single orders on an idle fleet.
    Latency,
    /// Folding the whole log, against reading it.
    Replay,
    /// The longest extra wait of any order when workers are killed.
    Recovery,
    /// Lifecycles a second with a long history in the store.
    Growth,
    /// Three times what the fleet can do, for so long, with a queue that is soon full.
    Overload,
    /// Orders placed and paid a second through the gateway, against the same through NATS, and the times of single answers.
    Gateway,
    /// What auditors run on a long log, against a bare read of it, and what a fleet at full load loses meanwhile.
    Audit,
    /// Short ones of these, compared with the ratios that were recorded; fails if one fell by more than a fifth.
    Check,
}

impl Scenario {
    /// Its name.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Hot => "hot",
            Self::Expiry => "expiry",
            Self::Refund => "refund",
            Self::Latency => "latency",
            Self::Replay => "replay",
            Self::Recovery => "recovery",
            Self::Growth => "growth",
            Self::Overload => "overload",
            Self::Gateway => "gateway",
            Self::Audit => "audit",
            Self::Check => "check",
        }
    }
}

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG_FILTER").unwrap_or_else(|_unset| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    run(&args).await.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::from(3)
    })
}

async fn run(args: &Args) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = measure(args) => ended,
        // Dropping what runs ends it and removes its directory.
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn measure(args: &Args) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        eprintln!("bench: built without optimisation, so these figures mean little; `just bench` builds for release");
    }
    if args.scenario == Scenario::Check {
        return check::run(args).await;
    }
    let mut runs = Vec::new();
    for _run in 0..args.runs {
        runs.push(measure_one(args).await?);
    }
    let report = Report::middle_of(runs).context("nothing was measured")?;
    if args.json {
        print::json(&report)?;
    } else {
        print::out(&report.text())?;
    }
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure_one(args: &Args) -> Result<Report> {
    match args.scenario {
        Scenario::Lifecycle | Scenario::Hot => lifecycle::run(args).await,
        Scenario::Expiry => expiry::run(args).await,
        Scenario::Refund => refund::run(args).await,
        Scenario::Latency => latency::run(args).await,
        Scenario::Replay => replay::run(args).await,
        Scenario::Recovery => recovery::run(args).await,
        Scenario::Growth => growth::run(args).await,
        Scenario::Overload => overload::run(args).await,
        Scenario::Gateway => gateway::run(args).await,
        Scenario::Audit => auditors::run(args).await,
        Scenario::Check => bail!("a check measures other scenarios"),
    }
}
