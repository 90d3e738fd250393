//! What follows from how a mail was handed over: the one table of its states. Pure.
//!
//! | what happened | then |
//! |---|---|
//! | it failed before the end of the text, or the server put it off (4xx) | again, later each time, and at last refused |
//! | the server said no (5xx) | refused |
//! | no answer after the text, or the process that sent it has ended | unknown: once more, or left |
//! | the server said yes (250) | sent |

use std::time::Duration;

use domain::Timestamp;
use platform::{
    config::{self, ms},
    retry,
};

/// How a mail was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server has it: what it said.
    Sent(String),
    /// The server does not have it, and may take it later: why.
    Again(String),
    /// The server will not take it: why.
    Refused(String),
    /// Nobody knows whether the server has it: why.
    Unknown(String),
}

/// Where a mail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is to be sent.
    Queued,
    /// A process sends it, or has ended while it did.
    Sending,
    /// A server has it.
    Sent,
    /// No server will have it.
    Refused,
    /// Nobody knows.
    Unknown,
    /// The address was forgotten before it was sent.
    Forgotten,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Queued, Self::Sending, Self::Sent, Self::Refused, Self::Unknown, Self::Forgotten];

    /// The word for it in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Forgotten => "forgotten",
        }
    }

    /// Whether what was sent is of no use any more.
    pub(crate) const fn is_over(self) -> bool {
        match self {
            Self::Sent | Self::Refused | Self::Forgotten => true,
            Self::Queued | Self::Sending | Self::Unknown => false,
        }
    }
}

/// What is known of a mail that was tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tried {
    /// Which try it was, from 1.
    pub(crate) attempt: u32,
    /// How often before nobody knew what became of it.
    pub(crate) unknowns: u32,
    /// After this it is given up.
    pub(crate) give_up_at: Timestamp,
}

/// Where a mail stands after it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) state: State,
    /// How long until it is tried again. `None`: it is not, unless somebody asks for it.
    pub(crate) after: Option<Duration>,
    pub(crate) unknowns: u32,
    /// What the server said, for whoever looks.
    pub(crate) reply: String,
}

/// What to do with mail of which nobody knows what became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenUnknown {
    /// Send one more copy, after so long.
    OnceMore(Duration),
    /// Send none.
    Leave,
}

/// How tries follow each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    backoff: Duration,
    backoff_max: Duration,
    pub(crate) when_unknown: WhenUnknown,
}

impl Rules {
    /// Reads the settings.
    pub(crate) fn read(settings: &config::Mail) -> Self {
        let when_unknown = match settings.unknown.as_str() {
            "leave" => WhenUnknown::Leave,
            _ => WhenUnknown::OnceMore(ms(settings.once_more_ms)),
        };
        Self { backoff: ms(settings.backoff_ms), backoff_max: ms(settings.backoff_max_ms), when_unknown }
    }

    /// How long until a mail of which nobody knows what became is sent once more: at most once.
    pub(crate) fn once_more(&self, unknowns_before: u32) -> Option<Duration> {
        match self.when_unknown {
            WhenUnknown::OnceMore(after) if unknowns_before == 0 => Some(after),
            WhenUnknown::OnceMore(_) | WhenUnknown::Leave => None,
        }
    }

    /// Where a mail stands after it was tried.
    pub(crate) fn next(&self, tried: Tried, outcome: Outcome, now: Timestamp) -> Next {
        let Tried { attempt, unknowns, give_up_at } = tried;
        match outcome {
            Outcome::Sent(reply) => Next { state: State::Sent, after: None, unknowns, reply },
            // An earlier copy may be there all the same.
            Outcome::Refused(reply) => Next { state: State::Refused, after: None, unknowns, reply },
            Outcome::Unknown(reply) => Next {
                state: State::Unknown,
                after: self.once_more(unknowns),
                unknowns: unknowns.saturating_add(1),
                reply,
            },
            Outcome::Again(reply) => {
                let wait = retry::delay(self.backoff, self.backoff_max, attempt);
                if now + wait <= give_up_at {
                    return Next { state: State::Queued, after: Some(wait), unknowns, reply };
                }
                let reply = format!("given up after {attempt} tries: {reply}");
                // That no copy got through says nothing of the first.
                let state = if unknowns > 0 { State::Unknown } else { State::Refused };
                Next { state, after: None, unknowns, reply }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::Timestamp;

    use super::{Next, Outcome, Rules, State, Tried, WhenUnknown};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    const LATER: Duration = Duration::from_secs(900);

    fn rules(when_unknown: WhenUnknown) -> Rules {
        Rules { backoff: Duration::from_secs(30), backoff_max: Duration::from_secs(3_600), when_unknown }
    }

    fn tried(attempt: u32, unknowns: u32) -> Tried {
        Tried { attempt, unknowns, give_up_at: NOW + Duration::from_secs(86_400) }
    }

    fn words() -> String {
        "as it said".to_owned()
    }

    fn after(tried: Tried, outcome: Outcome) -> Next {
        rules(WhenUnknown::OnceMore(LATER)).next(tried, outcome, NOW)
    }

    #[test]
    fn a_mail_that_the_server_has_is_sent_and_one_that_it_refuses_is_over() {
        for (outcome, state) in [(Outcome::Sent(words()), State::Sent), (Outcome::Refused(words()), State::Refused)] {
            assert_eq!(after(tried(1, 0), outcome), Next { state, after: None, unknowns: 0, reply: words() });
            assert!(state.is_over());
        }
    }

    #[test]
    fn a_mail_that_was_put_off_is_tried_again_later_each_time_and_never_after_its_end() {
        let wait = |attempt| after(tried(attempt, 0), Outcome::Again(words())).after.unwrap();
        assert!((30..=60).contains(&wait(1).as_secs()) && (240..=480).contains(&wait(4).as_secs()));
        assert!((1_800..=3_600).contains(&wait(40).as_secs()));
        let late = Tried { give_up_at: NOW + Duration::from_secs(29), ..tried(40, 0) };
        let given_up = after(late, Outcome::Again(words()));
        assert_eq!((given_up.state, given_up.after), (State::Refused, None));
        assert_eq!(given_up.reply, "given up after 40 tries: as it said");
    }

    #[test]
    fn a_mail_of_which_nobody_knows_is_sent_once_more_and_not_twice() {
        let first = after(tried(1, 0), Outcome::Unknown(words()));
        assert_eq!(first, Next { state: State::Unknown, after: Some(LATER), unknowns: 1, reply: words() });
        let second = after(tried(2, 1), Outcome::Unknown(words()));
        assert_eq!(second, Next { state: State::Unknown, after: None, unknowns: 2, reply: words() });
        // A copy that was put off is tried again; one that never gets through leaves it unknown.
        assert_eq!(after(tried(2, 1), Outcome::Again(words())).state, State::Queued);
        let late = Tried { give_up_at: NOW, ..tried(2, 1) };
        assert_eq!(after(late, Outcome::Again(words())).state, State::Unknown);
    }

    #[test]
    fn a_mail_of_which_nobody_knows_is_left_if_the_shop_says_so() {
        let left = rules(WhenUnknown::Leave).next(tried(1, 0), Outcome::Unknown(words()), NOW);
        assert_eq!(left, Next { state: State::Unknown, after: None, unknowns: 1, reply: words() });
    }
}
