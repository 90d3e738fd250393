//! Specs of pages: opened and closed by calls, whatever becomes of the payment meanwhile.

use domain::{Rejection, Timestamp, spec::Spec};
use providers::{Checkout, OpenCheckout, registry::checkout};

use super::{Answer, CLOSED_WITHIN, PageStatus};
use crate::{
    command::Command,
    event::{AuthorisationEvent, CheckoutEnd, Event},
    payment::{
        Status,
        spec::{KEY, NOW, cancelled, eur, given, payment_id, report, request, requested, succeeded},
    },
    report::{Kind, Report},
};

fn ends_at() -> Timestamp {
    Timestamp::from_micros(99)
}

/// 12.00 EUR are asked for, on a page that must be called for.
fn called_for() -> Event {
    let Event::PaymentRequested { payment_id, key, amount, payment_method, expires_at, .. } = requested() else {
        panic!("it is a request")
    };
    let checkout = Checkout { provider: "test".to_owned(), reference: String::new(), url: String::new() };
    let checkout_ends_at = Some(ends_at());
    Event::PaymentRequested { payment_id, key, amount, checkout, payment_method, expires_at, checkout_ends_at }
}

fn page() -> OpenCheckout {
    OpenCheckout { reference: "cs_1".to_owned(), url: "https://pay.test/cs_1".to_owned() }
}

fn opened() -> Event {
    Event::CheckoutOpened { payment_id: payment_id(), key: KEY, checkout: page() }
}

/// What is opened with its money set aside.
fn with_money() -> (OpenCheckout, Report) {
    let page = OpenCheckout { reference: "funds-1".to_owned(), url: String::new() };
    (page, Report { provider_reference: "funds-1".to_owned(), ..report(Kind::PaymentAuthorised, "funds-1 held") })
}

fn opened_with_money() -> Command {
    let (page, report) = with_money();
    answer(Answer::Opened { page, authorised: Some(report) })
}

fn abandoned() -> Event {
    Event::CheckoutAbandoned {
        payment_id: payment_id(),
        key: KEY,
        provider: "test".to_owned(),
        reference: "cs_1".to_owned(),
        deadline: NOW + CLOSED_WITHIN,
    }
}

fn closed(end: CheckoutEnd) -> Event {
    Event::CheckoutClosed { payment_id: payment_id(), key: KEY, end }
}

fn answer(answer: Answer) -> Command {
    Command::RecordCheckout { payment_id: payment_id(), answer }
}

fn unpaid() -> Command {
    answer(Answer::Closed { end: CheckoutEnd::Unpaid, report: None })
}

fn no() -> Rejection {
    Rejection::new("DECLINED", "the account is closed")
}

fn cancel() -> Command {
    Command::CancelPayment { key: KEY }
}

/// The money of these 12.00 EUR came.
fn came() -> Report {
    report(Kind::PaymentSucceeded, "evt_1")
}

#[test]
fn a_link_that_is_known_needs_no_call() {
    let state = given(&[requested()]);
    assert_eq!(state.payment().page, None);
    assert_eq!(state.when(&cancel()), Ok(vec![cancelled()]));
}

#[test]
fn a_page_that_is_called_for_is_open_once_the_provider_says_so() {
    let state = given(&[called_for()]);
    assert_eq!(state.payment().page.as_ref().unwrap().status, PageStatus::Opening);
    assert_eq!(state.when(&answer(Answer::Opened { page: page(), authorised: None })), Ok(vec![opened()]));
    let state = given(&[called_for(), opened()]);
    let payment = state.payment();
    assert_eq!(payment.page.as_ref().map(|page| page.url.as_str()), Some("https://pay.test/cs_1"));
    assert_eq!(payment.terms.as_ref().unwrap().reference, "cs_1");
    assert_eq!(state.when(&answer(Answer::Opened { page: page(), authorised: None })), Ok(vec![]), "it is heard once");
}

