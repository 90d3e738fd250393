//! The relay, whose decisions are those of the real one: what it has heard, looks for, publishes again and takes back.

use std::time::Duration;

use domain::{BrokerSequence, GlobalPosition, Timestamp};
use rand::Rng;
use runtime::{
    log::event_store::StoredEvent,
    simulation::{Checkpoint, GapTracker, PublishReport, RelayState, StreamMarker},
};

use super::{Engine, Next};
use crate::workload::DAY;

/// How often the relay looks, and how long it leaves an event to the worker that wrote it.
const TICK: Duration = Duration::from_millis(500);

/// How often it compares log and stream.
const COMPARES_EVERY: Duration = Duration::from_secs(2);

/// How long it believes nobody once events were lost: longer than a report is on its way.
const DISTRUST_FOR: Duration = Duration::from_millis(700);

/// Events that the relay reads at once.
const PAGE: usize = 50;

/// Once nothing goes wrong any more, everything must have come to its end within this: the provider may take six hours over a refund.
const SETTLES_WITHIN: Duration = Duration::from_secs(7 * 3_600);

#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) progress: RelayState,
    gaps: GapTracker,
    compared: Timestamp,
    /// What the store knows of it.
    saved: Checkpoint,
    handled: GlobalPosition,
    /// The connection on which it was, or the relay before it, and no longer distrusts reports.
    knows: Option<u32>,
    /// Its connection to the broker.
    on: u32,
    /// Up to where all had been handled when it last compared. Only what is so old is forgotten: a report of what was published meanwhile may
    /// be on its way, and of a place that is forgotten nobody can tell what stood there.
    floor_before: BrokerSequence,
    /// Messages that are gone from the middle of the stream, and what they carried is published again.
    holes: u64,
    /// When all is heard of events that were lost since it looked, if they were and nobody had to connect again.
    pub(super) hears_of_loss: Option<Timestamp>,
}

impl Relay {
    /// What the store knows of it.
    pub(super) const fn saved(&self) -> (Checkpoint, GlobalPosition) {
        (self.saved, self.handled)
    }
}

impl Engine {
    /// The relay looks at log and stream. False: nothing is left to do for anybody.
    pub(super) fn look(&mut self) -> Result<bool, String> {
        // Not when the broker has just lost what it had heard of: that would be two faults in one moment.
        let hears_of_loss = self.relay.hears_of_loss;
        let dies = hears_of_loss.is_none() && self.strikes(self.faults.relay_dies);
        if dies || self.relay.on != self.connection {
            self.another_relay();
        }
        // What is on its way by now comes after this look, and is looked for at the next.
        self.relay.hears_of_loss = self.relay.hears_of_loss.filter(|heard| self.now < *heard);
        if self.now.since(self.relay.compared) >= COMPARES_EVERY {
            self.compare();
        }
        self.check();
        let is_swept = self.sweep();
        if self.relay.hears_of_loss.is_none() && self.strikes(self.faults.relay_dies) {
            self.another_relay();
        }
        self.save();
        if !is_swept {
            self.another_relay();
        }
        if self.is_healed && self.is_at_rest() {
            return Ok(false);
        }
        if self.now.since(self.begin) > DAY + SETTLES_WITHIN {
            return Err(format!("it never comes to rest: {}", self.unsettled()));
        }
        self.soon(TICK, Next::Relay);
        Ok(true)
    }

    fn check(&mut self) {
        self.check_markers();
        let reported = self.relay.progress.take_reported().into_iter();
        let with_check = |reported: PublishReport| {
            let is_there = self.is_there(reported.marker);
            (reported, is_there)
        };
        let reported: Vec<_> = reported.map(with_check).collect();
        self.relay.progress.check(reported);
        if self.relay.progress.has_lost() {
            self.compare();
        }
    }

    fn check_markers(&mut self) {
        let markers = self.relay.progress.take_markers();
        self.relay.progress.check_markers(markers.iter().all(|marker| self.is_there(*marker)));
    }

    fn is_there(&self, marker: StreamMarker) -> bool {
        self.relay.progress.is_forgotten(marker) || self.stream.is_there(marker)
    }

