//! Given, when, then: the words in which every service's rules are specified.

use crate::{DecideError, Decider, Timestamp};

/// A state in which a command comes.
pub trait Spec: Default {
    /// Whose state it is.
    type Rules: Decider<State = Self>;

    /// When this command comes.
    fn time_of(&self, command: &<Self::Rules as Decider>::Command) -> Timestamp;

    /// The stream that a broken invariant is told of, in these specs.
    fn stream() -> String {
        String::new()
    }

    /// The state after these events.
    #[must_use]
    fn given(events: &[<Self::Rules as Decider>::Event]) -> Self {
        let mut state = Self::default();
        for event in events {
            Self::Rules::evolve(&mut state, event);
        }
        state
    }

    /// What the command causes.
    ///
    /// # Errors
    /// It is rejected, or an invariant is broken.
    fn when(
        &self,
        command: &<Self::Rules as Decider>::Command,
    ) -> Result<Vec<<Self::Rules as Decider>::Event>, DecideError> {
        Self::Rules::decide(self, command, self.time_of(command))
    }

    /// The code of the rejection.
    ///
    /// # Panics
    /// The command is not rejected, or a word is missing in the reason.
    #[expect(clippy::panic, reason = "a spec that does not hold fails")]
    fn refuses(&self, command: &<Self::Rules as Decider>::Command, words: &[&str]) -> String {
        match self.when(command) {
            Err(DecideError::Rejected(rejection)) => {
                for word in words {
                    assert!(rejection.reason.contains(word), "{word:?} is not in {:?}", rejection.reason);
                }
                rejection.code.into_owned()
            }
            Ok(events) => panic!("not refused: {events:?}"),
            Err(broken @ DecideError::Broken { .. }) => panic!("not refused: {broken:?}"),
        }
    }

    /// Checks that the command shows a broken invariant.
    ///
    /// # Panics
    /// It does not, or another stream is named, or a word is missing in what is broken.
    #[expect(clippy::panic, reason = "a spec that does not hold fails")]
    fn breaks(&self, command: &<Self::Rules as Decider>::Command, words: &[&str]) {
        match self.when(command) {
            Err(DecideError::Broken { stream, what }) => {
                assert_eq!(stream, Self::stream());
                for word in words {
                    assert!(what.contains(word), "{word:?} is not in {what:?}");
                }
            }
            Ok(events) => panic!("not broken: {events:?}"),
            Err(rejected @ DecideError::Rejected(_)) => panic!("not broken: {rejected:?}"),
        }
    }
}
