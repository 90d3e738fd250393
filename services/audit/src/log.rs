//! The log by itself: versions without gaps, ids once, causes named, every event readable by its owner.

use std::collections::{BTreeMap, BTreeSet};

use proto::{Message, common::v1::CommandRejected};
use runtime::{
    log::event_store::StoredEvent,
    service::{is_rejection, refusal_stream},
};
use uuid::Uuid;

use super::report::{Check, Findings};

/// What was seen of the log so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    versions: BTreeMap<String, i64>,
    ids: BTreeSet<Uuid>,
    /// The last position.
    pub(super) position: i64,
    /// How many events.
    pub(super) events: u64,
}

/// Whether an event stands where its service refuses this command. Before refusals had streams by service, all shared one.
fn is_refusal_stream(event: &StoredEvent, command_id: &str) -> bool {
    event.stream == refusal_stream(&event.service, command_id) || event.stream == format!("command-{command_id}")
}

impl Log {
    pub(super) fn streams(&self) -> u64 {
        u64::try_from(self.versions.len()).unwrap_or(u64::MAX)
    }

    /// Looks at the next event.
    pub(super) fn take(&mut self, event: &StoredEvent, findings: &mut Findings) {
        let mut wrong = |what: String| findings.add(Check::Log, &event.stream, what, Some(event.position));
        self.events += 1;
        if event.position <= self.position {
            wrong(format!("position {} comes after {}", event.position, self.position));
        }
        self.position = event.position;
        let last = match self.versions.get_mut(&event.stream) {
            Some(last) => std::mem::replace(last, event.version),
            None => self.versions.insert(event.stream.clone(), event.version).unwrap_or(0),
        };
        if event.version != last + 1 {
            wrong(format!("version {} comes after {last}", event.version));
        }
        if !self.ids.insert(event.event_id) {
            wrong(format!("two events have the id {}", event.event_id));
        }
        if event.event_id.is_nil() || event.correlation_id.is_nil() || event.causation_id.is_nil() {
            wrong("its event, correlation or causation id is nil".to_owned());
        }
        if event.causation_id == event.event_id {
            wrong("it is said to have caused itself".to_owned());
        }
        if is_rejection(&event.message_type) {
            match CommandRejected::decode(event.data.as_slice()) {
                Ok(rejected) if is_refusal_stream(event, &rejected.command_id) => {}
                Ok(rejected) => wrong(format!("it refuses command {}, which has another stream", rejected.command_id)),
                Err(error) => wrong(format!("it cannot be read: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use proto::{Message, Name, common::v1::CommandRejected};
    use runtime::log::event_store::StoredEvent;
    use uuid::Uuid;

    use super::{Findings, Log};

    fn event(position: i64, stream: &str, version: i64) -> StoredEvent {
        StoredEvent {
            position,
            stream: stream.to_owned(),
            version,
            event_id: Uuid::from_u128(u128::try_from(position).unwrap() + 100),
            service: "orders".to_owned(),
            message_type: "holdfast.orders.v1.OrderReleased".to_owned(),
            data: vec![],
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(2),
            traceparent: None,
            recorded_at: Timestamp::default(),
        }
    }

    fn found(events: &[StoredEvent]) -> Vec<(Option<i64>, String)> {
        let (mut log, mut findings) = (Log::default(), Findings::default());
        for event in events {
            log.take(event, &mut findings);
        }
        findings.kept().iter().map(|found| (found.position, found.what.clone())).collect()
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
    fn finds_an_id_that_is_doubled_nil_or_its_own_cause() {
        let same = StoredEvent { event_id: event(1, "a", 1).event_id, ..event(2, "b", 1) };
        assert!(found(&[event(1, "a", 1), same])[0].1.contains("two events"));
        assert!(found(&[StoredEvent { causation_id: Uuid::nil(), ..event(1, "a", 1) }])[0].1.contains("nil"));
        let own = StoredEvent { causation_id: event(1, "a", 1).event_id, ..event(1, "a", 1) };
        assert!(found(&[own])[0].1.contains("caused itself"));
    }

    #[test]
    fn a_rejection_belongs_to_the_stream_of_its_command() {
        let rejected = |stream: &str| StoredEvent {
            message_type: CommandRejected::full_name(),
            data: CommandRejected { command_id: "7".to_owned(), ..Default::default() }.encode_to_vec(),
            ..event(1, stream, 1)
        };
        assert_eq!(
            found(&[
                rejected("orders-command-7"),
                StoredEvent { event_id: Uuid::from_u128(9), position: 2, ..rejected("command-7") }
            ]),
            []
        );
        for other in ["orders-command-8", "inventory-command-7", "command-8"] {
            assert!(found(&[rejected(other)])[0].1.contains("command 7"), "{other}");
        }
        let broken = StoredEvent { data: vec![255], ..rejected("orders-command-7") };
        assert!(found(&[broken])[0].1.contains("cannot be read"));
    }
}
