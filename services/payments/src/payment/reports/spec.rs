//! Specs of reports that overtake each other: which holds does not follow from which came first.

use domain::{Rejection, spec::Spec as _};

use crate::{
    command::{Command, Outcome},
    event::{Event, ReportResolution, Resolution},
    payment::{
        State,
        refund::Status,
        spec::{
            NOW, at, begin, cancelled, ended, eur, given, named, payment_id, refund_id, report, request, requested,
            succeeded, told, unmatched, went_back,
        },
    },
    report::{Kind, Mismatch, Report, ReportedMoney, Standing},
};

/// These commands, one after the other.
fn after(mut past: Vec<Event>, commands: &[Command]) -> State {
    for command in commands {
        let events = given(&past).when(command).unwrap();
        past.extend(events);
    }
    given(&past)
}

fn charged(kind: Kind, seconds: i64) -> Command {
    let provider_event_id = format!("evt_{seconds}");
    told(Report { occurred_at: Some(at(seconds)), ..report(kind, &provider_event_id) })
}

/// An operator's decision about a report.
fn decided(provider_event_id: &str, resolution: ReportResolution) -> Command {
    Command::ResolveReport {
        payment_id: payment_id(),
        provider_event_id: provider_event_id.to_owned(),
        resolution,
        actor: "ann".to_owned(),
        note: "called them".to_owned(),
    }
}

/// A report of a refund of 5.00 EUR.
fn refund(kind: Kind, refund_id: &str, reference: &str, seconds: i64) -> Command {
    told(Report {
        refund_id: refund_id.to_owned(),
        provider_reference: reference.to_owned(),
        amount: Some(named(500, "EUR")),
        occurred_at: Some(at(seconds)),
        ..report(kind, &format!("evt_{seconds}"))
    })
}

#[test]
fn money_is_taken_back_also_if_that_is_reported_before_the_charge_that_it_is_of() {
    let mut state = after(vec![requested()], &[charged(Kind::PaymentFailed, 105)]);
    assert!(state.payment().is_blocked().is_none(), "a try that failed, for all that is known");
    state = after(vec![requested()], &[charged(Kind::PaymentFailed, 105), charged(Kind::PaymentSucceeded, 100)]);
    let kept = &state.payment().reports["evt_105"];
    assert_eq!((kept.mismatch, kept.standing), (Some(Mismatch::TakenBack), Standing::Open));
    let earlier = after(vec![requested()], &[charged(Kind::PaymentFailed, 95), charged(Kind::PaymentSucceeded, 100)]);
    assert!(earlier.payment().is_blocked().is_none());
}

#[test]
fn money_that_an_operator_said_is_gone_before_anybody_was_asked_is_gone_once() {
    for back in [500, 900, 1_200] {
        let theirs = told(Report {
            provider_reference: "re_theirs".to_owned(),
            amount: Some(named(back, "EUR")),
            occurred_at: Some(at(105)),
            ..report(Kind::RefundSucceeded, "evt_105")
        });
        let accepted = |seconds| decided(&format!("evt_{seconds}"), ReportResolution::Accepted);
        let commands =
            [charged(Kind::PaymentSucceeded, 100), theirs, accepted(100), accepted(105), request(eur(1_200))];
        let state = after(vec![], &commands);
        let payment = state.payment();
        assert_eq!((payment.captured_minor, payment.refunded_minor, payment.gone_minor()), (1_200, back, 0));
        assert!(payment.is_blocked().is_none());
    }
}

/// A second charge of the payment.
fn second(kind: Kind, seconds: i64) -> Command {
    told(second_report(kind, seconds))
}

fn second_report(kind: Kind, seconds: i64) -> Report {
    Report {
        provider_reference: "ch_2".to_owned(),
        occurred_at: Some(at(seconds)),
        ..report(kind, &format!("evt_{seconds}"))
    }
}

/// A second charge as the log has it from before such charges went back by themselves: it waits for an operator.
fn second_of_before(seconds: i64) -> Event {
    unmatched(second_report(Kind::PaymentSucceeded, seconds), Mismatch::SecondCharge)
}

fn standing(state: &State, seconds: i64) -> Standing {
    state.payment().reports[&format!("evt_{seconds}")].standing
}

