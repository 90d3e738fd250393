//! Where things are in a picture, and what is folded.

use domain::{GlobalPosition, StreamVersion};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{MARKS_MAX, draw};
use crate::timeline::{Entry, Wait};

fn entry(number: i64, ms: u64, service: &str, name: &str, data: Value) -> Entry {
    let id = |number: i64| Uuid::from_u128(u128::try_from(number).unwrap_or(0));
    Entry {
        position: GlobalPosition::new(number),
        recorded_at: "2026-11-29T12:00:00Z".to_owned(),
        ms,
        service: service.to_owned(),
        message_type: format!("holdfast.{service}.v1.{name}"),
        stream: format!("{service}-1"),
        version: StreamVersion::new(number),
        event_id: id(number),
        correlation_id: id(0),
        causation_id: id(number - 1),
        depth: 0,
        waited: Vec::new(),
        waits_for: None,
        data,
    }
}

fn many(count: i64, name: &str) -> Vec<Entry> {
    (1..=count).map(|number| entry(number, 10, "orders", name, json!({}))).collect()
}

#[test]
fn each_service_that_has_an_event_has_a_lane_and_what_led_to_what_is_a_line() {
    let picture = draw(&[
        entry(1, 0, "orders", "OrderPlaced", json!({ "actor": "till" })),
        entry(2, 20, "inventory", "StockHeld", json!({})),
        entry(3, 30, "payments", "PaymentSucceeded", json!({ "providerEventId": "evt" })),
    ]);
    let lanes: Vec<&str> = picture.lanes.iter().map(|lane| lane.name.as_str()).collect();
    assert_eq!(lanes, ["orders", "inventory", "payments", "buyer, provider, people"]);
    assert_eq!(picture.links.len(), 2);
    let outside: Vec<&str> =
        picture.marks.iter().filter(|mark| mark.is_outside).map(|mark| mark.label.as_str()).collect();
    assert_eq!(outside, ["till", "provider"]);
    assert!(picture.marks.is_sorted_by_key(|mark| mark.x));
}

#[test]
fn a_wait_is_as_long_as_from_its_event_to_the_one_that_ends_it() {
    let wait = Wait { on: "the buyer", since: GlobalPosition::new(1), ms: 124_000 };
    let mut told = [
        entry(1, 0, "payments", "CheckoutOpened", json!({})),
        entry(2, 124_000, "payments", "PaymentSucceeded", json!({})),
        entry(3, 124_010, "payments", "RefundOutcomeUnknown", json!({})),
    ];
    told[1].waited.push(wait);
    told[2].waits_for = Some("an operator");
    let picture = draw(&told);
    assert_eq!((picture.waits[0].x, picture.waits[0].label.as_str()), (picture.marks[0].x, "the buyer 2 min"));
    assert_eq!(picture.waits[0].x + picture.waits[0].width, picture.marks[1].x);
    assert_eq!(picture.waits[1].label, "an operator, still");
}

#[test]
fn an_idle_stretch_is_folded_and_says_how_long_it_was() {
    let times = [0, 10, 20, 30, 600_030, 600_040];
    let told: Vec<Entry> =
        (1..).zip(times).map(|(number, ms)| entry(number, ms, "orders", "OrderPaid", json!({}))).collect();
    let picture = draw(&told);
    assert_eq!(picture.folds.iter().map(|fold| fold.label.as_str()).collect::<Vec<_>>(), ["10 min"]);
    assert!(picture.width < 1_000, "{}", picture.width);
}

#[test]
fn what_are_more_marks_than_a_picture_holds_is_folded_with_a_count() {
    assert_eq!(draw(&many(60, "OrderPaid")).marks.len(), 60);
    let picture = draw(&many(1_000, "OrderPaid"));
    assert_eq!(picture.marks.len(), MARKS_MAX);
    let folded: Vec<usize> = picture.marks.iter().map(|mark| mark.folded).filter(|folded| *folded > 0).collect();
    assert_eq!(folded, [1_000 - 59]);
    // Confirmations first, into what they follow: nothing else is lost to sight then.
    let mut told = many(59, "OrderPaid");
    told.extend((60..=70).map(|number| entry(number, 20, "orders", "OrderHoldConfirmed", json!({}))));
    let picture = draw(&told);
    assert_eq!((picture.marks.len(), picture.marks[58].folded), (59, 12));
}
