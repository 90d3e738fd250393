//! The `holdfast` command.

use std::{io::IsTerminal, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use cli::{
    actions, archive, asyncapi, cancel, check, config, contact, context, cutoff, demo, diagnose, expire, explain,
    export, gateway::failure::Failure, get, global_args::GlobalArgs, list, load, mail, merge, migrate, output::Output,
    pause, rebuild, reconcile, recover, redrive, refund, reinstate, replay, resolve, search, send, set_aside, shell,
    status, tail, timeline, unblock, up, verify, verify_draw, what_if,
};
use platform::print::Paged;
use tracing_subscriber::EnvFilter;

#[cfg(test)]
mod help;

/// Runs, loads, watches and proves a Holdfast fleet.
///
/// Exit codes: 0 all is well; 1 a check failed (drift, unsettled orders, refused rows where none may be), or there is no such thing; 2 wrong
/// usage; 3 the command could not do its work (no fleet, no answer, no file); 4 the token is not good for it; 5 it does not go with how
/// things stand.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: GlobalArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a private fleet until Ctrl-C: Postgres, nats-server and all workers, below the fleet's directory.
    Up(up::Args),
    /// Run thousands of orders through a private fleet, kill a worker on the way, and prove that nothing was lost.
    Demo(demo::Args),
    /// Send orders to a running fleet: a synthetic mix, or a trace.
    Load(load::Args),
    /// Show orders by state, holds, refunds under way, and lags.
    Status(status::Args),
    /// Say what is wrong with the fleet: why, what is at stake, what shows it, and what to do.
    Diagnose(diagnose::Args),
    /// Explain a code: of a finding, or of a command that was refused.
    Explain(explain::Args),
    /// The gateways that you talk to, and your token for each.
    Context(context::Args),
    /// Show an order, a refund, a product, a round, a coupon, a wallet or the answer to a command as it stands, through the gateway.
    Get(get::Args),
    /// List orders, products, rounds or coupons, through the gateway.
    List(list::Args),
    /// Say what a text is: an id or its first digits, the shop's own number of an order, a customer, a SKU, a code. Through the gateway.
    Search(search::Args),
    /// Tell events as they come, of an order or of all, through the gateway.
    Tail(tail::Args),
    /// Fold the log again and compare every row; check that nothing was lost or doubled. Traffic may run.
    Verify(verify::Args),
    /// Check the draw of a round: that its winner is the one that everybody computes. Traffic may run.
    VerifyDraw(verify_draw::Args),
    /// Show everything that happened to an order, a refund, a payment, a product or a round, across all services, in causal order. Traffic may run.
    Timeline(timeline::Args),
    /// Show everything that happened to an order: short for `timeline order`.
    Order(timeline::OrderArgs),
    /// Cancel an order that is not wanted any more; if it is paid, its money goes back.
    Cancel(cancel::Args),
    /// Give money of an order back.
    Refund(refund::Args),
    /// Expire orders now: these, those of a customer, or all that are due.
    Expire(expire::Args),
    /// Give an order that is over its holds back, if they are free, and its buyer time to pay.
    Reinstate(reinstate::Args),
    /// Decide what became of a refund, or of money that fits nothing.
    Resolve(resolve::Args),
    /// Have dead letters handled again: these, those of a service, with a code, or about a key.
    Redrive(redrive::Args),
    /// Set dead letters aside that nobody is to send again.
    SetAside(set_aside::Args),
    /// End a session of Postgres that keeps the log from being read to its end.
    Unblock(unblock::Args),
    /// Have a consumer stand still for a while.
    Pause(pause::Pause),
    /// Let a consumer go on that stands still.
    Resume(pause::Resume),
    /// Mail to buyers: list it, or send one again.
    Mail(mail::Args),
    /// Where buyers are reached: forget it.
    Contact(contact::Args),
    /// Bring the database to the layout that this program knows, before workers of a new release start.
    Migrate(migrate::Args),
    /// After the database has gone back: take back what the broker still has, or give it up.
    Recover(recover::Args),
    /// Make rows anew that are not what their events say: stock, shares, orders, payments, coupons or wallets. Traffic may run.
    Rebuild(rebuild::Args),
    /// Show stock, shares, orders, payments, coupons or wallets as they were at a position of the log or at a time. Traffic may run.
    Replay(replay::Args),
    /// Make one answer of those of all shards of a replay: what a single one would have said.
    Merge(merge::Args),
    /// Who did what and why, and what was refused. Traffic may run.
    Actions(actions::Args),
    /// The last events before a moment and the first behind it, and whose clocks disagree. Traffic may run.
    Cutoff(cutoff::Args),
    /// Which orders would have ended otherwise, had their time to pay or the policy for late money been another one. Traffic may run.
    WhatIf(what_if::Args),
    /// Compare a provider's payout reports with the log, to the minor unit. Traffic may run.
    Reconcile(reconcile::Args),
    /// Write the log to files that other programs read: every event with its bytes, and what it moved. Traffic may run.
    Export(export::Args),
    /// Prove an export from its files alone: nothing of it is changed, and every posting follows from the events.
    Check(check::Args),
    /// Move the beginning of the log into files and bring it back, partition by partition. Traffic may run.
    Archive(archive::Args),
    /// Send any command from JSON and print its answer.
    Send(send::Args),
    /// Say what is wrong with the settings of this environment, or show them.
    Config(config::Args),
    /// Print the contract as an AsyncAPI document: every command and event, with schemas and subjects.
    #[command(after_help = asyncapi::EXAMPLES)]
    Asyncapi,
    /// Print what a shell runs to complete the words of this command.
    Completions(shell::CompletionsArgs),
    /// Write the manual's pages, for `man`.
    Manual(shell::ManualArgs),
}

