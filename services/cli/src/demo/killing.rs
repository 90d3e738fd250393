//! A worker is killed in the middle of the run, and started again a moment later.

use std::time::Duration;

use anyhow::{Context, Result};
use domain::Timestamp;
use runtime::clock;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::{sync::watch, time::Instant};

use crate::load::{
    bars::Bars,
    figures::{grouped, lasting},
    venue::Private,
};

/// How long the killed worker stays away.
const AWAY: Duration = Duration::from_secs(1);

/// How often to look whether it works again.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was done to a worker, and how it took it.
#[derive(Debug, Clone)]
pub(super) struct Killed {
    /// Which.
    pub(super) worker: &'static str,
    /// How many orders were placed by then.
    pub(super) after_orders: u64,
    /// From the kill to its start.
    pub(super) away: Duration,
    /// From its start to its next event, if it had anything to do any more.
    pub(super) working_after: Option<Duration>,
}

/// The worker that this seed kills.
pub(super) fn victim(seed: u64) -> Result<&'static str> {
    let victim = usize::try_from(seed % u64::try_from(proto::SERVICES.len())?)?;
    proto::SERVICES.get(victim).copied().context("there are services")
}

/// When so many orders are placed, ends a worker without warning, and starts it again. `None`: the run was over before.
pub(super) async fn kill(
    private: &mut Private,
    pool: &PgPool,
    worker: &'static str,
    after: u64,
    mut placed: watch::Receiver<u64>,
    bars: &Bars,
) -> Result<Option<Killed>> {
    let Ok(after_orders) = placed.wait_for(|placed| *placed >= after).await.map(|placed| *placed) else {
        return Ok(None);
    };
    let begun = Instant::now();
    private.fleet.kill_worker(worker, 0).await?;
    bars.say(&format!("{} orders placed. SIGKILL to the worker {worker}.", grouped(after_orders)));
    clock::sleep(AWAY).await;
    let started_at = clock::now();
    private.fleet.start_worker(worker, 0)?;
    let (away, started) = (begun.elapsed(), Instant::now());
    let mut killed = Killed { worker, after_orders, away, working_after: None };
    // Until the run is over, which drops the other end.
    while placed.has_changed().is_ok() {
        if has_written(pool, worker, started_at).await? {
            let working_after = started.elapsed();
            let (away, after) = (lasting(away), lasting(working_after));
            bars.say(&format!("After {away} it is started again, and {after} later it is at work."));
            killed.working_after = Some(working_after);
            break;
        }
        clock::sleep(LOOK_EVERY).await;
    }
    Ok(Some(killed))
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
