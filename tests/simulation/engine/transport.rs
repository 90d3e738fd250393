//! The broker, which delivers late, twice, in any order or never, and loses what it has: its last messages, or all.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use domain::{BrokerSequence, GlobalPosition, Timestamp};
use rand::Rng;
use runtime::{
    log::event_store::StoredEvent,
    simulation::{PublishReport, StreamMarker},
};

use super::{Engine, Next};
use crate::simulated_service::Message;

/// A report of what was published reaches the relay within this.
const REPORTED_WITHIN: Duration = Duration::from_millis(200);

/// How long the broker waits for an acknowledgement.
const ACK_WAIT: Duration = Duration::from_secs(30);

/// A message that a service has not acknowledged.
#[derive(Debug)]
pub(super) struct Pending {
    to: usize,
    pub(super) message: Rc<Message>,
    /// An event's place in its stream.
    sequence: Option<BrokerSequence>,
    /// Not that it comes a second time, which a consumer does not wait for.
    counts: bool,
    has_arrived: bool,
}

/// The stream of events, and how far the consumer of each service is.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) created: Timestamp,
    /// How many messages, from the first on, it was let forget.
    forgotten: u64,
    /// None: an administrator has taken it away.
    messages: VecDeque<Option<Rc<Message>>>,
    pub(super) holes: u64,
    /// The last place of an event that nobody reports, and that the relay has not come across.
    pub(super) unreported: BrokerSequence,
    delivered: [BrokerSequence; 4],
    /// A server that is alone loses nothing without breaking every connection to it.
    pub(super) is_of_a_server_alone: bool,
}

impl Stream {
    pub(super) fn made(created: Timestamp, is_of_a_server_alone: bool) -> Self {
        Self { created, is_of_a_server_alone, ..Self::default() }
    }

    pub(super) fn last_sequence(&self) -> BrokerSequence {
        BrokerSequence::new(self.forgotten + u64::try_from(self.messages.len()).unwrap())
    }

    /// Whether it has the event at this position of the log.
    pub(super) fn has(&self, position: GlobalPosition) -> bool {
        self.messages.iter().flatten().any(|message| message.position == Some(position))
    }

    pub(super) fn last(&self) -> Option<StreamMarker> {
        let position = self.messages.back()?.as_ref()?.position?;
        Some(StreamMarker { sequence: self.last_sequence(), position })
    }

    pub(super) fn is_there(&self, marker: StreamMarker) -> bool {
        self.at(marker.sequence).and_then(|message| message.position) == Some(marker.position)
    }

    fn at(&self, sequence: BrokerSequence) -> Option<Rc<Message>> {
        self.messages.get(usize::try_from(sequence.get().checked_sub(self.forgotten + 1)?).ok()?)?.clone()
    }

    /// Forgets all before this one but the last: the first that it keeps.
    pub(super) fn forget_before(&mut self, sequence: BrokerSequence) -> BrokerSequence {
        while self.first_kept() < sequence.min(self.last_sequence()) {
            self.holes -= u64::from(matches!(self.messages.pop_front(), Some(None)));
            self.forgotten += 1;
        }
        self.first_kept()
    }

    fn first_kept(&self) -> BrokerSequence {
        BrokerSequence::new(self.forgotten + 1)
    }
}

impl Engine {
    /// Hands a message to the broker for a service.
    pub(super) fn post(&mut self, to: usize, message: &Rc<Message>, sequence: Option<BrokerSequence>) {
        let times = if self.strikes(self.faults.twice) { 2 } else { 1 };
        for time in 0..times {
            self.count += 1;
            let delivery = self.count;
            let pending = Pending { to, message: Rc::clone(message), sequence, counts: time == 0, has_arrived: false };
            self.unacknowledged.insert(delivery, pending);
            let late = self.strikes(self.faults.late);
            let after = if late { self.between(1_000, 20_000_000) } else { self.between(100, 3_000) };
            self.soon(after, Next::Arrive(delivery));
        }
    }

    pub(super) fn arrive(&mut self, delivery: u64) {
        let Some(pending) = self.unacknowledged.get_mut(&delivery) else { return };
        // What comes again is what is in its place by then.
        if let Some(sequence) = pending.sequence.filter(|_| pending.has_arrived) {
            match self.stream.at(sequence) {
                Some(message) if !message.is_handled && self.desks[pending.to].reacts_to(&message.message_type) => {
                    pending.message = message;
                }
                _ => return drop(self.unacknowledged.remove(&delivery)),
            }
        }
        pending.has_arrived = true;
        let (to, message) = (pending.to, Rc::clone(&pending.message));
        let replica = self.replica(to);
        self.desks[to].receive(replica, (delivery, message));
        self.soon(ACK_WAIT, Next::Arrive(delivery));
        let after = self.between(0, 500);
        self.soon(after, Next::Work((to, replica)));
    }

