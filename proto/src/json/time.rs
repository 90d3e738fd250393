//! Times and durations as proto3 JSON writes them, and nothing that only looks like one.

use prost_types::{Duration, Timestamp};

/// What a time looks like.
pub(super) const TIME: &str = "an RFC 3339 time with its offset, such as 2027-10-31T02:30:00+02:00";

/// What a duration looks like.
pub(super) const DURATION: &str = "seconds with at most 9 digits after the point and an s, such as 90s or 1.5s";

/// The seconds of the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Ten thousand years, in seconds: the longest duration of proto3.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// Reads a time of RFC 3339. It has a date, a time of day, at most 9 digits of a fraction, and an offset; `T` and `Z` are capitals. A
/// leap second is refused: no clock here can keep it.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let shape = b"0000-00-00T00:00:00";
    let local = text.get(..shape.len())?;
    let is_like = |(byte, like): (u8, &u8)| if *like == b'0' { byte.is_ascii_digit() } else { byte == *like };
    if !local.bytes().zip(shape).all(is_like) || local.ends_with("60") {
        return None;
    }
    let rest = text.get(shape.len()..)?;
    let (fraction, offset) = rest.split_at(rest.find(['Z', '+', '-'])?);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) => nanos(digits)?,
        None if fraction.is_empty() => 0,
        None => return None,
    };
    // It knows the calendar.
    let Timestamp { seconds, .. } = format!("{local}Z").parse().ok()?;
    let seconds = seconds.checked_sub(offset_seconds(offset)?)?;
    SECONDS.contains(&seconds).then_some(Timestamp { seconds, nanos })
}

/// `Z`, or hours and minutes with a sign.
fn offset_seconds(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = digits.split_once(':')?;
    let number = |text: &str, most: i64| {
        let is_two_digits = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_digit());
        is_two_digits.then(|| text.parse::<i64>().ok()).flatten().filter(|number| *number <= most)
    };
    Some(sign * (number(hours, 23)? * 3_600 + number(minutes, 59)? * 60))
}

/// 1 to 9 digits after a point.
fn nanos(digits: &str) -> Option<i32> {
    if !(1..=9).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<9}").parse().ok()
}

/// Reads a duration: seconds, and perhaps a fraction of at most 9 digits.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (seconds, nanos) = match text.split_once('.') {
        Some((seconds, fraction)) => (seconds, nanos(fraction)?),
        None => (text, 0),
    };
    if seconds.is_empty() || !seconds.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds = seconds.parse::<i64>().ok().filter(|seconds| *seconds <= DURATION_SECONDS_MAX)?;
    Some(Duration { seconds: i64::from(sign) * seconds, nanos: sign * nanos })
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};

    use super::{duration, timestamp};

    #[test]
    fn a_time_is_what_its_offset_says() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2027-10-31T02:30:00+02:00", 1_824_942_600, 0),
            ("2027-10-31T02:30:00+01:00", 1_824_946_200, 0),
            ("1970-01-01T00:00:00-00:30", 1_800, 0),
            ("1970-01-01T00:00:00.5Z", 0, 500_000_000),
            ("1970-01-01T00:00:00.123456789+00:00", 0, 123_456_789),
            ("2028-02-29T00:00:00Z", 1_835_395_200, 0),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799, 999_999_999),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
        ];
        for (text, seconds, nanos) in cases {
            assert_eq!(timestamp(text), Some(Timestamp { seconds, nanos }), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for text in [
            "",
            "2027-10-31",
            "2027-03-28T02:30:00",
            "2027-10-31 02:30:00Z",
            "2027-10-31t02:30:00Z",
            "2027-10-31T02:30:00z",
            "2027-10-31T02:30Z",
            "2027-10-31T23:59:60Z",
            "2027-06-30T23:59:60+00:00",
            "2027-10-31T24:00:00Z",
            "2027-10-31T02:60:00Z",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-10-31T02:30:00+0200",
            "2027-10-31T02:30:00+25:00",
            "2027-10-31T02:30:00+02:60",
            "2027-10-31T02:30:00.Z",
            "2027-10-31T02:30:00.1234567890Z",
            "2027-10-31T02:30:00,5Z",
            "2027-10-31T02:30:00Z ",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "١٩٧٠-01-01T00:00:00Z",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_has_seconds_and_at_most_nine_digits() {
        for (text, seconds, nanos) in [
            ("60s", 60, 0),
            ("60.5s", 60, 500_000_000),
            ("-0.000000001s", 0, -1),
            ("315576000000s", 315_576_000_000, 0),
        ] {
            assert_eq!(duration(text), Some(Duration { seconds, nanos }), "{text}");
        }
        for text in ["", "s", "60", "1m", "5.0000000001s", "5.s", ".5s", "+5s", "5 s", "5S", "315576000001s", "1e2s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
