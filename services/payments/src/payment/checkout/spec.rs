//! Specs of pages: opened and closed by calls, whatever becomes of the payment meanwhile.

use std::time::Duration;

use domain::{DecideError, Rejection, Timestamp, spec::Spec};
use providers::{Checkout, OpenCheckout, registry::checkout};

use super::{Answer, CLOSED_WITHIN, LOOKS_AGAIN, LOOKS_BEFORE, PageStatus, TIME_TO_PAY};
use crate::{
    command::Command,
    event::{AuthorisationEvent, CheckoutEnd, CheckoutStep, Event},
    payment::{
        Status, decide,
        spec::{KEY, NOW, cancelled, eur, given, payment_id, report, request, requested, succeeded},
    },
    report::{Kind, Report},
};

fn ends_at() -> Timestamp {
    Timestamp::from_micros(99)
}

/// 12.00 EUR are asked for, on a page that must be called for.
fn called_for() -> Event {
    let Event::PaymentRequested { payment_id, key, amount, payment_method, .. } = requested() else {
        panic!("it is a request")
    };
    let expires_at = NOW + Duration::from_hours(1);
    let checkout = Checkout { provider: "test".to_owned(), reference: String::new(), url: String::new() };
    let (order_reference, checkout_ends_at) = (Some("R-1001".to_owned()), Some(ends_at()));
    Event::PaymentRequested {
        payment_id,
        key,
        amount,
        checkout,
        payment_method,
        order_reference,
        expires_at,
        checkout_ends_at,
    }
}

fn page() -> OpenCheckout {
    OpenCheckout { reference: "cs_1".to_owned(), url: "https://pay.test/cs_1".to_owned() }
}

