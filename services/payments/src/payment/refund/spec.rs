//! Specs of refunds.

use domain::{Money, OrderId, RefundId, Rejection};
use uuid::Uuid;

use super::{DEADLINE, Refund, Status, idempotency_key};
use crate::{
    command::{Command, Outcome, RefundReport, Report},
    event::{Event, Resolution},
    payment::{
        World,
        spec::{KEY, NOW, cancelled, eur, given, of, payment_id, refund_id, requested, succeeded, told, usd},
    },
};

fn begin(amount: Money) -> Command {
    Command::BeginRefund { payment_id: payment_id(), order_id: KEY.order_id, refund_id: refund_id(), amount }
}

fn key(send: i32) -> String {
    idempotency_key(payment_id(), refund_id(), send)
}

/// 5.00 EUR are sent under the key of this sending.
fn refunding(send: i32) -> Event {
    Event::PaymentRefunding {
        of: of(),
        amount: eur(500),
        idempotency_key: key(send),
        deadline: NOW + DEADLINE,
        provider: "test".to_owned(),
        payment_reference: "pay_1".to_owned(),
    }
}

fn refunded(reference: &str) -> Event {
    Event::PaymentRefunded { of: of(), amount: eur(500), provider_reference: reference.to_owned() }
}

fn rejected(code: &'static str, reason: &str) -> Event {
    Event::RefundRejected { of: of(), amount: eur(500), rejection: Rejection::new(code, reason) }
}

fn unknown() -> Event {
    Event::RefundOutcomeUnknown { of: of(), evidence: "no answer".to_owned() }
}

fn reversed(reason: &str) -> Event {
    Event::RefundReversed { of: of(), amount: eur(500), reason: reason.to_owned() }
}

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

fn ended(send: i32, outcome: Outcome) -> Command {
    Command::RecordRefundOutcome { payment_id: payment_id(), refund_id: refund_id(), key: key(send), outcome }
}

fn went_back() -> Outcome {
    Outcome::Refunded { provider_reference: "re_1".to_owned() }
}

fn not_known() -> Outcome {
    Outcome::Unknown { evidence: "no answer".to_owned() }
}

fn no() -> Outcome {
    Outcome::Rejected(Rejection::new("DECLINED", "too old"))
}

fn report(amount: Money, reference: &str) -> RefundReport {
    RefundReport {
        refund_id: refund_id(),
        amount,
        provider_reference: reference.to_owned(),
        reason: "closed account".to_owned(),
    }
}

fn provider_refunded(reference: &str) -> Command {
    told(Report::RefundSucceeded(report(eur(500), reference)))
}

fn provider_failed(reference: &str) -> Command {
    told(Report::RefundFailed(report(eur(500), reference)))
}

/// A paid payment with this in its past.
fn paid_and(events: &[Event]) -> World {
    let mut past = vec![requested(), succeeded()];
    past.extend_from_slice(events);
    given(&past)
}

impl World {
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
    paid_and(&[refunding(1)]).breaks(&begin(eur(501)), &["500", "501"]);
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
            assert!(rejection.reason.contains("700 are left"), "{}", rejection.reason);
        }
        events => panic!("not rejected: {events:?}"),
    }
    assert!(matches!(past.when(&more(eur(700))).unwrap()[..], [Event::PaymentRefunding { .. }]));
}

#[test]
fn rejects_a_refund_of_money_that_never_came() {
    for events in [&[requested()][..], &[requested(), cancelled()], &[cancelled()]] {
        let world = given(events);
        let events = world.when(&begin(eur(500))).unwrap();
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
    let done = Event::PaymentRefunded { of: of(), amount: eur(0), provider_reference: String::new() };
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
    let world = paid_and(&[refunding(1)]);
    assert_eq!(world.when(&ended(1, went_back())), Ok(vec![refunded("re_1")]));
    assert_eq!(world.when(&ended(1, no())), Ok(vec![rejected("DECLINED", "too old")]));
    assert_eq!(world.when(&ended(1, not_known())), Ok(vec![unknown()]));
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
        assert_eq!(paid_and(events).when(&provider_refunded("re_1")), Ok(vec![refunded("re_1")]));
    }
}

#[test]
fn a_refund_is_refunded_once() {
    let world = paid_and(&[refunding(1), refunded("re_1")]);
    assert_eq!(world.when(&provider_refunded("re_1")), Ok(vec![]));
    let world = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(world.when(&provider_refunded("re_1")), Ok(vec![]), "the older report came late");
}

#[test]
fn refuses_a_payout_of_a_refund_that_was_given_up() {
    let world = paid_and(&[refunding(1), rejected("DECLINED", "too old")]);
    assert_eq!(world.refuses(&provider_refunded("re_1"), &["too old", "has the money"]), "REFUND_IS_OVER");
}

#[test]
fn a_refund_that_fails_before_it_was_paid_out_is_rejected() {
    for events in [&[refunding(1)][..], &[refunding(1), unknown()]] {
        let world = paid_and(events);
        assert_eq!(world.when(&provider_failed("re_1")), Ok(vec![rejected("REFUND_FAILED", "closed account")]));
    }
}