#[test]
fn a_payment_whose_page_is_not_opened_has_failed() {
    let failed = Event::CheckoutFailed { payment_id: payment_id(), key: KEY, rejection: no() };
    let events = given(&[called_for()]).when(&answer(Answer::Failed(no()))).unwrap();
    let [first, Event::PaymentFailed { reason, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(*first, failed);
    assert!(reason.contains("the account is closed"), "{reason}");
    assert_eq!(given(&events).payments.get(&payment_id()), None, "it is no first event");
    // Nobody is asked any more, so nothing fails by it.
    assert_eq!(given(&[called_for(), cancelled()]).when(&answer(Answer::Failed(no()))), Ok(vec![failed]));
}

#[test]
fn an_open_page_is_closed_when_its_payment_is_cancelled() {
    let state = given(&[called_for(), opened()]);
    assert_eq!(state.when(&cancel()), Ok(vec![cancelled(), abandoned()]));
    let state = given(&[called_for(), opened(), cancelled(), abandoned()]);
    assert_eq!(state.when(&cancel()), Ok(vec![]));
    assert_eq!(state.when(&unpaid()), Ok(vec![closed(CheckoutEnd::Unpaid)]));
    let state = given(&[called_for(), opened(), cancelled(), abandoned(), closed(CheckoutEnd::Unpaid)]);
    assert_eq!(state.when(&unpaid()), Ok(vec![]), "it is heard once");
}

#[test]
fn a_page_that_opens_after_its_payment_was_cancelled_is_closed_at_once() {
    let state = given(&[called_for(), cancelled()]);
    assert_eq!(state.when(&answer(Answer::Opened { page: page(), authorised: None })), Ok(vec![opened(), abandoned()]));
}

#[test]
fn what_opens_with_its_money_set_aside_is_no_page_and_is_never_closed() {
    let events = given(&[called_for()]).when(&opened_with_money()).unwrap();
    let [Event::CheckoutOpened { .. }, Event::Authorisation(AuthorisationEvent::Authorised { of, amount, .. })] =
        &*events
    else {
        panic!("{events:?}")
    };
    assert_eq!((of.reference.as_str(), *amount), ("funds-1", eur(1_200)));
    let state = given(&[vec![called_for()], events].concat());
    assert_eq!(state.payment().page.as_ref().unwrap().status, PageStatus::Closed);
    assert_eq!(state.when(&opened_with_money()), Ok(vec![]), "it is heard once");
    assert_eq!(state.when(&cancel()), Ok(vec![cancelled()]), "there is no page to abandon");
}

#[test]
fn money_that_is_set_aside_for_a_payment_that_was_cancelled_is_told_to_orders_all_the_same() {
    let events = given(&[called_for(), cancelled()]).when(&opened_with_money()).unwrap();
    assert!(matches!(&events[..], [_, Event::Authorisation(AuthorisationEvent::Authorised { .. })]), "{events:?}");
}

#[test]
fn a_page_that_was_paid_on_is_not_closed() {
    // The report was quicker than the answer that the page is open.
    let state = given(&[called_for(), succeeded()]);
    assert_eq!(state.when(&answer(Answer::Opened { page: page(), authorised: None })), Ok(vec![opened()]));
    assert_eq!(given(&[called_for(), opened(), succeeded()]).when(&cancel()), Ok(vec![]));
}

#[test]
fn money_that_was_quicker_than_the_closing_has_come_late() {
    let state = given(&[called_for(), opened(), cancelled(), abandoned()]);
    let paid = answer(Answer::Closed { end: CheckoutEnd::Paid, report: Some(came()) });
    let events = state.when(&paid).unwrap();
    let [first, Event::PaymentSucceeded { provider_event_id, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((first, provider_event_id.as_str()), (&closed(CheckoutEnd::Paid), "evt_1"));
    let told = [vec![called_for(), opened(), cancelled(), abandoned()], events].concat();
    assert_eq!(given(&told).payment().status, Status::Succeeded);
    let again = Command::RecordProviderEvent { payment_id: payment_id(), report: came() };
    assert_eq!(given(&told).when(&again), Ok(vec![]), "the webhook says the same");
}

#[test]
fn the_webhook_may_be_quicker_than_the_closing() {
    let late = given(&[called_for(), opened(), cancelled(), abandoned()]);
    let reported = late.when(&Command::RecordProviderEvent { payment_id: payment_id(), report: came() }).unwrap();
    let told = [vec![called_for(), opened(), cancelled(), abandoned()], reported].concat();
    let paid = answer(Answer::Closed { end: CheckoutEnd::Paid, report: Some(came()) });
    assert_eq!(given(&told).when(&paid), Ok(vec![closed(CheckoutEnd::Paid)]));
}

#[test]
fn a_request_says_until_when_the_page_is_to_be_open() {
    let Command::RequestPayment { key, amount, expires_at, .. } = request(eur(1_200)) else {
        panic!("it is a request")
    };
    let payment_method = "stripe".to_owned();
    let checkout = checkout(payment_id(), &payment_method);
    let asked = Command::RequestPayment { key, amount, checkout, payment_method, expires_at };
    let events = given(&[]).when(&asked).unwrap();
    let [Event::PaymentRequested { checkout_ends_at: Some(ends_at), .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(*ends_at > NOW + std::time::Duration::from_mins(30), "Stripe takes no less: {ends_at}");
}
