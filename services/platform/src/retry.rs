//! How long to wait between tries: exponential, with jitter, bounded.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Waits between tries that never end, from `first` to `longest`.
pub fn backoff(first: Duration, longest: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(first)
        // Jitter comes on top, up to as much again.
        .with_max_delay(longest / 2)
        .without_max_times()
        .with_jitter()
        .build()
        .map(move |wait| wait.min(longest))
}

/// The wait before try number `attempt` + 1, `attempt` from 1.
#[must_use]
pub fn delay(first: Duration, longest: Duration, attempt: u32) -> Duration {
    let doublings = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX).min(16);
    backoff(first, longest).nth(doublings).unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{backoff, delay};

    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn waits_grow_and_never_exceed_the_longest() {
        // Jitter is by chance, so one series of waits proves little.
        for _ in 0..100 {
            let waits: Vec<Duration> = backoff(FIRST, LONGEST).take(50).collect();
            assert!(waits.iter().all(|wait| (FIRST..=LONGEST).contains(wait)), "{waits:?}");
            assert!(waits[0] <= 2 * FIRST && waits[49] >= LONGEST / 2, "{waits:?}");
        }
    }

    #[test]
    fn the_wait_after_any_number_of_tries_is_within_its_limits() {
        for attempt in [0, 1, 2, 16, 17, 18, 1_000, u32::MAX] {
            let wait = delay(FIRST, LONGEST, attempt);
            assert!((FIRST..=LONGEST).contains(&wait), "{attempt}: {wait:?}");
        }
        assert!(delay(FIRST, LONGEST, u32::MAX) >= LONGEST / 2);
        // Equal limits leave no room for growth or chance.
        assert_eq!(delay(FIRST, FIRST, 1), FIRST);
        assert!(delay(FIRST, FIRST, 9) <= FIRST);
    }
}
