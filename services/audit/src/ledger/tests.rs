//! What the ledger finds, and that it finds nothing in stories that are right.

mod coupons;
mod disputes;
mod elsewhere;
mod second_charges;
mod shares;
mod wallets;

use std::time::Duration;

use domain::{GlobalPosition, HoldKey, OrderId, StreamVersion, Timestamp};
use proto::{
    Message, Name,
    common::v1::{CommandRejected, Money, ProductQuantity},
    inventory::v1 as inventory,
    orders::v1 as orders,
    payments::v1 as payments,
    rounds::v1 as rounds,
    well_known,
};
use runtime::log::event_store::StoredEvent;
use uuid::Uuid;

use super::{Ledger, promises::Grace};
use crate::{
    catalogue::{PROMISED, event_types},
    report::{Check, Findings},
};

/// One event a second.
const SECOND: i64 = 1_000_000;

/// Builds a log: events in order, one a second.
#[derive(Default)]
struct LogBuilder {
    events: Vec<StoredEvent>,
}

fn order() -> String {
    Uuid::from_u128(7).to_string()
}

fn round() -> String {
    Uuid::from_u128(8).to_string()
}

fn refund() -> String {
    Uuid::from_u128(9).to_string()
}

fn payment(attempt: i32) -> String {
    HoldKey { order_id: OrderId(Uuid::from_u128(7)), attempt }.payment_id().to_string()
}

fn eur(minor_units: i64) -> Option<Money> {
    Some(Money { minor_units, currency: "EUR".to_owned() })
}

fn mugs(quantity: i64) -> Vec<ProductQuantity> {
    vec![ProductQuantity { sku: "mug".to_owned(), quantity }]
}

fn time(second: i64) -> Option<well_known::Timestamp> {
    Some(Timestamp::from_micros(second * SECOND).to_wire())
}

impl LogBuilder {
    fn then<M: Message + Name>(mut self, message: &M) -> Self {
        let position = i64::try_from(self.events.len()).unwrap() + 1;
        self.events.push(StoredEvent {
            position: GlobalPosition::new(position),
            stream: String::new(),
            version: StreamVersion::FIRST,
            event_id: Uuid::from_u128(1),
            service: String::new(),
            message_type: M::full_name(),
            data: message.encode_to_vec(),
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(2),
            traceparent: None,
            recorded_at: Timestamp::from_micros(position * SECOND),
            is_handled: false,
        });
        self
    }

    /// Ten mugs, and a round of ten shares.
    fn shop() -> Self {
        Self::default()
            .then(&inventory::ProductRegistered { sku: "mug".to_owned(), name: "Mug".to_owned(), actor: String::new() })
            .then(&inventory::StockReceived {
                sku: "mug".to_owned(),
                quantity: 10,
                reference: String::new(),
                actor: String::new(),
            })
            .then(&rounds::RoundOpened { round_id: round(), total_shares: 10, ..Default::default() })
    }

    /// Two mugs at 100 and three shares at 50, to be paid within a minute.
    fn placed() -> Self {
        let shares = orders::SharePurchase { round_id: round(), count: 3, unit_price: eur(50) };
        Self::shop().then(&orders::OrderPlaced {
            order_id: order(),
            lines: vec![orders::OrderLine { sku: "mug".to_owned(), quantity: 2, unit_price: eur(100) }],
            shares: Some(shares),
            total: eur(350),
            expires_at: time(60),
            attempt: 1,
            ..Default::default()
        })
    }

    fn held(self, attempt: i32) -> Self {
        self.then(&inventory::StockHeld { order_id: order(), attempt, lines: mugs(2) }).then(&rounds::SharesHeld {
            order_id: order(),
            attempt,
            round_id: round(),
            count: 3,
        })
    }

    fn all_held(self) -> Self {
        self.held(1)
            .then(&orders::OrderReserved { order_id: order(), attempt: 1, amount: eur(350), ..Default::default() })
            .then(&payments::PaymentRequested {
                payment_id: payment(1),
                order_id: order(),
                attempt: 1,
                amount: eur(350),
                ..Default::default()
            })
    }

