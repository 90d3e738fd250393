//! The clock: the only place that reads the time of day or waits for time to pass.

use std::time::Duration;

use domain::Timestamp;
use time::OffsetDateTime;

/// Now, in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    OffsetDateTime::now_utc().into()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "this is the one place that waits for time to pass")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
