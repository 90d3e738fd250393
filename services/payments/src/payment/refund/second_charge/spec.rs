//! Specs of second charges: they go back whole, once and by themselves, and nothing else of the payment moves.

use domain::{Rejection, spec::Spec as _};
use providers::idempotency_key;

use crate::{
    command::{Command, Outcome},
    event::{Event, ReportResolution, Resolution},
    payment::{
        State,
        refund::{DEADLINE, Status},
        spec::{
            NOW, at, begin, cancelled, eur, given, named, payment_id, refund_id as own_refund_id, report, request,
            requested, succeeded, told, unmatched, went_back,
        },
    },
    report::{Kind, Mismatch, Report, Standing},
    wire,
};

/// A report that charge `ch_2` brought 12.00 EUR.
fn second() -> Report {
    let (provider_reference, occurred_at) = ("ch_2".to_owned(), Some(at(110)));
    Report { provider_reference, occurred_at, ..report(Kind::PaymentSucceeded, "evt_2") }
}

fn refund_id() -> domain::RefundId {
    super::refund_id(payment_id(), "ch_2")
}

/// These commands, one after the other, after it was paid.
fn after(commands: &[Command]) -> (Vec<Event>, State) {
    let mut past = vec![requested(), succeeded()];
    for command in commands {
        let events = given(&past).when(command).unwrap();
        past.extend(events);
    }
    let state = given(&past);
    (past.split_off(2), state)
}

fn ended(send: i32, outcome: Outcome) -> Command {
    let key = idempotency_key(payment_id(), refund_id(), send);
    Command::RecordRefundOutcome { payment_id: payment_id(), refund_id: refund_id(), key, outcome }
}

fn declined() -> Outcome {
    Outcome::Rejected(Rejection::new("DECLINED", "too old"))
}

fn decided(resolution: Resolution) -> Command {
    let (actor, note) = ("ann".to_owned(), "called them".to_owned());
    Command::ResolveRefund { payment_id: payment_id(), refund_id: refund_id(), resolution, actor, note }
}

fn settled(resolution: ReportResolution) -> Command {
    let (actor, note) = ("ann".to_owned(), "by hand".to_owned());
    Command::ResolveReport { payment_id: payment_id(), provider_event_id: "evt_2".to_owned(), resolution, actor, note }
}

fn standing(state: &State) -> Standing {
    state.payment().reports["evt_2"].standing
}

fn status(state: &State) -> Status {
    state.payment().refunds[&refund_id()].status
}

/// What the payment has of its own: captured, refunded, promised, and left.
fn own(state: &State) -> (i64, i64, i64, i64) {
    let payment = state.payment();
    (payment.captured_minor, payment.refunded_minor, payment.refunding_minor, payment.left_minor())
}

const UNTOUCHED: (i64, i64, i64, i64) = (1_200, 0, 0, 1_200);

#[test]
fn a_second_charge_is_sent_back_with_the_report_of_it() {
    let (events, state) = after(&[told(second())]);
    let [found, Event::RefundSubmitted { of, amount, idempotency_key: key, deadline, charge_reference, .. }] =
        events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(*found, unmatched(second(), Mismatch::SecondCharge));
    assert_eq!((of.refund_id, of.is_of_second_charge), (refund_id(), true));
    assert_eq!((*amount, charge_reference.as_str()), (eur(1_200), "ch_2"));
    let own_key = idempotency_key(payment_id(), refund_id(), 1);
    assert_eq!((key, *deadline), (&own_key, NOW + DEADLINE), "a key and a deadline of its own");
    assert_eq!((standing(&state), own(&state)), (Standing::Returning, UNTOUCHED));
    assert_eq!(state.payment().is_blocked(), None, "no refund of the payment waits for it");
}

#[test]
fn it_goes_back_once_however_often_and_by_whom_it_is_told() {
    let again = |event_id: &str| told(Report { provider_event_id: event_id.to_owned(), ..second() });
    let commands = [told(second()), told(second()), again("evt_3"), ended(1, went_back()), again("evt_4")];
    let (events, state) = after(&commands);
    let sent = events.iter().filter(|event| matches!(event, Event::RefundSubmitted { .. }));
    assert_eq!(sent.count(), 1, "{events:?}");
    let standings: Vec<Standing> =
        ["evt_2", "evt_3", "evt_4"].iter().map(|id| state.payment().reports[*id].standing).collect();
    assert_eq!((standings, own(&state)), (vec![Standing::Undone; 3], UNTOUCHED), "nobody has to decide");
}