/// As low as it gets. Whoever serves it, such as a session of Postgres, waits for it, and so gives way with it.
const LOWEST_PRIORITY: i32 = 19;

impl Command {
    /// Whether it reads much, and nobody waits for it who cannot wait: a fleet on the same machine goes first.
    const fn gives_way(&self) -> bool {
        if let Self::Rebuild(args) = self {
            // One that writes has locks that others wait for.
            return args.only_shows();
        }
        matches!(
            self,
            Self::Verify(_)
                | Self::VerifyDraw(_)
                | Self::Timeline(_)
                | Self::Order(_)
                | Self::Replay(_)
                | Self::Merge(_)
                | Self::Actions(_)
                | Self::Cutoff(_)
                | Self::WhatIf(_)
                | Self::Reconcile(_)
                | Self::Export(_)
                | Self::Check(_)
        )
    }

    /// The ways that it knows to print.
    const fn outputs(&self) -> &'static [Output] {
        if matches!(self, Self::Context(_) | Self::Get(_) | Self::List(_) | Self::Search(_)) {
            return Output::ALL;
        }
        let tells_of_many = matches!(
            self,
            Self::Tail(_)
                | Self::Timeline(_)
                | Self::Order(_)
                | Self::Replay(_)
                | Self::Merge(_)
                | Self::Actions(_)
                | Self::Cutoff(_)
                | Self::WhatIf(_)
                | Self::Reconcile(_)
        );
        if tells_of_many { Output::LINES } else { Output::ALWAYS }
    }

    /// Whether it tells much that a person reads from the beginning.
    const fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Get(_)
                | Self::List(_)
                | Self::Search(_)
                | Self::Explain(_)
                | Self::VerifyDraw(_)
                | Self::Timeline(_)
                | Self::Order(_)
                | Self::Replay(_)
                | Self::Actions(_)
                | Self::Cutoff(_)
                | Self::WhatIf(_)
                | Self::Reconcile(_)
        )
    }
}

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut cli = Cli::parse();
    if let Err(mistake) = cli.global.settle(cli.command.outputs()) {
        eprintln!("holdfast: {mistake}");
        return ExitCode::from(2);
    }
    if cli.command.gives_way() {
        // Before there are other threads: they are born with it.
        if let Err(error) = rustix::process::nice(LOWEST_PRIORITY) {
            eprintln!("holdfast: it could not make itself give way to others: {error}");
        }
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => {
            eprintln!("holdfast: starting its threads: {error}");
            ExitCode::from(3)
        }
    }
}

async fn run(cli: Cli) -> ExitCode {
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG_FILTER").unwrap_or_else(|_unset| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let global = &cli.global;
    let paged = cli.command.is_read().then(Paged::begin);
    let ended = match cli.command {
        Command::Up(args) => up::run(args, global).await,
        Command::Demo(args) => demo::run(args, global).await,
        Command::Load(args) => load::run(args, global).await,
        Command::Status(args) => status::run(args, global).await,
        Command::Diagnose(args) => diagnose::run(args, global).await,
        Command::Explain(args) => explain::run(args, global).await,
        Command::Context(args) => context::run(args, global),
        Command::Get(args) => get::run(args, global).await,
        Command::List(args) => list::run(args, global).await,
        Command::Search(args) => search::run(args, global).await,
        Command::Tail(args) => tail::run(args, global).await,
        Command::Verify(args) => verify::run(args, global).await,
        Command::VerifyDraw(args) => verify_draw::run(args, global).await,
        Command::Timeline(args) => timeline::run(args, global).await,
        Command::Order(args) => timeline::order(args, global).await,
        Command::Cancel(args) => cancel::run(args, global).await,
        Command::Refund(args) => refund::run(args, global).await,
        Command::Expire(args) => expire::run(args, global).await,
        Command::Reinstate(args) => reinstate::run(args, global).await,
        Command::Resolve(args) => resolve::run(args, global).await,
        Command::Redrive(args) => redrive::run(args, global).await,
        Command::SetAside(args) => set_aside::run(args, global).await,
        Command::Unblock(args) => unblock::run(args, global).await,
        Command::Pause(args) => pause::pause(args, global).await,
        Command::Resume(args) => pause::resume(args, global).await,
        Command::Mail(args) => mail::run(args, global).await,
        Command::Contact(args) => contact::run(args, global).await,
        Command::Migrate(args) => migrate::run(args, global).await,
        Command::Recover(args) => recover::run(args, global).await,
        Command::Rebuild(args) => rebuild::run(args, global).await,
        Command::Replay(args) => replay::run(args, global).await,
        Command::Merge(args) => merge::run(&args, global),
        Command::Actions(args) => actions::run(args, global).await,
        Command::Cutoff(args) => cutoff::run(args, global).await,
        Command::WhatIf(args) => what_if::run(args, global).await,
        Command::Reconcile(args) => reconcile::run(args, global).await,
        Command::Export(args) => export::run(args, global).await,
        Command::Check(args) => check::run(&args, global),
        Command::Archive(args) => archive::run(args, global).await,
        Command::Send(args) => send::run(args, global).await,
        Command::Config(args) => config::run(&args, global),
        Command::Asyncapi => asyncapi::run(),
        Command::Completions(args) => Ok(shell::completions(&args, Cli::command())),
        Command::Manual(args) => shell::manual(&args, Cli::command()),
    };
    drop(paged);
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast: {error:#}");
            ExitCode::from(error.downcast_ref::<Failure>().map_or(3, |failure| failure.code))
        }
    }
}
