//! Each event of the others, and what comes of it.

use domain::{Decider, HoldKey, Memory, Rejection};
use proto::{
    Message, Name, common::v1 as common, inventory::v1 as inventory, payments::v1 as payments, rounds::v1 as rounds,
};

use super::{can_wait, join, joined_by, react};
use crate::{
    Orders,
    command::Command,
    order::{
        Resource::{self, Shares, Stock},
        spec::{ORDER, both, euros, given, goods, key, none_left, place, refund, round},
    },
};

fn on<M: Message + Name>(event: &M) -> Result<Vec<Command>, Rejection> {
    react(&M::full_name(), &event.encode_to_vec())
}

fn order_id() -> String {
    ORDER.to_string()
}

fn no() -> Option<common::Rejection> {
    Some(none_left().to_wire())
}

#[test]
fn what_inventory_answers_is_about_stock() {
    let (key, resource) = (key(2), Stock);
    let held = inventory::StockHeld { order_id: order_id(), attempt: 2, lines: vec![] };
    assert_eq!(on(&held), Ok(vec![Command::ConfirmHolds { key, resources: vec![resource], discount: None }]));
    let refused = inventory::StockRejected { order_id: order_id(), attempt: 2, rejection: no() };
    assert_eq!(on(&refused), Ok(vec![Command::RefuseHold { key, resource, rejection: none_left() }]));
    let released = inventory::StockReleased { order_id: order_id(), attempt: 2, lines: vec![] };
    assert_eq!(on(&released), Ok(vec![Command::ConfirmReleases { key, resources: vec![resource] }]));
}

#[test]
fn what_rounds_answers_is_about_shares() {
    let (key, resource) = (key(2), Shares);
    let held = rounds::SharesHeld { order_id: order_id(), attempt: 2, ..Default::default() };
    assert_eq!(on(&held), Ok(vec![Command::ConfirmHolds { key, resources: vec![resource], discount: None }]));
    let refused = rounds::SharesRejected { order_id: order_id(), attempt: 2, rejection: no(), ..Default::default() };
    assert_eq!(on(&refused), Ok(vec![Command::RefuseHold { key, resource, rejection: none_left() }]));
    let released = rounds::SharesReleased { order_id: order_id(), attempt: 2, ..Default::default() };
    assert_eq!(on(&released), Ok(vec![Command::ConfirmReleases { key, resources: vec![resource] }]));
}

#[test]
fn a_failed_round_refunds_each_of_its_participants() {
    let other = HoldKey { attempt: 3, ..key(1) };
    let participant =
        |key: HoldKey| rounds::RoundParticipant { order_id: key.order_id.to_string(), attempt: key.attempt };
    for (failure, words) in [
        (rounds::RoundFailure::Cancelled, "was called off"),
        (rounds::RoundFailure::NotSoldOut, "closed with shares unsold"),
        (rounds::RoundFailure::Unspecified, "failed"),
    ] {
        let event = rounds::RoundRefundsRequested {
            round_id: round().to_string(),
            failure: failure.into(),
            participants: vec![participant(key(1)), participant(other)],
            next_batch_at: None,
        };
        let note = format!("round {} {words}", round());
        let refund = |key| Command::RefundShares { key, round_id: round(), note: note.clone() };
        assert_eq!(on(&event), Ok(vec![refund(key(1)), refund(other)]));
    }
}

#[test]
fn what_payments_says_of_a_payment_is_recorded() {
    let (order_id, payment_id) = (order_id(), key(2).payment_id());
    let succeeded = payments::PaymentSucceeded {
        payment_id: payment_id.to_string(),
        order_id: order_id.clone(),
        attempt: 2,
        amount: Some(euros(5).to_wire()),
        ..Default::default()
    };
    assert_eq!(on(&succeeded), Ok(vec![Command::RecordPayment { key: key(2), payment_id, amount: euros(5) }]));
    let (reason, payment_id) = ("declined\0\nby the bank".to_owned(), payment_id.to_string());
    let failed = payments::PaymentFailed { payment_id, order_id, attempt: 2, reason, ..Default::default() };
    let reason = "declined\\u{0}\\u{a}by the bank".to_owned();
    assert_eq!(on(&failed), Ok(vec![Command::RecordPaymentFailure { key: key(2), reason }]));
}

#[test]
fn what_payments_says_of_a_refund_is_recorded() {
    let refunded = payments::PaymentRefunded {
        order_id: order_id(),
        refund_id: refund(9).to_string(),
        amount: Some(euros(5).to_wire()),
        ..Default::default()
    };
    let recorded = Command::RecordRefund { order_id: ORDER, refund_id: refund(9), amount: euros(5) };
    assert_eq!(on(&refunded), Ok(vec![recorded]));
    let rejected = payments::RefundRejected {
        order_id: order_id(),
        refund_id: refund(9).to_string(),
        rejection: no(),
        ..Default::default()
    };
    let abandoned = Command::AbandonRefund { order_id: ORDER, refund_id: refund(9), rejection: none_left() };
    assert_eq!(on(&rejected), Ok(vec![abandoned]));
    // A second charge paid no order, and none has asked for its money.
    assert_eq!(on(&payments::PaymentRefunded { of_second_charge: true, ..refunded }), Ok(vec![]));
    let elsewhere = payments::PaymentRefundedElsewhere { of_second_charge: true, ..Default::default() };
    assert_eq!(on(&elsewhere), Ok(vec![]));
    assert_eq!(on(&payments::RefundRejected { of_second_charge: true, ..rejected }), Ok(vec![]));
}

