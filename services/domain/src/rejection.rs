//! How business says no.

use std::borrow::Cow;

use proto::common::v1 as wire;

/// Business said no: a stable code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Rejection {
    /// A stable word in upper case.
    pub code: Cow<'static, str>,
    /// What was tried, with what, what to do.
    pub reason: String,
}

impl Rejection {
    /// A rejection with one of this program's codes.
    pub fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), reason: reason.into() }
    }

    /// As a part of a message.
    #[must_use]
    pub fn to_wire(&self) -> wire::Rejection {
        wire::Rejection { code: self.code.clone().into_owned(), reason: self.reason.clone() }
    }

    /// From a part of an event; absent reads as a rejection that names no reason, for events must decode for ever.
    #[must_use]
    pub fn from_wire(rejection: Option<wire::Rejection>) -> Self {
        let wire::Rejection { code, reason } = rejection.unwrap_or_default();
        Self { code: Cow::Owned(code), reason }
    }
}

/// Why a decision gave no events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sender can do something about it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// What cannot be, is: a defect here or upstream. The message is kept as a dead letter.
    #[error("broken invariant in {stream}: {what}")]
    Broken {
        /// The stream where it shows.
        stream: String,
        /// What cannot be.
        what: String,
    },
}
