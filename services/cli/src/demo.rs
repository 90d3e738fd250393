//! `holdfast demo`: many orders through a private fleet, a worker killed on the way, and the proof that nothing was lost.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use platform::print;
use serde_json::json;
use testbed::load::{
    books::Books,
    figures::{grouped, lasting},
    kill_worker::{attend, victim},
    progress::ProgressBars,
    statuses,
    synthetic::{self, Until},
    target_fleet::{KeepDir, TargetFleet},
    workload::{PaidBy, Workload},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::Instant,
};

use crate::global_args::GlobalArgs;

mod report;

use report::{Checks, Report, Verdict};

/// Options of `holdfast demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Who takes the money.
    #[arg(long, value_enum, default_value_t = Provider::Stripe)]
    provider: Provider,
    /// Orders to place, of 200 products and 20 rounds. Without it: 240, or 2,000 with the sandbox.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    orders: Option<u64>,
    /// What the orders are, and which worker is killed, follows from it.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Orders a second. Without it: 16, as Stripe takes 25 calls a second in its test mode, or 400 with the sandbox. More than
    /// this machine can take shows what the fleet does with a backlog.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// Keep the fleet's data and logs in this directory, which must be empty.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Leave the fleet running at its end, until Ctrl-C, and say where its console is.
    #[arg(long)]
    console: bool,
}

/// Who takes the money, and so by which way orders come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Provider {
    /// Orders come over HTTP, and buyers pay on the pages of a fake of Stripe, which loses answers and tells things twice
    Stripe,
    /// Orders come through the broker, and the sandbox plays the buyers
    Sandbox,
}

impl Provider {
    /// Orders, orders a second, and who is paid.
    const fn defaults(self) -> (u64, u64, PaidBy) {
        match self {
            Self::Stripe => (240, 16, PaidBy::Stripe),
            Self::Sandbox => (2_000, 400, PaidBy::Sandbox),
        }
    }

    /// What goes wrong besides.
    const fn harm(self) -> &'static str {
        match self {
            Self::Stripe => {
                "\nOf a hundred calls to Stripe five lose their answer; of its webhooks ten come twice, and ten out of order."
            }
            Self::Sandbox => "",
        }
    }

    const fn up(self) -> &'static str {
        match self {
            Self::Stripe => "A Postgres, a nats-server, four workers, a gateway and a fake of Stripe",
            Self::Sandbox => "A Postgres, a nats-server and four workers of their own",
        }
    }

    async fn target(self, keep: Option<PathBuf>) -> Result<TargetFleet> {
        let target = match self {
            Self::Sandbox => return TargetFleet::private(keep).await,
            Self::Stripe => TargetFleet::shop(keep).await,
        };
        let target = target.context("starting a fleet beside a fake of Stripe (--provider sandbox needs none)")?;
        let stripe = target.stripe.as_ref().context("there is a fake")?;
        stripe.control("faults", &json!({ "lost_answer": 5, "event_twice": 10, "event_overtaken": 10 })).await?;
        Ok(target)
    }
}

const AFTER_HELP: &str = "\
Examples:
  holdfast demo
  holdfast demo --provider sandbox --orders 10000 --json
  holdfast demo --console

With --json one object is printed. Its counts of orders are by how they ended, so that
paid + refunded + expired + cancelled + rejected = orders:
  paid       paid, and nothing given back
  refunded   paid, and all of the money (or some: refunded_in_part) given back
  expired    not paid in time (late_payments_refunded: paid later, and given back)
  cancelled  by the buyer, or because the payment was declined (declined)
  rejected   there was not enough stock, or not enough shares
settled_seconds runs from the first order until nothing is left to do. books are the sums of the fake of Stripe and ours, null
with the sandbox. verify is \"ok\" or what is wrong.

Exit codes: 0: every order ended as it should, nothing was set aside, no worker died but the one that was killed, both books
say the same, and verify found nothing. 1: one of these does not hold. 3: it could not be brought to its end. Unless it is 0,
the fleet's data and logs stay where they are.";

const PRODUCTS: u64 = 200;
const ROUNDS: u64 = 20;

/// What verify finds wrong, at most.
const FINDINGS_SHOWN: usize = 20;

