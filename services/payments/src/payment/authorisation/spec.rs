//! Specs of money that is set aside: taken or let go as orders says, and by nobody else.

use domain::spec::Spec;

use super::{Answer, AuthorisationStatus, Decision, ENDED_WITHIN};
use crate::{
    command::Command,
    event::{AuthorisationCall, AuthorisationEvent, AuthorisationOf, Event},
    payment::{
        Status,
        spec::{KEY, NOW, at, cancelled, eur, given, payment_id, requested, succeeded, told},
    },
    report::{Kind, Report, ReportedMoney},
};

fn report(kind: Kind, reference: &str, minor_units: i64) -> Report {
    Report {
        kind,
        provider_event_id: format!("{reference} {}", kind.as_str()),
        provider_reference: reference.to_owned(),
        refund_id: String::new(),
        amount: Some(ReportedMoney { minor_units, currency: "EUR".to_owned() }),
        reason: "because".to_owned(),
        occurred_at: Some(at(100)),
        dispute: None,
        charge_reference: String::new(),
    }
}

fn set_aside(reference: &str, minor_units: i64) -> Command {
    told(report(Kind::PaymentAuthorised, reference, minor_units))
}

fn of(reference: &str) -> AuthorisationOf {
    AuthorisationOf { payment_id: payment_id(), key: KEY, reference: reference.to_owned() }
}

fn authorised() -> Event {
    Event::Authorisation(AuthorisationEvent::Authorised {
        of: of("pi_1"),
        amount: eur(1_200),
        provider_event_id: "pi_1 payment_authorised".to_owned(),
        occurred_at: Some(at(100)),
    })
}

fn call(reference: &str, minor_units: i64, from: domain::Timestamp) -> AuthorisationCall {
    AuthorisationCall {
        of: of(reference),
        amount: eur(minor_units),
        provider: "test".to_owned(),
        payment_reference: "pay_1".to_owned(),
        deadline: from + ENDED_WITHIN,
    }
}

fn capture() -> Event {
    Event::Authorisation(AuthorisationEvent::CaptureSubmitted(call("pi_1", 1_200, NOW)))
}

fn void() -> Event {
    Event::Authorisation(AuthorisationEvent::VoidSubmitted(call("pi_1", 1_200, NOW)))
}

fn voided(provider_event_id: &str, reason: &str) -> Event {
    let (provider_event_id, reason) = (provider_event_id.to_owned(), reason.to_owned());
    Event::Authorisation(AuthorisationEvent::Voided { of: of("pi_1"), provider_event_id, reason, is_awaited: true })
}

/// The same of what the order does not wait for.
fn let_go() -> Event {
    let (provider_event_id, reason) = (String::new(), "because".to_owned());
    Event::Authorisation(AuthorisationEvent::Voided { of: of("pi_1"), provider_event_id, reason, is_awaited: false })
}

fn orders(decision: Decision) -> Command {
    Command::DecideAuthorisation { payment_id: payment_id(), decision }
}

fn answered(answer: Answer) -> Command {
    Command::RecordAuthorisation { payment_id: payment_id(), reference: "pi_1".to_owned(), answer }
}

fn taken() -> Answer {
    Answer::Captured(report(Kind::PaymentSucceeded, "pi_1", 1_200))
}

fn gone() -> Answer {
    Answer::Voided { reason: "because".to_owned() }
}

/// The money of this charge came.
fn came() -> Event {
    let Event::PaymentSucceeded { payment_id, key, amount, occurred_at, .. } = succeeded() else { panic!("it came") };
    let (provider_event_id, provider_reference) = ("pi_1 payment_succeeded".to_owned(), "pi_1".to_owned());
    Event::PaymentSucceeded { payment_id, key, amount, provider_event_id, provider_reference, occurred_at }
}

#[test]
fn money_that_is_set_aside_waits_for_orders() {
    assert_eq!(given(&[requested()]).when(&set_aside("pi_1", 1_200)), Ok(vec![authorised()]));
    let state = given(&[requested(), authorised()]);
    assert_eq!((state.payment().status, state.payment().captured_minor), (Status::Requested, 0));
    assert_eq!(state.when(&set_aside("pi_1", 1_200)), Ok(vec![]));
    assert_eq!(state.when(&orders(Decision::Capture)), Ok(vec![capture()]));
    assert_eq!(state.when(&orders(Decision::Void)), Ok(vec![void()]));
}

#[test]
fn orders_is_heard_once() {
    for decided in [capture(), void(), came()] {
        let state = given(&[requested(), authorised(), decided]);
        for decision in [Decision::Capture, Decision::Void] {
            assert_eq!(state.when(&orders(decision)), Ok(vec![]));
        }
    }
    assert_eq!(given(&[requested()]).when(&orders(Decision::Capture)), Ok(vec![]));
    given(&[]).breaks(&orders(Decision::Capture), &["no such payment"]);
}

#[test]
fn money_that_is_taken_is_there_once_whoever_says_so_first() {
    let capturing = [requested(), authorised(), capture()];
    assert_eq!(given(&capturing).when(&answered(taken())), Ok(vec![came()]));
    assert_eq!(given(&capturing).when(&told(report(Kind::PaymentSucceeded, "pi_1", 1_200))), Ok(vec![came()]));
    let state = given(&[requested(), authorised(), capture(), came()]);
    assert_eq!(state.payment().authorisations["pi_1"].status, AuthorisationStatus::Captured);
    assert_eq!(state.when(&answered(taken())), Ok(vec![]));
    assert_eq!(state.when(&told(report(Kind::PaymentSucceeded, "pi_1", 1_200))), Ok(vec![]));
    assert_eq!(state.payment().left_minor(), 1_200);
}

