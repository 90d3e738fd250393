//! Figures for people: samples of times with exact percentiles, and numbers and times as text. Whole numbers only.

use std::time::Duration;

use serde_json::{Value, json};

/// Times, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    micros: Vec<u64>,
}

impl Samples {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        self.micros.push(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.micros.len()
    }

    /// The summary: exact percentiles by nearest rank. `None` without a sample.
    #[must_use]
    pub fn summary(mut self) -> Option<Summary> {
        self.micros.sort_unstable();
        let micros = &self.micros;
        let at = |hundredths: usize| {
            let rank = (micros.len() * hundredths).div_ceil(100);
            micros.get(rank.saturating_sub(1)).map(|micros| Duration::from_micros(*micros))
        };
        Some(Summary { count: micros.len(), p50: at(50)?, p99: at(99)?, max: at(100)? })
    }
}

/// What many times come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Summary {
    /// As a JSON object, in milliseconds with three decimals cut off to whole microseconds as integers.
    #[must_use]
    pub fn json(&self) -> Value {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        json!({ "count": self.count, "p50_us": micros(self.p50), "p99_us": micros(self.p99), "max_us": micros(self.max) })
    }
}

/// A number with its thousands set apart: `1,203`.
#[must_use]
pub fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time, as short as people want it: `850 us`, `12 ms`, `1.3 s`, `2 min 05 s`.
#[must_use]
pub fn lasting(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000..120_000_000 => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
        _ => format!("{} min {:02} s", micros / 60_000_000, micros % 60_000_000 / 1_000_000),
    }
}

/// Seconds with three decimals, as a JSON number.
#[must_use]
pub fn seconds(time: Duration) -> Value {
    let text = format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Samples, grouped, lasting, seconds};

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut samples = Samples::default();
        assert_eq!(samples.clone().summary(), None);
        for millis in (1..=200).rev() {
            samples.add(Duration::from_millis(millis));
        }
        let summary = samples.summary().unwrap();
        assert_eq!(summary.count, 200);
        assert_eq!([summary.p50, summary.p99, summary.max].map(|time| time.as_millis()), [100, 198, 200],);
    }

    #[test]
    fn one_sample_is_every_percentile() {
        let mut samples = Samples::default();
        samples.add(Duration::from_secs(3));
        let summary = samples.summary().unwrap();
        assert_eq!([summary.p50, summary.p99, summary.max], [Duration::from_secs(3); 3]);
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(
            ["0", "999", "1,000", "20,000", "1,234,567"],
            [0_u64, 999, 1_000, 20_000, 1_234_567].map(grouped)[..]
        );
        let times = [(850, "850 us"), (12_345, "12 ms"), (1_350_000, "1.3 s"), (125_000_000, "2 min 05 s")];
        for (micros, text) in times {
            assert_eq!(lasting(Duration::from_micros(micros)), text);
        }
        assert_eq!(seconds(Duration::from_millis(7_042)).to_string(), "7.042");
    }
}
