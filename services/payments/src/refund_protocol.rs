//! How a refund is brought to its end, try by try: the decision alone, so that a simulator can run it too.
//!
//! A try is one claim of the refund's effect, counted from 1, whether it came to an end or its worker was killed. It
//! sends at most once, and from the second try on never before looking up what became of the earlier ones. If an operator has it sent again,
//! under another key, the first try looks up too: what nobody heard of may have gone out all the same.
//!
//! | what was heard                         | try 1 or 2          | try 3               | try 4 and later     |
//! |----------------------------------------|---------------------|---------------------|---------------------|
//! | nothing yet                            | 1: send, 2: look up | look up             | look up             |
//! | the same of a refund sent before       | look up             | look up             | look up             |
//! | look-up: nothing of this refund        | send                | send                | send, then unknown° |
//! | look-up: an error, or no answer        | retry, then unknown | retry, then unknown | retry, then unknown |
//! | the same, of what was accepted         | wait                | wait                | wait                |
//! | either: refunded                       | refunded            | refunded            | refunded            |
//! | either: failed                         | rejected            | rejected            | rejected            |
//! | either: pending                        | wait                | wait                | wait                |
//! | sending: declined                      | rejected            | rejected            | rejected            |
//! | either: busy                           | wait                | wait                | wait                |
//! | either: asked in a wrong way           | stopped             | stopped             | stopped             |
//! | sending: not available, surely nothing | retry               | rejected, or retry* | rejected, or retry* |
//! | sending: stuck under this key          | look only           | look only           | look only           |
//! | look-up: nothing, and it was stuck     | look, then unknown  | look, then unknown  | look, then unknown  |
//! | sending: no answer                     | retry               | retry               | retry               |
//!
//! Accepted: the provider has said that it is pending. Then it is known, however long the provider cannot be asked, and no matter of a person; that
//! is a fact of its own, kept beside the call ([`Attempt::accepted`]).
//!
//! Stuck: the provider answers this key with an error for ever, and perhaps has done what it was asked for. So nothing is sent under it again:
//! after a day, when providers forget keys, it would be a refund of its own. An operator can have it sent under another. What was answered is not on
//! its way any more, so it is only looked up for [`SPENT_WITHIN`]: a provider's list of refunds has what it has done.
//!
//! `°`: only if something that was sent may still arrive. `then unknown`: once the deadline has passed, which counts from the first try that the
//! provider did not send away: a worker that is away, or a provider without room, makes nothing unknown. And nothing is sent, nor taken for
//! unknown, after [`KEY_KEPT`] under a key that may have been used: who has forgotten a key does it once more. The deadline ends only what is not
//! known: what surely was never sent is tried for as long as it takes. A refund whose worker was
//! away for an hour is still sent, for its key makes that safe. For the same reason nobody counts how often it is sent while the
//! provider knows nothing of it: workers that are killed take their tries with them, and are no reason to ask an operator. `*`:
//! when an earlier try gave no answer, or was killed. What it sent may reach the provider yet, so the refund is not rejected until
//! it is known. That is a fact of its own, kept beside the call ([`Attempt::in_flight`]).

use std::time::Duration;

use domain::{Rejection, Timestamp};
use providers::{ProviderError, RefundState};
use runtime::service::EffectOutcome;

use crate::{command::Outcome, payment::refund::DEADLINE};

/// Tries that end in a failure for sure, and then the refund is rejected. As many are sent even after the deadline.
pub const FAILURES_MAX: u32 = 3;

/// How long to wait before looking up again what is under way at the provider.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a refund is looked up under a key that is answered with an error for ever.
pub const SPENT_WITHIN: Duration = Duration::from_secs(30);

/// How long after a key was used first something may be sent under it. Stripe keeps keys for a day at least, and nobody here for less
/// (<https://docs.stripe.com/api/idempotent_requests>); a try takes some time as well.
pub const KEY_KEPT: Duration = Duration::from_hours(23);

/// The same once the deadline has passed: banks take days.
pub const LOOK_SELDOM: Duration = Duration::from_mins(10);

/// Whether a refund is sent for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// Nothing of it was ever sent under another key.
    First,
    /// An operator has it sent again: nobody knew what became of it, or it had failed.
    Again,
}

