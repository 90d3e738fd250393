//! The moment that somebody asks for: a position of the log, or a time with its zone.

use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

use domain::{GlobalPosition, Timestamp};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// With the event at this position, if there is one.
    Position(GlobalPosition),
    /// With the last event that is recorded at this time or before, and with all events before that one.
    Time(Timestamp),
}

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => position.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse::<i64>() {
            return match position {
                1.. => Ok(Self::Position(GlobalPosition::new(position))),
                ..1 => Err(format!("positions begin at 1, and {position} is before the first event")),
            };
        }
        if !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit()) {
            return Err(format!("no log is as long as that: the last position there can be is {}", i64::MAX));
        }
        let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).map(Timestamp::from);
        match time(text) {
            Ok(at) => Ok(Self::Time(at)),
            Err(_) if time(&format!("{text}Z")).is_ok() => {
                Err(format!("this time has no zone: write {text}Z for UTC, or its offset as in {text}+01:00"))
            }
            Err(_) if time(&format!("{text}T00:00:00Z")).is_ok() => {
                Err(format!("a date alone is no moment: write its time and zone too, as in {text}T23:59:59+01:00"))
            }
            Err(error) => Err(format!(
                "neither a position nor an RFC 3339 time with its zone, such as 2026-12-31T23:59:59+01:00 ({error})"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{GlobalPosition, Timestamp};

    use super::At;

    fn refusal(text: &str) -> String {
        text.parse::<At>().unwrap_err()
    }

    #[test]
    fn reads_positions_and_times_of_any_zone() {
        assert_eq!("7".parse(), Ok(At::Position(GlobalPosition::new(7))));
        let new_year = Timestamp::from_micros(1_798_758_000_000_000);
        for text in ["2026-12-31T23:00:00Z", "2027-01-01T00:00:00+01:00", "2026-12-31T18:00:00.000000-05:00"] {
            assert_eq!(text.parse(), Ok(At::Time(new_year)), "{text}");
        }
    }

    #[test]
    fn a_time_without_its_zone_is_refused() {
        assert!(refusal("2026-12-31T23:59:59").contains("has no zone"));
        assert!(refusal("2026-12-31").contains("a date alone"));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "now", "31.12.2026", "2026-02-30T00:00:00Z", "2026-12-31T24:00:00Z", "1.5", "0x10"] {
            assert!(refusal(text).contains("neither a position nor"), "{text}: {}", refusal(text));
        }
        assert!(refusal("-1").contains("positions begin at 1"));
        assert!(refusal("0").contains("positions begin at 1"));
        assert!(refusal("99999999999999999999").contains("the last position there can be"));
    }
}
