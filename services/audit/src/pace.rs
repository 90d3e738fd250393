//! How fast the log is read: as fast as it can be, but for pauses while the fleet writes.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use platform::clock;
use runtime::log::growth::Growth;
use sqlx::PgConnection;

/// How fast the log is read.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Events a second, at most. None: what the fleet leaves.
    rate: Option<NonZeroU32>,
    begun: Instant,
    read: u64,
    /// Since when it works without a pause.
    working_since: Instant,
    growth: Growth,
}

impl Pace {
    pub(crate) fn of(rate: Option<NonZeroU32>) -> Self {
        let now = Instant::now();
        Self { rate, begun: now, read: 0, working_since: now, growth: Growth::default() }
    }

    /// How many events to read at once: with a rate, as many as come in a quarter of a second.
    pub(crate) fn page(&self, most: u32) -> u32 {
        self.rate.map_or(most, |rate| (rate.get() / 4).clamp(1, most))
    }

    /// Pauses after so many were read, over a connection to the log.
    pub(crate) async fn wait(&mut self, read: u64, connection: &mut PgConnection) -> Result<()> {
        self.read += read;
        let pause = match self.rate {
            Some(rate) => {
                let due = Duration::from_micros(self.read.saturating_mul(1_000_000) / u64::from(rate.get()));
                due.saturating_sub(self.begun.elapsed())
            }
            None => {
                let pause = self.growth.pause_after(self.working_since.elapsed(), connection).await;
                pause.context("looking how fast the log grows")?
            }
        };
        clock::sleep(pause).await;
        self.working_since = Instant::now();
        Ok(())
    }
}
