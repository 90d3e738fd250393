//! Whose fault a failure is: the first of a kind is taken for that of the message which met it; what fails in the same way before anything
//! else has got through is taken for the place's, and is tried again.
//!
//! Why it is so: services/runtime/README.md#a-failure-of-the-database-is-not-the-messages-fault

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Kinds of failures to remember. Of a further one the first is given up again.
const KINDS_MAX: usize = 100;

/// What has failed since anything got through, by the words of the failure.
#[derive(Debug, Default)]
pub(crate) struct Doubt(Mutex<BTreeSet<String>>);

impl Doubt {
    fn failed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows and events of some message are written, so the place is well.
    pub(crate) fn got_through(&self) {
        self.failed().clear();
    }

    /// Whether nothing has failed since.
    pub(crate) fn is_dispelled(&self) -> bool {
        self.failed().is_empty()
    }

    /// Something failed alone: whether it is to be given up.
    pub(crate) fn condemns(&self, words: &str) -> bool {
        let mut failed = self.failed();
        if failed.len() >= KINDS_MAX {
            failed.clear();
        }
        failed.insert(words.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{Doubt, KINDS_MAX};

    #[test]
    fn the_first_of_a_kind_is_given_up_and_no_other_before_something_gets_through() {
        let doubt = Doubt::default();
        assert!(doubt.is_dispelled());
        assert!(doubt.condemns("a") && !doubt.condemns("a") && doubt.condemns("b") && !doubt.condemns("b"));
        assert!(!doubt.is_dispelled());
        doubt.got_through();
        assert!(doubt.is_dispelled() && doubt.condemns("a") && !doubt.condemns("a"));
    }

    #[test]
    fn kinds_without_number_are_not_remembered() {
        let doubt = Doubt::default();
        assert!((0..3 * KINDS_MAX).all(|kind| doubt.condemns(&kind.to_string())));
        assert!(doubt.failed().len() <= KINDS_MAX);
    }
}
