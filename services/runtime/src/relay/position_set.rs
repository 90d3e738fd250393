//! Ranges of positions: what is known to be published beyond the checkpoint.

use std::collections::BTreeMap;

/// Disjoint ranges of positions, first to last, both included.
#[derive(Debug, Default, Clone)]
pub(crate) struct PositionSet(BTreeMap<i64, i64>);

impl PositionSet {
    /// Ranges of positions that come in any order.
    pub(crate) fn of(positions: impl IntoIterator<Item = i64>) -> Self {
        let mut ranges = Self::default();
        for position in positions {
            ranges.insert(position, position);
        }
        ranges
    }

    /// Adds a range, merged with those that it touches.
    pub(crate) fn insert(&mut self, first: i64, last: i64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        while let Some((&start, &end)) = self.0.range(..=last.saturating_add(1)).next_back() {
            if end < first.saturating_sub(1) {
                break;
            }
            self.0.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.0.insert(first, last);
    }

    pub(crate) fn contains(&self, position: i64) -> bool {
        self.0.range(..=position).next_back().is_some_and(|(_, last)| *last >= position)
    }

    /// Takes away what lies at or before `checkpoint` or right behind it; where the checkpoint is then.
    pub(crate) fn absorb(&mut self, checkpoint: i64) -> i64 {
        let mut checkpoint = checkpoint;
        while let Some(range) = self.0.first_entry() {
            if *range.key() > checkpoint.saturating_add(1) {
                break;
            }
            checkpoint = checkpoint.max(range.remove());
        }
        checkpoint
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.0.iter().map(|(first, last)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use super::PositionSet;

    #[test]
    fn ranges_that_touch_become_one() {
        let ranges = PositionSet::of([5, 3, 9, 4, 8, 10, 1]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 1), (3, 5), (8, 10)]);
        assert!(ranges.contains(4) && ranges.contains(8) && !ranges.contains(2) && !ranges.contains(11));
    }

    #[test]
    fn a_range_swallows_those_it_covers() {
        let mut ranges = PositionSet::of([2, 4, 6, 20]);
        ranges.insert(1, 10);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 10), (20, 20)]);
        ranges.insert(11, 19);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 20)]);
    }

    #[test]
    fn the_checkpoint_goes_as_far_as_nothing_is_missing() {
        let mut ranges = PositionSet::of([3, 4, 5, 7]);
        assert_eq!(ranges.absorb(1), 1);
        assert_eq!(ranges.absorb(2), 5);
        assert_eq!(ranges.absorb(6), 7);
        assert_eq!(ranges.iter().count(), 0);
    }

    #[test]
    fn what_lies_behind_the_checkpoint_is_forgotten() {
        let mut ranges = PositionSet::of([3, 4, 9]);
        assert_eq!(ranges.absorb(6), 6);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(9, 9)]);
    }
}