    fn money_came(self) -> Self {
        self.then(&payments::PaymentSucceeded {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            amount: eur(350),
            ..Default::default()
        })
    }

    fn paid(self) -> Self {
        self.money_came()
            .then(&orders::OrderPaid {
                order_id: order(),
                attempt: 1,
                payment_id: payment(1),
                amount: eur(350),
                ..Default::default()
            })
            .then(&inventory::StockCommitted { order_id: order(), attempt: 1, lines: mugs(2) })
            .then(&rounds::SharesSold { order_id: order(), attempt: 1, round_id: round(), count: 3 })
    }

    fn refunding(self, minor_units: i64) -> Self {
        self.then(&orders::RefundRequested {
            order_id: order(),
            attempt: 1,
            refund_id: refund(),
            payment_id: payment(1),
            amount: eur(minor_units),
            lines: mugs(2),
            return_shares: true,
            ..Default::default()
        })
        .then(&payments::RefundSubmitted {
            payment_id: payment(1),
            order_id: order(),
            refund_id: refund(),
            amount: eur(minor_units),
            ..Default::default()
        })
    }

    fn went_back(self, minor_units: i64) -> Self {
        self.then(&payments::PaymentRefunded {
            payment_id: payment(1),
            order_id: order(),
            refund_id: refund(),
            amount: eur(minor_units),
            ..Default::default()
        })
    }

    fn given_back(self) -> Self {
        self.then(&orders::OrderRefunded {
            order_id: order(),
            attempt: 1,
            refund_id: refund(),
            amount: eur(350),
            lines: mugs(2),
            return_shares: true,
            ..Default::default()
        })
    }

    fn refunded(self) -> Self {
        self.refunding(350)
            .went_back(350)
            .given_back()
            .then(&inventory::StockReturned { order_id: order(), attempt: 1, refund_id: refund(), lines: mugs(2) })
            .then(&rounds::SharesReturned {
                order_id: order(),
                attempt: 1,
                round_id: round(),
                count: 3,
                refund_id: refund(),
            })
    }

    fn cancelled(self) -> Self {
        self.then(&orders::OrderCancelled { order_id: order(), attempt: 1, ..Default::default() })
    }

    fn stock_released(self) -> Self {
        self.then(&inventory::StockReleased { order_id: order(), attempt: 1, lines: mugs(2) })
    }

    fn released(self) -> Self {
        self.stock_released()
            .then(&rounds::SharesReleased { order_id: order(), attempt: 1, round_id: round(), count: 3 })
            .then(&payments::PaymentCancelled { payment_id: payment(1), order_id: order(), attempt: 1 })
            .then(&orders::OrderReleased { order_id: order(), attempt: 1 })
    }

    /// What is found so many seconds after the last event, with a grace of ten.
    fn found_after(self, seconds: i64) -> Vec<(Check, String, String, Option<GlobalPosition>)> {
        let (mut ledger, mut findings) = (Ledger::default(), Findings::default());
        let last = i64::try_from(self.events.len()).unwrap();
        for event in &self.events {
            ledger.take(event, &mut findings);
        }
        let now = Timestamp::from_micros((last + seconds) * SECOND);
        ledger.check_promises(Grace { now, grace: Duration::from_secs(10) }, &mut findings);
        let told = findings.kept().iter();
        told.map(|found| (found.check, found.subject.clone(), found.what.clone(), found.position)).collect()
    }

    fn found(self) -> Vec<(Check, String, String, Option<GlobalPosition>)> {
        self.found_after(0)
    }

    /// One finding, about this and with these words.
    fn finds(self, check: Check, subject: &str, words: &str) {
        self.finds_after(0, check, subject, words);
    }

    fn finds_after(self, seconds: i64, check: Check, subject: &str, words: &str) {
        let found = self.found_after(seconds);
        let hit =
            found.iter().any(|(of, about, what, _)| *of == check && about.starts_with(subject) && what.contains(words));
        assert!(hit, "no {check:?} about {subject:?} with {words:?} in {found:#?}");
    }
}