/// Runs the demo.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let console = args.console;
    // Dropping what runs ends it and removes its directory.
    let (mut target, report) = tokio::select! {
        shown = show(args, global.json) => shown?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    let is_well = report.as_ref().is_ok_and(|report| report.checks.all_hold());
    if let Ok(report) = &report {
        if global.json {
            print::json(&report.json())?;
        } else {
            print::out(&report.text())?;
        }
    }
    if console && report.is_ok() {
        let gateway = target.gateway().await?;
        eprintln!("Console   {}/console/, to be signed in to with {}", gateway.url, gateway.token);
        eprintln!("The fleet runs on. Ctrl-C stops it.");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    let left = tokio::select! {
        left = target.leave(if is_well { KeepDir::No } else { KeepDir::Yes }) => left?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    if let Some(dir) = &left {
        eprintln!("The fleet's data and logs are in {}.", dir.display());
    }
    report?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A fleet with what it has lived through, and what came of that.
async fn show(args: Args, json: bool) -> Result<(TargetFleet, Result<Report>)> {
    let Args { provider, orders, seed, rate, keep, console: _ } = args;
    let (usual, usual_rate, paid_by) = provider.defaults();
    let (orders, rate) = (orders.unwrap_or(usual), rate.unwrap_or(usual_rate));
    let workload = Workload::new(seed, orders, PRODUCTS, ROUNDS).paid_by(paid_by);
    let options =
        synthetic::Options { rate: Some(rate), until: Until::AllIsSettled, progress: ProgressBars::new(json) };
    let say = |text: &str| options.progress.say(text);
    say(&format!(
        "{} orders of {PRODUCTS} products and {ROUNDS} rounds, {rate} a second; seed {seed}.{}",
        grouped(orders),
        provider.harm()
    ));
    let begun = Instant::now();
    let mut target = provider.target(keep).await?;
    let private = target.private.as_mut().context("the fleet is private")?;
    say(&format!("{} are up in {} after {}.", provider.up(), private.dir.display(), lasting(begun.elapsed())));
    let report = experience(&mut target, &workload, seed, &options).await;
    Ok((target, report))
}

/// The run, with a worker killed when half of the orders are placed, and the checks.
async fn experience(
    target: &mut TargetFleet,
    workload: &Workload,
    seed: u64,
    options: &synthetic::Options,
) -> Result<Report> {
    let mut private = target.private.take().context("the fleet is private")?;
    let worker = victim(seed)?;
    let (tell, placed) = watch::channel(0);
    let lived = async {
        let run = synthetic::run(target, workload, options, |count| {
            tell.send_replace(count);
        });
        let run = run.await;
        drop(tell);
        run
    };
    let attended = attend(&mut private, &target.pool, worker, workload.orders.div_ceil(2), placed, &options.progress);
    let both = tokio::select! {
        both = async { tokio::try_join!(lived, attended) } => both,
        never = statuses::watch(&target.pool, &options.progress) => match never {},
    };
    let ended = private.fleet.ended_workers();
    target.private = Some(private);
    let (run, killed) = both?;
    options.progress.say("Everything has settled; checking.");
    let books = match &target.stripe {
        Some(stripe) => Some(Books::read(stripe, &target.pool).await?),
        None => None,
    };
    let ended = ended.into_iter().map(|(worker, replica, code)| format!("{worker}-{replica} (exit code {code:?})"));
    let checks = Checks {
        as_told: run.is_as_told(),
        ended: ended.collect(),
        dead_letters: statuses::dead_letters(&target.pool).await?,
        books,
        verdict: verify(&target.address.database_url).await?,
    };
    let rounds = statuses::rounds(&target.pool).await?;
    Ok(Report { seed, run, killed, checks, rounds })
}

/// What `holdfast verify` finds wrong, in words.
async fn verify(database_url: &str) -> Result<Verdict> {
    let report = audit::audit(database_url).await?;
    let word = |finding: &audit::Finding| format!("{}: {}", finding.subject, finding.what);
    let mut findings: Vec<String> = report.findings.iter().take(FINDINGS_SHOWN).map(word).collect();
    if !report.ok && findings.is_empty() {
        findings.push("not ok".to_owned());
    }
    Ok(Verdict { events: report.events, findings })
}
