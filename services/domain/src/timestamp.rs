//! Time as data: microseconds, because Postgres keeps no more, and a fold must equal its row.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use proto::well_known as wire;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::Rejection;

/// A moment in UTC, in whole microseconds since 1970. Reading the clock is the runtime's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Time from `earlier` to this; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As a message field.
    #[must_use]
    pub fn to_wire(self) -> wire::Timestamp {
        wire::Timestamp {
            seconds: self.0.div_euclid(1_000_000),
            nanos: i32::try_from(self.0.rem_euclid(1_000_000)).unwrap_or(0) * 1_000,
        }
    }

    /// From a message field, cut to microseconds.
    ///
    /// # Errors
    /// Absent, or outside the years 1970 to 9999.
    pub fn from_wire(field: &str, value: Option<wire::Timestamp>) -> Result<Self, Rejection> {
        let refuse = |what: String| Rejection::new("INVALID_TIME", format!("{field} {what}"));
        let value = value.ok_or_else(|| refuse("is missing".to_owned()))?;
        if !(0..=253_402_300_799).contains(&value.seconds) || !(0..1_000_000_000).contains(&value.nanos) {
            return Err(refuse(format!("is no time between 1970 and 9999: {} s {} ns", value.seconds, value.nanos)));
        }
        Ok(Self(value.seconds * 1_000_000 + i64::from(value.nanos / 1_000)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(value: OffsetDateTime) -> Self {
        Self(i64::try_from(value.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(value: Timestamp) -> Self {
        Self::from_unix_timestamp_nanos(i128::from(value.0) * 1_000).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from(*self).format(&Rfc3339) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "{} us since 1970", self.0),
        }
    }
}
