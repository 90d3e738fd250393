//! Marks: moments at which the relay saw how far it has published and where the stream ends. Once every consumer has come past that
//! end, it has handled all that was published then.
//!
//! Why it is so: services/runtime/README.md#what-a-broker-must-hear-again-after-it-lost-its-disk

use std::collections::VecDeque;

use domain::{BrokerSequence, GlobalPosition};

/// Moments that are remembered until consumers have come as far. Beyond that no newer one is: what is handled is noted later then,
/// and a broker that loses its disk is told more again.
const MARKS_MAX: usize = 1_000;

/// Moments, from the earliest on.
#[derive(Debug, Default)]
pub(crate) struct Watermarks(VecDeque<(GlobalPosition, BrokerSequence)>);

impl Watermarks {
    /// All up to `position` was in the stream, at or before the sequence number `last`.
    pub(crate) fn note(&mut self, position: GlobalPosition, last: BrokerSequence) {
        if self.0.len() < MARKS_MAX && self.0.back().is_none_or(|(known, _)| *known < position) {
            self.0.push_back((position, last));
        }
    }

    /// The position up to which all is handled by consumers that have come to the sequence number `floor`, if that is news.
    pub(crate) fn handled(&mut self, floor: BrokerSequence) -> Option<GlobalPosition> {
        let mut handled = None;
        while let Some((position, _)) = self.0.front().filter(|(_, last)| *last <= floor) {
            handled = Some(*position);
            self.0.pop_front();
        }
        handled
    }
}

#[cfg(test)]
mod tests {
    use domain::{BrokerSequence, GlobalPosition};

    use super::{MARKS_MAX, Watermarks};

    fn note(watermarks: &mut Watermarks, position: i64, last: u64) {
        watermarks.note(GlobalPosition::new(position), BrokerSequence::new(last));
    }

    fn handled(watermarks: &mut Watermarks, floor: u64) -> Option<i64> {
        watermarks.handled(BrokerSequence::new(floor)).map(GlobalPosition::get)
    }

    #[test]
    fn what_every_consumer_has_come_past_is_handled_once() {
        let mut watermarks = Watermarks::default();
        for (position, last) in [(10, 100), (10, 110), (20, 200)] {
            note(&mut watermarks, position, last);
        }
        assert_eq!(handled(&mut watermarks, 99), None);
        assert_eq!(handled(&mut watermarks, 199), Some(10));
        assert_eq!(handled(&mut watermarks, 199), None);
        assert_eq!(handled(&mut watermarks, u64::MAX), Some(20));
    }

    #[test]
    fn at_its_limit_it_keeps_the_earliest_and_has_room_again_when_they_are_handled() {
        let mut watermarks = Watermarks::default();
        let most = i64::try_from(MARKS_MAX).unwrap();
        for position in 1..=2 * most {
            note(&mut watermarks, position, position.unsigned_abs());
        }
        assert_eq!(watermarks.0.len(), MARKS_MAX);
        // More is handled, but nobody knows which position that is.
        assert_eq!(handled(&mut watermarks, 2 * most.unsigned_abs()), Some(most));
        note(&mut watermarks, 2 * most, 2 * most.unsigned_abs());
        assert_eq!(handled(&mut watermarks, 2 * most.unsigned_abs()), Some(2 * most));
    }
}
