//! The clock: the only place that reads the time of day or waits for time to pass.
//!
//! A worker goes by the clock of Postgres, which all replicas share. Machines' clocks differ: by its own, one whose clock is ahead would close
//! orders whose buyers have time left, and one that is behind would place orders that are overdue at birth. Between two looks at Postgres's
//! clock the worker's goes on by a clock that is never set.

use std::{
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use domain::Timestamp;
use time::OffsetDateTime;

/// What Postgres's clock said, and when that was.
static SET: RwLock<Option<(Instant, Timestamp)>> = RwLock::new(None);

/// Now, in UTC: by Postgres's clock, once it was heard.
#[must_use]
pub fn now() -> Timestamp {
    match *SET.read().unwrap_or_else(PoisonError::into_inner) {
        Some((at, said)) => said + at.elapsed(),
        None => of_this_machine(),
    }
}

/// Now, by the clock of this machine.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
fn of_this_machine() -> Timestamp {
    OffsetDateTime::now_utc().into()
}

/// Sets the clock by what Postgres answered to a question that was asked then.
pub fn set(asked: Instant, said: Timestamp) {
    let answered = Instant::now();
    let mut set = SET.write().unwrap_or_else(PoisonError::into_inner);
    let known = set.map(|(at, said)| said + answered.duration_since(at));
    *set = Some((answered, between(known, said, said + answered.duration_since(asked))));
}

/// What the clock is set to: what it says, if that can be so. Postgres read its clock between question and answer.
fn between(known: Option<Timestamp>, earliest: Timestamp, latest: Timestamp) -> Timestamp {
    known.map_or(earliest, |known| known.clamp(earliest, latest))
}

/// How far this machine's clock is ahead of Postgres's, in microseconds; behind it if negative.
pub fn skew() -> i64 {
    of_this_machine().as_micros().saturating_sub(now().as_micros())
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "this is the one place that waits for time to pass")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::between;

    #[test]
    fn a_clock_that_may_be_right_is_not_set() {
        let at = Timestamp::from_micros;
        let set = |known: Option<i64>| between(known.map(at), at(1_000), at(1_010));
        assert_eq!(
            [set(None), set(Some(999)), set(Some(1_007)), set(Some(1_011))],
            [1_000, 1_000, 1_007, 1_010].map(at)
        );
    }
}
