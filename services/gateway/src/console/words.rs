//! How the console says things: states with a shape and a tone, money, times, and ids in short.

use std::time::Duration;

use domain::{Timestamp, written};
use platform::print::short;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use crate::orders::shape::Money;

/// A state: never by its colour alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) word: String,
    /// A sign that is told from the others without colours.
    pub(super) shape: &'static str,
    /// `good`, `waits`, `act`, `over` or `plain`: the name of its style.
    pub(super) tone: &'static str,
}

/// Words of states of orders, holds, payments, refunds and rounds, each with its shape and its tone.
const STATES: [(&str, &str, &str); 40] = [
    ("pending", "○", "plain"),
    ("reserved", "◔", "waits"),
    ("paid", "●", "good"),
    ("expired", "◌", "over"),
    ("cancelled", "✕", "over"),
    ("rejected", "⊘", "over"),
    ("refunding", "↺", "waits"),
    ("partially_refunded", "◐", "over"),
    ("refunded", "◍", "over"),
    ("asked", "…", "plain"),
    ("held", "▣", "waits"),
    ("committed", "✓", "good"),
    ("released", "↩", "over"),
    ("returned", "⤺", "over"),
    ("unasked", "○", "plain"),
    ("requested", "◔", "waits"),
    ("succeeded", "●", "good"),
    ("failed", "⊘", "over"),
    ("authorised", "◑", "waits"),
    ("capturing", "◑", "waits"),
    ("voided", "✕", "over"),
    ("deferred", "◔", "waits"),
    ("unknown", "?", "act"),
    ("reversed", "▲", "act"),
    ("abandoned", "✕", "over"),
    ("open", "●", "good"),
    ("sold_out", "■", "good"),
    ("closed", "✕", "over"),
    ("ready", "●", "good"),
    ("won", "✓", "good"),
    ("lost", "✕", "over"),
    ("ended", "◌", "over"),
    ("money", "▲", "act"),
    ("stock", "▲", "act"),
    ("delay", "◔", "waits"),
    ("goes", "●", "good"),
    ("paused", "⏸", "waits"),
    ("edited", "▲", "act"),
    ("missing", "▲", "act"),
    ("others", "·", "plain"),
];

/// A state of which more may come than are known here.
pub(super) fn state(word: &str) -> State {
    let known = STATES.iter().find(|(known, _, _)| *known == word);
    let (shape, tone) = known.map_or(("·", "plain"), |(_, shape, tone)| (*shape, *tone));
    State { word: word.replace('_', " "), shape, tone }
}

/// An amount as people write it.
pub(super) fn money(money: &Money) -> String {
    written(money.minor_units.parse::<i64>().unwrap_or_default(), &money.currency)
}

/// Whether an amount is more, or less, than nothing.
pub(super) fn is_some(money: &Money) -> bool {
    money.minor_units != "0"
}

/// A point of time in UTC, to the second.
pub(super) fn time(text: &str) -> String {
    let known = OffsetDateTime::parse(text, &Rfc3339).ok();
    known.map_or_else(
        || text.to_owned(),
        |at| {
            let at = at.to_offset(UtcOffset::UTC);
            let (date, time) = (at.date(), at.time());
            let (hour, minute, second) = time.as_hms();
            format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
        },
    )
}

/// How far a point of time is: `5 min ago`, `in 24 min`.
pub(super) fn distance(text: &str, now: Timestamp) -> String {
    let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) else { return String::new() };
    let micros = i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or_default() - now.as_micros();
    let length = short(Duration::from_micros(micros.unsigned_abs()));
    if micros > 0 { format!("in {length}") } else { format!("{length} ago") }
}

/// An id as it is told from others at a glance: its first and its last digits.
pub(super) fn id(text: &str) -> String {
    match (text.get(..8), text.get(text.len().saturating_sub(4)..)) {
        (Some(first), Some(last)) if text.len() > 16 => format!("{first}…{last}"),
        (Some(_) | None, Some(_) | None) => text.to_owned(),
    }
}

/// A text as one word of a shell.
pub(super) fn shell(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/".contains(letter);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::Timestamp;

    use super::{STATES, distance, id, state, time};

    #[test]
    fn a_state_has_a_word_a_shape_and_a_tone() {
        let words: BTreeSet<&str> = STATES.iter().map(|(word, _, _)| *word).collect();
        assert_eq!(words.len(), STATES.len());
        assert_eq!(state("partially_refunded").word, "partially refunded");
        assert_eq!((state("unknown").shape, state("unknown").tone), ("?", "act"));
        assert_eq!(state("something_new").tone, "plain");
    }

    #[test]
    fn times_are_in_utc_and_say_how_far_they_are() {
        assert_eq!(time("2026-11-29T09:05:03.120456+01:00"), "2026-11-29 09:05:03 UTC".replace("09:05", "08:05"));
        assert_eq!(time("soon"), "soon");
        let now = Timestamp::from_micros(1_000_000_000);
        assert_eq!(distance("1970-01-01T00:16:40Z", now), "0 ms ago");
        assert_eq!(distance("1970-01-01T00:40:40Z", now), "in 24 min");
        assert_eq!(distance("1970-01-01T00:11:40Z", now), "5 min ago");
    }

    #[test]
    fn a_long_id_is_shortened_and_another_is_not() {
        assert_eq!(id("0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f"), "0199a1c2…9e0f");
        assert_eq!((id("MUG-01").as_str(), id("").as_str(), id("ÄÖÜß").as_str()), ("MUG-01", "", "ÄÖÜß"));
    }
}
