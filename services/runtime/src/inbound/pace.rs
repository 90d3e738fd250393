//! Pace: since when, at the earliest, what was fetched and not begun may have been waiting in this process.
//!
//! Why it is so: services/runtime/README.md#a-worker-tells-the-broker-that-it-is-at-work

use std::{collections::VecDeque, time::Instant};

/// The last batches that were taken from what was fetched.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The most that waits.
    waiting_max: usize,
    /// When each was taken, and how many messages; of the first only the time counts.
    taken: VecDeque<(Instant, usize)>,
    /// Messages of all but the first.
    since_first: usize,
}

impl Pace {
    /// Nothing waits yet.
    pub(crate) fn new(now: Instant, waiting_max: usize) -> Self {
        Self { waiting_max, taken: VecDeque::from([(now, 0)]), since_first: 0 }
    }

    /// All that was there is taken.
    pub(crate) fn took_all(&mut self, now: Instant) {
        *self = Self::new(now, self.waiting_max);
    }

    /// So many are taken, and others wait. What waited when the first of the others was taken is among them once they are as many
    /// as can wait.
    pub(crate) fn took(&mut self, now: Instant, count: usize) {
        self.taken.push_back((now, count));
        self.since_first += count;
        while let Some((_, next)) = self.taken.get(1)
            && self.since_first - next >= self.waiting_max
        {
            self.since_first -= next;
            self.taken.pop_front();
        }
    }

    /// What waits now was not there before.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.taken.front().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Pace;

    #[test]
    fn what_waits_is_no_older_than_what_was_taken_when_as_many_waited_in_front_of_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(at(0), 1_500);
        pace.took(at(1), 500);
        pace.took(at(2), 500);
        assert_eq!(pace.oldest(), Some(at(0)));
        pace.took(at(3), 500);
        assert_eq!(pace.oldest(), Some(at(0)));
        pace.took(at(4), 500);
        assert_eq!(pace.oldest(), Some(at(1)));
        for second in 5..100 {
            pace.took(at(second), 500);
        }
        assert_eq!((pace.oldest(), pace.taken.len()), (Some(at(96)), 4));
        pace.took_all(at(100));
        assert_eq!(pace.oldest(), Some(at(100)));
    }
}
