//! What would have become of an order, by what the log says of it.

use std::time::Duration;

use domain::{GlobalPosition, StreamVersion, Timestamp};
use proto::{
    Message, Name,
    common::v1 as common,
    inventory::v1 as inventory,
    orders::v1::{self as orders, LatePaymentPolicy},
    payments::v1 as payments,
};
use uuid::Uuid;

use super::{Compared, End, Policy, Question, Row, compare, story::Shop};
use crate::replay::fold::LogEvent;

/// Orders in these tests have ten minutes to pay.
const MINUTES: i64 = 60_000_000;

/// A log of so many minutes.
struct Log {
    shop: Shop,
    position: i64,
}

impl Log {
    fn new() -> Self {
        Self { shop: Shop::new((GlobalPosition::new(0), GlobalPosition::new(1_000))), position: 0 }
    }

    fn event<M: Message + Name>(mut self, minute: i64, event: &M) -> Self {
        self.position += 1;
        let (message_type, data) = (M::full_name(), event.encode_to_vec());
        let logged = LogEvent {
            position: GlobalPosition::new(self.position),
            stream: "order-1",
            version: StreamVersion::new(1),
            event_id: Uuid::nil(),
            service: "orders",
            message_type: &message_type,
            recorded_at: Timestamp::from_micros(minute * MINUTES),
            data: &data,
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            traceparent: None,
        };
        self.shop.take(&logged).unwrap();
        self
    }

    fn placed(self, id: &str, minute: i64, policy: LatePaymentPolicy) -> Self {
        let at = |minute: i64| Some(Timestamp::from_micros(minute * MINUTES).to_wire());
        let line = orders::OrderLine { sku: "MUG".to_owned(), quantity: 1, unit_price: None };
        let placed = orders::OrderPlaced {
            order_id: id.to_owned(),
            lines: vec![line],
            placed_at: at(minute),
            expires_at: at(minute + 10),
            late_payment_policy: policy.into(),
            attempt: 1,
            ..orders::OrderPlaced::default()
        };
        let pieces = vec![common::ProductQuantity { sku: "MUG".to_owned(), quantity: 1 }];
        let held = inventory::StockHeld { order_id: id.to_owned(), attempt: 1, lines: pieces };
        self.event(minute, &placed).event(minute, &held)
    }

    fn stock(self, quantity: i64) -> Self {
        let sku = "MUG".to_owned();
        self.event(0, &inventory::StockReceived { sku, quantity, ..inventory::StockReceived::default() })
    }

    fn money(self, id: &str, minute: i64) -> Self {
        let order_id = id.to_owned();
        self.event(
            minute,
            &payments::PaymentSucceeded { order_id, attempt: 1, ..payments::PaymentSucceeded::default() },
        )
    }

    fn paid(self, id: &str, minute: i64) -> Self {
        let order_id = id.to_owned();
        self.money(id, minute)
            .event(minute, &orders::OrderPaid { order_id, attempt: 1, ..orders::OrderPaid::default() })
    }

    fn expired(self, id: &str, minute: i64) -> Self {
        let order_id = id.to_owned();
        let expired =
            orders::OrderExpired { order_id: order_id.clone(), attempt: 1, ..orders::OrderExpired::default() };
        let lines = vec![common::ProductQuantity { sku: "MUG".to_owned(), quantity: 1 }];
        self.event(minute, &expired).event(minute, &inventory::StockReleased { order_id, attempt: 1, lines })
    }

    fn given_back(self, id: &str, minute: i64) -> Self {
        let reason = orders::RefundReason::LatePayment.into();
        let order_id = id.to_owned();
        self.event(minute, &orders::RefundRequested { order_id, reason, ..orders::RefundRequested::default() })
    }

    fn ask(&self, late_payment: Option<Policy>, minutes: Option<u64>) -> (Vec<Row>, Compared) {
        let time_to_pay = minutes.map(|minutes| Duration::from_secs(minutes * 60));
        let question = Question { from: None, to: None, late_payment, time_to_pay };
        compare(&self.shop, &question, Timestamp::from_micros(1_000 * MINUTES))
    }