#[test]
fn it_is_the_second_by_the_order_of_reports_also_if_nobody_was_asked_before() {
    let first = told(report(Kind::PaymentSucceeded, "evt_1"));
    let mut past = vec![];
    for command in [told(second()), first, request(eur(1_200))] {
        past.extend(given(&past).when(&command).unwrap());
    }
    let state = given(&past);
    assert_eq!((standing(&state), status(&state), own(&state)), (Standing::Returning, Status::Refunding, UNTOUCHED));
}

#[test]
fn what_nobody_can_tell_for_sure_waits_for_an_operator() {
    let unnamed = Report { provider_reference: String::new(), ..second() };
    let less = Report { amount: Some(named(1_199, "EUR")), ..second() };
    let other = Report { amount: Some(named(1_200, "USD")), ..second() };
    for report in [unnamed, less, other] {
        let (events, state) = after(&[told(report.clone())]);
        assert_eq!(events, [unmatched(report, Mismatch::SecondCharge)]);
        assert_eq!(standing(&state), Standing::Open);
    }
    // Nor what was told over another amount before.
    let over = |event_id: &str, cents| {
        let (amount, provider_event_id) = (Some(named(cents, "EUR")), event_id.to_owned());
        told(Report { amount, provider_event_id, ..second() })
    };
    let (events, _) = after(&[over("evt_3", 1_199), over("evt_2", 1_200)]);
    assert!(!events.iter().any(|event| matches!(event, Event::RefundSubmitted { .. })), "{events:?}");
    // Nor is money sent back for which nobody was asked any more.
    let late = given(&[cancelled()]).when(&told(second())).unwrap();
    assert_eq!(late, [unmatched(second(), Mismatch::NotAsked)]);
}

#[test]
fn what_was_told_before_such_charges_went_back_stays_with_who_has_it() {
    let past = [requested(), succeeded(), unmatched(second(), Mismatch::SecondCharge)];
    let again = Report { provider_event_id: "evt_3".to_owned(), ..second() };
    assert_eq!(given(&past).when(&told(again.clone())), Ok(vec![unmatched(again.clone(), Mismatch::SecondCharge)]));
    let undone = given(&past).when(&settled(ReportResolution::Undone)).unwrap();
    let events = given(&[&past[..], &undone].concat()).when(&told(again.clone())).unwrap();
    assert_eq!(events, [unmatched(again, Mismatch::SecondCharge)], "he has said that it went back");
}

#[test]
fn an_end_settles_it_and_a_no_gives_it_to_an_operator() {
    let (_, state) = after(&[told(second()), ended(1, went_back())]);
    assert_eq!((standing(&state), status(&state), own(&state)), (Standing::Undone, Status::Refunded, UNTOUCHED));
    let (_, state) = after(&[told(second()), ended(1, declined())]);
    assert_eq!((standing(&state), status(&state), own(&state)), (Standing::Open, Status::Rejected, UNTOUCHED));
    assert_eq!(state.payment().refunds[&refund_id()].allowed_resolutions(), [Resolution::Retry, Resolution::Refunded]);
    // It is sent again, under another key.
    let retried = [told(second()), ended(1, declined()), decided(Resolution::Retry)];
    let (_, state) = after(&retried);
    assert_eq!((standing(&state), status(&state)), (Standing::Returning, Status::Refunding));
    let (_, state) = after(&[&retried[..], &[ended(2, went_back())]].concat());
    assert_eq!((standing(&state), own(&state)), (Standing::Undone, UNTOUCHED));
}

#[test]
fn what_is_not_known_of_it_stays_unknown_and_an_operator_may_give_it_up() {
    let unknown = Outcome::Unknown { evidence: "no answer".to_owned() };
    let commands = [told(second()), ended(1, unknown)];
    let (_, state) = after(&commands);
    assert_eq!((standing(&state), status(&state)), (Standing::Returning, Status::Unknown));
    let (_, state) = after(&[&commands[..], &[decided(Resolution::Abandon)]].concat());
    assert_eq!((standing(&state), status(&state)), (Standing::Open, Status::Rejected));
    let (_, state) = after(&[&commands[..], &[decided(Resolution::Refunded)]].concat());
    assert_eq!((standing(&state), own(&state)), (Standing::Undone, UNTOUCHED));
}

