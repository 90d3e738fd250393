//! The fake's own time: the machine's, and as much more as a test has advanced it by.

use std::time::{Duration, SystemTime};

/// Seconds since 1970 are Stripe's only measure of time.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead: Duration,
}

impl Clock {
    pub(crate) fn now(&self) -> i64 {
        seconds(real().saturating_add(self.ahead))
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.ahead = self.ahead.saturating_add(by);
    }
}

/// What the machine's clock says, since 1970.
#[expect(clippy::disallowed_methods, reason = "the fake imports nothing of the workspace, its clocks neither")]
pub(crate) fn real() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

pub(crate) fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
