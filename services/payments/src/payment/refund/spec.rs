//! Specs of refunds.

use domain::{Money, OrderId, RefundId, Rejection, spec::Spec as _};
use uuid::Uuid;

use super::{DEADLINE, Refund, Status};
use crate::{
    command::{Command, Outcome},
    effect,
    event::{Event, RefundOf, ReportResolution, Reported, Resolution},
    payment::{
        State,
        spec::{
            KEY, NOW, at, begin, cancelled, ended, eur, given, key, named, of, payment_id, refund_id, report as charge,
            requested, succeeded, told, unmatched, usd, went_back,
        },
    },
    report::{Kind, Mismatch, Report},
};

/// 5.00 EUR are sent under the key of this sending.
fn refunding(send: i32) -> Event {
    Event::RefundSubmitted {
        of: of(),
        amount: eur(500),
        idempotency_key: key(send),
        deadline: NOW + DEADLINE,
        provider: "test".to_owned(),
        payment_reference: "pay_1".to_owned(),
        charge_reference: "ch_1".to_owned(),
    }
}

fn refunded(reference: &str) -> Event {
    let (provider_reference, reported) = (reference.to_owned(), None);
    Event::PaymentRefunded { of: of(), amount: eur(500), provider_reference, reported }
}

fn rejected(code: &'static str, reason: &str) -> Event {
    let (provider_reference, reported) = (String::new(), None);
    Event::RefundRejected {
        of: of(),
        amount: eur(500),
        rejection: Rejection::new(code, reason),
        provider_reference,
        reported,
    }
}

fn unknown() -> Event {
    Event::RefundOutcomeUnknown { of: of(), evidence: "no answer".to_owned() }
}

fn reversed(reason: &str) -> Event {
    let (reason, provider_reference, reported) = (reason.to_owned(), String::new(), None);
    Event::RefundReversed { of: of(), amount: eur(500), reason, provider_reference, reported }
}

/// The same, because the provider reported it.
fn by_report(mut event: Event, reference: &str) -> Event {
    if let Event::PaymentRefunded { provider_reference, reported, .. }
    | Event::RefundRejected { provider_reference, reported, .. }
    | Event::RefundReversed { provider_reference, reported, .. } = &mut event
    {
        reference.clone_into(provider_reference);
        *reported = Some(Reported { provider_event_id: EVENT.to_owned(), occurred_at: None });
    }
    event
}

const EVENT: &str = "evt_r";

fn resolved(resolution: Resolution) -> Event {
    Event::RefundResolved { of: of(), resolution, actor: "ann".to_owned(), note: "called them".to_owned() }
}

fn resolve(resolution: Resolution) -> Command {
    Command::ResolveRefund {
        payment_id: payment_id(),
        refund_id: refund_id(),
        resolution,
        actor: "ann".to_owned(),
        note: "called them".to_owned(),
    }
}

fn not_known() -> Outcome {
    Outcome::Unknown { evidence: "no answer".to_owned() }
}

fn no() -> Outcome {
    Outcome::Rejected(Rejection::new("DECLINED", "too old"))
}

fn report(kind: Kind, reference: &str) -> Report {
    Report {
        refund_id: refund_id().to_string(),
        amount: Some(named(500, "EUR")),
        provider_reference: reference.to_owned(),
        reason: "closed account".to_owned(),
        occurred_at: None,
        ..charge(kind, EVENT)
    }
}

fn provider_refunded(reference: &str) -> Command {
    told(report(Kind::RefundSucceeded, reference))
}

fn provider_failed(reference: &str) -> Command {
    told(report(Kind::RefundFailed, reference))
}

/// A paid payment with this in its past.
fn paid_and(events: &[Event]) -> State {
    let mut past = vec![requested(), succeeded()];
    past.extend_from_slice(events);
    given(&past)
}

impl State {
    fn refund(&self) -> &Refund {
        self.payment().refunds.get(&refund_id()).unwrap()
    }