#[test]
fn a_second_charge_that_is_taken_back_waits_for_nobody() {
    let (charge, failure) = (second(Kind::PaymentSucceeded, 110), second(Kind::PaymentFailed, 115));
    let accept = decided("evt_110", ReportResolution::Accepted);
    let paid = || vec![requested(), succeeded()];
    let of_before = [paid(), vec![second_of_before(110)]].concat();
    for (past, commands) in [
        (paid(), vec![charge.clone(), failure.clone()]),
        (paid(), vec![failure.clone(), charge.clone()]),
        (of_before, vec![accept, failure]),
    ] {
        let state = after(past.clone(), &commands);
        assert_eq!((standing(&state, 110), state.payment().is_blocked()), (Standing::Undone, None), "{commands:?}");
        assert_eq!((standing(&state, 115), state.payment().captured_minor), (Standing::Noted, 1_200));
        // The money comes again.
        let again = after(past, &[&commands[..], &[second(Kind::PaymentSucceeded, 120)]].concat());
        assert_eq!(standing(&again, 120), Standing::Returning);
    }
    let tried = after(paid(), &[charge, second(Kind::PaymentFailed, 105)]);
    assert_eq!(standing(&tried, 110), Standing::Returning, "a try that failed before");
    // Of a payment that is never asked for, all the same.
    let state = after(vec![cancelled()], &[charged(Kind::PaymentSucceeded, 100), charged(Kind::PaymentFailed, 105)]);
    assert_eq!((standing(&state, 100), standing(&state, 105)), (Standing::Undone, Standing::Noted));
}

#[test]
fn a_late_failure_of_a_second_charge_is_not_of_what_came_since_nor_of_the_charge_that_counts() {
    let mut paid = vec![requested(), succeeded()];
    if let Some(Event::PaymentSucceeded { provider_reference, .. }) = paid.last_mut() {
        provider_reference.clear();
    }
    let [first, failure, again] =
        [second(Kind::PaymentSucceeded, 110), second(Kind::PaymentFailed, 115), second(Kind::PaymentSucceeded, 120)];
    let state = after(paid.clone(), &[first.clone(), again.clone(), failure.clone()]);
    assert_eq!([standing(&state, 110), standing(&state, 120)], [Standing::Returning; 2], "it goes back once");
    let state = after(paid.clone(), &[again, failure.clone()]);
    assert_eq!(standing(&state, 115), Standing::Noted);
    // As long as no other charge is known, it may be of the one that counts; then it is known better.
    let mut state = after(paid.clone(), std::slice::from_ref(&failure));
    assert_eq!(state.payment().reports["evt_115"].mismatch, Some(Mismatch::TakenBack));
    state = after(paid, &[failure, first]);
    assert_eq!(
        ([standing(&state, 110), standing(&state, 115)], state.payment().is_blocked()),
        ([Standing::Undone; 2], None)
    );
}

#[test]
fn a_part_that_is_taken_back_and_comes_again_is_settled() {
    let part = |kind, cents, seconds| {
        told(Report {
            amount: Some(named(cents, "EUR")),
            occurred_at: Some(at(seconds)),
            ..report(kind, &format!("evt_{seconds}"))
        })
    };
    let (paid, gone) = (vec![requested(), succeeded()], part(Kind::PaymentFailed, 500, 110));
    let state = after(paid, &[gone, part(Kind::PaymentSucceeded, 500, 120)]);
    assert_eq!((standing(&state, 110), state.payment().is_blocked()), (Standing::Undone, None));
    assert!(!state.payment().reports.contains_key("evt_120"), "it is no charge of its own");
}

#[test]
fn a_payout_that_seemed_to_be_of_money_that_was_taken_back_waits_for_a_person() {
    let payout = told(Report {
        occurred_at: Some(at(112)),
        provider_reference: "re_1".to_owned(),
        ..report(Kind::RefundSucceeded, "evt_112")
    });
    let (charge, failure) = (second(Kind::PaymentSucceeded, 110), second(Kind::PaymentFailed, 115));
    let of_before = vec![requested(), succeeded(), second_of_before(110)];
    let state = after(of_before, &[payout.clone(), failure.clone()]);
    assert_eq!(state.payment().reports["evt_115"].mismatch, Some(Mismatch::TakenBack), "1,200 are gone, and once");
    let state = after(vec![requested(), succeeded()], &[failure, charge, payout]);
    assert_eq!((state.payment().refunded_minor, state.payment().is_blocked()), (1_200, None));
}