#[test]
fn a_refund_that_fails_after_it_was_paid_out_is_reversed() {
    let world = paid_and(&[refunding(1), refunded("re_1")]);
    assert_eq!(world.when(&provider_failed("re_1")), Ok(vec![reversed("closed account")]));
}

#[test]
fn a_failure_that_is_known_changes_nothing() {
    let over = paid_and(&[refunding(1), rejected("REFUND_FAILED", "closed account")]);
    assert_eq!(over.when(&provider_failed("re_1")), Ok(vec![]));
    let world = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(world.when(&provider_failed("re_1")), Ok(vec![]));
}

#[test]
fn a_failure_of_an_earlier_sending_does_not_touch_the_later_one() {
    let again = [refunding(1), refunded("re_1"), reversed("closed account"), resolved(Resolution::Retry), refunding(2)];
    assert_eq!(paid_and(&again).when(&provider_failed("re_1")), Ok(vec![]));
    assert_eq!(paid_and(&again).when(&provider_refunded("re_1")), Ok(vec![]));
    let mut done = again.to_vec();
    done.push(refunded("re_2"));
    assert_eq!(paid_and(&done).when(&provider_failed("re_1")), Ok(vec![]));
    assert_eq!(paid_and(&done).when(&provider_failed("re_2")), Ok(vec![reversed("closed account")]));
}

#[test]
fn refuses_a_report_about_an_unknown_refund() {
    let id = refund_id().to_string();
    assert_eq!(paid_and(&[]).refuses(&provider_refunded("re_1"), &[&id]), "UNKNOWN_REFUND");
    assert_eq!(paid_and(&[]).refuses(&provider_failed("re_1"), &[&id]), "UNKNOWN_REFUND");
}

#[test]
fn refuses_a_report_over_another_amount() {
    let world = paid_and(&[refunding(1)]);
    let more = told(Report::RefundSucceeded(report(eur(501), "re_1")));
    assert_eq!(world.refuses(&more, &["500", "501"]), "AMOUNT_MISMATCH");
    let other = told(Report::RefundFailed(report(usd(500), "re_1")));
    assert_eq!(world.refuses(&other, &["EUR", "USD"]), "WRONG_CURRENCY");
}

#[test]
fn an_operator_retries_what_is_unknown_or_reversed_under_a_new_key() {
    let retried = Ok(vec![resolved(Resolution::Retry), refunding(2)]);
    assert_eq!(paid_and(&[refunding(1), unknown()]).when(&resolve(Resolution::Retry)), retried);
    let world = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(world.when(&resolve(Resolution::Retry)), retried);
    assert_ne!(key(1), key(2));
}

#[test]
fn an_operator_says_that_the_buyer_has_the_money() {
    let done = Ok(vec![resolved(Resolution::Refunded), refunded("")]);
    assert_eq!(paid_and(&[refunding(1), unknown()]).when(&resolve(Resolution::Refunded)), done);
    let world = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(world.when(&resolve(Resolution::Refunded)), done);
}

#[test]
fn an_operator_gives_up_what_is_unknown() {
    let given_up = Ok(vec![resolved(Resolution::Abandon), rejected("ABANDONED", "given up by ann: called them")]);
    assert_eq!(paid_and(&[refunding(1), unknown()]).when(&resolve(Resolution::Abandon)), given_up);
}

#[test]
fn refuses_to_decide_what_needs_no_decision() {
    let world = paid_and(&[refunding(1)]);
    for resolution in [Resolution::Retry, Resolution::Refunded, Resolution::Abandon] {
        assert_eq!(world.refuses(&resolve(resolution), &["is refunding", "nothing to decide"]), "WRONG_STATE");
    }
    let world = paid_and(&[refunding(1), refunded("re_1")]);
    assert_eq!(world.refuses(&resolve(Resolution::Retry), &["is refunded", "nothing to decide"]), "WRONG_STATE");
    assert_eq!(world.refuses(&resolve(Resolution::Abandon), &["is refunded", "nothing to decide"]), "WRONG_STATE");
    let world = paid_and(&[refunding(1), rejected("DECLINED", "no")]);
    assert_eq!(world.refuses(&resolve(Resolution::Retry), &["is rejected", "nothing to decide"]), "WRONG_STATE");
    assert_eq!(world.refuses(&resolve(Resolution::Refunded), &["is rejected", "nothing to decide"]), "WRONG_STATE");
}

#[test]
fn refuses_to_give_up_what_the_order_counts_as_refunded() {
    let world = paid_and(&[refunding(1), refunded("re_1"), reversed("closed account")]);
    assert_eq!(world.refuses(&resolve(Resolution::Abandon), &["is reversed", "RETRY, REFUNDED"]), "WRONG_STATE");
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
    assert_eq!(paid_and(&again).when(&provider_failed("re_2")), Ok(vec![reversed("REFUND_FAILED: closed account")]));
}

#[test]
fn a_resolved_refund_remembers_who_said_so() {
    let world = paid_and(&[refunding(1), unknown(), resolved(Resolution::Refunded), refunded("")]);
    assert_eq!((world.refund().status, &*world.refund().reason), (Status::Refunded, "ann: called them"));
    assert_eq!(world.payment().version, 6);
}
