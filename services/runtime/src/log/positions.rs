//! Positions of the log only grow. What is behind the relay's would be published by nobody, and a log that has gone back is another one
//! than that which messages under way speak of.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use domain::GlobalPosition;
use platform::error::Error;
use uuid::Uuid;

/// An event's place in the log, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: GlobalPosition,
    pub(crate) event_id: Uuid,
}

/// What this process knows of the log's positions.
#[derive(Debug)]
pub(crate) struct Positions {
    /// The last that was drawn, be it in vain.
    drawn: AtomicI64,
    /// The last event that the log was seen to have.
    head: Mutex<Option<Place>>,
}

impl Positions {
    /// The log ends there.
    pub(crate) fn after(head: Option<Place>) -> Self {
        let drawn = end(head).get();
        Self { drawn: AtomicI64::new(drawn), head: Mutex::new(head) }
    }

    /// The last event that the log was seen to have: it has it for ever.
    pub(crate) fn head(&self) -> Option<Place> {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last that was given out, as far as is known: what is drawn from now on comes after it.
    pub(crate) fn last(&self) -> GlobalPosition {
        GlobalPosition::new(self.drawn.load(Ordering::Relaxed))
    }

    /// These were drawn for new events, in this order.
    pub(crate) fn drew(&self, positions: &[GlobalPosition]) {
        if let Some(last) = positions.last() {
            self.drawn.fetch_max(last.get(), Ordering::Relaxed);
        }
    }

    /// What to say where a position was given out that is not after this one.
    pub(crate) fn given_out_again(after: GlobalPosition) -> Error {
        gone_back(&format!("it gave out a position again, up to {after} all were given out before"))
    }

    /// The log was seen to end there, and to have this event where it was seen to end before.
    ///
    /// # Errors
    /// It is another log.
    pub(crate) fn seen(&self, head: Option<Place>, before: Option<Place>, there: Option<Uuid>) -> Result<(), Error> {
        if let Some(before) = before.filter(|before| there != Some(before.event_id)) {
            let ends = end(head);
            return Err(gone_back(&format!(
                "it ends at position {ends}, and the event {} that was at {} is not there any more",
                before.event_id, before.position
            )));
        }
        self.drawn.fetch_max(end(head).get(), Ordering::Relaxed);
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
        Ok(())
    }
}

fn end(head: Option<Place>) -> GlobalPosition {
    head.map(|head| head.position).unwrap_or_default()
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
    use domain::GlobalPosition;
    use uuid::Uuid;

    use super::{Place, Positions};

    fn place(position: i64, id: u128) -> Option<Place> {
        Some(Place { position: GlobalPosition::new(position), event_id: Uuid::from_u128(id) })
    }

    #[test]
    fn what_was_drawn_in_vain_is_no_end_of_the_log() {
        let positions = Positions::after(place(10, 1));
        positions.drew(&[11, 12].map(GlobalPosition::new));
        positions.drew(&[]);
        assert_eq!(positions.last().get(), 12);
        assert!(positions.seen(place(10, 1), place(10, 1), Some(Uuid::from_u128(1))).is_ok());
        assert_eq!(positions.last().get(), 12);
        assert!(positions.seen(place(20, 2), place(10, 1), Some(Uuid::from_u128(1))).is_ok());
        assert_eq!(positions.last().get(), 20);
    }

    #[test]
    fn a_log_that_has_lost_an_event_is_another_however_far_it_goes() {
        let positions = Positions::after(None);
        assert!(positions.seen(place(20, 2), None, None).is_ok());
        for (head, there) in
            [(place(10, 1), None), (place(30, 3), None), (place(20, 9), Some(Uuid::from_u128(9))), (None, None)]
        {
            let said = positions.seen(head, positions.head(), there).unwrap_err().chain();
            assert!(said.contains("that was at 20 is not there"), "{said}");
        }
        assert!(
            positions.seen(place(21, 3), positions.head(), Some(Uuid::from_u128(2))).is_ok(),
            "the right one is back"
        );
    }
}
