//! `holdfast up`: a private fleet in the foreground.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use platform::config::Config;
use testbed::fleet::{Fleet, Options, draws};
use tokio::signal::unix::{SignalKind, signal};

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast up
  holdfast up --dir /var/tmp/shop

Exit codes: 0 it was ended by Ctrl-C or SIGTERM; 2 wrong usage; 3 it could not start, or a part of it has ended.";

/// Options of `holdfast up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Replicas of each worker.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    replicas: u8,
    /// One worker with all four services in place of four: less work for each order where all of them fit into one process.
    #[arg(long)]
    all_in_one: bool,
}

/// How long after its tickets are listed a round is drawn: long enough to be seen, and to wait for.
const DRAWS_AFTER: Duration = Duration::from_secs(5);

/// How often to see whether a worker has died.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs a fleet until Ctrl-C or SIGTERM.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    fs::create_dir_all(&global.dir).with_context(|| format!("making {}", global.dir.display()))?;
    let settings = draws::settings(&global.dir, DRAWS_AFTER)?;
    let options =
        Options { replicas: args.replicas.into(), all_in_one: args.all_in_one, settings, ..Options::default() };
    let mut fleet = Fleet::start(&global.dir, options).await?;
    let http = fleet.start_gateway().await?;
    // Mail is off unless it is said where it goes.
    let sends_mail = !Config::from_environment()?.mail.server.is_empty();
    if sends_mail {
        fleet.start_worker("mail", 0)?;
    }
    let address = fleet.address();
    let note = GlobalArgs::note(&global.dir);
    fs::write(&note, serde_json::to_string_pretty(&address)?).with_context(|| format!("writing {}", note.display()))?;
    println!("Postgres  {}", address.database_url);
    println!("NATS      {}", address.broker_url);
    println!("HTTP      export HOLDFAST={} TOKEN={}", http.url, http.token);
    println!("Console   {}/console/, to be signed in to with that token", http.url);
    println!("Rounds    {}/rounds/ROUND_ID, for everybody", http.url);
    println!("Logs      {}", global.dir.join("log").display());
    println!("The fleet is up. Ctrl-C stops it; what is stored stays in {}.", global.dir.display());
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = platform::clock::sleep(LOOK_EVERY) => {
                for (service, replica, code) in fleet.ended_workers() {
                    eprintln!("holdfast: worker {service}-{replica} ended (exit code {code:?}); starting it again");
                    fleet.start_again(&service, replica)?;
                }
            }
        }
    }
    println!("Stopping.");
    fs::remove_file(&note).ok();
    fleet.stop().await?;
    Ok(ExitCode::SUCCESS)
}
