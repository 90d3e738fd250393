//! The broker, which delivers late, twice, in any order or never, and the relay that makes up for it.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use rand::Rng;
use runtime::{event_store::Recorded, simulation::GapTracker};

use super::{Engine, Next};
use crate::{desk::Message, workload::DAY};

/// How often the relay looks, and how long it leaves an event to the worker that wrote it.
const RELAY_EVERY: Duration = Duration::from_millis(500);

/// How long the broker waits for an acknowledgement.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// Events that the relay reads at once.
const PAGE: usize = 50;

/// Once nothing goes wrong any more, everything must have come to its end within this.
const SETTLES_WITHIN: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) checkpoint: i64,
    pub(super) handled: i64,
    pub(super) gaps: GapTracker,
    /// Positions that workers have published.
    pub(super) reported: BTreeSet<i64>,
    /// Whether the broker lost all it had, and the relay has not gone back yet.
    pub(super) is_behind: bool,
}

impl Engine {
    /// Hands a message to the broker for a service.
    pub(super) fn post(&mut self, to: usize, message: &Rc<Message>) {
        let times = if self.strikes(self.faults.twice) { 2 } else { 1 };
        for _ in 0..times {
            self.count += 1;
            let delivery = self.count;
            self.unacknowledged.insert(delivery, (to, Rc::clone(message)));
            let late = self.strikes(self.faults.late);
            let after = if late { self.between(1_000, 20_000_000) } else { self.between(100, 3_000) };
            self.soon(after, Next::Arrive(delivery));
        }
    }

    pub(super) fn arrive(&mut self, delivery: u64) {
        let Some((to, message)) = self.unacknowledged.get(&delivery) else { return };
        let (to, message) = (*to, Rc::clone(message));
        let replica = self.replica(to);
        self.desks[to].receive(replica, (delivery, message));
        self.soon(ACK_WAIT, Next::Arrive(delivery));
        let after = self.between(0, 500);
        self.soon(after, Next::Work((to, replica)));
    }

    /// The worker publishes what it has committed, unless it dies on the way, and tells the relay, unless that is lost.
    pub(super) fn publish_own(&mut self, events: &[Recorded]) {
        let mut published = events;
        if self.strikes(self.faults.unpublished) {
            published = &events[..self.rng.random_range(0..=events.len())];
        }
        for event in published {
            self.publish(event);
        }
        if !self.strikes(self.faults.report_lost) && !self.relay.is_behind {
            self.relay.reported.extend(published.iter().map(|event| event.position));
        }
    }

    pub(super) fn publish(&mut self, event: &Recorded) {
        let interested: Vec<usize> =
            (0..self.desks.len()).filter(|desk| self.desks[*desk].reacts_to(&event.message_type)).collect();
        if interested.is_empty() {
            return;
        }
        let message = Rc::new(Message {
            id: event.event_id,
            correlation_id: event.correlation_id,
            message_type: event.message_type.clone(),
            data: event.data.clone(),
            position: Some(event.position),
        });
        self.owed.entry(event.position).or_default().extend(&interested);
        for to in interested {
            self.post(to, &message);
        }
    }

    /// The broker loses all it has.
    pub(super) fn wipe(&mut self) {
        self.tell(|| "the broker loses its disk".to_owned());
        self.unacknowledged.clear();
        self.owed.clear();
        self.relay.is_behind = true;
    }

    /// The relay looks at the log. False: nothing is left to do for anybody.
    pub(super) fn look(&mut self) -> Result<bool, String> {
        if self.relay.is_behind || self.strikes(self.faults.relay_dies) {
            // Another one begins where the last one is known to have been; what it had heard is forgotten.
            let Relay { checkpoint, handled, is_behind, .. } = std::mem::take(&mut self.relay);
            let checkpoint = if is_behind { handled } else { checkpoint };
            self.relay = Relay { checkpoint, handled, ..Relay::default() };
        }
        let page: Vec<Recorded> =
            self.log.range(self.relay.checkpoint + 1..).take(PAGE).map(|(_, event)| event.clone()).collect();
        let positions: Vec<i64> = page.iter().map(|event| event.position).collect();
        let xmin = self.xids.first().copied().unwrap_or(self.xid + 1);
        let taken = self.relay.gaps.admit(self.relay.checkpoint, &positions, xmin);
        if self.relay.gaps.wants_bound() {
            self.xid += 1;
            self.relay.gaps.bind(self.xid);
        }
        for event in page.into_iter().take(taken) {
            if !self.relay.reported.remove(&event.position) {
                if self.now.since(event.recorded_at) < RELAY_EVERY {
                    break;
                }
                self.tell(|| format!("the relay publishes #{}", event.position));
                self.publish(&event);
            }
            self.relay.checkpoint = event.position;
        }
        let handled = self.owed.keys().next().map_or(self.relay.checkpoint, |first| first - 1);
        self.relay.handled = self.relay.handled.max(handled.min(self.relay.checkpoint));
        if self.is_healed && self.is_at_rest() {
            return Ok(false);
        }
        if self.now.since(self.begin) > DAY + SETTLES_WITHIN {
            return Err(format!("it never comes to rest: {}", self.unsettled()));
        }
        self.soon(RELAY_EVERY, Next::Relay);
        Ok(true)
    }
}
