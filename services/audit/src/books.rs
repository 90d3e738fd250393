//! What the log is read into, and letting go of what is over.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Attempt, OrderId};
use runtime::log::event_store::StoredEvent;
use serde::{Deserialize, Serialize};

use super::{
    agreement::disagreeing,
    cases::{Cases, Wanted, payment_of},
    causes::{Causes, answers::Answered, asks},
    fold::{self, Folds, Rows, category},
    ledger::{self, Ledger, keys::Keys},
    log::{self, Gap, Log},
    report::Findings,
};

/// Categories of the streams of what all orders touch.
const TOTALS: [&str; 4] = ["product", "round", "coupon", "wallet"];

/// Streams of one order for each of its attempts, and its own.
fn streams(orders: &BTreeMap<OrderId, Attempt>) -> Vec<String> {
    let streams = orders.iter().map(|(order_id, attempts)| order_id.streams(usize::try_from(*attempts).unwrap_or(0)));
    streams.flatten().collect()
}

/// What of the books is kept from one audit to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) log: log::Kept,
    folds: fold::Kept,
    ledger: ledger::Kept,
    /// Orders that are open, or were touched lately.
    open: BTreeSet<OrderId>,
}

/// What the books that were kept leave to be read again.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) open: Wanted,
    /// Streams of rounds, whose events and timers may cause others.
    pub(super) rounds: Vec<String>,
    /// Streams of what is of no order, and may come to be.
    pub(super) loose: Vec<String>,
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

    /// The books as an earlier audit has left them, and what is to be read again for them.
    pub(super) fn restored(kept: Kept, causes: Causes, lately: u64) -> (Self, Again) {
        let Kept { log, folds, ledger, open } = kept;
        let log = Log::restored(log);
        let of = |categories: &[&str]| {
            let streams = log.in_memory().filter(|stream| categories.contains(&category(stream)));
            streams.cloned().collect::<Vec<String>>()
        };
        let known: Vec<String> = of(&TOTALS);
        let loose = log.in_memory().filter(|stream| !known.contains(stream)).cloned().collect();
        let again = Again { open: Wanted::of(open), rounds: of(&["round"]), loose };
        let (folds, ledger, cases) = (Folds::restored(folds), Ledger::restored(ledger), Cases::with_past(lately));
        (Self { log, causes, folds, ledger, cases, findings: Findings::default() }, again)
    }

    /// What the next audit needs.
    pub(super) fn keep(mut self, gaps: Vec<Gap>) -> Kept {
        let live = self.cases.live();
        let mut gone = Ledger::default();
        self.ledger.move_to(&mut gone, &Keys::of(live.clone()));
        self.ledger.let_go(gone);
        let streams = streams(&live);
        self.log.let_go(&streams);
        let rows = self.folds.take_out(&streams);
        self.folds.let_go(&rows);
        let loose: Vec<String> =
            self.log.in_memory().filter(|stream| !TOTALS.contains(&category(stream))).cloned().collect();
        let rows = self.folds.take_out(&loose);
        self.folds.let_go(&rows);
        Kept {
            log: self.log.keep(gaps),
            folds: self.folds.keep(),
            ledger: self.ledger.keep(),
            open: live.into_keys().collect(),
        }
    }

    /// Takes events back that may cause others, and are of no order.
    pub(super) fn take_causes_back(&mut self, events: &[StoredEvent]) {
        events.iter().for_each(|event| self.causes.take_back(event, asks(event)));
    }

    /// Takes back what is of no order yet: reports of payments that nobody asked for.
    pub(super) fn take_loose_back(&mut self, events: &[StoredEvent]) {
        let (mut folds, mut ledger, mut unheard) = (Folds::new(), Ledger::default(), Findings::default());
        let (mut keys, mut streams) = (Keys::default(), BTreeSet::new());
        for event in events {
            let asks = folds.take(event, &mut unheard);
            self.causes.take_back(event, asks);
            ledger.take(event, &mut unheard);
            keys.payments.extend(payment_of(&event.stream));
            streams.insert(event.stream.clone());
        }
        let streams: Vec<String> = streams.into_iter().collect();
        self.folds.take_back(folds.take_out(&streams));
        self.ledger.take_back(ledger, &keys);
    }

    /// Takes an event that stands in what was read before, and was not there yet.
    pub(super) fn take_late(&mut self, event: &StoredEvent) {
        self.log.take_late(event, &mut self.findings);
        self.take_all_but_log(event);
    }

    /// Takes the next event in. Whatever it is about that was let go has to be back by then.
    pub(super) fn take(&mut self, event: &StoredEvent) {
        self.log.take(event, &mut self.findings);
        self.take_all_but_log(event);
    }

    fn take_all_but_log(&mut self, event: &StoredEvent) {
        self.causes.look_at(event, &mut self.findings);
        let asks = self.folds.take(event, &mut self.findings);
        self.causes.remember(event, asks);
        self.ledger.take(event, &mut self.findings);
        self.cases.touch(event, Some(event.event_id), self.log.events);
    }

    /// Takes in what was answered since.
    pub(super) fn answered_too(&mut self, answered: Answered) {
        self.causes.answered_too(answered);
    }

    /// Tells of what was answered and is not in the log. Whoever deletes a refusal, or the last event of a stream with its row, is found by it.
    pub(super) fn check_answers(&mut self) {
        self.causes.check_answers(&mut self.findings);
    }

    /// Takes orders back, whose events were all looked at once: they are folded again, by themselves.
    pub(super) fn take_back(&mut self, mut wanted: Wanted) {
        wanted.refused().into_iter().for_each(|event_id| self.log.was_refused(event_id));
        let (keys, events) = wanted.end();
        let (mut folds, mut ledger, mut unheard) = (Folds::new(), Ledger::default(), Findings::default());
        let mut streams = BTreeSet::new();
        for event in &events {
            self.log.take_back(event);
            let asks = folds.take(event, &mut unheard);
            self.causes.take_back(event, asks);
            ledger.take(event, &mut unheard);
            self.cases.touch(event, Some(event.event_id), self.log.events);
            streams.insert(event.stream.clone());
        }
        let streams: Vec<String> = streams.into_iter().collect();
        self.folds.take_back(folds.take_out(&streams));
        self.ledger.take_back(ledger, &keys);
        let named = keys.holds.iter().filter(|key| self.ledger.shares.named.contains_key(key));
        named.for_each(|key| self.folds.was_named(key));
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
