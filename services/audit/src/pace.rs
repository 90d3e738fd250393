//! How fast the log is read: as fast as it can be, but for pauses while the fleet writes, so that those who buy do not wait for those who audit.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use platform::clock;
use sqlx::PgConnection;

/// How often it is looked how fast the log grows.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// While the fleet writes so many events a second, reading pauses for as long as it works; while it writes twice as many, twice as long.
const EVENTS_A_PAUSE: u32 = 1_000;

/// How many times as long as it works reading pauses, at most.
const PAUSES_MAX: u32 = 9;

/// How fast the log is read.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Events a second, at most. None: what the fleet leaves.
    rate: Option<NonZeroU32>,
    begun: Instant,
    read: u64,
    /// Since when it works without a pause.
    working_since: Instant,
    grows: Growth,
}

/// How fast the log grows.
#[derive(Debug, Default)]
struct Growth {
    /// Where it ended when that was looked for last.
    head: Option<(Instant, i64)>,
    /// Events a second.
    rate: u32,
}

impl Pace {
    pub(crate) fn of(rate: Option<NonZeroU32>) -> Self {
        let now = Instant::now();
        Self { rate, begun: now, read: 0, working_since: now, grows: Growth::default() }
    }

    /// How many events to read at once: with a rate, as many as come in a quarter of a second.
    pub(crate) fn page(&self, most: u32) -> u32 {
        self.rate.map_or(most, |rate| (rate.get() / 4).clamp(1, most))
    }

    /// Pauses after so many were read, over a connection to the log.
    pub(crate) async fn wait(&mut self, read: u64, connection: &mut PgConnection) -> Result<()> {
        self.read += read;
        if let Some(rate) = self.rate {
            let due = Duration::from_micros(self.read.saturating_mul(1_000_000) / u64::from(rate.get()));
            clock::sleep(due.saturating_sub(self.begun.elapsed())).await;
            return Ok(());
        }
        self.grows.look(connection).await?;
        clock::sleep(self.grows.pause(self.working_since.elapsed())).await;
        self.working_since = Instant::now();
        Ok(())
    }
}

impl Growth {
    async fn look(&mut self, connection: &mut PgConnection) -> Result<()> {
        if self.head.is_some_and(|(at, _)| at.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        let head: Option<i64> = sqlx::query_scalar("select max(position) from log.events")
            .fetch_one(connection)
            .await
            .context("reading where the log ends")?;
        let (now, head) = (Instant::now(), head.unwrap_or(0));
        if let Some((at, before)) = self.head.replace((now, head)) {
            let grown = u128::try_from(head.saturating_sub(before)).unwrap_or(0);
            let rate = grown * Duration::from_secs(1).as_nanos() / now.duration_since(at).as_nanos().max(1);
            self.rate = u32::try_from(rate).unwrap_or(u32::MAX);
        }
        Ok(())
    }

    /// How long to pause after so much work.
    fn pause(&self, worked: Duration) -> Duration {
        worked * self.rate.min(PAUSES_MAX * EVENTS_A_PAUSE) / EVENTS_A_PAUSE
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Growth;

    #[test]
    fn reading_pauses_the_longer_the_more_the_fleet_writes_and_never_for_a_fleet_that_is_idle() {
        let worked = Duration::from_millis(100);
        for (rate, pause) in [(0, 0), (100, 10), (1_000, 100), (4_500, 450), (50_000, 900)] {
            assert_eq!(Growth { head: None, rate }.pause(worked), Duration::from_millis(pause), "{rate}");
        }
    }
}
