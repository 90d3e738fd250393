//! Specs of payments, and words for the specs of this crate: given these events, when this command comes, then these
//! events.

use domain::{Currency, HoldKey, Money, OrderId, PaymentId, RefundId, Timestamp, spec::Spec};
use providers::{Checkout, idempotency_key};
use uuid::Uuid;

use super::{Payment, State, Status};
use crate::{
    Payments,
    command::{Command, Outcome},
    event::{Event, RefundOf, ReportResolution, stream},
    report::{Kind, Mismatch, Report, ReportedMoney},
};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(60_000_000);
pub(crate) const KEY: HoldKey = HoldKey { order_id: OrderId(Uuid::from_u128(7)), attempt: 1 };

impl Spec for State {
    type Rules = Payments;

    fn time_of(&self, _command: &Command) -> Timestamp {
        NOW
    }

    fn stream() -> String {
        stream(payment_id())
    }
}

pub(crate) fn given(events: &[Event]) -> State {
    State::given(events)
}

impl State {
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
    RefundOf { payment_id: payment_id(), order_id: KEY.order_id, refund_id: refund_id(), is_of_second_charge: false }
}

pub(crate) fn begin(amount: Money) -> Command {
    Command::BeginRefund { payment_id: payment_id(), order_id: KEY.order_id, refund_id: refund_id(), amount }
}

pub(crate) fn key(send: i32) -> String {
    idempotency_key(payment_id(), refund_id(), send)
}

pub(crate) fn ended(send: i32, outcome: Outcome) -> Command {
    Command::RecordRefundOutcome { payment_id: payment_id(), refund_id: refund_id(), key: key(send), outcome }
}