#[test]
fn nothing_is_wrong_with_an_order_on_its_way_or_at_its_end() {
    assert_eq!(LogBuilder::placed().found(), []);
    assert_eq!(LogBuilder::placed().all_held().found(), []);
    assert_eq!(LogBuilder::placed().all_held().paid().found_after(3_600), []);
    assert_eq!(LogBuilder::placed().all_held().paid().refunded().found_after(3_600), []);
    assert_eq!(LogBuilder::placed().all_held().cancelled().released().found_after(3_600), []);
}

#[test]
fn nothing_is_wrong_with_a_release_that_came_before_its_hold() {
    let released = LogBuilder::placed()
        .cancelled()
        .then(&inventory::StockReleased { order_id: order(), attempt: 1, lines: vec![] })
        .then(&rounds::SharesReleased { order_id: order(), attempt: 1, ..Default::default() })
        .then(&payments::PaymentCancelled { payment_id: payment(1), order_id: order(), attempt: 1 })
        .then(&orders::OrderReleased { order_id: order(), attempt: 1 });
    assert_eq!(released.found_after(3_600), []);
}

#[test]
fn nothing_is_wrong_with_late_money_that_holds_again() {
    let again = orders::OrderReinstated { order_id: order(), attempt: 2, payment_id: payment(1), ..Default::default() };
    let paid = orders::OrderPaid {
        order_id: order(),
        attempt: 2,
        payment_id: payment(1),
        amount: eur(350),
        ..Default::default()
    };
    let story = LogBuilder::placed().all_held().cancelled().released().money_came().then(&again).held(2).then(&paid);
    assert_eq!(story.found(), []);
}

#[test]
fn what_is_late_is_late_only_after_the_grace() {
    assert_eq!(LogBuilder::placed().all_held().cancelled().found_after(9), []);
    let closed = || LogBuilder::placed().all_held().cancelled();
    closed().finds_after(11, Check::Holds, "stock-", "still held");
    closed().finds_after(11, Check::Holds, "shares-", "still held");
    closed().finds_after(11, Check::Orders, "order-", "not all that it held is given back");
    closed().finds_after(11, Check::Money, "payment-", "still asked to pay");
    assert_eq!(LogBuilder::placed().all_held().found_after(40), []);
    LogBuilder::placed().all_held().finds_after(90, Check::Orders, "order-", "was to expire");
}

#[test]
fn finds_a_paid_order_whose_goods_stay_behind() {
    let paid = LogBuilder::placed().all_held().money_came().then(&orders::OrderPaid {
        order_id: order(),
        attempt: 1,
        payment_id: payment(1),
        amount: eur(350),
        ..Default::default()
    });
    paid.finds_after(11, Check::Holds, "stock-", "still only held");
}

#[test]
fn finds_money_that_is_forgotten() {
    let late = || LogBuilder::placed().all_held().cancelled().released().money_came();
    assert_eq!(late().found_after(9), []);
    late().finds_after(11, Check::Money, "payment-", "neither paid an order nor is going back");
}

#[test]
fn finds_pieces_out_of_thin_air() {
    let sold = |quantity| {
        LogBuilder::shop().then(&inventory::StockAdjusted {
            sku: "mug".to_owned(),
            delta: quantity,
            ..Default::default()
        })
    };
    assert_eq!(sold(-10).found(), []);
    sold(-11).finds(Check::Stock, "product-mug", "0 are held of -1 on hand");
    LogBuilder::default()
        .then(&inventory::StockReceived {
            sku: "cup".to_owned(),
            quantity: 1,
            reference: String::new(),
            actor: String::new(),
        })
        .finds(Check::Stock, "product-cup", "before it was registered");
}

