//! A store that is restored from a backup, and what an operator does then: the broker has what the store has lost, and it is taken back.
//!
//! Only where the broker has all of it. What was neither in the backup nor published is gone, and with it what somebody was promised: that
//! is what a copy that keeps up is for.

use std::collections::BTreeSet;

use domain::{GlobalPosition, Timestamp};
use runtime::{log::event_store::StoredEvent, simulation::Checkpoint};

use super::{Engine, Next};

/// A backup is tried to be restored as long as the broker lacks something.
const TRIES: u32 = 20;

/// What the backup has of the log and of the relay.
#[derive(Debug)]
pub(super) struct Backup {
    positions: BTreeSet<GlobalPosition>,
    relay: (Checkpoint, GlobalPosition),
}

impl Engine {
    pub(super) fn back_up(&mut self) {
        if !self.open.is_empty() || self.backup.is_some() {
            // Some row is locked. A moment later it is not.
            let later = self.between(1_000, 100_000);
            return self.soon(later, Next::BackUp);
        }
        self.tell(|| "the store is backed up".to_owned());
        self.desks.iter_mut().for_each(|desk| desk.back_up());
        let positions = self.log.keys().copied().collect();
        self.backup = Some(Backup { positions, relay: self.relay.saved() });
        let after = self.between(0, 20_000_000);
        self.soon(after, Next::GoBack(0));
    }

    pub(super) fn go_back(&mut self, tries: u32) -> Result<(), String> {
        let Some(Backup { positions, relay }) = self.backup.take() else { return Ok(()) };
        let is_published = |position: &GlobalPosition| self.stream.has(*position);
        if !self.log.keys().filter(|position| !positions.contains(position)).all(is_published) {
            if tries < TRIES {
                self.backup = Some(Backup { positions, relay });
                let later = self.between(50_000, 500_000);
                self.soon(later, Next::GoBack(tries + 1));
            }
            return Ok(());
        }
        let (kept, lost): (Vec<&StoredEvent>, Vec<&StoredEvent>) =
            self.log.values().partition(|event| positions.contains(&event.position));
        let count = lost.len();
        let mut calls = Vec::new();
        for (desk, place) in self.desks.iter_mut().enumerate() {
            calls.extend(place.restore(&kept, &lost)?.into_iter().map(|key| (desk, key)));
        }
        self.tell(|| format!("the store is restored, and {count} events are taken back"));
        self.open.clear();
        self.drawn.clear();
        self.xids.clear();
        // As if the stream were another one: what was handled may be forgotten.
        let (saved, handled) = relay;
        self.relay_after_restore(Checkpoint { stream_created: Some(Timestamp::default()), ..saved }, handled);
        for (desk, key) in calls {
            let after = self.between(0, 2_000_000);
            self.soon(after, Next::Call(desk, key));
        }
        for desk in 0..self.desks.len() {
            self.set_alarm(desk);
        }
        self.audit()
    }
}
