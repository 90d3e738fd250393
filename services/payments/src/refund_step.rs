//! How a refund is brought to its end, try by try: the decision alone, so that a simulator can run it too.
//!
//! A try is one claim of the refund's effect, counted from 1, whether it came to an end or its worker was killed. It
//! sends at most once, and from the second try on never before looking up what became of the earlier ones.
//!
//! | what was heard                         | try 1 or 2          | try 3               | try 4 and later     |
//! |----------------------------------------|---------------------|---------------------|---------------------|
//! | nothing yet                            | 1: send, 2: look up | look up             | look up             |
//! | look-up: nothing under this key        | send                | send                | send, then unknown  |
//! | look-up: an error, or no answer        | retry, then unknown | retry, then unknown | retry, then unknown |
//! | either: refunded                       | refunded            | refunded            | refunded            |
//! | either: failed                         | rejected            | rejected            | rejected            |
//! | either: pending                        | wait, then unknown  | wait, then unknown  | wait, then unknown  |
//! | sending: declined                      | rejected            | rejected            | rejected            |
//! | sending: not available, surely nothing | retry               | rejected, or retry* | rejected, or retry* |
//! | sending: no answer                     | retry               | retry               | retry               |
//!
//! `then unknown`: once the deadline has passed. The deadline ends only what is not known; a refund whose worker was
//! away for an hour is still sent, for its key makes that safe. For the same reason nobody counts how often it is sent while the
//! provider knows nothing of it: workers that are killed take their tries with them, and are no reason to ask an operator. `*`:
//! when an earlier try gave no answer, or was killed. What it sent may reach the provider yet, so the refund is not rejected until
//! it is known.

use std::time::Duration;

use domain::{Rejection, Timestamp};

use crate::{
    command::Outcome,
    provider::{ProviderError, Standing},
};

/// Tries that end in a failure for sure, and then the refund is rejected. As many are sent even after the deadline.
pub const FAILURES_MAX: u32 = 3;

/// How long to wait before looking up again what is under way at the provider.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What every error says after which the provider may have got the refund all the same.
const NO_ANSWER: &str = "no answer";

/// Which try this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// From 1.
    pub attempt: u32,
    /// When it began.
    pub now: Timestamp,
    /// After this, what is not known counts as unknown.
    pub deadline: Timestamp,
    /// What the last one ended with, if it came to an end.
    pub last_error: Option<String>,
}

/// What this try has heard from the provider, last of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// The answer to a look-up.
    Found(Result<Option<Standing>, ProviderError>),
    /// The answer to a refund.
    Answered(Result<Standing, ProviderError>),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send it.
    Send,
    /// Ask what became of it.
    LookUp,
    /// It is over.
    End(Outcome),
    /// Try again after a backoff.
    Retry {
        /// Why.
        error: String,
    },
    /// Try again after this time.
    Wait {
        /// How long.
        after: Duration,
        /// What for.
        error: String,
    },
}

/// The next step of a try, given what it has heard.
#[must_use]
pub fn refund_step(this: &Try, heard: &Heard) -> Next {
    match heard {
        Heard::Nothing if this.attempt <= 1 => Next::Send,
        Heard::Nothing => Next::LookUp,
        Heard::Found(Ok(None)) if this.attempt > FAILURES_MAX && this.is_late() => {
            this.unknown(&format!("tries gave {NO_ANSWER}, and the provider knows nothing under this key"))
        }
        Heard::Found(Ok(None)) => Next::Send,
        Heard::Found(Ok(Some(standing))) | Heard::Answered(Ok(standing)) => this.stands(standing),
        Heard::Found(Err(error)) => {
            let error = format!("could not look up what became of the refund: {error}");
            if this.is_late() { this.unknown(&error) } else { this.retry(error) }
        }
        Heard::Answered(Err(ProviderError::Declined(reason))) => rejected("DECLINED", reason.clone()),
        Heard::Answered(Err(error @ ProviderError::Unavailable(_))) if this.is_the_last_of_failures() => rejected(
            "PROVIDER_UNAVAILABLE",
            format!("gave up after {FAILURES_MAX} tries, none of which moved money: {error}"),
        ),
        Heard::Answered(Err(error @ (ProviderError::Unavailable(_) | ProviderError::OutcomeUnknown(_)))) => {
            this.retry(error.to_string())
        }
    }
}

