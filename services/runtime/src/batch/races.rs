//! Races that a batch has lost, and when to stop running: one that is lost again and again over the same thing is no race.
//!
//! Why it is so: services/runtime/README.md#a-stream-has-one-writer

use std::collections::BTreeMap;

use platform::error::Contested;

/// How often the same thing may be lost. Whoever was faster has committed by then, so what is loaded anew stands beside it.
const SAME_MAX: u32 = 3;

/// What became of one batch, through all the parts that it is taken into.
#[derive(Debug)]
pub(crate) struct Races {
    tries_max: u32,
    in_a_row: u32,
    lost: BTreeMap<Contested, u32>,
}

impl Races {
    pub(crate) fn new(tries_max: u32) -> Self {
        Self { tries_max, in_a_row: 0, lost: BTreeMap::new() }
    }

    /// Another part of the batch begins. What was lost too often before is not run for again.
    pub(crate) fn begin(&mut self) {
        self.in_a_row = 0;
    }

    /// One more is lost: whether to load anew and try again.
    pub(crate) fn lose(&mut self, contested: Contested) -> bool {
        self.in_a_row += 1;
        let times = self.lost.entry(contested).or_default();
        *times += 1;
        *times < SAME_MAX && self.in_a_row < self.tries_max
    }
}

#[cfg(test)]
mod tests {
    use super::{Contested, Races};

    fn stream(number: u32) -> Contested {
        Contested::Stream(format!("order-{number}"))
    }

    #[test]
    fn races_about_one_thing_after_the_other_are_run_up_to_the_limit() {
        let mut races = Races::new(20);
        assert!((0..19).all(|number| races.lose(stream(number))));
        assert!(!races.lose(stream(19)));
    }

    #[test]
    fn what_is_lost_again_and_again_is_given_up_soon_and_then_at_once() {
        let mut races = Races::new(20);
        assert!(races.lose(stream(1)) && races.lose(stream(1)) && !races.lose(stream(1)));
        races.begin();
        assert!(!races.lose(stream(1)));
        assert!(races.lose(stream(2)));
    }
}
