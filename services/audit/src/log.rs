//! The log by itself: positions that rise, versions without gaps, and each refusal where its command's is.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::report::{Check, Findings};
use domain::{GlobalPosition, StreamVersion};
use proto::{Message, common::v1::CommandRejected};
use runtime::{
    log::event_store::StoredEvent,
    service::{is_rejection, refusal_stream},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What was seen of the log so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    versions: HashMap<String, StreamVersion>,
    /// Streams that were let go.
    gone: u64,
    /// The one event of each stream of a command that was refused.
    refused: HashSet<Uuid>,
    /// Positions between events, the first and the last of each gap.
    gaps: Vec<Gap>,
    /// The last position.
    pub(super) position: GlobalPosition,
    /// How many events.
    pub(super) events: u64,
}

/// Positions that no event had when the log was read, from the first to the last.
pub(super) type Gap = (GlobalPosition, GlobalPosition);

/// What is kept of it from one audit to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    versions: BTreeMap<String, StreamVersion>,
    pub(super) position: GlobalPosition,
    events: u64,
    gone: u64,
    pub(super) gaps: Vec<Gap>,
}

/// Whether an event stands where its service refuses this command. Before refusals had streams by service, all shared one.
fn is_refusal_stream(event: &StoredEvent, command_id: &str) -> bool {
    event.stream == refusal_stream(&event.service, command_id) || event.stream == format!("command-{command_id}")
}

impl Log {
    pub(super) fn streams(&self) -> u64 {
        u64::try_from(self.versions.len() + self.refused.len()).unwrap_or(u64::MAX) + self.gone
    }

    /// What the next audit needs of it. `gaps`: whether something may yet come in one.
    pub(super) fn keep(self, gaps: Vec<Gap>) -> Kept {
        let Self { versions, position, events, gone, refused, .. } = self;
        let versions = versions.into_iter().collect();
        Kept { versions, position, events, gone: gone + u64::try_from(refused.len()).unwrap_or(0), gaps }
    }

    /// As an earlier audit has left it.
    pub(super) fn restored(Kept { versions, position, events, gone, .. }: Kept) -> Self {
        Self { versions: versions.into_iter().collect(), position, events, gone, ..Self::default() }
    }

    /// Gaps of what was read before in which something may still come.
    pub(super) fn still_open(&mut self, gaps: Vec<Gap>) {
        self.gaps = gaps;
    }

    /// The gaps in which something may still come.
    pub(super) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Names of the streams that are in memory.
    pub(super) fn in_memory(&self) -> impl Iterator<Item = &String> {
        self.versions.keys()
    }

    /// A command was refused in what an earlier audit has read.
    pub(super) fn was_refused(&mut self, event_id: Uuid) {
        if self.refused.insert(event_id) {
            self.gone = self.gone.saturating_sub(1);
        }
    }

    /// Looks at an event that stands in what was read before, and was not there yet.
    pub(super) fn take_late(&mut self, event: &StoredEvent, findings: &mut Findings) {
        let position = std::mem::replace(&mut self.position, event.position.previous());
        self.take(event, findings);
        self.position = position;
    }

    /// Lets go of streams to which nothing will be added.
    pub(super) fn let_go(&mut self, streams: &[String]) {
        for stream in streams {
            self.gone += u64::from(self.versions.remove(stream).is_some());
        }
    }

    /// Takes a stream back that was let go, event by event.
    pub(super) fn take_back(&mut self, event: &StoredEvent) {
        if self.versions.insert(event.stream.clone(), event.version).is_none() {
            self.gone = self.gone.saturating_sub(1);
        }
    }

    /// The version before this event, which is the last of its stream from now on.
    fn turn(&mut self, event: &StoredEvent) -> StreamVersion {
        // A refusal is alone in its stream, so its id, which follows from its place, tells as much.
        let is_alone = is_rejection(&event.message_type)
            && event.version == StreamVersion::default().next()
            && event.stream == refusal_stream(&event.service, &event.causation_id.to_string());
        if is_alone {
            let is_first = self.refused.insert(event.event_id);
            return if is_first { StreamVersion::default() } else { event.version };
        }
        match self.versions.get_mut(&event.stream) {
            Some(last) => std::mem::replace(last, event.version),
            None => self.versions.insert(event.stream.clone(), event.version).unwrap_or_default(),
        }
    }