#[test]
fn money_that_cannot_be_taken_ends_the_payment() {
    let capturing = [requested(), authorised(), capture()];
    assert_eq!(given(&capturing).when(&answered(gone())), Ok(vec![voided("", "because")]));
    let told_of = told(report(Kind::PaymentVoided, "pi_1", 1_200));
    assert_eq!(given(&capturing).when(&told_of), Ok(vec![voided("pi_1 payment_voided", "because")]));
    let state = given(&[requested(), authorised(), capture(), voided("", "because")]);
    assert_eq!(state.payment().status, Status::Failed);
    assert_eq!(state.when(&answered(gone())), Ok(vec![]));
    assert_eq!(state.when(&told_of), Ok(vec![]));
}

#[test]
fn money_that_lapses_before_orders_decides_ends_the_payment() {
    let events = given(&[requested(), authorised()]).when(&told(report(Kind::PaymentVoided, "pi_1", 1_200)));
    assert_eq!(events, Ok(vec![voided("pi_1 payment_voided", "because")]));
}

#[test]
fn orders_is_told_once_more_if_it_asks_for_money_that_has_lapsed() {
    let lapsed = given(&[requested(), authorised(), voided("pi_1 payment_voided", "because")]);
    assert_eq!(lapsed.payment().authorisations["pi_1"].status, AuthorisationStatus::Lapsed);
    assert_eq!(lapsed.when(&orders(Decision::Void)), Ok(vec![]));
    let again = voided("", "it had ended before it was to be taken");
    assert_eq!(lapsed.when(&orders(Decision::Capture)), Ok(vec![again.clone()]));
    let told = given(&[requested(), authorised(), voided("pi_1 payment_voided", "because"), again]);
    assert_eq!(told.when(&orders(Decision::Capture)), Ok(vec![]));
}

#[test]
fn what_orders_does_not_want_is_let_go_and_leaves_the_payment_as_it_was() {
    let state = given(&[requested(), cancelled(), authorised(), void()]);
    assert_eq!(state.when(&answered(gone())), Ok(vec![let_go()]));
    let state = given(&[requested(), cancelled(), authorised(), void(), let_go()]);
    assert_eq!(state.payment().status, Status::Cancelled);
    assert_eq!((state.payment().captured_minor, state.payment().left_minor()), (0, 0));
}

#[test]
fn money_that_somebody_has_taken_before_it_was_let_go_is_late_money() {
    let state = given(&[requested(), cancelled(), authorised(), void()]);
    assert_eq!(state.when(&answered(taken())), Ok(vec![came()]));
}

#[test]
fn money_that_cannot_pay_the_payment_is_let_go_at_once() {
    let let_go = |reference, minor| {
        vec![Event::Authorisation(AuthorisationEvent::VoidSubmitted(call(reference, minor, at(100))))]
    };
    assert_eq!(given(&[requested()]).when(&set_aside("pi_1", 1_199)), Ok(let_go("pi_1", 1_199)));
    let second = given(&[requested(), authorised()]);
    assert_eq!(second.when(&set_aside("pi_2", 1_200)), Ok(let_go("pi_2", 1_200)));
    let paid = given(&[requested(), succeeded()]);
    assert_eq!(paid.when(&set_aside("pi_2", 1_200)), Ok(let_go("pi_2", 1_200)));
}

#[test]
fn the_end_of_what_orders_never_heard_of_is_none_of_its_money() {
    let second = Event::Authorisation(AuthorisationEvent::VoidSubmitted(call("pi_2", 1_200, at(100))));
    let state = given(&[requested(), authorised(), capture(), second]);
    let (reference, answer) = ("pi_2".to_owned(), gone());
    let events = state.when(&Command::RecordAuthorisation { payment_id: payment_id(), reference, answer }).unwrap();
    assert!(
        matches!(&*events, [Event::Authorisation(AuthorisationEvent::Voided { is_awaited: false, .. })]),
        "{events:?}"
    );
}

#[test]
fn money_of_a_payment_that_is_paid_otherwise_is_let_go() {
    let other = Report { provider_event_id: "evt_1".to_owned(), ..report(Kind::PaymentSucceeded, "ch_1", 1_200) };
    let let_go = Event::Authorisation(AuthorisationEvent::VoidSubmitted(call("pi_1", 1_200, at(100))));
    let events = given(&[requested(), authorised()]).when(&told(other));
    assert_eq!(events, Ok(vec![succeeded(), let_go.clone()]));
    let state = given(&[requested(), authorised(), succeeded(), let_go]);
    assert_eq!(state.when(&orders(Decision::Capture)), Ok(vec![]));
}

#[test]
fn the_end_of_what_was_never_heard_of_is_noted_and_then_nothing_is_set_aside() {
    let ended = report(Kind::PaymentVoided, "pi_1", 1_200);
    let noted = Event::PaymentDeclined { payment_id: payment_id(), key: KEY, report: ended.clone() };
    assert_eq!(given(&[requested()]).when(&told(ended)), Ok(vec![noted.clone()]));
    assert_eq!(given(&[requested(), noted]).when(&set_aside("pi_1", 1_200)), Ok(vec![]));
}

#[test]
fn a_page_that_is_closed_does_not_end_a_payment_whose_money_is_set_aside() {
    let closed = report(Kind::PaymentClosed, "", 1_200);
    let events = given(&[requested(), authorised()]).when(&told(closed)).unwrap();
    assert!(matches!(&*events, [Event::PaymentDeclined { .. }]), "{events:?}");
}

#[test]
fn money_without_a_name_is_noted() {
    let events = given(&[requested()]).when(&set_aside("", 1_200)).unwrap();
    assert!(matches!(&*events, [Event::PaymentDeclined { .. }]), "{events:?}");
}
