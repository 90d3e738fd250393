//! What the log is read into, and letting go of what is over.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Attempt, OrderId};
use runtime::log::event_store::StoredEvent;

use super::{
    agreement::disagreeing,
    cases::{Cases, Wanted},
    causes::Causes,
    fold::{Folds, Rows},
    ledger::{Ledger, keys::Keys},
    log::Log,
    report::Findings,
};

/// Streams of one order for each of its attempts, and its own.
fn streams(orders: &BTreeMap<OrderId, Attempt>) -> Vec<String> {
    let streams = orders.iter().map(|(order_id, attempts)| order_id.streams(usize::try_from(*attempts).unwrap_or(0)));
    streams.flatten().collect()
}

/// What the log is read into.
pub(super) struct Books {
    pub(super) log: Log,
    causes: Causes,
    pub(super) folds: Folds,
    pub(super) ledger: Ledger,
    pub(super) cases: Cases,
    pub(super) findings: Findings,
}

impl Books {
    /// With what each service has answered. An order that is over is let go so many events after its last.
    pub(super) fn new(causes: Causes, lately: u64) -> Self {
        Self {
            log: Log::default(),
            causes,
            folds: Folds::new(),
            ledger: Ledger::default(),
            cases: Cases::keeping(lately),
            findings: Findings::default(),
        }
    }

    /// Takes the next event in. Whatever it is about that was let go has to be back by then.
    pub(super) fn take(&mut self, event: &StoredEvent) {
        self.log.take(event, &mut self.findings);
        self.causes.take(event, &mut self.findings);
        self.folds.take(event, &mut self.findings);
        self.ledger.take(event, &mut self.findings);
        self.cases.touch(event, Some(event.event_id), self.log.events);
    }

    /// Takes orders back, whose events were all looked at once: they are folded again, by themselves.
    pub(super) fn take_back(&mut self, wanted: Wanted) {
        let (keys, events) = wanted.end();
        let (mut folds, mut ledger, mut unheard) = (Folds::new(), Ledger::default(), Findings::default());
        let mut streams = BTreeSet::new();
        for event in &events {
            self.log.take_back(event);
            self.causes.take_back(event);
            folds.take(event, &mut unheard);
            ledger.take(event, &mut unheard);
            self.cases.touch(event, Some(event.event_id), self.log.events);
            streams.insert(event.stream.clone());
        }
        let streams: Vec<String> = streams.into_iter().collect();
        self.folds.take_back(folds.take_out(&streams));
        self.ledger.take_back(ledger, &keys);
    }

    /// Lets go of orders of which nothing was heard lately and nothing has to follow. Gives their rows, to be compared with the tables'.
    pub(super) fn let_go(&mut self) -> Rows {
        let events = self.log.events;
        let forgotten = self.cases.forgotten(events);
        self.causes.forget(&forgotten);
        let mut due = self.cases.due(events);
        if due.is_empty() {
            return Rows::default();
        }
        let keys = Keys::of(due.clone());
        let mut gone = Ledger::default();
        self.ledger.move_to(&mut gone, &keys);
        let mut open = gone.open(&keys, &|name| self.cases.order_of(name));
        open.extend(disagreeing(&gone, &self.folds, &keys));
        self.cases.put_off(&open, events);
        let kept: BTreeMap<OrderId, Attempt> = due.extract_if(.., |order_id, _| open.contains(order_id)).collect();
        gone.move_to(&mut self.ledger, &Keys::of(kept));
        self.ledger.let_go(gone);
        let streams = streams(&due);
        self.log.let_go(&streams);
        self.causes.let_go(&streams);
        for order_id in due.keys() {
            self.cases.let_go(*order_id, events);
        }
        let rows = self.folds.take_out(&streams);
        self.folds.let_go(&rows);
        rows
    }
}