    /// Refunded and promised.
    fn money(&self) -> (i64, i64) {
        (self.payment().refunded_minor, self.payment().refunding_minor)
    }
}

#[test]
fn sends_a_refund_of_money_that_is_there() {
    assert_eq!(paid_and(&[]).when(&begin(eur(500))), Ok(vec![refunding(1)]));
    assert_eq!(paid_and(&[refunding(1)]).money(), (0, 500));
}

#[test]
fn a_refund_is_begun_once_whatever_became_of_it() {
    for events in [
        &[refunding(1)][..],
        &[refunding(1), refunded("re_1")],
        &[refunding(1), rejected("DECLINED", "no")],
        &[refunding(1), unknown()],
        &[refunding(1), refunded("re_1"), reversed("closed account")],
    ] {
        assert_eq!(paid_and(events).when(&begin(eur(500))), Ok(vec![]));
    }
}

#[test]
fn the_same_refund_over_another_amount_is_broken() {
    paid_and(&[refunding(1)]).breaks(&begin(eur(501)), &["5.00 EUR", "5.01 EUR"]);
}

#[test]
fn rejects_more_than_is_left_of_the_payment() {
    let other = RefundId(Uuid::from_u128(10));
    let past = paid_and(&[refunding(1), refunded("re_1")]);
    let more =
        |amount| Command::BeginRefund { payment_id: payment_id(), order_id: KEY.order_id, refund_id: other, amount };
    match &past.when(&more(eur(701))).unwrap()[..] {
        [Event::RefundRejected { of, rejection, .. }] => {
            assert_eq!((of.refund_id, &*rejection.code), (other, "EXCEEDS_PAYMENT"));
            assert!(rejection.reason.contains("7.00 EUR are left"), "{}", rejection.reason);
        }
        events => panic!("not rejected: {events:?}"),
    }
    assert!(matches!(past.when(&more(eur(700))).unwrap()[..], [Event::RefundSubmitted { .. }]));
}

#[test]
fn rejects_a_refund_of_money_that_never_came() {
    for events in [&[requested()][..], &[requested(), cancelled()], &[cancelled()]] {
        let state = given(events);
        let events = state.when(&begin(eur(500))).unwrap();
        assert!(matches!(&events[..], [Event::RefundRejected { rejection, .. }] if rejection.code == "NOT_PAID"));
    }
}

#[test]
fn rejects_a_refund_in_another_currency() {
    let events = paid_and(&[]).when(&begin(usd(500))).unwrap();
    assert!(matches!(&events[..], [Event::RefundRejected { rejection, .. }] if rejection.code == "WRONG_CURRENCY"));
}

#[test]
fn a_refund_of_nothing_is_done_without_the_provider() {
    let (provider_reference, reported) = (String::new(), None);
    let done = Event::PaymentRefunded { of: of(), amount: eur(0), provider_reference, reported };
    assert_eq!(paid_and(&[]).when(&begin(eur(0))), Ok(vec![done.clone()]));
    assert_eq!(paid_and(&[done]).money(), (0, 0));
}

#[test]
fn a_refund_of_an_unknown_payment_is_broken() {
    given(&[]).breaks(&begin(eur(500)), &["never had it"]);
    let other = Command::BeginRefund {
        payment_id: payment_id(),
        order_id: OrderId(Uuid::from_u128(8)),
        refund_id: refund_id(),
        amount: eur(500),
    };
    paid_and(&[]).breaks(&other, &["never had it"]);
}

#[test]
fn records_how_sending_ended() {
    let state = paid_and(&[refunding(1)]);
    assert_eq!(state.when(&ended(1, went_back())), Ok(vec![refunded("re_1")]));
    assert_eq!(state.when(&ended(1, no())), Ok(vec![rejected("DECLINED", "too old")]));
    assert_eq!(state.when(&ended(1, not_known())), Ok(vec![unknown()]));
}