    /// Publishes what is overdue. False: the broker did not take all.
    fn sweep(&mut self) -> bool {
        let head = self.log.last_key_value().map(|(head, _)| *head).unwrap_or_default();
        let overdue = self.relay.progress.overdue(self.now.since(self.begin), head, TICK);
        let published = self.relay.progress.published();
        if overdue <= published {
            return true;
        }
        let mut page: Vec<StoredEvent> =
            self.log.range(published.next()..=overdue).take(PAGE).map(|(_, event)| event.clone()).collect();
        let positions: Vec<GlobalPosition> = page.iter().map(|event| event.position).collect();
        let xmin = self.xids.first().copied().unwrap_or(self.xid + 1);
        page.truncate(self.relay.gaps.admit(published, &positions, xmin));
        if self.relay.gaps.wants_bound() {
            self.xid += 1;
            self.relay.gaps.bind(self.xid);
        }
        let Some(last) = page.last().map(|event| event.position) else { return true };
        let missing = self.relay.progress.missing(page);
        let dies = self.relay.hears_of_loss.is_none() && self.strikes(self.faults.unpublished);
        let count = if dies { self.rng.random_range(0..=missing.len()) } else { missing.len() };
        let mut marker = None;
        for event in &missing[..count] {
            self.tell(|| format!("the relay publishes #{}", event.position));
            marker = Some(self.publish(event));
        }
        let last = missing.get(count).map_or(last, |unpublished| unpublished.position.previous());
        self.relay.progress.on_republished(last, marker);
        count == missing.len()
    }

    /// Another one begins with what the last one saved; what that one had heard is forgotten.
    fn another_relay(&mut self) {
        let Relay { saved, handled, knows, hears_of_loss, .. } = std::mem::take(&mut self.relay);
        let on = self.connection;
        let progress = RelayState::from(saved);
        self.relay = Relay { progress, saved, handled, knows, on, hears_of_loss, ..Relay::default() };
        if knows != Some(on) {
            self.distrust_reports();
        }
        self.compare();
        self.remake_consumers_ahead();
    }

    /// One that begins with what a backup of the store knew.
    pub(super) fn relay_after_restore(&mut self, saved: Checkpoint, handled: GlobalPosition) {
        self.relay.saved = saved;
        self.relay.handled = handled;
        self.another_relay();
    }

    fn distrust_reports(&mut self) {
        self.relay.progress.distrust_reports(self.now.since(self.begin), DISTRUST_FOR);
    }

    fn save(&mut self) {
        self.relay.knows = (!self.relay.progress.distrusts(self.now.since(self.begin))).then_some(self.relay.on);
        self.relay.saved = self.relay.progress.checkpoint();
        self.relay.handled = self.relay.handled.min(self.relay.saved.published);
    }

    fn compare(&mut self) {
        self.relay.compared = self.now;
        let created = self.stream.created;
        let known = self.relay.progress.checkpoint().stream_created;
        self.check_markers();
        let is_whole =
            known == Some(created) && !self.relay.progress.has_lost() && self.stream.holes <= self.relay.holes;
        self.relay.holes = self.stream.holes;
        if !is_whole && known.is_some() {
            self.relay.progress.rewind(self.relay.handled);
            self.relay.gaps = GapTracker::default();
            self.remake_consumers_ahead();
            self.distrust_reports();
        }
        self.relay.progress.resume(created, self.stream.last());
        self.stream.unreported = BrokerSequence::default();
        self.save();
        if is_whole {
            let handled = self.relay.progress.handled(self.stream.last_sequence(), self.floor());
            let handled = handled.filter(|handled| *handled <= self.relay.saved.published);
            self.relay.handled = self.relay.handled.max(handled.unwrap_or_default());
            if self.rng.random_bool(0.1) {
                let first_kept = self.stream.forget_before(self.relay.floor_before);
                self.relay.progress.let_forget(first_kept);
                self.relay.holes = self.stream.holes;
            }
        }
        self.relay.floor_before = if is_whole { self.floor() } else { BrokerSequence::default() };
    }
}
