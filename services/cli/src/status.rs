//! `holdfast status`: where orders, money, holds, due work and messages stand, once or as a live table.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use audit::status::{self, Status};

mod text;

use platform::{
    clock,
    print::{self, Paint},
};

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast status
  holdfast status --watch
  holdfast status --json

Exit codes: 0 all goes on; 1 something does not; 2 wrong usage; 3 the database or the broker could not be asked.";

/// Options of `holdfast status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Paint it again every second until Ctrl-C. Only on a terminal.
    #[arg(long)]
    watch: bool,
}

const REPAINT_EVERY: Duration = Duration::from_secs(1);

/// Clears the screen from its first line on: ANSI for "home" and "erase below".
const REPAINT: &str = "\x1b[H\x1b[J";

/// Shows the fleet: exit code 0; 1 if something does not go on; 3 if the database or the broker could not be asked.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    if args.watch {
        if global.json || !io::stdout().is_terminal() {
            eprintln!("holdfast: --watch repaints a terminal; leave it away to print once");
            return Ok(ExitCode::from(2));
        }
        return watch(global).await;
    }
    let status = look(global).await?;
    if global.json {
        print::json(&status)?;
    } else {
        print::out(&text::text(&status, Paint::for_stdout()))?;
    }
    Ok(match (&status.broker.problem, status.stands.is_empty()) {
        (Some(_), _) => ExitCode::from(3),
        (None, false) => ExitCode::FAILURE,
        (None, true) => ExitCode::SUCCESS,
    })
}

async fn watch(global: &GlobalArgs) -> Result<ExitCode> {
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let painted = match look(global).await {
            Ok(status) => text::text(&status, Paint::for_stdout()),
            // A fleet that is being started again comes back.
            Err(error) => format!("{error:#}\n"),
        };
        print::out(&format!("{REPAINT}{painted}\nCtrl-C ends this.\n"))?;
        tokio::select! {
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
            () = clock::sleep(REPAINT_EVERY) => {}
        }
    }
}

async fn look(global: &GlobalArgs) -> Result<Status> {
    status::look(&global.database_url()?, &global.broker()?).await
}