#[test]
fn an_outcome_that_is_out_of_date_changes_nothing() {
    for events in [
        &[refunding(1), refunded("re_0")][..],
        &[refunding(1), rejected("DECLINED", "no")],
        &[refunding(1), unknown()],
        &[refunding(1), unknown(), resolved(Resolution::Retry), refunding(2)],
    ] {
        for outcome in [went_back(), no(), not_known()] {
            assert_eq!(paid_and(events).when(&ended(1, outcome)), Ok(vec![]));
        }
    }
}

#[test]
fn an_outcome_of_a_refund_that_was_never_begun_is_broken() {
    paid_and(&[]).breaks(&ended(1, went_back()), &["no such refund"]);
    given(&[]).breaks(&ended(1, went_back()), &["no such payment"]);
}

#[test]
fn a_refund_moves_its_money_from_status_to_status() {
    assert_eq!(paid_and(&[refunding(1), refunded("re_1")]).money(), (500, 0));
    assert_eq!(paid_and(&[refunding(1), rejected("DECLINED", "no")]).money(), (0, 0));
    assert_eq!(paid_and(&[refunding(1), unknown()]).money(), (0, 500));
    assert_eq!(paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]).money(), (0, 500));
}

#[test]
fn only_what_is_under_way_has_a_deadline() {
    assert_eq!(paid_and(&[refunding(1)]).refund().deadline, Some(NOW + DEADLINE));
    assert_eq!(paid_and(&[refunding(1), unknown()]).refund().deadline, None);
}

#[test]
fn believes_the_provider_that_a_refund_is_paid_out() {
    for events in [&[refunding(1)][..], &[refunding(1), unknown()]] {
        let told = by_report(refunded("re_1"), "re_1");
        assert_eq!(paid_and(events).when(&provider_refunded("re_1")), Ok(vec![told]));
    }
}

#[test]
fn a_refund_is_refunded_once() {
    let state = paid_and(&[refunding(1), refunded("re_1")]);
    assert_eq!(state.when(&provider_refunded("re_1")), Ok(vec![]));
    let state = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(state.when(&provider_refunded("re_1")), Ok(vec![]), "the older report came late");
}

#[test]
fn what_was_given_up_and_went_back_after_all_is_refunded() {
    let past = [refunding(1), rejected("DECLINED", "too old")];
    let went = by_report(refunded("re_1"), "re_1");
    assert_eq!(paid_and(&past).when(&provider_refunded("re_1")), Ok(vec![went]));
    // Unless the money went back otherwise: then nobody can say what is right but a person.
    let other = Event::PaymentRefunded {
        of: RefundOf { refund_id: RefundId(Uuid::from_u128(10)), ..of() },
        amount: eur(1_000),
        provider_reference: "re_9".to_owned(),
        reported: None,
    };
    let [first, second] = past;
    let state = paid_and(&[first, second, other]);
    let contradicted = unmatched(report(Kind::RefundSucceeded, "re_1"), Mismatch::RefundContradicted);
    assert_eq!(state.when(&provider_refunded("re_1")), Ok(vec![contradicted]));
    assert_eq!(state.refuses(&resolve(Resolution::Refunded), &["5.00 EUR", "2.00 EUR"]), "EXCEEDS_PAYMENT");
}

#[test]
fn a_refund_that_fails_before_it_was_paid_out_is_rejected() {
    for events in [&[refunding(1)][..], &[refunding(1), unknown()]] {
        let state = paid_and(events);
        let told = by_report(rejected("REFUND_FAILED", "closed account"), "re_1");
        assert_eq!(state.when(&provider_failed("re_1")), Ok(vec![told]));
    }
}

#[test]
fn a_refund_that_fails_after_it_was_paid_out_is_reversed() {
    let state = paid_and(&[refunding(1), refunded("re_1")]);
    assert_eq!(state.when(&provider_failed("re_1")), Ok(vec![by_report(reversed("closed account"), "re_1")]));
}