#[test]
fn a_payout_of_as_much_as_an_operator_gave_back_waits_for_him() {
    let undone = |seconds| decided(&format!("evt_{seconds}"), ReportResolution::Undone);
    let amount = Some(named(500, "EUR"));
    let charge = report(Kind::PaymentSucceeded, "evt_110");
    let charge = told(Report { provider_reference: "ch_2".to_owned(), amount, ..charge });
    let state =
        after(vec![requested(), succeeded()], &[charge, undone(110), refund(Kind::RefundSucceeded, "", "re_1", 120)]);
    assert_eq!(state.payment().refunded_minor, 0, "it may be that money");
    assert_eq!(state.payment().reports["evt_120"].mismatch, Some(Mismatch::RefundNotAsked));
    // If it fails, he has to know that too, whichever is told first.
    let of_before = vec![requested(), succeeded(), second_of_before(110)];
    let all = |kind, seconds| {
        told(Report {
            provider_reference: "re_1".to_owned(),
            occurred_at: Some(at(seconds)),
            ..report(kind, &format!("evt_{seconds}"))
        })
    };
    let (gone, failed) = (all(Kind::RefundSucceeded, 120), all(Kind::RefundFailed, 121));
    for reports in [[gone.clone(), failed.clone()], [failed, gone]] {
        let state = after(of_before.clone(), &[&[undone(110)][..], &reports].concat());
        assert_eq!([standing(&state, 120), standing(&state, 121)], [Standing::Open, Standing::Open]);
    }
    // The provider took that one back itself.
    let taken_back = [second(Kind::PaymentSucceeded, 110), second(Kind::PaymentFailed, 115)];
    let all = told(Report { occurred_at: Some(at(120)), ..report(Kind::RefundSucceeded, "evt_120") });
    let state = after(vec![requested(), succeeded()], &[&taken_back[..], &[all]].concat());
    assert_eq!(state.payment().refunded_minor, 1_200);
}

#[test]
fn what_an_operator_said_is_so_before_the_payment_was_asked_for_is_judged_like_the_rest() {
    let (paid, taken_back) = (charged(Kind::PaymentSucceeded, 100), charged(Kind::PaymentFailed, 105));
    let told_again =
        told(Report { occurred_at: Some(at(100)), ..report(Kind::PaymentSucceeded, "evt_the_same_charge") });
    let (money, loss) =
        (decided("evt_100", ReportResolution::Accepted), decided("evt_105", ReportResolution::Accepted));
    let asked = request(eur(1_200));
    let state = after(vec![], &[paid.clone(), money.clone(), told_again, asked.clone()]);
    let payment = state.payment();
    assert_eq!((payment.captured_minor, payment.is_blocked()), (1_200, None), "it came once");
    let all_but_one = payment.reports.values().filter(|kept| kept.mismatch.is_some());
    assert!(all_but_one.into_iter().all(|kept| kept.standing == Standing::Undone));
    let state = after(vec![], &[paid.clone(), taken_back, loss, asked.clone()]);
    assert_eq!(state.payment().reports["evt_105"].mismatch, Some(Mismatch::TakenBack));
    // What he said is not so does not count.
    let undone = decided("evt_100", ReportResolution::Undone);
    assert_eq!(after(vec![], &[paid, undone, asked]).payment().captured_minor, 0);
}

#[test]
fn a_second_charge_that_came_again_after_it_was_taken_back_is_there() {
    // Found by the simulation: of the last report of it was only left that it is of the same charge.
    let second_charge = [
        second(Kind::PaymentSucceeded, 100),
        second(Kind::PaymentFailed, 105),
        second(Kind::PaymentSucceeded, 110),
        decided("evt_100", ReportResolution::Accepted),
    ];
    let state =
        after(vec![], &[&second_charge[..], &[charged(Kind::PaymentSucceeded, 90), request(eur(1_200))]].concat());
    assert_eq!(state.payment().captured_minor, 1_200);
    assert!(state.payment().reports["evt_100"].may_be_so(), "{:?}", state.payment().reports);
    let gone = [&second_charge[..2], &[charged(Kind::PaymentSucceeded, 90), request(eur(1_200))]].concat();
    assert_eq!(standing(&after(vec![], &gone), 100), Standing::Undone);
}