/// One try at a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The name of the provider.
    pub provider: &'static str,
    /// From 1.
    pub number: u32,
    /// Whether it was sent before, under another key.
    pub sending: Sending,
    /// When it began.
    pub now: Timestamp,
    /// When the first try began that was not sent away. [`DEADLINE`] after it, what is not known counts as unknown.
    pub begun_at: Timestamp,
    /// What the last one ended with, if it came to an end: evidence for people, never looked into.
    pub last_error: Option<String>,
    /// Whether what an earlier one has sent, or may have sent, can still reach the provider.
    pub in_flight: bool,
    /// Whether the provider has said that it has accepted it, and not yet how it ends.
    pub accepted: bool,
    /// Since when it is known that the provider answers the key with an error for ever. `None`: it is not.
    pub key_spent: Option<Timestamp>,
}

/// What this try has heard from the provider, last of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Nothing yet.
    Nothing,
    /// The answer to a look-up.
    Found(Result<Option<RefundState>, ProviderError>),
    /// The answer to a refund.
    Answered(Result<RefundState, ProviderError>),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send it.
    Send,
    /// Ask what became of it.
    LookUp,
    /// The try is over.
    End(EffectOutcome<Outcome>),
}

/// The next step of a try, given what it has heard.
#[must_use]
pub fn next_step(this: &Attempt, reply: &Reply) -> Step {
    match reply {
        Reply::Nothing if this.number <= 1 && this.sending == Sending::First => Step::Send,
        Reply::Nothing => Step::LookUp,
        Reply::Found(Ok(None)) if this.is_spent_for_long() => {
            this.unknown("the provider answers this key with an error for ever, and knows nothing of this refund")
        }
        Reply::Found(Ok(None)) if this.key_spent.is_some() => spent(this.last_error.clone().unwrap_or_default()),
        // Of what is not in flight it is known that nothing happened, however late it is: the provider was busy.
        Reply::Found(Ok(None)) if this.number > FAILURES_MAX && this.is_late() && this.in_flight => {
            this.unknown("tries gave no answer, and the provider knows nothing of this refund")
        }
        Reply::Found(Ok(None)) if this.may_be_forgotten() => this.unknown(
            "it was sent so long ago that the provider may have forgotten its key, and knows nothing of this refund",
        ),
        Reply::Found(Ok(None)) => Step::Send,
        Reply::Found(Ok(Some(state))) | Reply::Answered(Ok(state)) => this.is_known(state),
        Reply::Found(Err(error @ ProviderError::Busy(_))) | Reply::Answered(Err(error @ ProviderError::Busy(_))) => {
            Step::End(EffectOutcome::Wait { after: LOOK_AGAIN, error: error.to_string(), in_flight: this.in_flight })
        }
        Reply::Found(Err(error @ ProviderError::Misconfigured(_)))
        | Reply::Answered(Err(error @ ProviderError::Misconfigured(_))) => Step::End(EffectOutcome::Stopped {
            by: this.provider,
            after: LOOK_AGAIN,
            error: error.to_string(),
            in_flight: this.in_flight,
        }),
        Reply::Found(Err(error)) => {
            let error = format!("could not look up what became of the refund: {error}");
            if this.accepted {
                this.wait(format!("the provider has accepted it, and does not say what has become of it: {error}"))
            } else if this.is_unknown() {
                this.unknown(&error)
            } else {
                retry(error, this.in_flight)
            }
        }
        Reply::Answered(Err(ProviderError::Declined(reason))) => rejected("DECLINED", reason.clone()),
        Reply::Answered(Err(error @ ProviderError::Unavailable(_)))
            if this.number >= FAILURES_MAX && !this.in_flight =>
        {
            rejected(
                "PROVIDER_UNAVAILABLE",
                format!("gave up after {FAILURES_MAX} tries, none of which moved money: {error}"),
            )
        }
        Reply::Answered(Err(error @ ProviderError::Unavailable(_))) => retry(error.to_string(), this.in_flight),
        Reply::Answered(Err(error @ ProviderError::Stuck(_))) => spent(error.to_string()),
        Reply::Answered(Err(error @ ProviderError::OutcomeUnknown(_))) => retry(error.to_string(), true),
    }
}

fn done(outcome: Outcome) -> Step {
    Step::End(EffectOutcome::Done(outcome))
}

fn rejected(code: &'static str, reason: String) -> Step {
    done(Outcome::Rejected(Rejection::new(code, reason)))
}