#[test]
fn an_operator_who_has_given_it_back_by_hand_cannot_have_it_sent_as_well() {
    let commands = [told(second()), ended(1, declined()), settled(ReportResolution::Undone)];
    let (_, state) = after(&commands);
    for resolution in [Resolution::Retry, Resolution::Refunded] {
        assert_eq!(state.refuses(&decided(resolution), &["0.00 EUR are left"]), "EXCEEDS_PAYMENT");
    }
    // And while it is on its way, there is nothing to decide.
    let (_, state) = after(&[told(second())]);
    assert_eq!(state.refuses(&settled(ReportResolution::Undone), &["returning"]), "WRONG_STATE");
}

#[test]
fn what_the_provider_reports_of_it_counts_and_it_may_come_back() {
    let told_of = |kind, event_id: &str, seconds| {
        let (refund_id, provider_reference) = (refund_id().to_string(), "re_2".to_owned());
        told(Report { refund_id, provider_reference, occurred_at: Some(at(seconds)), ..report(kind, event_id) })
    };
    let gone = [told(second()), told_of(Kind::RefundSucceeded, "evt_3", 120)];
    let (_, state) = after(&gone);
    assert_eq!((standing(&state), own(&state)), (Standing::Undone, UNTOUCHED));
    let (_, state) = after(&[&gone[..], &[told_of(Kind::RefundFailed, "evt_4", 130)]].concat());
    assert_eq!((standing(&state), status(&state)), (Standing::Returning, Status::Reversed), "an operator decides");
    assert_eq!(own(&state), UNTOUCHED);
}

#[test]
fn refunds_of_the_payment_go_their_own_way() {
    let (_, state) = after(&[told(second()), begin(eur(1_200))]);
    assert_eq!(own(&state), (1_200, 0, 1_200, 0));
    let is_sent = |refund_id| state.payment().refunds[&refund_id].status == Status::Refunding;
    assert!(is_sent(own_refund_id()) && is_sent(refund_id()));
}

#[test]
fn a_charge_that_the_bank_takes_back_meanwhile_is_not_there_whatever_becomes_of_its_refund() {
    let failed = Report {
        kind: Kind::PaymentFailed,
        occurred_at: Some(at(120)),
        provider_event_id: "evt_3".to_owned(),
        ..second()
    };
    for outcome in [declined(), went_back()] {
        let (_, state) = after(&[told(second()), told(failed.clone()), ended(1, outcome)]);
        assert_eq!((standing(&state), own(&state)), (Standing::Undone, UNTOUCHED));
    }
}

#[test]
fn its_events_are_read_back_as_they_were() {
    let unknown = Outcome::Unknown { evidence: "no answer".to_owned() };
    let retried = [told(second()), ended(1, unknown), decided(Resolution::Retry), ended(2, went_back())];
    let answered = [told(second()), ended(1, declined())];
    for commands in [&retried[..], &answered[..]] {
        for event in after(commands).0 {
            let (message_type, data) = wire::encode(&event);
            assert_eq!(wire::decode_event(message_type, &data), Ok(event));
        }
    }
}

/// A report of so much that somebody gave back in the provider's dashboard, of this charge.
fn elsewhere(charge: &str, minor_units: i64, kind: Kind, event_id: &str) -> Report {
    Report {
        provider_reference: "re_9".to_owned(),
        charge_reference: charge.to_owned(),
        amount: Some(named(minor_units, "EUR")),
        occurred_at: Some(at(120)),
        ..report(kind, event_id)
    }
}

fn given_back(charge: &str, minor_units: i64) -> Command {
    told(elsewhere(charge, minor_units, Kind::RefundSucceeded, "evt_9"))
}

/// A second charge that the provider gave nothing back of, and these commands after that.
fn refused_and(commands: &[Command]) -> (Vec<Event>, State) {
    let refused = [told(second()), ended(1, declined())];
    let (events, state) = after(&[&refused[..], commands].concat());
    (events[after(&refused).0.len()..].to_vec(), state)
}