#[test]
fn a_refund_made_elsewhere_has_failed_also_if_that_is_reported_first() {
    let (failed, made) = (refund(Kind::RefundFailed, "", "re_1", 20), refund(Kind::RefundSucceeded, "", "re_1", 10));
    let state = after(vec![requested(), succeeded()], &[failed.clone(), made.clone()]);
    assert_eq!((state.payment().refunded_minor, state.payment().is_blocked()), (0, None));
    assert_eq!(state.when(&made), Ok(vec![]), "once");
    // Also if an operator has looked at it meanwhile.
    let accept = decided("evt_20", ReportResolution::Accepted);
    assert_eq!(after(vec![requested(), succeeded()], &[failed.clone(), accept, made]).payment().refunded_minor, 0);
    // A payout after the failure is another.
    let later = refund(Kind::RefundSucceeded, "", "re_1", 30);
    assert_eq!(after(vec![requested(), succeeded()], &[failed, later]).payment().refunded_minor, 500);
}

#[test]
fn a_success_from_before_the_failure_does_not_count_if_the_call_was_answered_that_it_failed() {
    let named = refund_id().to_string();
    let begin = begin(eur(500));
    let ended = |send| ended(send, Outcome::Rejected(Rejection::new("REFUND_FAILED", "closed account")));
    let failed = refund(Kind::RefundFailed, &named, "re_1", 20);
    for reference in ["re_1", ""] {
        let earlier = refund(Kind::RefundSucceeded, &named, reference, 10);
        let state = after(vec![requested(), succeeded()], &[begin.clone(), ended(1), failed.clone(), earlier]);
        assert_eq!(state.payment().refunds[&refund_id()].status, Status::Rejected, "{reference:?}");
        let later = refund(Kind::RefundSucceeded, &named, reference, 30);
        let state = after(vec![requested(), succeeded()], &[begin.clone(), ended(1), failed.clone(), later]);
        assert_eq!(state.payment().refunds[&refund_id()].status, Status::Refunded, "{reference:?}");
    }
    // Nor one of what the order counts as refunded.
    let retry = Command::ResolveRefund {
        payment_id: payment_id(),
        refund_id: refund_id(),
        resolution: Resolution::Retry,
        actor: "ann".to_owned(),
        note: "called them".to_owned(),
    };
    let once =
        [refund(Kind::RefundSucceeded, &named, "re_0", 3), ended(1), refund(Kind::RefundFailed, &named, "re_0", 4)];
    let again = [retry, ended(2), failed, refund(Kind::RefundSucceeded, &named, "re_1", 10)];
    let state = after(vec![requested(), succeeded()], &[&[begin][..], &once, &again].concat());
    assert_eq!(state.payment().refunds[&refund_id()].status, Status::Reversed);
}

#[test]
fn a_report_from_before_anybody_was_asked_that_settles_another_is_settled_too() {
    let reports =
        [charged(Kind::PaymentSucceeded, 100), charged(Kind::PaymentFailed, 105), charged(Kind::PaymentSucceeded, 110)];
    let early = after(vec![], &reports);
    let events = early.when(&request(eur(1_200))).unwrap();
    let mut state = early;
    events.iter().for_each(|event| crate::payment::evolve(&mut state, event));
    assert_eq!(state.payment().is_blocked(), None, "at {NOW}: {events:?}");
    let other = Report { provider_reference: "ch_2".to_owned(), ..report(Kind::PaymentSucceeded, "evt_2") };
    let events = state.when(&told(other.clone())).unwrap();
    assert_eq!(events.first(), Some(&unmatched(other, Mismatch::SecondCharge)));
}

#[test]
fn money_that_is_gone_in_amounts_that_no_sum_can_hold_leaves_nothing() {
    let amount = || Some(ReportedMoney { minor_units: i64::MAX, currency: "EUR".to_owned() });
    let taken_back = |seconds| {
        let provider_event_id = format!("evt_{seconds}");
        let report = report(Kind::PaymentFailed, &provider_event_id);
        told(Report { amount: amount(), occurred_at: Some(at(seconds)), ..report })
    };
    let accepted = |id| decided(id, ReportResolution::Accepted);
    let commands = [
        charged(Kind::PaymentSucceeded, 100),
        taken_back(105),
        taken_back(110),
        accepted("evt_105"),
        accepted("evt_110"),
    ];
    let state = after(vec![requested()], &commands);
    assert_eq!(state.payment().gone_minor(), i64::MAX);
    assert!(state.payment().left_minor() < 0);
}

