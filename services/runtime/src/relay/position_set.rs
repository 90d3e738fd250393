//! Ranges of positions: what is known to be published beyond the checkpoint.

use std::collections::BTreeMap;

use domain::GlobalPosition;

/// Disjoint ranges of positions, first to last, both included.
#[derive(Debug, Default, Clone)]
pub(crate) struct PositionSet(BTreeMap<GlobalPosition, GlobalPosition>);

impl PositionSet {
    /// Ranges of positions that come in any order.
    pub(crate) fn of(positions: impl IntoIterator<Item = GlobalPosition>) -> Self {
        let mut ranges = Self::default();
        for position in positions {
            ranges.insert(position, position);
        }
        ranges
    }

    /// Adds a range, merged with those that it touches.
    pub(crate) fn insert(&mut self, first: GlobalPosition, last: GlobalPosition) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        while let Some((&start, &end)) = self.0.range(..=last.next()).next_back() {
            if end < first.previous() {
                break;
            }
            self.0.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.0.insert(first, last);
    }

    pub(crate) fn contains(&self, position: GlobalPosition) -> bool {
        self.0.range(..=position).next_back().is_some_and(|(_, last)| *last >= position)
    }

    /// Takes away what lies at or before `checkpoint` or right behind it; where the checkpoint is then.
    pub(crate) fn absorb(&mut self, checkpoint: GlobalPosition) -> GlobalPosition {
        let mut checkpoint = checkpoint;
        while let Some(range) = self.0.first_entry() {
            if *range.key() > checkpoint.next() {
                break;
            }
            checkpoint = checkpoint.max(range.remove());
        }
        checkpoint
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (GlobalPosition, GlobalPosition)> + '_ {
        self.0.iter().map(|(first, last)| (*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use domain::GlobalPosition;

    use super::PositionSet;

    fn set(positions: &[i64]) -> PositionSet {
        PositionSet::of(positions.iter().copied().map(GlobalPosition::new))
    }

    fn insert(set: &mut PositionSet, first: i64, last: i64) {
        set.insert(GlobalPosition::new(first), GlobalPosition::new(last));
    }

    fn absorb(set: &mut PositionSet, checkpoint: i64) -> i64 {
        set.absorb(GlobalPosition::new(checkpoint)).get()
    }

    fn ranges(set: &PositionSet) -> Vec<(i64, i64)> {
        set.iter().map(|(first, last)| (first.get(), last.get())).collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let set = set(&[5, 3, 9, 4, 8, 10, 1]);
        assert_eq!(ranges(&set), [(1, 1), (3, 5), (8, 10)]);
        let has = |position| set.contains(GlobalPosition::new(position));
        assert!(has(4) && has(8) && !has(2) && !has(11));
    }

    #[test]
    fn a_range_swallows_those_it_covers() {
        let mut set = set(&[2, 4, 6, 20]);
        insert(&mut set, 1, 10);
        assert_eq!(ranges(&set), [(1, 10), (20, 20)]);
        insert(&mut set, 11, 19);
        assert_eq!(ranges(&set), [(1, 20)]);
    }

    #[test]
    fn the_checkpoint_goes_as_far_as_nothing_is_missing() {
        let mut set = set(&[3, 4, 5, 7]);
        assert_eq!(absorb(&mut set, 1), 1);
        assert_eq!(absorb(&mut set, 2), 5);
        assert_eq!(absorb(&mut set, 6), 7);
        assert_eq!(ranges(&set), []);
    }

    #[test]
    fn what_lies_behind_the_checkpoint_is_forgotten() {
        let mut set = set(&[3, 4, 9]);
        assert_eq!(absorb(&mut set, 6), 6);
        assert_eq!(ranges(&set), [(9, 9)]);
    }
}
