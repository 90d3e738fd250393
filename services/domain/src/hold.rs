//! The one state machine of a hold, shared by stock, shares and coupon uses.
//!
//! It is total: every request has an answer in every state, so messages may come twice, late or out of order.
//! A release that comes before its hold leaves a tombstone ([`Status::Released`]), and the late hold then does nothing.
//!
//! Why it is so: services/domain/README.md#the-hold

use crate::words;

words!(
    /// Where a hold stands.
    Status {
        /// Kept for an order that is not paid yet.
        Held = "held",
        /// Sold.
        Committed = "committed",
        /// Given back, or given up before it came.
        Released = "released",
        /// Never held: there was not enough.
        Rejected = "rejected",
    }
);

/// What is asked of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// Keep it for an order, if there is enough.
    Hold,
    /// The order is paid.
    Commit,
    /// The order is closed unpaid.
    Release,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Check what is free, then hold or refuse.
    Try,
    /// Go to this status and say so.
    Become(Status),
    /// It is as it should be already.
    Nothing,
    /// Orders never pays what is not held, nor releases what it paid: a defect.
    Broken,
}

/// The whole machine. `None`: nothing was heard of this hold yet.
#[must_use]
pub const fn step(status: Option<Status>, request: Request) -> Step {
    match (status, request) {
        (None, Request::Hold) => Step::Try,
        (None | Some(Status::Held), Request::Release) => Step::Become(Status::Released),
        (Some(Status::Held), Request::Commit) => Step::Become(Status::Committed),
        (Some(_), Request::Hold)
        | (Some(Status::Committed), Request::Commit)
        | (Some(Status::Released | Status::Rejected), Request::Release) => Step::Nothing,
        (None | Some(Status::Released | Status::Rejected), Request::Commit)
        | (Some(Status::Committed), Request::Release) => Step::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, Status, Step, step};

    #[test]
    fn a_release_before_the_hold_leaves_a_tombstone() {
        assert_eq!(step(None, Request::Release), Step::Become(Status::Released));
        assert_eq!(step(Some(Status::Released), Request::Hold), Step::Nothing);
    }

    #[test]
    fn a_hold_closes_once() {
        assert_eq!(step(Some(Status::Held), Request::Commit), Step::Become(Status::Committed));
        assert_eq!(step(Some(Status::Held), Request::Release), Step::Become(Status::Released));
        assert_eq!(step(Some(Status::Committed), Request::Release), Step::Broken);
        assert_eq!(step(Some(Status::Released), Request::Commit), Step::Broken);
    }

    #[test]
    fn every_request_repeated_changes_nothing() {
        assert_eq!(step(Some(Status::Held), Request::Hold), Step::Nothing);
        assert_eq!(step(Some(Status::Committed), Request::Commit), Step::Nothing);
        assert_eq!(step(Some(Status::Released), Request::Release), Step::Nothing);
    }

    #[test]
    fn a_refused_hold_has_nothing_to_release() {
        assert_eq!(step(Some(Status::Rejected), Request::Release), Step::Nothing);
        assert_eq!(step(Some(Status::Rejected), Request::Hold), Step::Nothing);
    }
}
