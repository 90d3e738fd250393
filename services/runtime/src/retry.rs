//! How long to wait between tries: exponential, with jitter, bounded.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits between tries that never end, from `first` to `longest`.
#[must_use]
pub fn backoff(first: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
        .build()
}

/// The wait before try number `attempt` + 1, `attempt` from 1.
#[must_use]
pub fn delay(first: Duration, longest: Duration, attempt: u32) -> Duration {
    let doublings = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX).min(16);
    backoff(first, longest).nth(doublings).unwrap_or(longest)
}
