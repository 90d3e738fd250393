//! The catalogue of events: every one that the contract has, so that a new one is missed where nobody has thought of it.

use std::collections::BTreeSet;

use domain::Decider;
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use proto::{Name, common::v1::CommandReply};
use rounds::Rounds;

/// Events of the contract that no service writes yet. One in the log is a finding.
pub const PROMISED: [&str; 0] = [];

/// Full names of all events of the contract, promised ones too: what is no command, no answer, and no part of another message.
#[must_use]
pub fn event_types() -> BTreeSet<String> {
    let commands = [Orders::COMMANDS, Inventory::COMMANDS, Rounds::COMMANDS, <Payments>::COMMANDS].concat();
    let mut events: BTreeSet<String> = proto::message_types().into_iter().collect();
    for other in commands.into_iter().map(str::to_owned).chain(proto::part_types()).chain([CommandReply::full_name()]) {
        events.remove(&other);
    }
    events
}

#[cfg(test)]
mod tests {
    use super::{Decider, Inventory, Orders, PROMISED, Payments, Rounds, event_types};

    #[test]
    fn knows_events_from_commands_answers_and_parts() {
        let events = event_types();
        let is_event = |name: &str| events.contains(name);
        assert!(is_event("holdfast.orders.v1.OrderPlaced") && is_event("holdfast.common.v1.CommandRejected"));
        for other in ["orders.v1.PlaceOrder", "orders.v1.OrderLine", "common.v1.CommandReply", "common.v1.Money"] {
            assert!(!is_event(&format!("holdfast.{other}")), "{other}");
        }
        assert!(PROMISED.iter().all(|name| is_event(name)));
        assert!(events.len() >= 56, "only {}: {events:?}", events.len());
    }

    #[test]
    fn a_policy_reacts_to_events_of_the_contract_and_of_others_only() {
        let events = event_types();
        for (service, reacts_to) in [
            (Orders::NAME, Orders::REACTS_TO),
            (Inventory::NAME, Inventory::REACTS_TO),
            (Rounds::NAME, Rounds::REACTS_TO),
            (<Payments>::NAME, <Payments>::REACTS_TO),
        ] {
            for event in reacts_to {
                assert!(events.contains(*event), "{service} reacts to {event}, which is no event of the contract");
                assert!(!PROMISED.contains(event), "{service} reacts to {event}, which nobody writes");
                assert_ne!(proto::owner(event), Some(service), "{event}");
            }
        }
    }
}
