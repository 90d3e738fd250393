//! `holdfast status`: where orders, money, holds, due work and messages stand, once or as a live table.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;
use runtime::clock;
use serde::Serialize;

mod broker;
mod database;
mod text;

use crate::{
    print::{self, Paint, short},
    recover,
    surroundings::Surroundings,
};

/// Options of `holdfast status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Paint it again every second until Ctrl-C. Only on a terminal.
    #[arg(long)]
    watch: bool,
}

const REPAINT_EVERY: Duration = Duration::from_secs(1);

/// Clears the screen from its first line on: ANSI for "home" and "erase below".
const REPAINT: &str = "\x1b[H\x1b[J";

/// All that is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    #[serde(flatten)]
    database: database::Database,
    broker: broker::Broker,
    /// What does not go on, and where to look.
    stands: Vec<String>,
}

/// What is late by so much does not go on by itself.
const LATE: Duration = Duration::from_secs(30);

/// Shows the fleet: exit code 0; 1 if something does not go on; 3 if the database or the broker could not be asked.
pub async fn run(args: Args, surroundings: &Surroundings) -> Result<ExitCode> {
    if args.watch {
        if surroundings.json || !io::stdout().is_terminal() {
            eprintln!("holdfast: --watch repaints a terminal; leave it away to print once");
            return Ok(ExitCode::from(2));
        }
        return watch(surroundings).await;
    }
    let status = look(surroundings).await?;
    if surroundings.json {
        print::json(&status)?;
    } else {
        print::out(&status.text(Paint::for_stdout()))?;
    }
    Ok(match (&status.broker.problem, status.stands.is_empty()) {
        (Some(_), _) => ExitCode::from(3),
        (None, false) => ExitCode::FAILURE,
        (None, true) => ExitCode::SUCCESS,
    })
}

async fn watch(surroundings: &Surroundings) -> Result<ExitCode> {
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let painted = match look(surroundings).await {
            Ok(status) => status.text(Paint::for_stdout()),
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

async fn look(surroundings: &Surroundings) -> Result<Status> {
    let database = database::look(&surroundings.database_url()?).await?;
    let broker = broker::look(&surroundings.broker_url()?).await;
    let mut stands = stands(&database, &broker);
    // Without one of them there is nothing to compare, and that is said already.
    if let Ok(Some(another)) = recover::another_log(surroundings).await {
        stands.insert(0, another);
    }
    Ok(Status { database, broker, stands })
}

/// What does not go on.
fn stands(database: &database::Database, broker: &broker::Broker) -> Vec<String> {
    const ASK: &str = "/readyz of each worker says why";
    let is_late = |ms: u64| Duration::from_millis(ms) > LATE;
    let late = |ms: u64| short(Duration::from_millis(ms));
    let mut stands = Vec::new();
    // Before a fleet's first start nothing is missing.
    if database.log.head > 0 {
        let missing = broker.missing.iter();
        stands.extend(
            missing.map(|name| format!("the stream {name} is missing, and the workers could not make it: {ASK}")),
        );
    }
    for consumer in broker.consumers.iter().filter(|consumer| consumer.paused) {
        stands.push(format!("the consumer {} of {} is paused", consumer.durable, consumer.stream));
    }
    for notice in &database.notices {
        let (said_by, says) = (&notice.said_by, &notice.says);
        stands.push(format!("{says} (said by {said_by}, for {})", late(notice.for_ms)));
    }
    let timers = database.timers.iter().map(|(service, due)| (service, "timers", due));
    let calls = database.effects.iter().map(|(service, due)| (service, "outside calls", due));
    for (service, what, due) in timers.chain(calls).filter(|(_, _, due)| due.overdue > 0 && is_late(due.oldest_ms)) {
        stands.push(format!(
            "{service}: {} {what} are overdue, the first for {}: {ASK}",
            due.overdue,
            late(due.oldest_ms)
        ));
    }
    if database.log.lag > 0 && is_late(database.log.lag_ms) {
        let (lag, since) = (database.log.lag, late(database.log.lag_ms));
        stands.push(format!("{lag} events are not published, the first for {since}: {ASK}"));
    }
    stands
}