#[test]
fn what_others_give_back_of_it_is_of_that_charge_and_of_no_order() {
    let (events, state) = refused_and(&[given_back("ch_2", 500)]);
    let [Event::PaymentRefundedElsewhere { of, amount, charge_reference, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((of.is_of_second_charge, *amount, charge_reference.as_str()), (true, eur(500), "ch_2"));
    assert_eq!((standing(&state), own(&state)), (Standing::Open, UNTOUCHED), "a part of it is there still");
    assert_eq!(state.payment().left_of_charge("ch_2"), 700);
    assert_eq!(state.refuses(&decided(Resolution::Retry), &["7.00 EUR are left"]), "EXCEEDS_PAYMENT");
    let rest =
        Report { provider_reference: "re_10".to_owned(), ..elsewhere("ch_2", 700, Kind::RefundSucceeded, "evt_10") };
    let (_, state) = refused_and(&[given_back("ch_2", 500), told(rest)]);
    assert_eq!((standing(&state), own(&state)), (Standing::Undone, UNTOUCHED));
    for event in events {
        let (message_type, data) = wire::encode(&event);
        assert_eq!(wire::decode_event(message_type, &data), Ok(event));
    }
}

#[test]
fn of_one_that_others_gave_back_in_part_before_anybody_was_asked_the_rest_waits_for_an_operator() {
    let part = told(elsewhere("ch_2", 400, Kind::RefundSucceeded, "evt_9"));
    let first = told(report(Kind::PaymentSucceeded, "evt_1"));
    let mut past = vec![];
    for command in [part, first, told(second()), request(eur(1_200))] {
        let events = given(&past).when(&command).unwrap();
        past.extend(events);
    }
    assert!(!past.iter().any(|event| matches!(event, Event::RefundSubmitted { .. })), "{past:?}");
    let state = given(&past);
    assert_eq!((standing(&state), own(&state)), (Standing::Open, UNTOUCHED));
    assert_eq!(state.payment().left_of_charge("ch_2"), 800);
}

#[test]
fn what_others_have_given_back_of_it_may_come_back_and_is_sent_again_as_that_charges() {
    let failed = told(elsewhere("ch_2", 500, Kind::RefundFailed, "evt_10"));
    let (_, state) = refused_and(&[given_back("ch_2", 500), failed.clone()]);
    assert_eq!((standing(&state), own(&state)), (Standing::Returning, UNTOUCHED));
    let payment = state.payment();
    let (id, reversed) = payment.refunds.iter().find(|(_, refund)| refund.status == Status::Reversed).unwrap();
    assert_eq!(reversed.second_charge.as_deref(), Some("ch_2"));
    let (actor, note) = ("ann".to_owned(), "called them".to_owned());
    let (refund_id, resolution) = (*id, Resolution::Retry);
    let again = Command::ResolveRefund { payment_id: payment_id(), refund_id, resolution, actor, note };
    let (events, _) = refused_and(&[given_back("ch_2", 500), failed, again]);
    let Some(Event::RefundSubmitted { of, amount, charge_reference, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((of.is_of_second_charge, *amount, charge_reference.as_str()), (true, eur(500), "ch_2"));
}

/// A part that failed, and then the whole by hand: no answer but this one says what has moved.
#[test]
fn what_others_have_given_back_in_vain_may_be_given_up_for_what_they_gave_back_instead() {
    let failed = told(elsewhere("ch_2", 500, Kind::RefundFailed, "evt_10"));
    let whole = elsewhere("ch_2", 1_200, Kind::RefundSucceeded, "evt_11");
    let whole = told(Report { provider_reference: "re_11".to_owned(), ..whole });
    let past = [given_back("ch_2", 500), failed, whole];
    let (_, state) = refused_and(&past);
    let (id, _) = state.payment().refunds.iter().find(|(_, refund)| refund.status == Status::Reversed).unwrap();
    let decide = |resolution| {
        let (actor, note) = ("ann".to_owned(), "called them".to_owned());
        Command::ResolveRefund { payment_id: payment_id(), refund_id: *id, resolution, actor, note }
    };
    let given_up = [&past[..], &[decide(Resolution::Abandon)]].concat();
    let (_, state) = refused_and(&given_up);
    assert_eq!((standing(&state), own(&state)), (Standing::Open, UNTOUCHED));
    assert_eq!(state.payment().left_of_charge("ch_2"), 1_200);
    let (_, state) = refused_and(&[&given_up[..], &[settled(ReportResolution::Undone)]].concat());
    assert_eq!((standing(&state), own(&state)), (Standing::Undone, UNTOUCHED));
    assert_eq!(state.payment().left_of_charge("ch_2"), 0);
    assert_eq!(state.refuses(&decide(Resolution::Retry), &["0.00 EUR are left"]), "EXCEEDS_PAYMENT");
}

#[test]
fn more_of_it_than_is_left_waits_for_an_operator_and_no_refund_of_the_payment_does() {
    // Its own refund is on its way.
    for (past, minor_units) in [(vec![], 1), (vec![ended(1, declined())], 1_201), (vec![ended(1, went_back())], 1_200)]
    {
        let past = [&[told(second())][..], &past].concat();
        let more = elsewhere("ch_2", minor_units, Kind::RefundSucceeded, "evt_9");
        let commands = [&past[..], &[told(more.clone())]].concat();
        let (events, state) = after(&commands);
        assert_eq!(events.last(), Some(&unmatched(more, Mismatch::RefundNotAsked)));
        assert_eq!((own(&state), state.payment().is_blocked()), (UNTOUCHED, None));
        // Nor is it the payment's money that is gone, whatever is said of it.
        let (actor, note, resolution) = ("ann".to_owned(), "so it is".to_owned(), ReportResolution::Accepted);
        let provider_event_id = "evt_9".to_owned();
        let accepted = Command::ResolveReport { payment_id: payment_id(), provider_event_id, resolution, actor, note };
        let (_, state) = after(&[&commands[..], &[accepted]].concat());
        assert_eq!((own(&state), state.payment().gone_minor()), (UNTOUCHED, 0));
    }
}

#[test]
fn a_payout_of_it_that_fails_unheard_of_stops_nothing_of_the_payment() {
    let failed = elsewhere("ch_2", 500, Kind::RefundFailed, "evt_9");
    let (events, state) = refused_and(&[told(failed.clone())]);
    assert_eq!(events, [unmatched(failed, Mismatch::RefundUnknown)]);
    assert_eq!(state.payment().is_blocked(), None);
    // The same of a refund of ours, of which the provider does not say the charge.
    let other = Report { refund_id: refund_id().to_string(), ..elsewhere("", 500, Kind::RefundSucceeded, "evt_9") };
    let (_, state) = after(&[told(second()), told(other)]);
    let kept = &state.payment().reports["evt_9"];
    assert_eq!((kept.mismatch, kept.report.charge_reference.as_str()), (Some(Mismatch::OtherAmount), "ch_2"));
    assert_eq!(state.payment().is_blocked(), None);
}

#[test]
fn what_others_give_back_of_the_payments_own_charge_is_not_the_way_back_of_another() {
    let (events, state) = refused_and(&[given_back("ch_1", 1_200)]);
    let [Event::PaymentRefundedElsewhere { of, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(!of.is_of_second_charge);
    assert_eq!((standing(&state), own(&state)), (Standing::Open, (1_200, 1_200, 0, 0)));
    // Nor is what an operator gave back by hand of the other any reason to ask.
    let (events, _) = refused_and(&[settled(ReportResolution::Undone), given_back("ch_1", 1_200)]);
    assert!(matches!(events.last(), Some(Event::PaymentRefundedElsewhere { of, .. }) if !of.is_of_second_charge));
    let by_hand = elsewhere("ch_2", 1_200, Kind::RefundSucceeded, "evt_9");
    let (events, _) = refused_and(&[settled(ReportResolution::Undone), told(by_hand.clone())]);
    assert_eq!(events.last(), Some(&unmatched(by_hand, Mismatch::RefundNotAsked)), "he may have been quicker");
    // Where nobody says which charge it is of, it is that of the money that fits nothing.
    let (events, state) = refused_and(&[given_back("", 1_200)]);
    assert!(matches!(&events[..], [Event::ProviderReportResolved { .. }]), "{events:?}");
    assert_eq!(own(&state), UNTOUCHED);
}

#[test]
fn one_that_was_open_before_such_charges_went_back_stops_no_refund_of_the_payment() {
    let state = given(&[requested(), succeeded(), unmatched(second(), Mismatch::SecondCharge)]);
    assert_eq!(state.payment().is_blocked(), None);
    assert!(matches!(&state.when(&begin(eur(1_200))).unwrap()[..], [Event::RefundSubmitted { .. }]));
    // Without a name it may be the same charge, told otherwise.
    let unnamed = Report { provider_reference: String::new(), ..second() };
    let state = given(&[requested(), succeeded(), unmatched(unnamed, Mismatch::SecondCharge)]);
    assert!(state.payment().is_blocked().is_some());
}

#[test]
fn a_charge_of_which_some_is_known_to_have_gone_is_not_sent_back_without_asking() {
    let gone = elsewhere("ch_2", 500, Kind::RefundSucceeded, "evt_9");
    let (events, _) = after(&[told(gone.clone()), told(second())]);
    assert_eq!(events, [unmatched(gone, Mismatch::RefundNotAsked), unmatched(second(), Mismatch::SecondCharge)]);
}