#[test]
fn a_failure_that_was_heard_is_no_news_after_the_answer_that_the_money_went_back() {
    let begin = begin(eur(500));
    let failed = refund(Kind::RefundFailed, &refund_id().to_string(), "", 110);
    let state = after(vec![requested(), succeeded()], &[begin, failed.clone(), ended(1, went_back())]);
    assert_eq!(state.payment().refunds[&refund_id()].status, Status::Refunded);
    assert_eq!(state.when(&failed), Ok(vec![]));
}

#[test]
fn a_closed_payment_that_is_paid_all_the_same_was_not_closed_afterwards() {
    let closed = charged(Kind::PaymentClosed, 105);
    let state = after(vec![requested()], &[closed.clone(), charged(Kind::PaymentSucceeded, 100)]);
    assert_eq!(state.when(&closed), Ok(vec![]));
}

#[test]
fn the_charge_that_is_known_over_another_amount_is_kept() {
    let other = Report { amount: Some(named(2_000, "EUR")), ..report(Kind::PaymentSucceeded, "evt_2") };
    let paid = given(&[requested(), succeeded()]);
    assert_eq!(paid.when(&told(other.clone())), Ok(vec![unmatched(other, Mismatch::OtherAmount)]));
}

#[test]
fn what_an_operator_said_of_a_charge_he_said_of_all_reports_of_it() {
    let [first, failure, again] =
        [charged(Kind::PaymentSucceeded, 100), charged(Kind::PaymentFailed, 105), charged(Kind::PaymentSucceeded, 110)];
    let early = [first, failure, again];
    for (resolution, captured) in [(ReportResolution::Undone, 0), (ReportResolution::Accepted, 1_200)] {
        let state = after(vec![], &[&early[..], &[decided("evt_110", resolution)]].concat());
        assert_eq!(standing(&state, 100), Standing::Undone, "{resolution:?}");
        let asked = after(vec![], &[&early[..], &[decided("evt_110", resolution), request(eur(1_200))]].concat());
        assert_eq!((asked.payment().captured_minor, asked.payment().is_blocked()), (captured, None), "{resolution:?}");
    }
}

#[test]
fn what_an_operator_said_of_a_charge_holds_for_what_is_reported_of_it_afterwards() {
    // Found by the simulation: the same money was there again, and went back to the buyer twice.
    let (early, undone) = (charged(Kind::PaymentSucceeded, 100), decided("evt_100", ReportResolution::Undone));
    let (failure, again) = (charged(Kind::PaymentFailed, 105), charged(Kind::PaymentSucceeded, 110));
    for between in [vec![], vec![failure]] {
        let commands =
            [vec![early.clone(), undone.clone(), request(eur(1_200))], between, vec![again.clone()]].concat();
        let state = after(vec![], &commands);
        assert_eq!(state.payment().captured_minor, 0);
        let kept = &state.payment().reports["evt_110"];
        assert_eq!((kept.mismatch, kept.standing), (Some(Mismatch::GivenBack), Standing::Open));
    }
    // Another charge brings other money.
    let other = second(Kind::PaymentSucceeded, 110);
    assert_eq!(after(vec![], &[early, undone, request(eur(1_200)), other]).payment().captured_minor, 1_200);
}

#[test]
fn what_an_operator_said_of_a_payout_he_said_of_all_reports_of_it() {
    let begin = begin(eur(1_000));
    let rejected = ended(1, Outcome::Rejected(Rejection::new("DECLINED", "no")));
    let (payout, again) =
        (refund(Kind::RefundSucceeded, "", "re_1", 120), refund(Kind::RefundSucceeded, "", "re_1", 121));
    // More than is left, with the refund that is under way.
    let past = [begin, payout];
    for (resolution, gone, standing_again) in
        [(ReportResolution::Accepted, 500, None), (ReportResolution::Undone, 0, Some(Standing::Open))]
    {
        let commands = [&past[..], &[decided("evt_120", resolution), rejected.clone(), again.clone()]].concat();
        let payment = after(vec![requested(), succeeded()], &commands).payment().clone();
        assert_eq!((payment.gone_minor(), payment.refunded_minor), (gone, 0), "{resolution:?}");
        assert_eq!(payment.reports.get("evt_121").map(|kept| kept.standing), standing_again, "{resolution:?}");
    }
    // While it waits, it is not reported twice.
    let state = after(vec![requested(), succeeded()], &[&past[..], &[again]].concat());
    assert!(!state.payment().reports.contains_key("evt_121"));
}
