//! How business says no.

use std::borrow::Cow;

use proto::common::v1 as wire;

use crate::code::{Remedy, remedy};

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

    /// As a part of an event that is no answer.
    #[must_use]
    pub fn to_wire(&self) -> wire::Rejection {
        wire::Rejection { code: self.code.clone().into_owned(), reason: self.reason.clone(), remedy: 0 }
    }

    /// As an answer that is not kept, with what the sender can do.
    #[must_use]
    pub fn answer(&self) -> wire::Rejection {
        wire::Rejection { remedy: remedy(&self.code).into(), ..self.to_wire() }
    }

    /// As the answer to a command for ever: says in words, too, what the sender can do, and that the same id will not do.
    #[must_use]
    pub fn final_answer(&self) -> wire::Rejection {
        let words = match remedy(&self.code) {
            Remedy::NewId => "; this ce-id stays refused: the next try needs a new one",
            Remedy::None => "; sending it again changes nothing",
            Remedy::SameId | Remedy::Unspecified => "",
        };
        wire::Rejection { reason: format!("{}{words}", self.reason), ..self.answer() }
    }

    /// From a part of an event; absent reads as a rejection that names no reason, for events must decode for ever.
    #[must_use]
    pub fn from_wire(rejection: Option<wire::Rejection>) -> Self {
        let wire::Rejection { code, reason, .. } = rejection.unwrap_or_default();
        Self { code: Cow::Owned(code), reason }
    }
}

/// Why a decision gave no events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
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

#[cfg(test)]
mod tests {
    use super::{Rejection, Remedy};

    #[test]
    fn an_answer_says_which_id_will_help_as_data_and_in_words() {
        let unknown = Rejection::new("UNKNOWN_ORDER", "no order 7 is known here").final_answer();
        assert_eq!(unknown.remedy(), Remedy::NewId);
        assert!(unknown.reason.contains("no order 7") && unknown.reason.contains("needs a new one"), "{unknown:?}");
        let over = Rejection::new("NOT_PAID", "it is over").final_answer();
        assert_eq!(
            (over.remedy(), over.reason.as_str()),
            (Remedy::None, "it is over; sending it again changes nothing")
        );
        // What no id names has none that could stay refused.
        assert_eq!(Rejection::new("MISSING_ID", "no ce-id").answer().reason, "no ce-id");
    }
}
