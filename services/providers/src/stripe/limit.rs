//! Whose turn it is: Stripe takes so many calls a second of one kind, and of all together, and answers the others with nothing done. As far
//! as this process knows; what other processes of the account send, Stripe will tell.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Calls of one kind a second.
const OF_ONE_KIND_PER_SECOND: u32 = 25;

/// Calls of all kinds a second, with a key that moves real money.
const LIVE_PER_SECOND: u32 = 100;

/// And with one that does not.
const TEST_PER_SECOND: u32 = 25;

/// A line to stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queue {
    /// Of all calls, whatever their kind.
    Account,
    /// Opening a page.
    OpenSession,
    /// Closing one.
    ExpireSession,
    /// Looking at one.
    ReadSession,
    /// Taking money that is set aside.
    Capture,
    /// Letting it go.
    Void,
    /// Looking at it.
    ReadIntent,
    /// Sending a refund.
    CreateRefund,
    /// Looking for one.
    ListRefunds,
    /// Asking what was told.
    ListEvents,
}

/// When the next of each line may go.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    account_per_second: u32,
    next: BTreeMap<Queue, Instant>,
}

impl Limits {
    pub(super) const fn of(mode: super::Mode) -> Self {
        let account_per_second = match mode {
            super::Mode::Live => LIVE_PER_SECOND,
            super::Mode::Test => TEST_PER_SECOND,
        };
        Self { account_per_second, next: BTreeMap::new() }
    }

    /// Takes the next turn. Answers how long to wait for it.
    ///
    /// # Errors
    /// How long one would have to wait: too long, so none is taken.
    pub(super) fn turn(&mut self, queue: Queue, now: Instant, wait_max: Duration) -> Result<Duration, Duration> {
        let per_second = match queue {
            Queue::Account => self.account_per_second,
            Queue::OpenSession
            | Queue::ExpireSession
            | Queue::ReadSession
            | Queue::Capture
            | Queue::Void
            | Queue::ReadIntent
            | Queue::CreateRefund
            | Queue::ListRefunds
            | Queue::ListEvents => OF_ONE_KIND_PER_SECOND,
        };
        let turn = self.next.get(&queue).map_or(now, |next| now.max(*next));
        let wait = turn.duration_since(now);
        if wait > wait_max {
            return Err(wait);
        }
        self.next.insert(queue, turn + Duration::from_secs(1) / per_second);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Limits, Queue};
    use crate::stripe::Mode;

    /// How many of a line go within the time, if so many want to at once.
    fn go(limits: &mut Limits, queue: Queue, now: Instant, within: Duration) -> usize {
        (0..1_000).filter(|_| limits.turn(queue, now, within).is_ok()).count()
    }

    #[test]
    fn no_more_go_in_a_second_than_stripe_takes() {
        let now = Instant::now();
        // One that goes at the very end of the second is one of the next.
        let second = Duration::from_millis(999);
        for (mode, all) in [(Mode::Live, 100), (Mode::Test, 25)] {
            let mut limits = Limits::of(mode);
            assert_eq!(go(&mut limits, Queue::CreateRefund, now, second), 25);
            assert_eq!(go(&mut limits, Queue::OpenSession, now, second), 25);
            assert_eq!(go(&mut limits, Queue::Account, now, second), all);
        }
    }

    #[test]
    fn the_first_goes_at_once_and_the_next_after_it() {
        let (now, mut limits) = (Instant::now(), Limits::of(Mode::Live));
        let mut turn = |now| limits.turn(Queue::OpenSession, now, Duration::from_secs(1));
        assert_eq!(turn(now), Ok(Duration::ZERO));
        assert_eq!(turn(now), Ok(Duration::from_millis(40)));
        assert_eq!(turn(now + Duration::from_millis(50)), Ok(Duration::from_millis(30)));
        assert_eq!(turn(now + Duration::from_secs(60)), Ok(Duration::ZERO));
    }

    #[test]
    fn who_would_wait_too_long_takes_no_turn() {
        let (now, mut limits) = (Instant::now(), Limits::of(Mode::Live));
        let mut turn = |wait_max| limits.turn(Queue::OpenSession, now, Duration::from_millis(wait_max));
        assert_eq!(turn(0), Ok(Duration::ZERO));
        for _ in 0..100 {
            assert_eq!(turn(39), Err(Duration::from_millis(40)));
        }
        assert_eq!(turn(40), Ok(Duration::from_millis(40)));
    }
}