    /// Looks at the next event.
    pub(super) fn take(&mut self, event: &StoredEvent, findings: &mut Findings) {
        let last = self.turn(event);
        let mut wrong = |what: String| findings.add(Check::Log, &event.stream, what, Some(event.position));
        self.events += 1;
        if event.position <= self.position {
            wrong(format!("position {} comes after {}", event.position, self.position));
        } else if event.position > self.position.next() {
            self.gaps.push((self.position.next(), event.position.previous()));
        }
        self.position = event.position;
        if event.version != last.next() {
            wrong(format!("version {} comes after {last}", event.version));
        }
        if is_rejection(&event.message_type) {
            match CommandRejected::decode(event.data.as_slice()) {
                Ok(rejected) if !is_refusal_stream(event, &rejected.command_id) => {
                    wrong(format!("it refuses command {}, which has another stream", rejected.command_id))
                }
                Ok(rejected) if rejected.command_id != event.causation_id.to_string() => {
                    wrong(format!(
                        "it refuses command {}, and its cause is {}",
                        rejected.command_id, event.causation_id
                    ));
                }
                Ok(_) => {}
                Err(error) => wrong(format!("it cannot be read: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{GlobalPosition, StreamVersion, Timestamp};
    use proto::{Message, Name, common::v1::CommandRejected};
    use runtime::log::event_store::StoredEvent;
    use uuid::Uuid;

    use super::{Findings, Log};

    fn event(position: i64, stream: &str, version: i64) -> StoredEvent {
        StoredEvent {
            position: GlobalPosition::new(position),
            stream: stream.to_owned(),
            version: StreamVersion::new(version),
            event_id: Uuid::from_u128(u128::try_from(position).unwrap() + 100),
            service: "orders".to_owned(),
            message_type: "holdfast.orders.v1.OrderReleased".to_owned(),
            data: vec![],
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(2),
            traceparent: None,
            recorded_at: Timestamp::default(),
            is_handled: false,
        }
    }

    fn found(events: &[StoredEvent]) -> Vec<(Option<i64>, String)> {
        let (mut log, mut findings) = (Log::default(), Findings::default());
        for event in events {
            log.take(event, &mut findings);
        }
        findings.kept().iter().map(|found| (found.position.map(GlobalPosition::get), found.what.clone())).collect()
    }

    #[test]
    fn gaps_in_positions_are_no_fault() {
        assert_eq!(found(&[event(3, "a", 1), event(7, "b", 1), event(9, "a", 2)]), []);
    }

    #[test]
    fn finds_a_version_that_is_missing_or_doubled() {
        assert_eq!(found(&[event(1, "a", 2)]), [(Some(1), "version 2 comes after 0".to_owned())]);
        assert_eq!(found(&[event(1, "a", 1), event(2, "a", 3)]), [(Some(2), "version 3 comes after 1".to_owned())]);
        assert_eq!(found(&[event(1, "a", 1), event(2, "a", 1)]), [(Some(2), "version 1 comes after 1".to_owned())]);
    }

    #[test]
    fn a_rejection_belongs_to_the_stream_of_its_command_and_is_caused_by_it() {
        let (command, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let rejected = |stream: String| StoredEvent {
            message_type: CommandRejected::full_name(),
            data: CommandRejected { command_id: command.to_string(), ..Default::default() }.encode_to_vec(),
            causation_id: command,
            ..event(1, &stream, 1)
        };
        let good = || rejected(format!("orders-command-{command}"));
        // As it was before refusals had streams by service.
        let old = StoredEvent { position: GlobalPosition::new(2), ..rejected(format!("command-{command}")) };
        assert_eq!(found(&[good(), old]), []);
        for stream in
            [format!("orders-command-{other}"), format!("inventory-command-{command}"), format!("command-{other}")]
        {
            assert!(found(&[rejected(stream.clone())])[0].1.contains("another stream"), "{stream}");
        }
        assert!(found(&[StoredEvent { causation_id: other, ..good() }])[0].1.contains("its cause is"));
        assert!(found(&[StoredEvent { data: vec![255], ..good() }])[0].1.contains("cannot be read"));
    }
}
