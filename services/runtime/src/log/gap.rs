//! Gaps in the log: which positions a reader may go past.
//!
//! A transaction draws its positions before it commits, so a reader that follows positions sees later ones first. A position
//! that is missing may still come, or never (a rollback). Whoever draws a position owns a transaction id already (the batch
//! takes one as it begins), and did so before any later position became visible. So the reader, once it has seen a gap, takes
//! a transaction id for itself: when every older transaction has ended, what is still missing never comes.
//!
//! (The snapshot's own `xmax` will not do for that: it is one past the latest transaction that has *ended*, and the one that
//! is about to fill the gap may be younger.)
//!
//! Why it is so: services/runtime/README.md#readers-of-the-log-detect-gaps

use domain::GlobalPosition;

/// Decides how far a reader of the log may go.
#[derive(Debug, Default)]
pub struct GapTracker {
    gap: Option<Gap>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// The last position that was visible when the gap was seen: what was said of it holds for all gaps up to here.
    up_to: GlobalPosition,
    /// Whoever may fill it has an older transaction id than this.
    bound: Option<i64>,
}

impl GapTracker {
    /// How many rows of this page, read after `checkpoint` in order of position, may be taken. `xmin` is of the snapshot that
    /// read the page: every older transaction has ended.
    pub fn admit(&mut self, checkpoint: GlobalPosition, positions: &[GlobalPosition], xmin: i64) -> usize {
        let over = |gap: &Gap| gap.bound.is_some_and(|bound| xmin >= bound);
        let settled = self.gap.filter(over).map_or(checkpoint, |gap| gap.up_to);
        let mut expected = checkpoint.next();
        for (taken, &position) in positions.iter().enumerate() {
            if position != expected && position > settled {
                if self.gap.as_ref().is_none_or(over) {
                    self.gap = Some(Gap { up_to: positions.last().copied().unwrap_or(position), bound: None });
                }
                return taken;
            }
            expected = position.next();
        }
        if !positions.is_empty() {
            self.gap = None;
        }
        positions.len()
    }

    /// Whether the reader has just seen a gap and is to take a transaction id now, for [`GapTracker::bind`].
    #[must_use]
    pub fn wants_bound(&self) -> bool {
        self.gap.is_some_and(|gap| gap.bound.is_none())
    }

    /// Takes a transaction id that was given out after the page with the gap was read.
    pub fn bind(&mut self, xid: i64) {
        if let Some(gap) = &mut self.gap {
            gap.bound = Some(xid);
        }
    }

    /// Whether the reader waits at a gap.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.gap.is_some()
    }
}

#[cfg(test)]
mod tests {
    use domain::GlobalPosition;

    use super::GapTracker;

    fn admit(gaps: &mut GapTracker, checkpoint: i64, positions: &[i64], xmin: i64) -> usize {
        let positions: Vec<_> = positions.iter().copied().map(GlobalPosition::new).collect();
        gaps.admit(GlobalPosition::new(checkpoint), &positions, xmin)
    }

    #[test]
    fn takes_what_is_contiguous() {
        assert_eq!(admit(&mut GapTracker::default(), 4, &[5, 6, 7], 10), 3);
    }

    #[test]
    fn stops_at_a_gap_whose_transaction_may_still_commit() {
        let mut gaps = GapTracker::default();
        assert_eq!(admit(&mut gaps, 4, &[5, 7, 8], 10), 1);
        assert!(gaps.is_waiting() && gaps.wants_bound());
        assert_eq!(admit(&mut gaps, 5, &[7, 8], 1_000), 0);
        gaps.bind(12);
        assert_eq!(admit(&mut gaps, 5, &[7, 8], 11), 0);
        assert!(gaps.is_waiting() && !gaps.wants_bound());
    }

    #[test]
    fn takes_the_missing_position_when_it_comes() {
        let mut gaps = GapTracker::default();
        assert_eq!(admit(&mut gaps, 4, &[5, 7], 10), 1);
        gaps.bind(12);
        assert_eq!(admit(&mut gaps, 5, &[6, 7], 12), 2);
        assert!(!gaps.is_waiting());
    }

    #[test]
    fn steps_over_a_position_that_was_rolled_back() {
        let mut gaps = GapTracker::default();
        assert_eq!(admit(&mut gaps, 4, &[5, 7, 9], 10), 1);
        gaps.bind(12);
        assert_eq!(admit(&mut gaps, 5, &[7, 9], 12), 2);
    }

    #[test]
    fn a_gap_above_what_was_visible_needs_its_own_bound() {
        let mut gaps = GapTracker::default();
        assert_eq!(admit(&mut gaps, 4, &[6], 10), 0);
        gaps.bind(12);
        assert_eq!(admit(&mut gaps, 4, &[6, 8], 12), 1);
        assert!(gaps.wants_bound());
        gaps.bind(20);
        assert_eq!(admit(&mut gaps, 6, &[8], 19), 0);
        assert_eq!(admit(&mut gaps, 6, &[8], 20), 1);
    }
}