#[test]
fn finds_a_hold_that_ends_twice_or_with_something_else() {
    let paid = || LogBuilder::placed().all_held().paid();
    paid().stock_released().finds(Check::Stock, "stock-", "it is released although it is committed");
    paid().then(&inventory::StockCommitted { order_id: order(), attempt: 1, lines: mugs(2) }).finds(
        Check::Stock,
        "stock-",
        "it is committed although it is committed",
    );
    LogBuilder::placed()
        .held(1)
        .then(&inventory::StockReleased { order_id: order(), attempt: 1, lines: mugs(1) })
        .finds(Check::Stock, "stock-", "other lines");
    LogBuilder::placed()
        .held(1)
        .then(&rounds::SharesSold { order_id: order(), attempt: 1, round_id: round(), count: 4 })
        .finds(Check::Shares, "shares-", "4 shares and held 3");
    LogBuilder::placed().held(1).held(1).finds(Check::Stock, "stock-", "held already");
}

#[test]
fn finds_a_hold_of_something_that_nobody_ordered() {
    LogBuilder::placed().then(&inventory::StockHeld { order_id: order(), attempt: 1, lines: mugs(3) }).finds(
        Check::Stock,
        "stock-",
        "something else than was ordered",
    );
    let other = LogBuilder::shop().then(&inventory::StockHeld { order_id: order(), attempt: 1, lines: mugs(3) });
    other.finds(Check::Stock, "stock-", "nobody placed");
    LogBuilder::placed().held(2).finds(Check::Shares, "shares-", "only 1 attempts");
}

#[test]
fn finds_more_shares_than_there_are() {
    let mut story = LogBuilder::placed().held(1);
    for key in 20..23 {
        let order_id = Uuid::from_u128(key).to_string();
        story = story.then(&rounds::SharesHeld { order_id, attempt: 1, round_id: round(), count: 3 });
    }
    story.finds(Check::Shares, "round-", "0 are sold and 12 held of 10");
}

#[test]
fn finds_a_buyer_of_a_failed_round_who_is_forgotten_or_named_twice() {
    let closed = rounds::RoundClosed { round_id: round(), ..Default::default() };
    let failed = || LogBuilder::placed().all_held().paid().then(&closed);
    let named = rounds::RoundRefundsRequested {
        round_id: round(),
        participants: vec![rounds::RoundParticipant { order_id: order(), attempt: 1 }],
        ..Default::default()
    };
    assert_eq!(failed().found_after(9), []);
    failed().finds_after(11, Check::Shares, "round-", "the buyers of 3 sold shares were never named");
    failed().then(&named).finds_after(11, Check::Shares, "shares-", "named to be refunded, and never was");
    failed().then(&named).then(&named).finds(Check::Shares, "shares-", "named twice");
    assert_eq!(failed().then(&named).refunded().found_after(3_600), []);
}

#[test]
fn a_refund_under_way_may_keep_the_refund_of_the_shares_waiting() {
    let named = rounds::RoundRefundsRequested {
        round_id: round(),
        participants: vec![rounds::RoundParticipant { order_id: order(), attempt: 1 }],
        ..Default::default()
    };
    let closed = rounds::RoundClosed { round_id: round(), ..Default::default() };
    let story = LogBuilder::placed().all_held().paid().refunding(350).then(&closed).then(&named);
    assert_eq!(story.found_after(3_600), []);
}

#[test]
fn finds_money_that_comes_twice_or_in_another_amount() {
    LogBuilder::placed().all_held().money_came().money_came().finds(Check::Money, "payment-", "came twice");
    let less = payments::PaymentSucceeded { payment_id: payment(1), amount: eur(300), ..Default::default() };
    LogBuilder::placed().all_held().then(&less).finds(Check::Money, "payment-", "another amount");
    LogBuilder::placed().money_came().finds(Check::Money, "payment-", "nobody was asked");
}

#[test]
fn finds_more_money_back_than_came() {
    LogBuilder::placed().all_held().paid().refunding(351).finds(Check::Money, "payment-", "3.51 EUR more is promised");
    let paid = || LogBuilder::placed().all_held().paid();
    paid().refunding(350).went_back(350).went_back(350).finds(
        Check::Money,
        "refund-",
        "Refunded although it is Refunded",
    );
    paid().refunding(350).went_back(349).finds(Check::Money, "refund-", "another amount");
}

