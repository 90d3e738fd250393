//! Figures of a measurement: whole numbers, shown with three decimals where people expect them.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// A number in thousandths: `Thousandths(1_234)` is 1.234.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thousandths(pub u64);

impl Thousandths {
    /// Microseconds as milliseconds.
    #[must_use]
    pub fn ms(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    /// Milliseconds as seconds.
    #[must_use]
    pub fn seconds(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// How much the one is of the other. 0 of nothing.
    #[must_use]
    pub fn ratio(one: u64, other: u64) -> Self {
        Self(per(u128::from(one) * 1_000, other.into()))
    }

    /// Microseconds each, as milliseconds.
    #[must_use]
    pub fn ms_each(micros: u64, count: u64) -> Self {
        Self(per(micros.into(), count.into()))
    }
}

fn per(amount: u128, count: u128) -> u64 {
    amount.checked_div(count).map_or(0, |each| u64::try_from(each).unwrap_or(u64::MAX))
}

/// How many a second.
#[must_use]
pub(super) fn per_second(count: u64, time: Duration) -> u64 {
    per(u128::from(count) * 1_000_000, time.as_micros())
}

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1_000, self.0 % 1_000))
    }
}

impl From<Thousandths> for Value {
    fn from(number: Thousandths) -> Self {
        serde_json::from_str(&number.to_string()).unwrap_or_default()
    }
}

impl Serialize for Thousandths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::from(*self).serialize(serializer)
    }
}

/// The middle one, or the lower of two.
pub(super) fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Times, to three digits, from 1 us to 10 minutes.
#[derive(Debug, Clone)]
pub(super) struct Times(Histogram<u64>);

/// The longest time that is kept apart from longer ones, in microseconds.
const LONGEST_US: u64 = 600_000_000;

impl Times {
    /// None yet.
    ///
    /// # Errors
    /// Never: the limits are right.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_US, 3)?))
    }

    /// Adds a time.
    pub(super) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US));
    }

    /// Half of them took no longer, in milliseconds; all of these are `None` without a time.
    pub(super) fn p50(&self) -> Option<Thousandths> {
        self.within(50.0)
    }

    /// 99 of 100 took no longer.
    pub(super) fn p99(&self) -> Option<Thousandths> {
        self.within(99.0)
    }

    /// 999 of 1,000 took no longer.
    pub(super) fn p999(&self) -> Option<Thousandths> {
        self.within(99.9)
    }

    /// The longest.
    pub(super) fn longest(&self) -> Option<Thousandths> {
        self.within(100.0)
    }

    fn within(&self, percent: f64) -> Option<Thousandths> {
        (!self.0.is_empty()).then(|| Thousandths(self.0.value_at_percentile(percent)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Thousandths, Times, median, per_second};

    #[test]
    fn whole_numbers_are_shown_with_decimals() {
        assert_eq!(Thousandths(1_234).to_string(), "1.234");
        assert_eq!(serde_json::to_string(&Thousandths::ratio(1, 3)).unwrap(), "0.333");
        assert_eq!(serde_json::to_string(&Thousandths::ms(Duration::from_micros(8_040))).unwrap(), "8.04");
        assert_eq!(Thousandths::ratio(1, 0), Thousandths(0));
        assert_eq!(per_second(500, Duration::from_millis(250)), 2_000);
    }

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!(median(vec![3, 1, 2]), Some(2));
        assert_eq!(median(vec![4, 1]), Some(1));
        assert_eq!(median(Vec::<u8>::new()), None);
    }

    #[test]
    fn times_have_percentiles() {
        let mut times = Times::new().unwrap();
        assert_eq!(times.p50(), None);
        for ms in 1..=1_000 {
            times.add(Duration::from_millis(ms));
        }
        let near =
            |found: Option<Thousandths>, ms: u64| found.is_some_and(|found| found.0.abs_diff(ms * 1_000) < ms * 2);
        assert!(near(times.p50(), 500) && near(times.p999(), 999) && near(times.longest(), 1_000));
    }
}