fn spent(error: String) -> Step {
    Step::End(EffectOutcome::Spent { after: LOOK_AGAIN, error })
}

fn retry(error: String, in_flight: bool) -> Step {
    Step::End(EffectOutcome::Retry { error, in_flight })
}

impl Attempt {
    fn is_late(&self) -> bool {
        self.now > self.begun_at + DEADLINE
    }

    /// Whether it is found out no more what became of something that may have been sent, under this key or another.
    fn is_unknown(&self) -> bool {
        let may_be_sent = self.in_flight || self.sending == Sending::Again;
        may_be_sent && self.number > FAILURES_MAX && self.is_late()
    }

    fn is_spent_for_long(&self) -> bool {
        self.key_spent.is_some_and(|since| self.now > since + SPENT_WITHIN)
    }

    /// Whether the key was used so long ago that it may be good for another refund.
    fn may_be_forgotten(&self) -> bool {
        self.in_flight && self.now > self.begun_at + KEY_KEPT
    }

    fn is_known(&self, state: &RefundState) -> Step {
        match state {
            RefundState::Refunded { reference } => done(Outcome::Refunded { provider_reference: reference.clone() }),
            RefundState::Failed { reason } => rejected("REFUND_FAILED", reason.clone()),
            RefundState::Pending { reference } => self
                .wait(format!("the provider accepted it as {reference}, and has not said yet whether it is paid out")),
        }
    }

    /// What is accepted is known: it may take banks days, and a report will tell.
    fn wait(&self, error: String) -> Step {
        let after = if self.is_late() { LOOK_SELDOM } else { LOOK_AGAIN };
        Step::End(EffectOutcome::Accepted { after, error })
    }

