//! What stands where in a timeline, and what it waits for.

use domain::{GlobalPosition, StreamVersion, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Entry, Subject, Wait, linked, story::names};

/// The event of this number, which follows from that of another, so many seconds after 1970.
fn event(number: i64, cause: u128, second: i64, name: &str, data: Value) -> (Timestamp, Entry) {
    let entry = Entry {
        position: GlobalPosition::new(number),
        recorded_at: String::new(),
        ms: 0,
        service: "orders".to_owned(),
        message_type: format!("holdfast.orders.v1.{name}"),
        stream: "order-1".to_owned(),
        version: StreamVersion::new(number),
        event_id: Uuid::from_u128(u128::try_from(number).unwrap_or(0)),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::from_u128(cause),
        depth: 0,
        waited: Vec::new(),
        waits_for: None,
        data,
    };
    (Timestamp::from_micros(second * 1_000_000), entry)
}

#[test]
fn an_event_stands_below_its_cause() {
    let events = [(1, 99, 10), (2, 1, 11), (3, 2, 13), (4, 1, 13), (5, 98, 20)];
    let told =
        linked(events.map(|(number, cause, at)| event(number, cause, at, "OrderReleased", json!({}))).to_vec(), None);
    assert_eq!(told.iter().map(|entry| entry.depth).collect::<Vec<_>>(), [0, 1, 2, 1, 0]);
    assert_eq!(told[2].ms, 3_000);
}

#[test]
fn a_wait_ends_with_the_event_that_is_of_the_same_thing() {
    let refund = |id: &str| json!({ "orderId": "o", "paymentId": "p", "refundId": id });
    let told = linked(
        vec![
            event(1, 0, 0, "RefundSubmitted", refund("a")),
            event(2, 0, 1, "RefundSubmitted", refund("b")),
            event(3, 0, 4, "PaymentRefunded", refund("b")),
            event(4, 0, 9, "RefundOutcomeUnknown", refund("a")),
        ],
        None,
    );
    let wait = |since, ms| vec![Wait { on: "the provider", since: GlobalPosition::new(since), ms }];
    assert_eq!((&told[2].waited, &told[3].waited), (&wait(2, 3_000), &wait(1, 9_000)));
    let waits: Vec<_> = told.iter().map(|entry| entry.waits_for).collect();
    assert_eq!(waits, [None, None, None, Some("an operator")]);
}

#[test]
fn news_of_what_is_waited_for_is_no_new_wait() {
    let dispute = json!({ "paymentId": "p", "dispute": { "disputeId": "du" } });
    let told = linked(
        vec![
            event(1, 0, 0, "PaymentDisputed", dispute.clone()),
            event(2, 0, 5, "PaymentDisputed", dispute.clone()),
            event(3, 0, 7, "DisputeClosed", dispute),
        ],
        None,
    );
    assert_eq!(told[2].waited, [Wait { on: "the buyer's bank", since: GlobalPosition::new(1), ms: 7_000 }]);
}

#[test]
fn a_page_that_is_there_at_once_waits_for_the_buyer_and_another_for_the_provider() {
    let asked = |reference: &str| {
        let data = json!({ "paymentId": "p", "providerReference": reference });
        linked(vec![event(1, 0, 0, "PaymentRequested", data)], None)[0].waits_for
    };
    assert_eq!((asked("sb-1"), asked("")), (Some("the buyer"), Some("the provider")));
}

#[test]
fn the_timeline_of_a_round_tells_its_own_waits_and_not_those_of_orders_that_bought_of_it() {
    let events = [
        event(1, 0, 0, "RoundOpened", json!({ "roundId": "r" })),
        event(2, 0, 1, "OrderPlaced", json!({ "orderId": "o", "shares": { "roundId": "r" } })),
    ];
    let waits: Vec<_> = linked(events.to_vec(), Some("r")).iter().map(|entry| entry.waits_for).collect();
    assert_eq!(waits, [Some("its buyers"), None]);
}

#[test]
fn an_event_names_a_key_only_where_a_field_says_it_and_nothing_else() {
    let data = json!({ "lines": [{ "sku": "MUG-01", "quantity": "2" }], "note": "MUG or so" });
    assert!(names(&data, "MUG-01"));
    assert!(!names(&data, "MUG"));
}

#[test]
fn keys_are_read_as_events_have_them() {
    let id = "6F1D0C2E-8A51-4B7E-9D3A-2F4C5B6A7D81";
    for subject in [Subject::Refund, Subject::Payment, Subject::Round] {
        assert_eq!(subject.read_key(id).unwrap(), id.to_lowercase(), "{subject:?}");
    }
    assert_eq!(Subject::Order.read_key("R-1001").unwrap(), "R-1001");
    for subject in [Subject::Refund, Subject::Payment, Subject::Round] {
        assert!(subject.read_key("R-1001").is_err(), "{subject:?}");
    }
    assert!(Subject::Product.read_key("").is_err());
    for nothing in ["", "R-1\n# asked"] {
        assert!(Subject::Order.read_key(nothing).is_err());
    }
}