fn opened() -> Event {
    Event::checkout(payment_id(), KEY, CheckoutStep::Opened { page: page(), look_at: None })
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

fn abandoned_for(is_replaced: bool) -> Event {
    let (provider, reference, deadline) = ("test".to_owned(), "cs_1".to_owned(), NOW + CLOSED_WITHIN);
    let actor = if is_replaced { "ann".to_owned() } else { String::new() };
    let step = CheckoutStep::Abandoned { provider, reference, deadline, page: 1, is_replaced, actor };
    Event::checkout(payment_id(), KEY, step)
}

fn abandoned() -> Event {
    abandoned_for(false)
}

/// It is to make room for another.
fn replaced() -> Event {
    abandoned_for(true)
}

/// The page in its place: the provider of the payment method keeps it open for as long as the payment is asked for.
fn another() -> Event {
    another_of(called_for())
}

/// The page in the place of the first of this payment.
fn another_of(requested: Event) -> Event {
    let Event::PaymentRequested { payment_id, key, amount, payment_method, order_reference, expires_at, .. } =
        requested
    else {
        panic!("it is a request")
    };
    let (page, provider, ends_at) = (2, "test".to_owned(), expires_at);
    let step = CheckoutStep::Requested { page, amount, provider, payment_method, order_reference, expires_at, ends_at };
    Event::checkout(payment_id, key, step)
}

/// The same payment of an order for which its shop has no number, or from before payments knew of those.
fn without_reference() -> Event {
    let mut requested = called_for();
    let Event::PaymentRequested { order_reference, .. } = &mut requested else { panic!("it is a request") };
    *order_reference = None;
    requested
}

fn wants_page(is_anew: bool) -> Command {
    Command::RequestCheckout { payment_id: payment_id(), is_anew, actor: "ann".to_owned() }
}

fn closed(end: CheckoutEnd) -> Event {
    Event::checkout(payment_id(), KEY, CheckoutStep::Closed(end))
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
    let failed = Event::checkout(payment_id(), KEY, CheckoutStep::Failed(no()));
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
    let [Event::Checkout(_), Event::Authorisation(AuthorisationEvent::Authorised { of, amount, .. })] = &*events else {
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
    let order_reference = Some("R-1001".to_owned());
    let asked = Command::RequestPayment { key, amount, checkout, payment_method, order_reference, expires_at };
    let events = given(&[]).when(&asked).unwrap();
    let [Event::PaymentRequested { checkout_ends_at: Some(ends_at), order_reference, .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(*ends_at > NOW + Duration::from_mins(30), "Stripe takes no less: {ends_at}");
    assert_eq!(order_reference.as_deref(), Some("R-1001"), "and what the shop calls the order");
}

#[test]
fn every_page_of_a_payment_is_asked_for_under_the_shops_own_number_if_there_is_one() {
    for first in [called_for(), without_reference()] {
        let events = given(&[first.clone(), opened(), replaced()]).when(&unpaid());
        assert_eq!(events, Ok(vec![closed(CheckoutEnd::Unpaid), another_of(first)]));
    }
    assert_ne!(another_of(called_for()), another_of(without_reference()));
}

#[test]
fn a_page_that_can_be_paid_on_is_good() {
    let open_until = |ends_at, expires_at| {
        let mut state = given(&[called_for(), opened()]);
        let payment = state.payments.change(&payment_id()).unwrap();
        payment.page.as_mut().unwrap().ends_at = ends_at;
        payment.terms.as_mut().unwrap().expires_at = expires_at;
        state
    };
    let (soon, later) = (NOW + TIME_TO_PAY, NOW + 2 * TIME_TO_PAY);
    assert_eq!(open_until(Some(soon), later).when(&wants_page(false)), Ok(vec![]));
    assert_eq!(open_until(Some(later), later).when(&wants_page(true)), Ok(vec![replaced()]), "its link is lost");
    // Nobody wrote down how long it is open.
    assert_eq!(open_until(None, later).when(&wants_page(false)), Ok(vec![]));
    // Another would be open no longer.
    let end = NOW + Duration::from_mins(1);
    assert_eq!(open_until(Some(end), end).when(&wants_page(false)), Ok(vec![]));
    assert_eq!(open_until(Some(end), later).when(&wants_page(false)), Ok(vec![replaced()]));
    // It is a link, or is being opened.
    let mut link = given(&[requested()]);
    link.payments.change(&payment_id()).unwrap().terms.as_mut().unwrap().expires_at = later;
    assert_eq!(link.when(&wants_page(true)), Ok(vec![]));
    assert_eq!(given(&[called_for()]).when(&wants_page(true)), Ok(vec![]));
}

#[test]
fn a_page_that_has_run_out_is_closed_before_another_is_opened() {
    let state = given(&[called_for(), opened()]);
    assert_eq!(state.when(&wants_page(false)), Ok(vec![replaced()]));
    let state = given(&[called_for(), opened(), replaced()]);
    assert_eq!(state.payment().page.as_ref().unwrap().status, PageStatus::Replacing);
    assert_eq!(state.when(&wants_page(true)), Ok(vec![]), "it is under way");
    assert_eq!(state.when(&unpaid()), Ok(vec![closed(CheckoutEnd::Unpaid), another()]));
    let state = given(&[called_for(), opened(), replaced(), closed(CheckoutEnd::Unpaid), another()]);
    let page = state.payment().page.clone().unwrap();
    assert_eq!((page.number, page.status, page.url.as_str()), (2, PageStatus::Opening, ""));
    let second = OpenCheckout { reference: "cs_2".to_owned(), url: "https://pay.test/cs_2".to_owned() };
    let events = state.when(&answer(Answer::Opened { page: second.clone(), authorised: None })).unwrap();
    assert_eq!(events, [Event::checkout(payment_id(), KEY, CheckoutStep::Opened { page: second, look_at: None })]);
}

#[test]
fn no_other_page_is_opened_for_what_was_paid_or_is_under_way() {
    let past = [called_for(), opened(), replaced()];
    let paid = answer(Answer::Closed { end: CheckoutEnd::Paid, report: Some(came()) });
    let events = given(&past).when(&paid).unwrap();
    assert!(matches!(&events[..], [Event::Checkout(_), Event::PaymentSucceeded { .. }]), "{events:?}");
    let under_way = answer(Answer::Closed { end: CheckoutEnd::UnderWay, report: None });
    assert_eq!(given(&past).when(&under_way), Ok(vec![closed(CheckoutEnd::UnderWay)]));
    let state = given(&[called_for(), opened(), replaced(), closed(CheckoutEnd::UnderWay)]);
    assert_eq!(state.refuses(&wants_page(true), &["under way"]), "PAYMENT_UNDER_WAY");
    // The webhook was quicker, or nobody is to pay any more.
    for meanwhile in [succeeded(), cancelled()] {
        let state = given(&[called_for(), opened(), replaced(), meanwhile]);
        assert_eq!(state.when(&unpaid()), Ok(vec![closed(CheckoutEnd::Unpaid)]));
    }
}

#[test]
fn money_that_is_set_aside_needs_no_other_page() {
    let held = Report { provider_reference: "pi_1".to_owned(), ..report(Kind::PaymentAuthorised, "pi_1 held") };
    let held = Command::RecordProviderEvent { payment_id: payment_id(), report: held };
    let state = |past: &[Event]| given(&[past, &given(past).when(&held).unwrap()].concat());
    assert_eq!(state(&[called_for(), opened()]).refuses(&wants_page(true), &["under way"]), "PAYMENT_UNDER_WAY");
    let late = state(&[called_for(), opened(), replaced()]);
    assert_eq!(late.when(&unpaid()), Ok(vec![closed(CheckoutEnd::Unpaid)]));
}

#[test]
fn a_page_that_is_to_make_room_is_closed_once_if_the_payment_is_cancelled_meanwhile() {
    let state = given(&[called_for(), opened(), replaced()]);
    assert_eq!(state.when(&cancel()), Ok(vec![cancelled()]));
}

#[test]
fn nobody_gets_a_page_for_what_nobody_is_to_pay() {
    assert_eq!(given(&[]).refuses(&wants_page(true), &[]), "UNKNOWN_PAYMENT");
    let early = given(&[]).when(&Command::RecordProviderEvent { payment_id: payment_id(), report: came() }).unwrap();
    assert_eq!(given(&early).refuses(&wants_page(true), &["nobody was asked"]), "NOT_PAYABLE");
    for (over, word) in [(succeeded(), "succeeded"), (cancelled(), "cancelled")] {
        let state = given(&[called_for(), opened(), over]);
        assert_eq!(state.refuses(&wants_page(true), &[word]), "NOT_PAYABLE");
    }
    let state = given(&[called_for(), opened()]);
    let expires_at = state.payment().terms.as_ref().unwrap().expires_at;
    let over = decide(&state, &wants_page(true), expires_at).unwrap_err();
    assert!(matches!(&over, DecideError::Rejected(rejection) if rejection.code == "NOT_PAYABLE"), "{over:?}");
}

/// The same payment through Stripe, whose reports can get lost, with so much time.
fn by_stripe(time: Duration) -> Event {
    let Event::PaymentRequested { payment_id, key, amount, checkout, order_reference, checkout_ends_at, .. } =
        called_for()
    else {
        panic!("it is a request")
    };
    let (payment_method, expires_at) = ("stripe".to_owned(), NOW + time);
    Event::PaymentRequested {
        payment_id,
        key,
        amount,
        checkout,
        payment_method,
        order_reference,
        expires_at,
        checkout_ends_at,
    }
}

fn opened_until(look_at: Timestamp) -> Event {
    Event::checkout(payment_id(), KEY, CheckoutStep::Opened { page: page(), look_at: Some(look_at) })
}

fn look() -> Command {
    Command::LookAtPage { payment_id: payment_id() }
}

fn seen(report: Option<Report>) -> Command {
    answer(Answer::Seen { report })
}

fn look_submitted(expires_at: Timestamp, look_at: Option<Timestamp>) -> Event {
    let (provider, reference) = ("test".to_owned(), "cs_1".to_owned());
    let step = CheckoutStep::LookSubmitted { provider, reference, deadline: expires_at, page: 1, look_at };
    Event::checkout(payment_id(), KEY, step)
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn a_page_whose_reports_can_get_lost_is_looked_at_before_the_payments_time_is_over() {
    let open = answer(Answer::Opened { page: page(), authorised: None });
    let at = |time| given(&[by_stripe(time)]).when(&open);
    assert_eq!(at(HOUR), Ok(vec![opened_until(NOW + HOUR - LOOKS_BEFORE)]));
    assert_eq!(at(3 * LOOKS_AGAIN), Ok(vec![opened_until(NOW + 3 * LOOKS_AGAIN / 2)]), "at half of a short time");
    assert_eq!(given(&[called_for()]).when(&open), Ok(vec![opened()]), "what the sandbox reports is heard");
    let late = NOW + HOUR;
    let over = decide(&given(&[by_stripe(HOUR)]), &open, late).unwrap();
    assert_eq!(over, [opened()], "its close says the same");
    for event in [opened_until(late), look_submitted(late, Some(late))] {
        assert_eq!(<crate::Payments as domain::Decider>::timer(&event), Some(domain::Timer::Set(late)), "{event:?}");
    }
    let stream = crate::event::stream(payment_id());
    assert_eq!(<crate::Payments as domain::Decider>::on_timer(&stream), Some(look()));
}

#[test]
fn a_look_with_time_left_is_followed_by_one_more() {
    let (over, state) = (NOW + HOUR, given(&[by_stripe(HOUR), opened_until(NOW)]));
    let at = |left: Duration| decide(&state, &look(), over - left).unwrap();
    let again = over - LOOKS_BEFORE / 4;
    assert_eq!(at(LOOKS_BEFORE), [look_submitted(over, Some(again))]);
    assert_eq!(at(LOOKS_BEFORE / 4), [look_submitted(over, None)]);
    assert!(at(Duration::ZERO).is_empty(), "it is being closed, which says the same");
    // A timer may come twice.
    let looked = [by_stripe(HOUR), opened_until(NOW), look_submitted(over, Some(NOW + HOUR / 2))];
    assert!(decide(&given(&looked), &look(), NOW).unwrap().is_empty(), "it is not due yet");
    let last = [by_stripe(HOUR), opened_until(NOW), look_submitted(over, None)];
    assert!(decide(&given(&last), &look(), over - LOOKS_AGAIN).unwrap().is_empty(), "it was the last");
}

#[test]
fn a_payment_that_is_settled_is_not_looked_at() {
    let page = [by_stripe(HOUR), opened_until(NOW)];
    let [asked, open] = page.clone();
    let authorised = Report { provider_reference: "pi_1".to_owned(), ..report(Kind::PaymentAuthorised, "evt_1") };
    let held = given(&page).when(&Command::RecordProviderEvent { payment_id: payment_id(), report: authorised });
    for settled in [
        vec![asked.clone(), open.clone(), succeeded()],
        vec![asked.clone(), open.clone(), cancelled(), abandoned()],
        vec![asked.clone(), open.clone(), replaced()],
        page.into_iter().chain(held.unwrap()).collect(),
        vec![asked],
        vec![],
    ] {
        assert_eq!(given(&settled).when(&look()), Ok(vec![]), "{settled:?}");
    }
}

#[test]
fn what_is_seen_on_a_page_is_taken_as_if_it_had_been_reported() {
    let open = [by_stripe(HOUR), opened_until(NOW)];
    let told = Command::RecordProviderEvent { payment_id: payment_id(), report: came() };
    let taken = given(&open).when(&told).unwrap();
    assert_eq!(given(&open).when(&seen(Some(came()))), Ok(taken.clone()));
    assert_eq!(given(&open).when(&seen(None)), Ok(vec![]));
    // Whichever comes second adds nothing.
    let after: Vec<Event> = open.iter().cloned().chain(taken).collect();
    assert_eq!(given(&after).when(&told), Ok(vec![]));
    assert_eq!(given(&after).when(&seen(Some(came()))), Ok(vec![]));
    // Late money is never lost.
    let closed = given(&[by_stripe(HOUR), opened_until(NOW), cancelled(), abandoned()]);
    assert!(matches!(closed.when(&seen(Some(came()))).as_deref(), Ok([Event::PaymentSucceeded { .. }])));
}
