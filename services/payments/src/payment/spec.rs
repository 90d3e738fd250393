//! Specs of payments, and words for the specs of this crate: given these events, when this command comes, then these
//! events.

use domain::{Currency, HoldKey, Money, OrderId, PaymentId, RefundId, Refusal, Timestamp};
use uuid::Uuid;

use super::{Payment, World, decide, evolve};
use crate::{
    command::{Command, Report},
    event::{Checkout, Event, RefundOf},
};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(60_000_000);
pub(crate) const KEY: HoldKey = HoldKey { order_id: OrderId(Uuid::from_u128(7)), attempt: 1 };

pub(crate) fn given(events: &[Event]) -> World {
    let mut world = World::default();
    for event in events {
        evolve(&mut world, event);
    }
    world
}

impl World {
    pub(crate) fn when(&self, command: &Command) -> Result<Vec<Event>, Refusal> {
        decide(self, command, NOW)
    }

    /// The code of the rejection, with the words that its reason must have.
    pub(crate) fn refuses(&self, command: &Command, words: &[&str]) -> String {
        match decide(self, command, NOW) {
            Err(Refusal::Rejected(rejection)) => {
                for word in words {
                    assert!(rejection.reason.contains(word), "{word:?} is not in {:?}", rejection.reason);
                }
                rejection.code.into_owned()
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    /// What cannot be, with the stream where it shows.
    pub(crate) fn breaks(&self, command: &Command, words: &[&str]) {
        match decide(self, command, NOW) {
            Err(Refusal::Broken { stream, what }) => {
                assert_eq!(stream, format!("payment-{}", KEY.payment_id()));
                for word in words {
                    assert!(what.contains(word), "{word:?} is not in {what:?}");
                }
            }
            other => panic!("not broken: {other:?}"),
        }
    }

    pub(crate) fn payment(&self) -> &Payment {
        self.payments.get(&payment_id()).unwrap()
    }
}

pub(crate) fn payment_id() -> PaymentId {
    KEY.payment_id()
}

pub(crate) fn refund_id() -> RefundId {
    RefundId(Uuid::from_u128(9))
}

pub(crate) fn of() -> RefundOf {
    RefundOf { payment_id: payment_id(), order_id: KEY.order_id, refund_id: refund_id() }
}

pub(crate) fn eur(minor_units: i64) -> Money {
    Money { minor_units, currency: Currency::parse("EUR").unwrap() }
}

pub(crate) fn usd(minor_units: i64) -> Money {
    Money { minor_units, currency: Currency::parse("USD").unwrap() }
}

fn checkout() -> Checkout {
    Checkout { provider: "test".to_owned(), reference: "pay_1".to_owned(), url: "https://pay.test/1".to_owned() }
}

fn request(amount: Money) -> Command {
    let (checkout, payment_method, expires_at) = (checkout(), "card".to_owned(), Timestamp::from_micros(99));
    Command::RequestPayment { key: KEY, amount, checkout, payment_method, expires_at }
}

/// 12.00 EUR were asked for.
pub(crate) fn requested() -> Event {
    Event::PaymentRequested {
        payment_id: payment_id(),
        key: KEY,
        amount: eur(1_200),
        checkout: checkout(),
        payment_method: "card".to_owned(),
        expires_at: Timestamp::from_micros(99),
    }
}

/// 12.00 EUR came.
pub(crate) fn succeeded() -> Event {
    Event::PaymentSucceeded {
        payment_id: payment_id(),
        key: KEY,
        amount: eur(1_200),
        provider_event_id: "evt_1".to_owned(),
    }
}

fn failed() -> Event {
    let (reason, provider_event_id) = ("no money".to_owned(), "evt_2".to_owned());
    Event::PaymentFailed { payment_id: payment_id(), key: KEY, reason, provider_event_id }
}

pub(crate) fn cancelled() -> Event {
    Event::PaymentCancelled { payment_id: payment_id(), key: KEY }
}

const CANCEL: Command = Command::CancelPayment { key: KEY };

pub(crate) fn told(report: Report) -> Command {
    Command::RecordProviderEvent { payment_id: payment_id(), report }
}

fn paid(amount: Money) -> Command {
    told(Report::PaymentSucceeded { amount, provider_event_id: "evt_1".to_owned() })
}

fn declined() -> Command {
    told(Report::PaymentFailed { reason: "no money".to_owned(), provider_event_id: "evt_2".to_owned() })
}

#[test]
fn asks_the_buyer_of_a_reserved_order_to_pay() {
    let world = given(&[]);
    assert_eq!(world.when(&request(eur(1_200))), Ok(vec![requested()]));
}

#[test]
fn asks_once() {
    for events in
        [&[requested()][..], &[requested(), succeeded()], &[requested(), failed()], &[requested(), cancelled()]]
    {
        assert_eq!(given(events).when(&request(eur(1_200))), Ok(vec![]));
    }
}

#[test]
fn never_asks_for_what_was_cancelled_before() {
    assert_eq!(given(&[cancelled()]).when(&request(eur(1_200))), Ok(vec![]));
}

#[test]
fn asking_for_two_amounts_is_broken() {
    given(&[requested()]).breaks(&request(eur(1_300)), &["1200", "1300"]);
}

#[test]
fn takes_in_the_money_that_was_asked_for() {
    assert_eq!(given(&[requested()]).when(&paid(eur(1_200))), Ok(vec![succeeded()]));
    let world = given(&[requested(), succeeded()]);
    assert_eq!((world.payment().captured_minor, world.payment().version), (1_200, 2));
    assert_eq!(world.when(&paid(eur(1_200))), Ok(vec![]), "once");
}

#[test]
fn late_money_is_never_lost() {
    for events in [&[requested(), cancelled()], &[requested(), failed()]] {
        assert_eq!(given(events).when(&paid(eur(1_200))), Ok(vec![succeeded()]));
    }
}

#[test]
fn refuses_another_amount_than_was_asked_for() {
    let world = given(&[requested()]);
    assert_eq!(world.refuses(&paid(eur(1_199)), &["1200", "1199"]), "AMOUNT_MISMATCH");
    let late = given(&[requested(), succeeded()]);
    assert_eq!(late.refuses(&paid(eur(2_400)), &["1200", "2400"]), "AMOUNT_MISMATCH");
}

#[test]
fn refuses_another_currency_than_was_asked_for() {
    assert_eq!(given(&[requested()]).refuses(&paid(usd(1_200)), &["EUR", "USD"]), "WRONG_CURRENCY");
}

#[test]
fn says_when_the_provider_could_not_get_the_money() {
    assert_eq!(given(&[requested()]).when(&declined()), Ok(vec![failed()]));
}

#[test]
fn a_failure_changes_nothing_once_the_payment_is_over() {
    for end in [succeeded(), failed(), cancelled()] {
        assert_eq!(given(&[requested(), end]).when(&declined()), Ok(vec![]));
    }
}

#[test]
fn refuses_reports_about_a_payment_that_it_does_not_know() {
    let id = payment_id().to_string();
    assert_eq!(given(&[]).refuses(&paid(eur(1_200)), &[&id]), "UNKNOWN_PAYMENT");
    assert_eq!(given(&[]).refuses(&declined(), &[&id]), "UNKNOWN_PAYMENT");
}

#[test]
fn refuses_reports_about_a_payment_that_nobody_was_asked_for() {
    let world = given(&[cancelled()]);
    assert_eq!(world.refuses(&paid(eur(1_200)), &["cancelled before"]), "NEVER_REQUESTED");
    assert_eq!(world.refuses(&declined(), &["cancelled before"]), "NEVER_REQUESTED");
}

#[test]
fn stops_asking_when_the_order_is_closed() {
    assert_eq!(given(&[requested()]).when(&CANCEL), Ok(vec![cancelled()]));
}

#[test]
fn a_close_that_overtakes_the_request_leaves_a_tombstone() {
    assert_eq!(given(&[]).when(&CANCEL), Ok(vec![cancelled()]));
    let world = given(&[cancelled()]);
    assert_eq!((&world.payment().terms, world.payment().version), (&None, 1));
}

#[test]
fn a_close_changes_nothing_once_the_payment_is_over() {
    for events in
        [&[requested(), succeeded()][..], &[requested(), failed()], &[requested(), cancelled()], &[cancelled()]]
    {
        assert_eq!(given(events).when(&CANCEL), Ok(vec![]));
    }
}