#[test]
fn a_reason_is_kept_short_and_fit_for_a_table() {
    let endless = Rejection { code: "NO\0".into(), reason: "é\u{7}".repeat(1_000) };
    let refused = inventory::StockRejected { order_id: order_id(), attempt: 1, rejection: Some(endless.to_wire()) };
    let commands = on(&refused).unwrap();
    let [Command::RefuseHold { rejection, .. }] = &*commands else { panic!("{commands:?}") };
    assert_eq!((&*rejection.code, rejection.reason.chars().count()), ("NO\\u{0}", 512));
    assert!(!rejection.reason.chars().any(char::is_control));
}

#[test]
fn refuses_every_event_that_is_malformed() {
    for message_type in Orders::REACTS_TO {
        assert_eq!(react(message_type, b"\x0a\xff").unwrap_err().code, "UNDECODABLE", "{message_type}");
        let code = react(message_type, b"").unwrap_err().code;
        assert!(matches!(&*code, "INVALID_ATTEMPT" | "INVALID_ID"), "{message_type}: {code}");
    }
}

#[test]
fn reacts_to_exactly_the_events_that_it_names() {
    for message_type in proto::message_types() {
        let heard = react(&message_type, b"").err().is_none_or(|rejection| rejection.code != "UNKNOWN_TYPE");
        assert_eq!(heard, Orders::REACTS_TO.contains(&&*message_type), "{message_type}");
    }
    assert_eq!(react("holdfast.payments.v1.RefundOutcomeUnknown", b"").unwrap_err().code, "UNKNOWN_TYPE");
}

#[test]
fn answers_of_both_owners_about_one_attempt_are_taken_in_as_one() {
    let holds = |attempt, resources: &[Resource]| Command::ConfirmHolds {
        key: key(attempt),
        resources: resources.to_vec(),
        discount: None,
    };
    let releases =
        |attempt, resources: &[Resource]| Command::ConfirmReleases { key: key(attempt), resources: resources.to_vec() };
    let (stock, shares, both) = ([Stock], [Shares], [Shares, Stock]);
    assert_eq!(join(&holds(1, &shares), &holds(1, &stock)), Some(holds(1, &both)));
    assert_eq!(join(&releases(1, &shares), &releases(1, &stock)), Some(releases(1, &both)));
    // Told twice; another thing.
    assert_eq!(join(&holds(1, &stock), &holds(1, &stock)), None);
    assert_eq!(join(&holds(1, &shares), &releases(1, &stock)), None);
    assert_eq!(joined_by(&holds(2, &stock)), Some(key(2)));
    assert_eq!(joined_by(&Command::Expire { order_id: ORDER }), None);
}

#[test]
fn the_first_of_two_holds_can_wait_for_the_other_and_a_buyer_never_waits_for_company() {
    let holds = |attempt, resources: &[Resource]| Command::ConfirmHolds {
        key: key(attempt),
        resources: resources.to_vec(),
        discount: None,
    };
    let after = |commands: &[Command]| {
        let mut memory = Memory::default();
        memory.remember(given(commands));
        memory
    };
    let placed = after(&[place(both())]);
    assert!(can_wait(&placed, &holds(1, &[Stock])) && can_wait(&placed, &holds(1, &[Shares])));
    assert!(!can_wait(&placed, &holds(1, &[Stock, Shares])));
    // The last one; the only one; one of another attempt; one of an order that is not remembered.
    assert!(!can_wait(&after(&[place(both()), holds(1, &[Stock])]), &holds(1, &[Shares])));
    assert!(!can_wait(&after(&[place(goods())]), &holds(1, &[Stock])));
    assert!(!can_wait(&placed, &holds(2, &[Stock])));
    assert!(!can_wait(&Memory::default(), &holds(1, &[Stock])));
    assert!(can_wait(&placed, &Command::ConfirmReleases { key: key(1), resources: vec![Stock] }));
}

#[test]
fn money_that_is_set_aside_is_taken_in_and_its_end_if_the_order_waited_for_it() {
    let (key, payment_id) = (key(1), key(1).payment_id());
    let authorised = payments::PaymentAuthorised {
        payment_id: payment_id.to_string(),
        order_id: order_id(),
        attempt: 1,
        amount: Some(euros(1_000).to_wire()),
        ..Default::default()
    };
    let amount = euros(1_000);
    assert_eq!(on(&authorised), Ok(vec![Command::RecordAuthorisation { key, payment_id, amount }]));
    let ended = |awaited| payments::PaymentVoided {
        payment_id: payment_id.to_string(),
        order_id: order_id(),
        attempt: 1,
        reason: "it has lapsed".to_owned(),
        awaited,
        ..Default::default()
    };
    let reason = "it has lapsed".to_owned();
    assert_eq!(on(&ended(true)), Ok(vec![Command::RecordVoid { key, payment_id, reason }]));
    assert_eq!(on(&ended(false)), Ok(vec![]));
}