pub(crate) fn went_back() -> Outcome {
    Outcome::Refunded { provider_reference: "re_1".to_owned() }
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

pub(crate) fn request(amount: Money) -> Command {
    let (checkout, payment_method, expires_at) = (checkout(), "card".to_owned(), Timestamp::from_micros(99));
    Command::RequestPayment { key: KEY, amount, checkout, payment_method, order_reference: None, expires_at }
}

/// 12.00 EUR were asked for.
pub(crate) fn requested() -> Event {
    Event::PaymentRequested {
        payment_id: payment_id(),
        key: KEY,
        amount: eur(1_200),
        checkout: checkout(),
        payment_method: "card".to_owned(),
        order_reference: None,
        expires_at: Timestamp::from_micros(99),
        checkout_ends_at: None,
    }
}

/// 12.00 EUR came.
pub(crate) fn succeeded() -> Event {
    Event::PaymentSucceeded {
        payment_id: payment_id(),
        key: KEY,
        amount: eur(1_200),
        provider_event_id: "evt_1".to_owned(),
        provider_reference: "ch_1".to_owned(),
        occurred_at: Some(at(100)),
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

/// This many seconds after 1970, by the provider's clock.
pub(crate) const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// A report of 12.00 EUR for charge `ch_1`, at 100 s.
pub(crate) fn report(kind: Kind, event_id: &str) -> Report {
    Report {
        kind,
        provider_event_id: event_id.to_owned(),
        provider_reference: "ch_1".to_owned(),
        refund_id: String::new(),
        amount: Some(named(1_200, "EUR")),
        reason: "no money".to_owned(),
        occurred_at: Some(at(100)),
        dispute: None,
        charge_reference: String::new(),
    }
}

pub(crate) fn named(minor_units: i64, currency: &str) -> ReportedMoney {
    ReportedMoney { minor_units, currency: currency.to_owned() }
}

fn paid(amount: Money) -> Command {
    let amount = Some(named(amount.minor_units, amount.currency.as_str()));
    told(Report { amount, reason: String::new(), ..report(Kind::PaymentSucceeded, "evt_1") })
}

fn declined_report() -> Report {
    Report { provider_reference: "ch_0".to_owned(), ..report(Kind::PaymentFailed, "evt_2") }
}

fn noted(report: Report) -> Event {
    Event::PaymentDeclined { payment_id: payment_id(), key: KEY, report }
}

pub(crate) fn unmatched(report: Report, mismatch: Mismatch) -> Event {
    Event::ProviderReportUnmatched { payment_id: payment_id(), key: Some(KEY), report, mismatch }
}

#[test]
fn asks_the_buyer_of_a_reserved_order_to_pay() {
    let state = given(&[]);
    assert_eq!(state.when(&request(eur(1_200))), Ok(vec![requested()]));
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
    given(&[requested()]).breaks(&request(eur(1_300)), &["12.00 EUR", "13.00 EUR"]);
}

#[test]
fn takes_in_the_money_that_was_asked_for() {
    assert_eq!(given(&[requested()]).when(&paid(eur(1_200))), Ok(vec![succeeded()]));
    let state = given(&[requested(), succeeded()]);
    assert_eq!((state.payment().captured_minor, state.payment().version.get()), (1_200, 2));
    assert_eq!(state.when(&paid(eur(1_200))), Ok(vec![]), "once");
}

#[test]
fn late_money_is_never_lost() {
    for events in [&[requested(), cancelled()], &[requested(), failed()]] {
        assert_eq!(given(events).when(&paid(eur(1_200))), Ok(vec![succeeded()]));
    }
}

#[test]
fn another_amount_than_was_asked_for_is_known_until_somebody_decides() {
    for amount in [eur(1_199), eur(1_201), eur(0), usd(1_200)] {
        for past in [&[requested()][..], &[requested(), cancelled()]] {
            let events = given(past).when(&paid(amount)).unwrap();
            assert!(
                matches!(&events[..], [Event::ProviderReportUnmatched { mismatch: Mismatch::OtherAmount, report, .. }]
                    if report.amount == Some(named(amount.minor_units, amount.currency.as_str()))),
                "{events:?}"
            );
            let again = given(&[past, &events].concat());
            assert_eq!(again.when(&paid(amount)), Ok(vec![]), "once");
            assert_eq!(again.payment().captured_minor, 0);
        }
    }
}

#[test]
fn money_that_cannot_be_read_is_known_too() {
    for amount in [None, Some(named(-1, "EUR")), Some(named(1_200, "")), Some(named(i64::MAX, "EUR"))] {
        let report = Report { amount, ..report(Kind::PaymentSucceeded, "evt_1") };
        let state = given(&[requested()]);
        assert_eq!(state.when(&told(report.clone())), Ok(vec![unmatched(report, Mismatch::OtherAmount)]));
    }
}

#[test]
fn a_declined_card_is_a_note_and_no_end() {
    let state = given(&[requested()]);
    assert_eq!(state.when(&told(declined_report())), Ok(vec![noted(declined_report())]));
    let state = given(&[requested(), noted(declined_report())]);
    assert_eq!(state.payment().status, Status::Requested);
    assert_eq!(state.when(&told(declined_report())), Ok(vec![]), "once");
    assert_eq!(state.when(&paid(eur(1_200))), Ok(vec![succeeded()]), "the second card");
}

#[test]
fn the_order_in_which_a_failure_and_a_success_arrive_makes_no_difference() {
    let failure = Report { occurred_at: Some(at(95)), ..declined_report() };
    let first = given(&[requested(), noted(failure.clone()), succeeded()]);
    let second = given(&[requested(), succeeded(), noted(failure.clone())]);
    assert_eq!(given(&[requested(), succeeded()]).when(&told(failure.clone())), Ok(vec![noted(failure)]));
    assert_eq!(first, second);
}

#[test]
fn a_payment_that_the_provider_closed_is_over() {
    let closed = told(report(Kind::PaymentClosed, "evt_2"));
    assert_eq!(given(&[requested()]).when(&closed), Ok(vec![failed()]));
    assert_eq!(given(&[requested(), failed()]).when(&closed), Ok(vec![]));
    let earlier = Report { occurred_at: Some(at(99)), ..report(Kind::PaymentClosed, "evt_2") };
    assert_eq!(given(&[requested(), succeeded()]).when(&told(earlier.clone())), Ok(vec![noted(earlier)]));
}

#[test]
fn a_second_charge_is_news() {
    let state = given(&[requested(), succeeded()]);
    let second = Report { provider_reference: "ch_2".to_owned(), ..report(Kind::PaymentSucceeded, "evt_2") };
    let found = unmatched(second.clone(), Mismatch::SecondCharge);
    let events = state.when(&told(second.clone())).unwrap();
    assert_eq!(events.first(), Some(&found));
    let state = given(&[vec![requested(), succeeded()], events].concat());
    assert_eq!(state.when(&told(second.clone())), Ok(vec![]), "once");
    assert_eq!((state.payment().captured_minor, state.payment().left_minor()), (1_200, 1_200));
    // Without references, another event of the provider is news as well.
    let unnamed = Report { provider_reference: String::new(), ..second };
    let state = given(&[requested(), succeeded()]);
    assert_eq!(state.when(&told(unnamed.clone())), Ok(vec![unmatched(unnamed, Mismatch::SecondCharge)]));
    // The same charge, told by another event of the provider, is not.
    assert_eq!(state.when(&told(report(Kind::PaymentSucceeded, "evt_9"))), Ok(vec![]));
}

#[test]
fn money_that_is_taken_back_after_it_came_waits_for_an_operator() {
    let returned = Report { occurred_at: Some(at(105)), ..report(Kind::PaymentFailed, "evt_2") };
    let found = unmatched(returned.clone(), Mismatch::TakenBack);
    assert_eq!(given(&[requested(), succeeded()]).when(&told(returned.clone())), Ok(vec![found.clone()]));
    // Whoever does not name the charge means it, if it is later.
    let unnamed = Report { provider_reference: String::new(), ..returned.clone() };
    assert_eq!(
        given(&[requested(), succeeded()]).when(&told(unnamed.clone())),
        Ok(vec![unmatched(unnamed, Mismatch::TakenBack)])
    );
    // Another card's failure is a note, however late.
    let other = Report { provider_reference: "ch_2".to_owned(), ..returned };
    assert_eq!(given(&[requested(), succeeded()]).when(&told(other.clone())), Ok(vec![noted(other)]));
    // And what was taken back may come again.
    let again = Report { occurred_at: Some(at(200)), ..report(Kind::PaymentSucceeded, "evt_3") };
    let events = given(&[requested(), succeeded(), found]).when(&told(again)).unwrap();
    assert!(matches!(&events[..], [Event::ProviderReportResolved { provider_event_id, settled_by, .. }]
        if provider_event_id == "evt_2" && settled_by == "evt_3"));
}

#[test]
fn a_report_about_a_payment_that_is_not_known_yet_pays_it_once_it_is() {
    let early = report(Kind::PaymentSucceeded, "evt_1");
    let found = Event::ProviderReportUnmatched {
        payment_id: payment_id(),
        key: None,
        report: early.clone(),
        mismatch: Mismatch::NotAsked,
    };
    assert_eq!(given(&[]).when(&told(early.clone())), Ok(vec![found.clone()]));
    let state = given(std::slice::from_ref(&found));
    assert_eq!(state.when(&told(early)), Ok(vec![]), "once");
    assert_eq!(state.when(&request(eur(1_200))), Ok(vec![requested(), succeeded()]));
    let paid = given(&[found.clone(), requested(), succeeded()]);
    assert!(paid.payment().is_blocked().is_none(), "the report fits now");
    // Over another amount it fits as little as before, and says why.
    let events = state.when(&request(eur(1_300))).unwrap();
    assert!(matches!(&events[..], [_, Event::ProviderReportUnmatched { mismatch: Mismatch::OtherAmount, .. }]));
    // If its order is closed before anybody is asked, the money waits for an operator.
    assert_eq!(state.when(&CANCEL), Ok(vec![cancelled()]));
    assert!(given(&[found, cancelled()]).payment().is_blocked().is_some());
}

#[test]
fn a_report_about_a_payment_that_nobody_was_asked_for_is_kept() {
    let state = given(&[cancelled()]);
    let report = report(Kind::PaymentSucceeded, "evt_1");
    assert_eq!(state.when(&told(report.clone())), Ok(vec![unmatched(report, Mismatch::NotAsked)]));
    assert_eq!(state.when(&told(declined_report())), Ok(vec![noted(declined_report())]));
}

#[test]
fn an_operator_settles_what_fits_nothing() {
    let second = Report { provider_reference: "ch_2".to_owned(), ..report(Kind::PaymentSucceeded, "evt_2") };
    let state = given(&[requested(), succeeded(), unmatched(second.clone(), Mismatch::SecondCharge)]);
    let decide = |resolution| Command::ResolveReport {
        payment_id: payment_id(),
        provider_event_id: "evt_2".to_owned(),
        resolution,
        actor: "ann".to_owned(),
        note: "given back by hand".to_owned(),
    };
    let events = state.when(&decide(ReportResolution::Undone)).unwrap();
    let past = [vec![requested(), succeeded(), unmatched(second, Mismatch::SecondCharge)], events].concat();
    let settled = given(&past);
    assert!(settled.payment().is_blocked().is_none());
    assert_eq!(settled.when(&decide(ReportResolution::Undone)), Ok(vec![]), "once");
    assert_eq!(settled.refuses(&decide(ReportResolution::Accepted), &["evt_2", "undone"]), "WRONG_STATE");
    assert_eq!(given(&[requested()]).refuses(&decide(ReportResolution::Undone), &["evt_2"]), "UNKNOWN_REPORT");
}

#[test]
fn money_that_is_gone_for_good_is_not_left() {
    let returned = Report { occurred_at: Some(at(105)), amount: None, ..report(Kind::PaymentFailed, "evt_2") };
    let accepted = Event::ProviderReportResolved {
        payment_id: payment_id(),
        provider_event_id: "evt_2".to_owned(),
        resolution: ReportResolution::Accepted,
        actor: "ann".to_owned(),
        note: "the bank is right".to_owned(),
        settled_by: String::new(),
    };
    let state = given(&[requested(), succeeded(), unmatched(returned, Mismatch::TakenBack), accepted]);
    assert_eq!((state.payment().gone_minor(), state.payment().left_minor()), (1_200, 0));
}

#[test]
fn stops_asking_when_the_order_is_closed() {
    assert_eq!(given(&[requested()]).when(&CANCEL), Ok(vec![cancelled()]));
}

#[test]
fn a_close_that_overtakes_the_request_leaves_a_tombstone() {
    assert_eq!(given(&[]).when(&CANCEL), Ok(vec![cancelled()]));
    let state = given(&[cancelled()]);
    assert_eq!((&state.payment().terms, state.payment().version.get()), (&None, 1));
}

#[test]
fn a_close_changes_nothing_once_the_payment_is_over() {
    for events in
        [&[requested(), succeeded()][..], &[requested(), failed()], &[requested(), cancelled()], &[cancelled()]]
    {
        assert_eq!(given(events).when(&CANCEL), Ok(vec![]));
    }
}
