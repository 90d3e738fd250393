//! Looks after the workers while the run lasts: one is killed and started again a moment later, and no other may end.

use std::time::Duration;

use crate::load::{
    figures::{grouped, lasting},
    progress::ProgressBars,
    target_fleet::OwnedFleet,
};
use anyhow::{Context, Result, bail};
use domain::Timestamp;
use platform::clock;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::{sync::watch, time::Instant};

/// How long the killed worker stays away.
const AWAY: Duration = Duration::from_secs(1);

/// How often to look whether it works again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How often to look whether a worker has ended.
const LOOK_AFTER_EVERY: Duration = Duration::from_millis(200);

/// What was done to a worker, and how it took it.
#[derive(Debug, Clone)]
pub struct Killed {
    /// Which.
    pub worker: &'static str,
    /// How many orders were placed by then.
    pub after_orders: u64,
    /// From the kill to its start.
    pub away: Duration,
    /// From its start to its next event, if it had anything to do any more.
    pub working_after: Option<Duration>,
}

/// The worker that this seed kills.
pub fn victim(seed: u64) -> Result<&'static str> {
    let victim = usize::try_from(seed % u64::try_from(proto::SERVICES.len())?)?;
    proto::SERVICES.get(victim).copied().context("there are services")
}

/// Looks after the workers until the run is over, which drops the other end of `placed`. When so many orders are placed, ends
/// one of them without warning, and starts it again. `None`: the run was over before.
///
/// Fails as soon as a worker ends that nobody has killed.
pub async fn attend(
    private: &mut OwnedFleet,
    pool: &PgPool,
    worker: &'static str,
    after: u64,
    mut placed: watch::Receiver<u64>,
    progress: &ProgressBars,
) -> Result<Option<Killed>> {
    let mut killed = None;
    while placed.has_changed().is_ok() {
        nobody_ended(private)?;
        let after_orders = *placed.borrow_and_update();
        if killed.is_none() && after_orders >= after {
            progress.say(&format!("{} orders placed. SIGKILL to the worker {worker}.", grouped(after_orders)));
            killed = Some(kill(private, pool, worker, after_orders, &placed, progress).await?);
        }
        clock::sleep(LOOK_AFTER_EVERY).await;
    }
    Ok(killed)
}

async fn kill(
    private: &mut OwnedFleet,
    pool: &PgPool,
    worker: &'static str,
    after_orders: u64,
    placed: &watch::Receiver<u64>,
    progress: &ProgressBars,
) -> Result<Killed> {
    let begun = Instant::now();
    private.fleet.kill_worker(worker, 0).await?;
    clock::sleep(AWAY).await;
    let started_at = clock::now();
    private.fleet.start_worker(worker, 0)?;
    let (away, started) = (begun.elapsed(), Instant::now());
    let mut killed = Killed { worker, after_orders, away, working_after: None };
    while placed.has_changed().is_ok() {
        nobody_ended(private)?;
        if has_written(pool, worker, started_at).await? {
            let working_after = started.elapsed();
            let (away, after) = (lasting(away), lasting(working_after));
            progress.say(&format!("After {away} it is started again, and {after} later it is at work."));
            killed.working_after = Some(working_after);
            break;
        }
        clock::sleep(LOOK_EVERY).await;
    }
    Ok(killed)
}

fn nobody_ended(private: &OwnedFleet) -> Result<()> {
    match private.fleet.ended_workers().first() {
        None => Ok(()),
        Some((worker, replica, code)) => bail!(
            "the worker {worker}-{replica} ended ({}) though nobody had asked it to; its log says why",
            code.map_or_else(|| "by a signal".to_owned(), |code| format!("exit code {code}"))
        ),
    }
}

async fn has_written(pool: &PgPool, service: &str, since: Timestamp) -> Result<bool> {
    // Only the log's end: this is asked often.
    sqlx::query_scalar(
        "select exists (
             select from (select service, recorded_at from log.events order by position desc limit 2000) as latest
             where service = $1 and recorded_at > $2)",
    )
    .bind(service)
    .bind(OffsetDateTime::from(since))
    .fetch_one(pool)
    .await
    .context("looking whether the killed worker works again")
}
