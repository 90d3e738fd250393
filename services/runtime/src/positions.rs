//! Positions of the log only grow. What is behind the relay's would be published by nobody, and a log that has gone back is another one
//! than that which messages under way speak of.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::error::Error;

/// What this process knows of the log's positions.
#[derive(Debug)]
pub(crate) struct Positions {
    /// The last that was drawn, be it in vain.
    drawn: AtomicI64,
    /// The last that the log was seen to have.
    head: AtomicI64,
}

impl Positions {
    /// The log ends there.
    pub(crate) fn after(head: i64) -> Self {
        Self { drawn: AtomicI64::new(head), head: AtomicI64::new(head) }
    }

    /// These were drawn for new events, in this order.
    ///
    /// # Errors
    /// They were drawn before.
    pub(crate) fn drawn(&self, positions: &[i64]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else { return Ok(()) };
        let before = self.drawn.fetch_max(*last, Ordering::Relaxed);
        if *first > before { Ok(()) } else { Err(gone_back(&format!("it gave out position {first} after {before}"))) }
    }

    /// The log was seen to end there.
    ///
    /// # Errors
    /// It ended later before.
    pub(crate) fn end_at(&self, head: i64) -> Result<(), Error> {
        self.drawn.fetch_max(head, Ordering::Relaxed);
        let before = self.head.fetch_max(head, Ordering::Relaxed);
        if head >= before {
            return Ok(());
        }
        Err(gone_back(&format!("it ends at position {head}, and has ended at {before}")))
    }
}

fn gone_back(how: &str) -> Error {
    let why = format!(
        "the log has gone back: {how}. The sequence log.events_position_seq was set back, or this database is an older one in the place of \
         the right one. Nothing is written to it: set the sequence beyond max(position), or bring the right database back"
    );
    Error::transient("looking at the log", why)
}

#[cfg(test)]
mod tests {
    use super::Positions;

    #[test]
    fn positions_only_grow() {
        let positions = Positions::after(10);
        assert!(positions.drawn(&[11, 12]).is_ok() && positions.drawn(&[]).is_ok());
        // What was drawn in vain is no end of the log.
        assert!(positions.end_at(10).is_ok() && positions.end_at(20).is_ok());
        let said = positions.drawn(&[15]).unwrap_err().chain();
        assert!(said.contains("gave out position 15 after 20"), "{said}");
        assert!(positions.drawn(&[21]).is_ok());
        assert!(positions.end_at(19).unwrap_err().chain().contains("ends at position 19, and has ended at 20"));
    }
}