fn rejected(code: &'static str, reason: String) -> Next {
    Next::End(Outcome::Rejected(Rejection::new(code, reason)))
}

impl Try {
    fn is_late(&self) -> bool {
        self.now > self.deadline
    }

    /// Whether something was sent, or may have been, of which nobody heard. The words of the last error carry it from
    /// try to try, for nothing else outlives one.
    fn has_gone_unanswered(&self) -> bool {
        self.attempt > 1 && self.last_error.as_ref().is_none_or(|error| error.contains(NO_ANSWER))
    }

    fn is_the_last_of_failures(&self) -> bool {
        self.attempt >= FAILURES_MAX && !self.has_gone_unanswered()
    }

    fn retry(&self, error: String) -> Next {
        let already_said = error.contains(NO_ANSWER) || !self.has_gone_unanswered();
        Next::Retry { error: if already_said { error } else { format!("{error} (an earlier try gave {NO_ANSWER})") } }
    }

    fn stands(&self, standing: &Standing) -> Next {
        match standing {
            Standing::Refunded { reference } => Next::End(Outcome::Refunded { provider_reference: reference.clone() }),
            Standing::Failed { reason } => rejected("REFUND_FAILED", reason.clone()),
            Standing::Pending { reference } => self.wait(format!(
                "the provider accepted it as {reference}, and gave {NO_ANSWER} yet whether it is paid out"
            )),
        }
    }

    fn wait(&self, error: String) -> Next {
        if self.is_late() { self.unknown(&error) } else { Next::Wait { after: LOOK_AGAIN, error } }
    }