    fn unknown(&self, error: &str) -> Step {
        let before = self.last_error.as_deref().unwrap_or("a worker stopped without a word");
        let evidence =
            format!("not known at {} after {} tries. At last: {error}. Before that: {before}", self.now, self.number);
        done(Outcome::Unknown { evidence })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::Timestamp;
    use providers::{ProviderError, RefundState};
    use runtime::service::EffectOutcome;

    use super::{
        Attempt, FAILURES_MAX, KEY_KEPT, LOOK_AGAIN, LOOK_SELDOM, Reply, SPENT_WITHIN, Sending, Step, next_step,
    };
    use crate::{command::Outcome, payment::refund::DEADLINE};

    const BEGUN: Timestamp = Timestamp::from_micros(1);

    const MOMENT: Duration = Duration::from_micros(1);

    fn on_try(number: u32) -> Attempt {
        let (now, begun_at) = (BEGUN + DEADLINE, BEGUN);
        let (provider, sending, last_error) = ("bank", Sending::First, Some("it broke".to_owned()));
        Attempt {
            provider,
            number,
            sending,
            now,
            begun_at,
            last_error,
            in_flight: false,
            accepted: false,
            key_spent: None,
        }
    }

    fn late(attempt: u32) -> Attempt {
        Attempt { now: BEGUN + DEADLINE + MOMENT, ..on_try(attempt) }
    }

    fn unavailable() -> ProviderError {
        ProviderError::Unavailable("busy".to_owned())
    }

    fn no_answer() -> ProviderError {
        ProviderError::OutcomeUnknown("30 s".to_owned())
    }

    fn pending() -> RefundState {
        RefundState::Pending { reference: "re_1".to_owned() }
    }

    fn is_unknown(next: &Step, words: &[&str]) -> bool {
        matches!(next, Step::End(EffectOutcome::Done(Outcome::Unknown { evidence })) if words.iter().all(|word| evidence.contains(word)))
    }

    fn is_rejected(next: &Step, word: &str) -> bool {
        matches!(next, Step::End(EffectOutcome::Done(Outcome::Rejected(rejection))) if rejection.code == word)
    }

    #[test]
    fn only_the_first_try_sends_without_looking() {
        assert_eq!(next_step(&on_try(1), &Reply::Nothing), Step::Send);
        assert_eq!(next_step(&late(1), &Reply::Nothing), Step::Send);
        for attempt in 2..9 {
            assert_eq!(next_step(&on_try(attempt), &Reply::Nothing), Step::LookUp);
            assert_eq!(next_step(&late(attempt), &Reply::Nothing), Step::LookUp);
        }
    }

    #[test]
    fn what_was_sent_before_under_another_key_is_looked_up_first() {
        let again = Attempt { sending: Sending::Again, last_error: None, ..on_try(1) };
        assert_eq!(next_step(&again, &Reply::Nothing), Step::LookUp);
        assert_eq!(next_step(&again, &Reply::Found(Ok(None))), Step::Send);
        let first = RefundState::Refunded { reference: "re_1".to_owned() };
        let end = Step::End(EffectOutcome::Done(Outcome::Refunded { provider_reference: "re_1".to_owned() }));
        assert_eq!(next_step(&again, &Reply::Found(Ok(Some(first)))), end);
        let unread = next_step(&again, &Reply::Found(Err(no_answer())));
        assert!(matches!(unread, Step::End(EffectOutcome::Retry { .. })), "{unread:?}");
    }

    #[test]
    fn sends_again_what_the_provider_does_not_know_until_the_deadline() {
        let unknown_key = Reply::Found(Ok(None));
        for attempt in 2..=FAILURES_MAX {
            assert_eq!(next_step(&on_try(attempt), &unknown_key), Step::Send);
            assert_eq!(next_step(&late(attempt), &unknown_key), Step::Send);
        }
        // Three workers were killed, and the fourth does what they did not come to.
        let fourth = Attempt { last_error: None, ..on_try(FAILURES_MAX + 1) };
        assert_eq!(next_step(&fourth, &unknown_key), Step::Send);
        let silent = Attempt { in_flight: true, ..late(FAILURES_MAX + 1) };
        assert!(is_unknown(&next_step(&silent, &unknown_key), &["4 tries", "knows nothing", "it broke"]));
        // Of a provider that was busy all the time nothing can arrive any more.
        assert_eq!(next_step(&late(FAILURES_MAX + 1), &unknown_key), Step::Send);
    }

    #[test]
    fn what_the_provider_says_for_sure_ends_it_on_any_try() {
        for attempt in 1..9 {
            let refunded = RefundState::Refunded { reference: "re_1".to_owned() };
            let end = Step::End(EffectOutcome::Done(Outcome::Refunded { provider_reference: "re_1".to_owned() }));
            assert_eq!(next_step(&on_try(attempt), &Reply::Answered(Ok(refunded.clone()))), end);
            assert_eq!(next_step(&late(attempt), &Reply::Found(Ok(Some(refunded)))), end);
            let failed = Reply::Found(Ok(Some(RefundState::Failed { reason: "closed account".to_owned() })));
            assert!(is_rejected(&next_step(&on_try(attempt), &failed), "REFUND_FAILED"));
            let declined = Reply::Answered(Err(ProviderError::Declined("too old".to_owned())));
            assert!(is_rejected(&next_step(&late(attempt), &declined), "DECLINED"));
        }
    }

    #[test]
    fn gives_up_after_three_tries_that_surely_moved_no_money() {
        let reply = Reply::Answered(Err(unavailable()));
        assert!(matches!(next_step(&on_try(1), &reply), Step::End(EffectOutcome::Retry { .. })));
        assert!(matches!(next_step(&late(2), &reply), Step::End(EffectOutcome::Retry { .. })));
        assert!(is_rejected(&next_step(&on_try(3), &reply), "PROVIDER_UNAVAILABLE"));
    }

    #[test]
    fn does_not_give_up_while_an_earlier_sending_may_still_arrive() {
        // A silence is remembered even when the tries after it failed for sure, whatever their errors say.
        let mut in_flight = false;
        for (number, reply) in [
            (1, Reply::Answered(Err(no_answer()))),
            (2, Reply::Answered(Err(unavailable()))),
            (3, Reply::Answered(Err(unavailable()))),
            (4, Reply::Found(Err(unavailable()))),
            (5, Reply::Answered(Err(unavailable()))),
        ] {
            let next = next_step(&Attempt { in_flight, ..on_try(number) }, &reply);
            let Step::End(EffectOutcome::Retry { in_flight: still, .. }) = next else { panic!("{number}: {next:?}") };
            assert!(still, "try {number}");
            in_flight = still;
        }
    }

    #[test]
    fn what_failed_for_sure_leaves_nothing_on_its_way() {
        let next = next_step(&on_try(2), &Reply::Answered(Err(unavailable())));
        assert!(matches!(next, Step::End(EffectOutcome::Retry { in_flight: false, .. })), "{next:?}");
        let looked_up = next_step(&on_try(2), &Reply::Found(Err(no_answer())));
        assert!(matches!(looked_up, Step::End(EffectOutcome::Retry { in_flight: false, .. })), "{looked_up:?}");
    }

    #[test]
    fn a_provider_that_is_busy_or_asked_in_a_wrong_way_is_waited_for_and_rejects_nothing() {
        for error in [ProviderError::Busy("429".to_owned()), ProviderError::Misconfigured("401".to_owned())] {
            let is_busy = matches!(error, ProviderError::Busy(_));
            for number in 1..9 {
                for this in [on_try(number), late(number), Attempt { in_flight: true, ..late(number) }] {
                    for reply in [Reply::Answered(Err(error.clone())), Reply::Found(Err(error.clone()))] {
                        let next = next_step(&this, &reply);
                        let same = |after, in_flight| (after, in_flight) == (LOOK_AGAIN, this.in_flight);
                        let is_so = match &next {
                            Step::End(EffectOutcome::Wait { after, in_flight, .. }) => {
                                is_busy && same(*after, *in_flight)
                            }
                            // Somebody must mend it, so it is said of whom.
                            Step::End(EffectOutcome::Stopped { by, after, in_flight, .. }) => {
                                !is_busy && *by == "bank" && same(*after, *in_flight)
                            }
                            Step::End(_) | Step::Send | Step::LookUp => false,
                        };
                        assert!(is_so, "{error}: {next:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_words_of_an_error_decide_nothing() {
        for words in [None, Some("no answer within 5000 ms".to_owned()), Some("anything".to_owned())] {
            let third = Attempt { last_error: words.clone(), ..on_try(FAILURES_MAX) };
            assert!(is_rejected(&next_step(&third, &Reply::Answered(Err(unavailable()))), "PROVIDER_UNAVAILABLE"));
            let in_flight = Attempt { in_flight: true, last_error: words, ..third };
            let next = next_step(&in_flight, &Reply::Answered(Err(unavailable())));
            assert!(matches!(next, Step::End(EffectOutcome::Retry { .. })), "{next:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_never_a_failure() {
        for attempt in 1..=FAILURES_MAX {
            let reply = Reply::Answered(Err(no_answer()));
            assert!(matches!(next_step(&on_try(attempt), &reply), Step::End(EffectOutcome::Retry { .. })));
            assert!(
                matches!(next_step(&late(attempt), &reply), Step::End(EffectOutcome::Retry { .. })),
                "look up before calling it unknown"
            );
        }
    }

    #[test]
    fn under_a_key_that_is_answered_with_an_error_for_ever_nothing_is_sent_again() {
        let stuck = Reply::Answered(Err(ProviderError::Stuck("status 500, replayed".to_owned())));
        for this in [on_try(1), on_try(5), late(5)] {
            let next = next_step(&this, &stuck);
            let Step::End(EffectOutcome::Spent { after: LOOK_AGAIN, error }) = next else { panic!("{next:?}") };
            assert!(error.contains("replayed"), "{error}");
        }
        let spent =
            |this: Attempt, before: Duration| Attempt { key_spent: Some(this.now - before), in_flight: true, ..this };
        for number in 2..9 {
            for this in [on_try(number), late(number)] {
                let this = spent(this, SPENT_WITHIN);
                assert_eq!(next_step(&this, &Reply::Nothing), Step::LookUp);
                let next = next_step(&this, &Reply::Found(Ok(None)));
                let Step::End(EffectOutcome::Spent { error, .. }) = next else { panic!("{next:?}") };
                assert_eq!(error, "it broke", "what it was answered is not forgotten");
            }
            // What was answered is not on its way, so it need not be waited for until the deadline.
            let end = next_step(&spent(on_try(number), SPENT_WITHIN + MOMENT), &Reply::Found(Ok(None)));
            assert!(is_unknown(&end, &["with an error for ever", "it broke"]), "{end:?}");
        }
        // It had done what it was asked for.
        let found = Reply::Found(Ok(Some(RefundState::Refunded { reference: "re_1".to_owned() })));
        let end = Step::End(EffectOutcome::Done(Outcome::Refunded { provider_reference: "re_1".to_owned() }));
        assert_eq!(next_step(&spent(late(9), SPENT_WITHIN + MOMENT), &found), end);
    }

    #[test]
    fn what_cannot_be_looked_up_is_unknown_after_the_deadline_and_not_before() {
        let in_flight = |this: Attempt| Attempt { in_flight: true, ..this };
        let again = |this: Attempt| Attempt { sending: Sending::Again, ..this };
        for error in [no_answer(), unavailable(), ProviderError::Declined("wrong key".to_owned())] {
            let reply = Reply::Found(Err(error));
            for this in [in_flight(on_try(9)), again(on_try(9)), in_flight(late(FAILURES_MAX))] {
                assert!(matches!(next_step(&this, &reply), Step::End(EffectOutcome::Retry { .. })), "{this:?}");
            }
            for this in [in_flight(late(4)), again(late(4))] {
                assert!(is_unknown(&next_step(&this, &reply), &["4 tries", "look up", "it broke"]), "{this:?}");
            }
        }
    }

    #[test]
    fn what_surely_was_never_sent_is_no_matter_of_a_person_however_late() {
        let long = BEGUN + 10 * KEY_KEPT;
        let this = |number, begun_at| Attempt { now: long, begun_at, ..on_try(number) };
        for number in [2, 9] {
            for begun_at in [BEGUN, long] {
                assert_eq!(next_step(&this(number, begun_at), &Reply::Found(Ok(None))), Step::Send);
            }
            let next = next_step(&this(number, BEGUN), &Reply::Found(Err(unavailable())));
            assert!(matches!(next, Step::End(EffectOutcome::Retry { in_flight: false, .. })), "{next:?}");
        }
    }

    #[test]
    fn nothing_is_sent_under_a_key_that_the_provider_may_have_forgotten() {
        for number in 2..=FAILURES_MAX {
            let used = |now| Attempt { now, in_flight: true, ..on_try(number) };
            assert_eq!(next_step(&used(BEGUN + KEY_KEPT), &Reply::Found(Ok(None))), Step::Send);
            let end = next_step(&used(BEGUN + KEY_KEPT + MOMENT), &Reply::Found(Ok(None)));
            assert!(is_unknown(&end, &["forgotten its key"]), "{end:?}");
        }
    }

    #[test]
    fn what_is_pending_is_known_and_waited_for() {
        for reply in [Reply::Found(Ok(Some(pending()))), Reply::Answered(Ok(pending()))] {
            assert!(matches!(
                next_step(&on_try(1), &reply),
                Step::End(EffectOutcome::Accepted { after: LOOK_AGAIN, .. })
            ));
            let next = next_step(&late(9), &reply);
            let Step::End(EffectOutcome::Accepted { after: LOOK_SELDOM, error }) = next else { panic!("{next:?}") };
            assert!(error.contains("re_1") && error.contains("whether it is paid out"), "{error}");
        }
    }

    #[test]
    fn what_was_accepted_is_no_matter_of_a_person_if_it_cannot_be_looked_up() {
        for sending in [Sending::First, Sending::Again] {
            for error in [no_answer(), unavailable(), ProviderError::Declined("wrong key".to_owned())] {
                let reply = Reply::Found(Err(error));
                let accepted = |this| Attempt { accepted: true, in_flight: true, sending, ..this };
                for (this, then) in [(on_try(2), LOOK_AGAIN), (on_try(9), LOOK_AGAIN), (late(9), LOOK_SELDOM)] {
                    let next = next_step(&accepted(this), &reply);
                    let Step::End(EffectOutcome::Accepted { after, error }) = next else { panic!("{next:?}") };
                    assert!(after == then && error.contains("look up"), "{after:?} {error}");
                }
            }
        }
        // What it says at last is what holds.
        let this = Attempt { accepted: true, in_flight: true, ..late(9) };
        let found = Reply::Found(Ok(Some(RefundState::Failed { reason: "closed".to_owned() })));
        assert!(is_rejected(&next_step(&this, &found), "REFUND_FAILED"));
        assert!(is_unknown(&next_step(&this, &Reply::Found(Ok(None))), &["knows nothing"]));
    }

    #[test]
    fn unknown_says_when_a_try_never_came_to_an_end() {
        let silent = Attempt { last_error: None, in_flight: true, ..late(4) };
        assert!(is_unknown(&next_step(&silent, &Reply::Found(Ok(None))), &["stopped without a word"]));
    }
}