#[test]
fn a_failure_that_is_known_changes_nothing() {
    let over = paid_and(&[refunding(1), rejected("REFUND_FAILED", "closed account")]);
    assert_eq!(over.when(&provider_failed("re_1")), Ok(vec![]));
    let state = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(state.when(&provider_failed("re_1")), Ok(vec![]));
}

#[test]
fn a_failure_of_an_earlier_sending_does_not_touch_the_later_one() {
    let again = [refunding(1), refunded("re_1"), reversed("closed account"), resolved(Resolution::Retry), refunding(2)];
    assert_eq!(paid_and(&again).when(&provider_failed("re_1")), Ok(vec![]));
    assert_eq!(paid_and(&again).when(&provider_refunded("re_1")), Ok(vec![]));
    let mut done = again.to_vec();
    done.push(refunded("re_2"));
    assert_eq!(paid_and(&done).when(&provider_failed("re_1")), Ok(vec![]));
    let told = by_report(reversed("closed account"), "re_2");
    assert_eq!(paid_and(&done).when(&provider_failed("re_2")), Ok(vec![told]));
}

#[test]
fn a_refund_made_elsewhere_is_one_of_the_payments() {
    let made = Report { refund_id: "R-unknown".to_owned(), ..report(Kind::RefundSucceeded, "re_1") };
    let events = paid_and(&[]).when(&told(made.clone())).unwrap();
    let [Event::PaymentRefundedElsewhere { of, amount, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((of.order_id, *amount), (KEY.order_id, eur(500)));
    let state = paid_and(&events);
    assert_eq!(state.money(), (500, 0));
    assert_eq!(state.when(&told(made.clone())), Ok(vec![]), "once");
    // Everything that is asked for here afterwards is what is left.
    assert!(matches!(&state.when(&begin(eur(701))).unwrap()[..], [Event::RefundRejected { .. }]));
    assert!(matches!(&state.when(&begin(eur(700))).unwrap()[..], [Event::RefundSubmitted { .. }]));
    // And it may fail, as any other.
    let failed = Report { provider_event_id: "evt_f".to_owned(), ..report(Kind::RefundFailed, "re_1") };
    let failed = Report { refund_id: String::new(), ..failed };
    assert!(matches!(&state.when(&told(failed)).unwrap()[..], [Event::RefundReversed { .. }]));
}

#[test]
fn a_refund_made_elsewhere_of_more_than_is_left_waits_for_an_operator() {
    let made =
        Report { refund_id: String::new(), amount: Some(named(800, "EUR")), ..report(Kind::RefundSucceeded, "re_1") };
    let state = paid_and(&[refunding(1)]);
    assert_eq!(state.when(&told(made.clone())), Ok(vec![unmatched(made, Mismatch::RefundNotAsked)]));
}

#[test]
fn a_refund_made_elsewhere_gives_back_the_second_charge() {
    let second = Report { provider_reference: "ch_2".to_owned(), ..charge(Kind::PaymentSucceeded, "evt_2") };
    let past = [unmatched(second, Mismatch::SecondCharge)];
    let back =
        Report { refund_id: String::new(), amount: Some(named(1_200, "EUR")), ..report(Kind::RefundSucceeded, "re_1") };
    let events = paid_and(&past).when(&told(back.clone())).unwrap();
    assert!(
        matches!(&events[..], [Event::ProviderReportResolved { provider_event_id, .. }] if provider_event_id == "evt_2")
    );
    let state = paid_and(&[&past[..], &events].concat());
    assert_eq!((state.when(&told(back)), state.money()), (Ok(vec![]), (0, 0)));
}

#[test]
fn a_failure_of_an_unknown_refund_is_kept() {
    let failed = report(Kind::RefundFailed, "re_1");
    assert_eq!(paid_and(&[]).when(&told(failed.clone())), Ok(vec![unmatched(failed, Mismatch::RefundUnknown)]));
}

#[test]
fn a_report_over_another_amount_is_kept() {
    let state = paid_and(&[refunding(1)]);
    for amount in [named(501, "EUR"), named(500, "USD")] {
        for kind in [Kind::RefundSucceeded, Kind::RefundFailed] {
            let other = Report { amount: Some(amount.clone()), ..report(kind, "re_1") };
            assert_eq!(state.when(&told(other.clone())), Ok(vec![unmatched(other, Mismatch::OtherAmount)]));
        }
    }
}

#[test]
fn a_second_payout_of_a_refund_is_news() {
    let state = paid_and(&[refunding(1), refunded("re_1")]);
    let twice = unmatched(report(Kind::RefundSucceeded, "re_2"), Mismatch::RefundedTwice);
    assert_eq!(state.when(&provider_refunded("re_2")), Ok(vec![twice.clone()]));
    // Which may fail in turn, and then all is well again.
    let state = paid_and(&[refunding(1), refunded("re_1"), twice]);
    let failed = Report { provider_event_id: "evt_f".to_owned(), ..report(Kind::RefundFailed, "re_2") };
    assert!(matches!(&state.when(&told(failed)).unwrap()[..], [Event::ProviderReportResolved { .. }]));
}

#[test]
fn of_two_reports_about_one_payout_the_later_holds_and_of_two_at_once_the_failure() {
    let said = |kind: Kind, seconds| {
        told(Report {
            occurred_at: Some(at(seconds)),
            provider_event_id: format!("evt_{}_{seconds}", kind.as_str()),
            ..report(kind, "re_1")
        })
    };
    for (success, failure, is_back) in [(10, 20, false), (20, 10, true), (10, 10, false)] {
        for order in [
            [(Kind::RefundSucceeded, success), (Kind::RefundFailed, failure)],
            [(Kind::RefundFailed, failure), (Kind::RefundSucceeded, success)],
        ] {
            let mut past = vec![refunding(1)];
            for (kind, seconds) in order {
                let events = paid_and(&past).when(&said(kind, seconds)).unwrap();
                past.extend(events);
            }
            let state = paid_and(&past);
            assert_eq!(state.refund().status == Status::Refunded, is_back, "{order:?}");
            assert_eq!(state.money().0, if is_back { 500 } else { 0 }, "{order:?}");
        }
    }
}

/// A refund is reported as failed while its call is under way.
fn failed_in_flight() -> Vec<Event> {
    vec![refunding(1), by_report(rejected("REFUND_FAILED", "closed account"), "")]
}

fn second_refund(amount: Money) -> Command {
    let refund_id = RefundId(Uuid::from_u128(10));
    Command::BeginRefund { payment_id: payment_id(), order_id: KEY.order_id, refund_id, amount }
}

#[test]
fn an_answer_that_money_went_back_after_a_report_that_it_failed_holds() {
    let state = paid_and(&failed_in_flight());
    assert_eq!(state.when(&ended(1, went_back())), Ok(vec![refunded("re_1")]));
    // Of the same payout, the failure came after the success that the answer tells of.
    let state = paid_and(&[refunding(1), by_report(rejected("REFUND_FAILED", "closed account"), "re_1")]);
    assert!(matches!(&state.when(&ended(1, went_back())).unwrap()[..], [Event::RefundAnswered { .. }]));
}

#[test]
fn no_other_refund_is_sent_while_one_that_failed_may_yet_succeed() {
    let mut past = failed_in_flight();
    let deferred = paid_and(&past).when(&second_refund(eur(1_200))).unwrap();
    assert!(matches!(&deferred[..], [Event::RefundDeferred { reason, .. }] if reason.contains("still under way")));
    past.extend(deferred);
    assert_eq!(paid_and(&past).money(), (0, 1_200));
    // Its money has gone with the first one.
    let went = paid_and(&past).when(&ended(1, went_back())).unwrap();
    assert!(
        matches!(&went[..], [Event::RefundRejected { rejection, .. }, Event::PaymentRefunded { .. }] if rejection.code == "EXCEEDS_PAYMENT")
    );
    assert_eq!(paid_and(&[past.clone(), went].concat()).money(), (500, 0));
    // Or it has not: now it is sent.
    for outcome in [no(), not_known()] {
        let events = paid_and(&past).when(&ended(1, outcome)).unwrap();
        assert!(matches!(&events[..], [Event::RefundAnswered { .. }, Event::RefundSubmitted { .. }]), "{events:?}");
    }
}

#[test]
fn no_refund_is_sent_of_a_payment_with_a_report_that_fits_nothing() {
    let returned = Report { occurred_at: Some(at(105)), ..charge(Kind::PaymentFailed, "evt_2") };
    let mut past = vec![unmatched(returned, Mismatch::TakenBack)];
    past.extend(paid_and(&past).when(&begin(eur(500))).unwrap());
    assert!(matches!(&past[1], Event::RefundDeferred { reason, .. } if reason.contains("taken_back")));
    let decide = |resolution| Command::ResolveReport {
        payment_id: payment_id(),
        provider_event_id: "evt_2".to_owned(),
        resolution,
        actor: "ann".to_owned(),
        note: "asked the bank".to_owned(),
    };
    let undone = paid_and(&past).when(&decide(ReportResolution::Undone)).unwrap();
    assert!(matches!(&undone[..], [Event::ProviderReportResolved { .. }, Event::RefundSubmitted { .. }]));
    let gone = paid_and(&past).when(&decide(ReportResolution::Accepted)).unwrap();
    assert!(matches!(&gone[..], [Event::RefundRejected { .. }, Event::ProviderReportResolved { .. }]));
    // Nor is one sent again that was reversed.
    let reversed = [past[0].clone(), refunding(1), refunded("re_1"), reversed("closed account")];
    assert_eq!(paid_and(&reversed).refuses(&resolve(Resolution::Retry), &["evt_2", "settle"]), "PAYMENT_IN_DOUBT");
    // Or an operator gives the refund up.
    assert!(matches!(
        &paid_and(&past).when(&resolve(Resolution::Abandon)).unwrap()[..],
        [_, Event::RefundRejected { .. }]
    ));
    assert_eq!(paid_and(&past).refuses(&resolve(Resolution::Retry), &["is deferred", "ABANDON"]), "WRONG_STATE");
}

#[test]
fn an_operator_retries_what_is_unknown_or_reversed_under_a_new_key() {
    let retried = Ok(vec![resolved(Resolution::Retry), refunding(2)]);
    assert_eq!(paid_and(&[refunding(1), unknown()]).when(&resolve(Resolution::Retry)), retried);
    let state = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(state.when(&resolve(Resolution::Retry)), retried);
    assert_ne!(key(1), key(2));
}

#[test]
fn an_operator_says_that_the_buyer_has_the_money() {
    let done = Ok(vec![resolved(Resolution::Refunded), refunded("")]);
    assert_eq!(paid_and(&[refunding(1), unknown()]).when(&resolve(Resolution::Refunded)), done);
    let state = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(state.when(&resolve(Resolution::Refunded)), done);
}

#[test]
fn an_operator_gives_up_what_is_unknown() {
    let found_out = Ok(vec![resolved(Resolution::Refunded), refunded("")]);
    assert_eq!(paid_and(&[refunding(1), rejected("DECLINED", "no")]).when(&resolve(Resolution::Refunded)), found_out);
    let given_up = Ok(vec![resolved(Resolution::Abandon), rejected("ABANDONED", "given up by ann: called them")]);
    assert_eq!(paid_and(&[refunding(1), unknown()]).when(&resolve(Resolution::Abandon)), given_up);
}

#[test]
fn refuses_to_decide_what_needs_no_decision() {
    let state = paid_and(&[refunding(1)]);
    for resolution in [Resolution::Retry, Resolution::Refunded, Resolution::Abandon] {
        assert_eq!(state.refuses(&resolve(resolution), &["is refunding", "nothing to decide"]), "WRONG_STATE");
    }
    let state = paid_and(&[refunding(1), refunded("re_1")]);
    assert_eq!(state.refuses(&resolve(Resolution::Retry), &["is refunded", "nothing to decide"]), "WRONG_STATE");
    assert_eq!(state.refuses(&resolve(Resolution::Abandon), &["is refunded", "nothing to decide"]), "WRONG_STATE");
    let state = paid_and(&[refunding(1), rejected("DECLINED", "no")]);
    assert_eq!(state.refuses(&resolve(Resolution::Retry), &["is rejected", "REFUNDED"]), "WRONG_STATE");
}

#[test]
fn refuses_to_give_up_what_the_order_counts_as_refunded() {
    let state = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(state.refuses(&resolve(Resolution::Abandon), &["is reversed", "RETRY, REFUNDED"]), "WRONG_STATE");
    let again = [resolved(Resolution::Retry), refunding(2), unknown()];
    let past = [&[refunding(1), refunded("re_1"), reversed("closed account")][..], &again].concat();
    assert_eq!(
        paid_and(&past).refuses(&resolve(Resolution::Abandon), &["is unknown", "RETRY, REFUNDED"]),
        "WRONG_STATE"
    );
}

#[test]
fn deciding_what_is_so_already_changes_nothing() {
    assert_eq!(paid_and(&[refunding(1), refunded("re_1")]).when(&resolve(Resolution::Refunded)), Ok(vec![]));
    let given_up = paid_and(&[refunding(1), unknown(), resolved(Resolution::Abandon), rejected("ABANDONED", "no")]);
    assert_eq!(given_up.when(&resolve(Resolution::Abandon)), Ok(vec![]));
}

#[test]
fn refuses_to_decide_an_unknown_refund_or_payment() {
    assert_eq!(paid_and(&[]).refuses(&resolve(Resolution::Retry), &[&refund_id().to_string()]), "UNKNOWN_REFUND");
    assert_eq!(given(&[]).refuses(&resolve(Resolution::Retry), &[&payment_id().to_string()]), "UNKNOWN_PAYMENT");
}

#[test]
fn what_the_order_counts_as_refunded_fails_to_reversed_and_never_to_rejected() {
    let again = [refunding(1), refunded("re_1"), reversed("closed account"), resolved(Resolution::Retry), refunding(2)];
    assert_eq!(paid_and(&again).when(&ended(2, no())), Ok(vec![reversed("DECLINED: too old")]));
    let told = by_report(reversed("REFUND_FAILED: closed account"), "re_2");
    assert_eq!(paid_and(&again).when(&provider_failed("re_2")), Ok(vec![told]));
}

#[test]
fn a_resolved_refund_remembers_who_said_so() {
    let state = paid_and(&[refunding(1), unknown(), resolved(Resolution::Refunded), refunded("")]);
    assert_eq!((state.refund().status, &*state.refund().reason), (Status::Refunded, "ann: called them"));
    assert_eq!(state.payment().version.get(), 6);
}

#[test]
fn a_call_may_have_to_be_made_as_long_as_nobody_knows_how_it_ended() {
    let is_open = |events: &[Event], send: i32| {
        effect::is_open(&given(&[&[requested(), succeeded()], events].concat()), &key(send))
    };
    assert!(is_open(&[refunding(1)], 1));
    assert!(is_open(&[refunding(1), by_report(refunded("re_1"), "re_1")], 1), "its answer is still to come");
    for ended in [refunded("re_1"), rejected("DECLINED", "no"), unknown()] {
        assert!(!is_open(&[refunding(1), ended.clone()], 1), "{ended:?}");
        assert!(
            is_open(&[refunding(1), ended.clone(), refunding(2)], 2)
                && !is_open(&[refunding(1), ended, refunding(2)], 1)
        );
    }
    assert!(
        !is_open(&[], 1) && !effect::is_open(&given(&[]), "what was no key") && !effect::is_open(&given(&[]), "a.b")
    );
}