    fn unknown(&self, error: &str) -> Next {
        let before = self.last_error.as_deref().unwrap_or("a worker stopped without a word");
        let evidence = format!(
            "not known by {} after {} tries. At last: {error}. Before that: {before}",
            self.deadline, self.attempt
        );
        Next::End(Outcome::Unknown { evidence })
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::{FAILURES_MAX, Heard, LOOK_AGAIN, Next, Try, refund_step};
    use crate::{
        command::Outcome,
        provider::{ProviderError, Standing},
    };

    fn on_try(attempt: u32) -> Try {
        let (now, deadline) = (Timestamp::from_micros(1), Timestamp::from_micros(1));
        Try { attempt, now, deadline, last_error: Some("it broke".to_owned()) }
    }

    fn late(attempt: u32) -> Try {
        Try { now: Timestamp::from_micros(2), ..on_try(attempt) }
    }

    fn unavailable() -> ProviderError {
        ProviderError::Unavailable("busy".to_owned())
    }

    fn no_answer() -> ProviderError {
        ProviderError::OutcomeUnknown("30 s".to_owned())
    }

    fn pending() -> Standing {
        Standing::Pending { reference: "re_1".to_owned() }
    }

    fn is_unknown(next: &Next, words: &[&str]) -> bool {
        matches!(next, Next::End(Outcome::Unknown { evidence }) if words.iter().all(|word| evidence.contains(word)))
    }

    fn is_rejected(next: &Next, word: &str) -> bool {
        matches!(next, Next::End(Outcome::Rejected(rejection)) if rejection.code == word)
    }

    #[test]
    fn only_the_first_try_sends_without_looking() {
        assert_eq!(refund_step(&on_try(1), &Heard::Nothing), Next::Send);
        assert_eq!(refund_step(&late(1), &Heard::Nothing), Next::Send);
        for attempt in 2..9 {
            assert_eq!(refund_step(&on_try(attempt), &Heard::Nothing), Next::LookUp);
            assert_eq!(refund_step(&late(attempt), &Heard::Nothing), Next::LookUp);
        }
    }

    #[test]
    fn sends_again_what_the_provider_does_not_know_until_the_deadline() {
        let unknown_key = Heard::Found(Ok(None));
        for attempt in 2..=FAILURES_MAX {
            assert_eq!(refund_step(&on_try(attempt), &unknown_key), Next::Send);
            assert_eq!(refund_step(&late(attempt), &unknown_key), Next::Send);
        }
        // Three workers were killed, and the fourth does what they did not come to.
        let fourth = Try { last_error: None, ..on_try(FAILURES_MAX + 1) };
        assert_eq!(refund_step(&fourth, &unknown_key), Next::Send);
        assert!(is_unknown(
            &refund_step(&late(FAILURES_MAX + 1), &unknown_key),
            &["4 tries", "knows nothing", "it broke"]
        ));
    }

    #[test]
    fn what_the_provider_says_for_sure_ends_it_on_any_try() {
        for attempt in 1..9 {
            let refunded = Standing::Refunded { reference: "re_1".to_owned() };
            let end = Next::End(Outcome::Refunded { provider_reference: "re_1".to_owned() });
            assert_eq!(refund_step(&on_try(attempt), &Heard::Answered(Ok(refunded.clone()))), end);
            assert_eq!(refund_step(&late(attempt), &Heard::Found(Ok(Some(refunded)))), end);
            let failed = Heard::Found(Ok(Some(Standing::Failed { reason: "closed account".to_owned() })));
            assert!(is_rejected(&refund_step(&on_try(attempt), &failed), "REFUND_FAILED"));
            let declined = Heard::Answered(Err(ProviderError::Declined("too old".to_owned())));
            assert!(is_rejected(&refund_step(&late(attempt), &declined), "DECLINED"));
        }
    }

    #[test]
    fn gives_up_after_three_tries_that_surely_moved_no_money() {
        let heard = Heard::Answered(Err(unavailable()));
        assert!(matches!(refund_step(&on_try(1), &heard), Next::Retry { .. }));
        assert!(matches!(refund_step(&late(2), &heard), Next::Retry { .. }));
        assert!(is_rejected(&refund_step(&on_try(3), &heard), "PROVIDER_UNAVAILABLE"));
    }

    #[test]
    fn does_not_give_up_while_an_earlier_sending_may_still_arrive() {
        let mut silent = vec![None, Some("no answer within 5000 ms".to_owned())];
        // The silence is remembered even when the try after it failed for sure.
        for (attempt, heard) in [
            (1, Heard::Answered(Err(no_answer()))),
            (2, Heard::Answered(Err(unavailable()))),
            (3, Heard::Answered(Err(unavailable()))),
            (4, Heard::Found(Err(unavailable()))),
        ] {
            let last_error = silent.last().cloned().flatten();
            let Next::Retry { error } = refund_step(&Try { last_error, ..on_try(attempt) }, &heard) else {
                panic!("try {attempt} gives up")
            };
            silent.push(Some(error));
        }
        for last_error in silent {
            let third = Try { last_error, ..on_try(3) };
            let next = refund_step(&third, &Heard::Answered(Err(unavailable())));
            assert!(matches!(next, Next::Retry { .. }), "{third:?}: {next:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_never_a_failure() {
        for attempt in 1..=FAILURES_MAX {
            let heard = Heard::Answered(Err(no_answer()));
            assert!(matches!(refund_step(&on_try(attempt), &heard), Next::Retry { .. }));
            assert!(
                matches!(refund_step(&late(attempt), &heard), Next::Retry { .. }),
                "look up before calling it unknown"
            );
        }
    }

    #[test]
    fn what_cannot_be_looked_up_is_unknown_after_the_deadline_and_not_before() {
        for error in [no_answer(), unavailable(), ProviderError::Declined("wrong key".to_owned())] {
            let heard = Heard::Found(Err(error));
            assert!(matches!(refund_step(&on_try(9), &heard), Next::Retry { .. }));
            assert!(is_unknown(&refund_step(&late(2), &heard), &["2 tries", "look up", "it broke"]));
        }
    }

    #[test]
    fn what_is_pending_is_waited_for_until_the_deadline() {
        for heard in [Heard::Found(Ok(Some(pending()))), Heard::Answered(Ok(pending()))] {
            assert!(matches!(refund_step(&on_try(1), &heard), Next::Wait { after: LOOK_AGAIN, .. }));
            assert!(is_unknown(&refund_step(&late(9), &heard), &["re_1", "whether it is paid out"]));
        }
    }

    #[test]
    fn unknown_says_when_a_try_never_came_to_an_end() {
        let silent = Try { last_error: None, ..late(4) };
        assert!(is_unknown(&refund_step(&silent, &Heard::Found(Ok(None))), &["stopped without a word"]));
    }
}
