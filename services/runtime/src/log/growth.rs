//! How fast the log grows, and so how long whoever reads all of it pauses, so that those who buy do not wait for those who look on.

use std::time::{Duration, Instant};

use sqlx::PgConnection;

/// How often it is looked how fast the log grows.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// While the fleet writes so many events a second, reading pauses for as long as it works; while it writes twice as many, twice as long.
const EVENTS_A_PAUSE: u32 = 1_000;

/// How many times as long as it works reading pauses, at most.
const PAUSES_MAX: u32 = 9;

/// Events a second, by how long ago the thousandth from the end was written.
const GROWS: &str =
    "select (1000 / greatest(extract(epoch from clock_timestamp() - recorded_at), 0.001))::bigint from log.events
     where position <= (select max(position) - 1000 from log.events) order by position desc limit 1";

/// How fast the log grows.
#[derive(Debug, Default)]
pub struct Growth {
    looked: Option<Instant>,
    /// Events a second.
    rate: u32,
}

impl Growth {
    /// How long to pause after so much work. Looks now and then how fast the log grows.
    ///
    /// # Errors
    /// Postgres failed.
    pub async fn pause_after(
        &mut self,
        worked: Duration,
        connection: &mut PgConnection,
    ) -> Result<Duration, sqlx::Error> {
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            let rate: Option<i64> = sqlx::query_scalar(GROWS).fetch_optional(connection).await?;
            self.rate = u32::try_from(rate.unwrap_or(0)).unwrap_or(u32::MAX);
            self.looked = Some(Instant::now());
        }
        Ok(self.pause(worked))
    }

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
            assert_eq!(Growth { looked: None, rate }.pause(worked), Duration::from_millis(pause), "{rate}");
        }
    }
}
