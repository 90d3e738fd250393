//! Gaps in the log: which positions a reader may go past.
//!
//! A transaction draws its positions before it commits, so a reader that follows positions sees later ones first. A position
//! that is missing may still come, or never (a rollback). Whoever draws a position owns a transaction id already (the batch
//! takes one as it begins), and did so before any later position became visible. So once every transaction id that was given
//! out when the gap was seen has ended, what is still missing never comes.

/// What the snapshot that read a page knew about transactions: `pg_current_snapshot()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Every transaction below this has ended.
    pub xmin: i64,
    /// No transaction from this on had begun.
    pub xmax: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Witness {
    up_to: i64,
    xmax: i64,
}

/// Decides how far a reader of the log may go.
#[derive(Debug, Default)]
pub struct GapTracker {
    witness: Option<Witness>,
}

impl GapTracker {
    /// How many rows of this page, read after `checkpoint` in order of position, may be taken.
    pub fn admit(&mut self, checkpoint: i64, positions: &[i64], snapshot: Snapshot) -> usize {
        let settled = self.witness.filter(|witness| snapshot.xmin >= witness.xmax).map_or(checkpoint, |w| w.up_to);
        let mut expected = checkpoint + 1;
        for (taken, &position) in positions.iter().enumerate() {
            if position != expected && position > settled {
                let still_open = self.witness.is_some_and(|witness| snapshot.xmin < witness.xmax);
                if !still_open {
                    let up_to = positions.last().copied().unwrap_or(position);
                    self.witness = Some(Witness { up_to, xmax: snapshot.xmax });
                }
                return taken;
            }
            expected = position + 1;
        }
        if !positions.is_empty() {
            self.witness = None;
        }
        positions.len()
    }

    /// Whether the reader waits at a gap.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.witness.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{GapTracker, Snapshot};

    fn at(xmin: i64, xmax: i64) -> Snapshot {
        Snapshot { xmin, xmax }
    }

    #[test]
    fn takes_what_is_contiguous() {
        assert_eq!(GapTracker::default().admit(4, &[5, 6, 7], at(10, 10)), 3);
    }

    #[test]
    fn stops_at_a_gap_whose_transaction_may_still_commit() {
        let mut gaps = GapTracker::default();
        assert_eq!(gaps.admit(4, &[5, 7, 8], at(10, 12)), 1);
        assert_eq!(gaps.admit(5, &[7, 8], at(11, 20)), 0);
        assert!(gaps.is_waiting());
    }

    #[test]
    fn takes_the_missing_position_when_it_comes() {
        let mut gaps = GapTracker::default();
        assert_eq!(gaps.admit(4, &[5, 7], at(10, 12)), 1);
        assert_eq!(gaps.admit(5, &[6, 7], at(12, 20)), 2);
        assert!(!gaps.is_waiting());
    }

    #[test]
    fn steps_over_a_position_that_was_rolled_back() {
        let mut gaps = GapTracker::default();
        assert_eq!(gaps.admit(4, &[5, 7, 9], at(10, 12)), 1);
        assert_eq!(gaps.admit(5, &[7, 9], at(12, 20)), 2);
    }

    #[test]
    fn a_gap_above_what_was_witnessed_needs_its_own_witness() {
        let mut gaps = GapTracker::default();
        assert_eq!(gaps.admit(4, &[6], at(10, 12)), 0);
        assert_eq!(gaps.admit(4, &[6, 8], at(12, 20)), 1);
        assert_eq!(gaps.admit(6, &[8], at(19, 30)), 0);
        assert_eq!(gaps.admit(6, &[8], at(20, 30)), 1);
    }
}
