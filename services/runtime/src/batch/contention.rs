//! Contention: whether others change the rows that this process changes. Where they do, to wait for locks costs less than to do a batch twice.
//!
//! Why it is so: services/runtime/README.md#two-round-trips-for-a-batch

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long rows are locked after a conflict: longer each time, and as at first again once there was none for as long.
const LOCKED_FOR: Duration = Duration::from_millis(500);
const LOCKED_FOR_MAX: Duration = Duration::from_secs(8);

/// What this process has met of it.
#[derive(Debug, Default)]
pub(crate) struct Contention(Mutex<Option<Met>>);

#[derive(Debug, Clone, Copy)]
struct Met {
    at: Instant,
    locked_for: Duration,
}

impl Contention {
    /// Whether rows need no locks.
    pub(crate) fn is_low(&self) -> bool {
        self.is_low_at(Instant::now())
    }

    /// Somebody else has changed what this process wanted to change.
    pub(crate) fn met(&self) {
        self.met_at(Instant::now());
    }

    fn is_low_at(&self, now: Instant) -> bool {
        let met = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.is_none_or(|met| now.saturating_duration_since(met.at) >= met.locked_for)
    }

    fn met_at(&self, now: Instant) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = met.filter(|met| now.saturating_duration_since(met.at) < met.locked_for * 2);
        let locked_for = before.map_or(LOCKED_FOR, |met| (met.locked_for * 2).min(LOCKED_FOR_MAX));
        *met = Some(Met { at: now, locked_for });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Contention;

    #[test]
    fn rows_are_locked_for_longer_while_conflicts_go_on() {
        let (contention, start) = (Contention::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let locks_until = |from| (from..).step_by(100).find(|now| contention.is_low_at(at(*now))).unwrap();
        assert!(contention.is_low_at(at(0)));
        contention.met_at(at(0));
        assert_eq!(locks_until(0), 500);
        contention.met_at(at(600));
        assert_eq!(locks_until(600), 1_600);
        for now in [1_700, 4_000, 9_000, 18_000] {
            contention.met_at(at(now));
        }
        assert_eq!(locks_until(18_000), 26_000);
        // None for as long as rows were locked.
        contention.met_at(at(34_000));
        assert_eq!(locks_until(34_000), 34_500);
    }
}