    /// How each that differs ended, and how it would have.
    fn differ(&self, late_payment: Option<Policy>, minutes: Option<u64>) -> Vec<(String, End, End)> {
        let (rows, _) = self.ask(late_payment, minutes);
        rows.into_iter().map(|row| (row.order_id, row.recorded, row.would_be)).collect()
    }
}

fn is(id: &str, recorded: End, would_be: End) -> Vec<(String, End, End)> {
    vec![(id.to_owned(), recorded, would_be)]
}

const REFUND: LatePaymentPolicy = LatePaymentPolicy::Refund;

#[test]
fn a_shorter_time_makes_money_late_and_a_longer_one_changes_nothing_of_what_was_paid() {
    let log = Log::new().stock(5).placed("a", 0, REFUND).paid("a", 7);
    assert_eq!(log.differ(None, Some(7)), []);
    assert_eq!(log.differ(None, Some(30)), []);
    assert_eq!(log.differ(None, Some(5)), is("a", End::Paid, End::GivenBack));
    assert_eq!(log.differ(Some(Policy::Rehold), Some(5)), is("a", End::Paid, End::HeldAgain));
}

#[test]
fn late_money_is_in_time_if_the_time_is_longer() {
    let log = Log::new().stock(5).placed("a", 0, REFUND).expired("a", 10).money("a", 12).given_back("a", 12);
    assert_eq!(log.differ(None, None), []);
    assert_eq!(log.differ(None, Some(11)), []);
    assert_eq!(log.differ(None, Some(12)), is("a", End::GivenBack, End::Paid));
}

#[test]
fn late_money_holds_again_only_if_all_of_it_was_free_then() {
    let late = |pieces| Log::new().stock(pieces).placed("a", 0, REFUND).expired("a", 10);
    let log = late(1).money("a", 12).given_back("a", 12);
    assert_eq!(log.differ(Some(Policy::Rehold), None), is("a", End::GivenBack, End::HeldAgain));
    // Another has it by then.
    let log = late(1).placed("b", 11, REFUND).money("a", 12).given_back("a", 12);
    assert_eq!(log.differ(Some(Policy::Rehold), None), []);
}

#[test]
fn of_what_nobody_paid_the_log_does_not_know_what_more_time_had_brought() {
    let log = Log::new().stock(5).placed("a", 0, REFUND).expired("a", 10);
    assert_eq!(log.differ(None, Some(20)), is("a", End::Expired, End::Unknown));
    assert_eq!(log.differ(None, Some(5)), []);
    let (_, compared) = log.ask(None, Some(20));
    assert_eq!((compared.orders, compared.would_be.get("unknown"), compared.not_known.len()), (1, Some(&1), 3));
}

#[test]
fn what_was_ended_by_hand_would_have_been_so_too() {
    let log = Log::new().stock(5).placed("a", 0, REFUND).expired("a", 3).money("a", 4).given_back("a", 4);
    assert_eq!(log.differ(None, Some(30)), []);
    let order_id = "a".to_owned();
    let cancelled = orders::OrderCancelled { order_id, attempt: 1, ..orders::OrderCancelled::default() };
    let log = Log::new().stock(5).placed("a", 0, REFUND).event(6, &cancelled);
    assert_eq!(log.differ(None, Some(30)), []);
    assert_eq!(log.differ(None, Some(5)), is("a", End::Cancelled, End::Expired));
}

#[test]
fn later_orders_that_ask_for_the_same_are_counted_as_dependants() {
    let log = Log::new().stock(5).placed("before", 0, REFUND).paid("before", 1).placed("a", 1, REFUND).paid("a", 8);
    let log = log.placed("b", 9, REFUND).paid("b", 9).placed("c", 9, REFUND).paid("c", 9);
    let (rows, _) = log.ask(None, Some(5));
    assert_eq!(rows.iter().map(|row| (row.order_id.as_str(), row.dependants)).collect::<Vec<_>>(), [("a", 2)]);
}
