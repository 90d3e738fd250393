//! The audit of a log that is in memory, by an auditor that lets go of what is over and reads it again, as the one of a database does: so that
//! the simulator can hold it against one that forgets nothing.

use std::{collections::HashMap, time::Duration};

use domain::Timestamp;
use runtime::log::event_store::StoredEvent;

use super::{books::Books, causes::Causes, ledger::promises::Grace, report};

/// The auditor, and the log as far as it was read.
pub struct LettingGo {
    books: Books,
    past: HashMap<String, Vec<StoredEvent>>,
    lately: u64,
    looked: u64,
    went: usize,
}

impl LettingGo {
    /// Lets go of an order that is over so many events after its last.
    #[must_use]
    pub fn after(lately: u64) -> Self {
        Self { books: Books::new(Causes::default(), lately), past: HashMap::new(), lately, looked: 0, went: 0 }
    }

    /// Takes the next event in, in order of position.
    pub fn take(&mut self, event: &StoredEvent) {
        let mut wanted = self.books.cases.wanted(std::slice::from_ref(event));
        loop {
            let streams = wanted.streams();
            if streams.is_empty() {
                break;
            }
            let events = streams.iter().filter_map(|stream| self.past.get(stream)).flatten().cloned();
            wanted.take(events.collect());
        }
        self.books.take_back(wanted);
        self.books.take(event);
        self.past.entry(event.stream.clone()).or_default().push(event.clone());
        if self.books.log.events - self.looked > self.lately {
            self.looked = self.books.log.events;
            self.went += self.books.let_go().orders.len();
        }
    }

    /// Looks for what should have followed by now.
    pub fn promises(&mut self, now: Timestamp) {
        self.books.ledger.check_promises(Grace { now, grace: Duration::ZERO }, &mut self.books.findings);
    }

    /// What is wrong so far, sorted.
    pub fn findings(&mut self) -> Vec<String> {
        let mut findings: Vec<String> = self.books.findings.kept().iter().map(report::Found::to_string).collect();
        findings.sort();
        findings
    }

    /// How many things of each kind were looked at.
    #[must_use]
    pub fn checked(&self) -> Vec<u64> {
        let mut checked: Vec<u64> = self.books.findings.checks().iter().map(|check| check.checked).collect();
        checked.push(self.books.log.streams());
        checked
    }

    /// How often an order went.
    #[must_use]
    pub const fn went(&self) -> usize {
        self.went
    }
}