    /// Stores an event, and hands it to those that wait for such: where in the stream it is.
    pub(super) fn publish(&mut self, event: &StoredEvent) -> StreamMarker {
        let message = Message::of(event);
        self.stream.messages.push_back(Some(Rc::clone(&message)));
        let sequence = self.stream.last_sequence();
        for to in 0..self.desks.len() {
            self.hand_out(to, &message, sequence);
        }
        StreamMarker { sequence, position: event.position }
    }

    /// A consumer that is beyond this place in the stream passes over it.
    fn hand_out(&mut self, to: usize, message: &Rc<Message>, sequence: BrokerSequence) {
        if self.stream.delivered[to] < sequence {
            self.stream.delivered[to] = sequence;
            if !message.is_handled && self.desks[to].reacts_to(&message.message_type) {
                self.post(to, message, Some(sequence));
            }
        }
    }

    /// The broker loses its last events; their places in the stream are given to others. Everybody may have to connect again. If
    /// not, it has what nobody reported and the relay has not come across yet: that would be two faults in one moment.
    pub(super) fn lose(&mut self) {
        let connects_again = self.rng.random_bool(0.5) || self.stream.is_of_a_server_alone;
        let least = if connects_again { BrokerSequence::default() } else { self.stream.unreported };
        let most = if self.rng.random_bool(0.5) { 3 } else { 30 };
        let lost = self.rng.random_range(0..=most).min(self.stream.last_sequence().saturating_since(least));
        for _ in 0..lost {
            self.stream.holes -= u64::from(matches!(self.stream.messages.pop_back(), Some(None)));
        }
        self.tell(|| format!("the broker loses its last {lost} events"));
        if connects_again {
            self.tell(|| "everybody connects to the broker again".to_owned());
            self.connection += 1;
        }
        self.relay.hears_of_loss = (!connects_again).then(|| self.now + REPORTED_WITHIN);
    }

    /// An administrator takes a message away, from anywhere but the end.
    pub(super) fn take_away(&mut self) {
        let count = self.stream.messages.len().saturating_sub(1);
        if count == 0 {
            return;
        }
        let index = self.rng.random_range(0..count);
        let sequence = self.stream.first_kept().plus(u64::try_from(index).unwrap());
        self.tell(|| format!("an administrator takes away message {sequence}"));
        if self.stream.messages[index].take().is_some() {
            self.stream.holes += 1;
        }
        // Whoever has it in hand goes on; to the others it never comes.
        let waits = |pending: &Pending| pending.sequence == Some(sequence) && !pending.has_arrived;
        self.unacknowledged.retain(|_, pending| !waits(pending));
    }

    /// The broker loses all it has, commands too. Whoever consumes begins anew.
    pub(super) fn wipe(&mut self) {
        self.tell(|| "the broker loses its disk".to_owned());
        self.unacknowledged.clear();
        self.stream = Stream::made(self.now, self.stream.is_of_a_server_alone);
    }

    /// Consumers that stand beyond the end of the stream are made again, and get all there is.
    pub(super) fn remake_consumers_ahead(&mut self) {
        for to in 0..self.desks.len() {
            if self.stream.delivered[to] > self.stream.last_sequence() {
                self.stream.delivered[to] = BrokerSequence::default();
                self.unacknowledged.retain(|_, pending| pending.to != to || pending.sequence.is_none());
                let places = (self.stream.first_kept().get()..).map(BrokerSequence::new);
                for (sequence, message) in places.zip(self.stream.messages.clone()) {
                    if let Some(message) = message {
                        self.hand_out(to, &message, sequence);
                    }
                }
            }
        }
    }

    /// The place in the stream up to which all services have handled all.
    pub(super) fn floor(&self) -> BrokerSequence {
        let open = self.unacknowledged.values().filter(|pending| pending.counts).filter_map(|pending| pending.sequence);
        open.min().map_or(self.stream.last_sequence(), |first| BrokerSequence::new(first.get() - 1))
    }

    /// The worker publishes what it has committed, unless it dies on the way, and tells the relay, unless that is lost.
    pub(super) fn publish_own(&mut self, events: &[StoredEvent]) {
        let mut published = events;
        if self.strikes(self.faults.unpublished) {
            published = &events[..self.rng.random_range(0..=events.len())];
        }
        if !published.is_empty() && self.strikes(self.faults.loses_last) {
            let after = self.between(0, 300_000);
            self.soon(after, Next::Lose);
        }
        if !published.is_empty() && self.strikes(self.faults.holes) {
            let after = self.between(0, 300_000);
            self.soon(after, Next::TakeAway);
        }
        let Some(marker) = published.iter().map(|event| self.publish(event)).last() else { return };
        if self.strikes(self.faults.report_lost) {
            self.stream.unreported = self.stream.last_sequence();
            return;
        }
        let ranges = published.iter().map(|event| (event.position, event.position)).collect();
        let after = self.between(0, 200_000);
        self.soon(after, Next::Report(self.connection, PublishReport { ranges, marker }));
    }
}