#[test]
fn finds_a_refund_that_orders_and_payments_tell_differently() {
    let paid = || LogBuilder::placed().all_held().paid();
    paid().refunding(350).given_back().finds(Check::Money, "refund-", "before it was");
    paid().went_back(350).finds(Check::Money, "refund-", "no order asked");
    paid().refunded().given_back().finds(Check::Money, "refund-", "twice");
    paid().refunding(350).went_back(350).finds_after(11, Check::Money, "refund-", "its order does not count it");
    let back = paid().refunding(350).went_back(350).given_back();
    back.finds_after(11, Check::Money, "refund-", "did not come back to stock");
    let part = paid().refunding(100).went_back(100).then(&orders::OrderRefunded {
        order_id: order(),
        attempt: 1,
        refund_id: refund(),
        amount: eur(100),
        lines: mugs(2),
        return_shares: true,
        ..Default::default()
    });
    part.finds(Check::Money, "refund-", "2.50 EUR of its payment is left");
}

#[test]
fn finds_what_comes_back_without_a_refund_or_twice() {
    let returned = inventory::StockReturned { order_id: order(), attempt: 1, refund_id: refund(), lines: mugs(2) };
    LogBuilder::placed().all_held().paid().then(&returned).finds(Check::Money, "refund-", "was not given back");
    let twice = || LogBuilder::placed().all_held().paid().refunded().then(&returned);
    twice().finds(Check::Stock, "stock-", "twice");
    twice().finds(Check::Stock, "stock-", "4 of product mug came back of 2 sold");
}

#[test]
fn finds_an_order_that_goes_on_without_its_holds() {
    let held = orders::OrderReserved { order_id: order(), attempt: 1, amount: eur(350), ..Default::default() };
    LogBuilder::placed().then(&held).finds(Check::Orders, "order-", "not all of it is held");
    let receipt = orders::OrderReleased { order_id: order(), attempt: 1 };
    LogBuilder::placed().held(1).cancelled().then(&receipt).finds(Check::Orders, "order-", "not all of it is released");
    LogBuilder::placed().all_held().paid().cancelled().finds(Check::Orders, "order-", "it is paid in attempt 1");
    let expired = orders::OrderExpired { order_id: order(), attempt: 1, ..Default::default() };
    LogBuilder::placed().then(&expired).finds(Check::Orders, "order-", "before its time");
    let by_hand = orders::OrderExpired { actor: "ann".to_owned(), ..expired };
    let found = LogBuilder::placed().then(&by_hand).found();
    assert!(!found.iter().any(|(_, _, what, _)| what.contains("before its time")), "{found:?}");
    let again = orders::OrderReinstated { order_id: order(), attempt: 2, ..Default::default() };
    LogBuilder::placed().held(1).cancelled().then(&again).finds(
        Check::Orders,
        "order-",
        "before everything was released",
    );
}

#[test]
fn finds_a_page_that_takes_a_step_which_it_cannot_take() {
    let asked = || {
        LogBuilder::placed().held(1).then(&payments::PaymentRequested {
            payment_id: payment(1),
            order_id: order(),
            attempt: 1,
            amount: eur(350),
            checkout_ends_at: time(3_600),
            ..Default::default()
        })
    };
    let checkout_url = "https://pay.test/1".to_owned();
    let opened = payments::CheckoutOpened { payment_id: payment(1), checkout_url, ..Default::default() };
    let set_aside = payments::CheckoutOpened { payment_id: payment(1), ..Default::default() };
    let failed = payments::CheckoutFailed { payment_id: payment(1), ..Default::default() };
    let abandoned = payments::CheckoutAbandoned { payment_id: payment(1), ..Default::default() };
    let closed = payments::CheckoutClosed { payment_id: payment(1), ..Default::default() };
    let replaced = payments::CheckoutAbandoned { is_replaced: true, ..abandoned.clone() };
    let unpaid = payments::CheckoutClosed { end: payments::CheckoutEnd::Unpaid.into(), ..closed.clone() };
    let another = payments::CheckoutRequested { payment_id: payment(1), amount: eur(350), ..Default::default() };
    let step = "its page took a step";
    let another_page = || asked().then(&opened).then(&replaced).then(&unpaid).then(&another);
    assert_eq!(another_page().then(&opened).then(&replaced).then(&closed).found(), []);
    let cancelled = payments::PaymentCancelled { payment_id: payment(1), order_id: order(), attempt: 1 };
    let late = asked().then(&opened).then(&replaced).then(&cancelled).then(&unpaid).then(&another);
    late.finds(Check::Money, "payment-", "a page is opened for what nobody is asked for");
    let takes = |story: LogBuilder| story.found().iter().any(|(_, _, what, _)| what.contains(step));
    assert!(!takes(asked().then(&opened).then(&abandoned).then(&closed)) && !takes(asked().then(&failed)));
    for wrong in [
        asked().then(&abandoned),
        asked().then(&opened).then(&opened),
        asked().then(&failed).then(&opened),
        asked().then(&opened).then(&closed),
        // One after the other, and only where nobody has paid on the one before.
        asked().then(&another),
        asked().then(&opened).then(&another),
        asked().then(&opened).then(&abandoned).then(&unpaid).then(&another),
        asked().then(&opened).then(&replaced).then(&another),
        asked().then(&opened).then(&replaced).then(&closed).then(&another),
        another_page().then(&another),
        // What is opened with its money set aside has no page to abandon.
        asked().then(&set_aside).then(&abandoned),
        LogBuilder::placed().all_held().then(&opened),
    ] {
        wrong.finds(Check::Money, "payment-", step);
    }
}

#[test]
fn names_the_event_where_it_shows() {
    let found = LogBuilder::shop()
        .then(&inventory::StockAdjusted { sku: "mug".to_owned(), delta: -11, ..Default::default() })
        .then(&inventory::StockReceived {
            sku: "mug".to_owned(),
            quantity: 5,
            reference: String::new(),
            actor: String::new(),
        })
        .found();
    assert_eq!(found.iter().map(|(_, _, _, position)| *position).collect::<Vec<_>>(), [Some(GlobalPosition::new(4))]);
}

#[test]
fn what_does_not_decode_is_left_to_the_fold() {
    let mut story = LogBuilder::placed();
    story.events[3].data = vec![255];
    assert_eq!(story.found(), []);
}

/// An event of which one of the two books that hear of it has no opinion is one that the ledger would pass over in silence.
#[test]
fn every_event_of_the_contract_is_booked_or_of_no_concern() {
    for message_type in event_types() {
        let mut story = LogBuilder::default().then(&CommandRejected::default());
        story.events[0].message_type.clone_from(&message_type);
        let unknown = story.found().into_iter().any(|(_, _, what, _)| what.contains("no opinion"));
        assert_eq!(unknown, PROMISED.contains(&message_type.as_str()), "{message_type}");
    }
}

#[test]
fn finds_an_event_that_no_book_has_an_opinion_on() {
    for (message_type, book) in [
        ("holdfast.orders.v1.OrderGilded", "orders"),
        ("holdfast.inventory.v1.StockAppraised", "stock"),
        ("holdfast.rounds.v1.RoundPostponed", "shares"),
        ("holdfast.payments.v1.PaymentGilded", "money"),
        ("holdfast.payments.v2.PaymentSucceeded", "any service"),
        ("holdfast.shipping.v1.ParcelSent", "any service"),
        ("nonsense", "any service"),
    ] {
        let mut story = LogBuilder::shop();
        story.events[1].message_type = message_type.to_owned();
        let found = story.found();
        let words = format!("the book of {book} has no opinion on {message_type}");
        assert!(found.contains(&(Check::Log, String::new(), words, Some(GlobalPosition::new(2)))), "{found:?}");
    }
}
