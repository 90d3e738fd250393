//! The rules of an order whose payment is disputed, one test each.

use domain::{Dispute, DisputeStanding, spec::Spec as _};

use crate::{
    command::Command,
    event::Event,
    order::{
        LatePaymentPolicy, OrderTerms, State, late_refund_id,
        spec::{
            all_back, bought_both, bought_goods, cancel, euros, expired_and_released, given, goods, key, money_back,
            pay, pieces, refund_fails, refund_goes, rehold_terms, round_fails, then, want_back,
        },
    },
};

use DisputeStanding::{Ended, Lost, Open, Won};

fn dispute(revision: i32, standing: DisputeStanding, withdrawn: i64) -> Dispute {
    Dispute {
        revision,
        status: standing.as_str().to_owned(),
        standing,
        reason: "fraudulent".to_owned(),
        amount: Some(euros(1_000)),
        due_by: None,
        refundable: false,
        withdrawn: (withdrawn > 0).then(|| euros(withdrawn)),
        reinstated: None,
        as_of: None,
        of_second_charge: false,
    }
}

fn is_told(attempt: i32, dispute_id: &str, dispute: Dispute) -> Command {
    let key = key(attempt);
    Command::RecordDispute { key, payment_id: key.payment_id(), dispute_id: dispute_id.to_owned(), dispute }
}

fn disputed(standing: DisputeStanding) -> State {
    given(&then(bought_goods(), [is_told(1, "du_1", dispute(1, standing, 1_000))]))
}

#[test]
fn a_disputed_order_stays_paid_and_is_marked() {
    let before = given(&bought_goods());
    let state = disputed(Open);
    assert_eq!(state.statuses(), before.statuses());
    assert_eq!((&state.order().holds, state.order().captured_minor), (&before.order().holds, 1_000));
    assert_eq!(state.order().charged_back_minor(key(1).payment_id()), 1_000);
    assert!(state.order().note.contains("du_1"), "{}", state.order().note);
    let events = before.when(&is_told(1, "du_1", dispute(1, Open, 0))).unwrap();
    assert!(matches!(&*events, [Event::OrderDisputed { .. }]), "nothing is given back: {events:?}");
}

#[test]
fn refuses_a_refund_while_the_payment_is_disputed() {
    let state = disputed(Open);
    assert_eq!(state.refuses(&all_back(1), &["du_1", "once it is over"]), "PAYMENT_DISPUTED");
    assert_eq!(state.refuses(&money_back(1, 1), &["du_1"]), "PAYMENT_DISPUTED");
    assert_eq!(disputed(Lost).refuses(&all_back(1), &["du_1", "lost"]), "PAYMENT_DISPUTED");
}

#[test]
fn a_dispute_that_is_over_or_stops_nothing_is_no_reason_to_refuse() {
    for standing in [Won, Ended] {
        assert!(disputed(standing).when(&all_back(1)).is_ok(), "{standing:?}");
    }
    for standing in [Open, Lost] {
        let refundable = Dispute { refundable: true, ..dispute(1, standing, 0) };
        let state = given(&then(bought_goods(), [is_told(1, "du_1", refundable)]));
        assert!(state.when(&all_back(1)).is_ok(), "{standing:?}");
    }
}

#[test]
fn goods_without_money_come_back_while_the_payment_is_disputed() {
    let goods = Command::RequestRefund(crate::command::RefundRequest {
        lines: pieces(&[("mug", 2)]),
        amount: Some(euros(0)),
        ..want_back(1)
    });
    let events = disputed(Open).when(&goods).unwrap();
    assert!(matches!(&*events, [Event::RefundRequested { .. }]), "{events:?}");
}

#[test]
fn a_refund_that_was_asked_for_before_stays_asked_for() {
    let state = given(&then(bought_goods(), [all_back(1), is_told(1, "du_1", dispute(1, Open, 0))]));
    assert_eq!(state.when(&all_back(1)), Ok(vec![]));
    assert_eq!(state.order().in_flight(key(1).payment_id()), 1_000);
}

#[test]
fn whatever_comes_first_the_latest_word_of_a_dispute_holds() {
    let [first, last] = [is_told(1, "du_1", dispute(1, Open, 1_000)), is_told(1, "du_1", dispute(3, Won, 0))];
    let state = given(&then(bought_goods(), [last.clone()]));
    assert_eq!((state.when(&first), state.when(&last)), (Ok(vec![]), Ok(vec![])));
    let both = given(&then(bought_goods(), [first, last]));
    assert_eq!(state.order().disputes, both.order().disputes);
    // It may be heard of before the payment is, and the order is paid all the same.
    let mut early = bought_goods();
    early.insert(2, is_told(1, "du_1", dispute(1, Open, 1_000)));
    assert_eq!(given(&early).statuses(), ["paid", "paid", "ready"]);
    assert_eq!(given(&early).refuses(&all_back(1), &["du_1"]), "PAYMENT_DISPUTED");
}

#[test]
fn one_dispute_of_two_is_enough_to_refuse() {
    let commands = [is_told(1, "du_1", dispute(1, Won, 0)), is_told(1, "du_2", dispute(1, Open, 500))];
    let state = given(&then(bought_goods(), commands));
    assert_eq!(state.refuses(&all_back(1), &["du_2"]), "PAYMENT_DISPUTED");
}

#[test]
fn a_disputed_order_is_cancelled_and_its_round_may_fail_all_the_same() {
    let events = disputed(Open).when(&cancel(1)).unwrap();
    assert!(matches!(&*events, [Event::PaidOrderCancelled { .. }, Event::RefundRequested { .. }]), "{events:?}");
    let state = given(&then(bought_both(), [is_told(1, "du_1", dispute(1, Open, 0))]));
    let events = state.when(&round_fails()).unwrap();
    assert!(matches!(&*events, [Event::RefundRequested { .. }]), "{events:?}");
}

#[test]
fn late_money_goes_back_whatever_is_disputed_and_what_a_dispute_took_is_owed_to_nobody() {
    let payment_id = key(1).payment_id();
    for terms in [goods(), OrderTerms { late_payment_policy: LatePaymentPolicy::Refund, ..rehold_terms() }] {
        let expired = expired_and_released(terms);
        let disputed = is_told(1, "du_1", dispute(1, Lost, 1_000));
        let before = given(&then(expired.clone(), [disputed.clone()]));
        let events = before.when(&pay(1, 1_000)).unwrap();
        assert!(matches!(&*events, [Event::RefundRequested { .. }]), "{events:?}");
        let refused = refund_fails(late_refund_id(payment_id));
        let owing = given(&then(expired.clone(), [pay(1, 1_000), refused.clone()]));
        assert_eq!(owing.order().owed_minor(), 1_000);
        let lost = given(&then(expired.clone(), [pay(1, 1_000), disputed.clone(), refused.clone()]));
        assert_eq!(lost.order().owed_minor(), 0, "the buyer has it from the bank");
        let part = is_told(1, "du_1", dispute(1, Lost, 400));
        assert_eq!(given(&then(expired.clone(), [pay(1, 1_000), part, refused])).order().owed_minor(), 600);
        // It went back after all.
        let goes = refund_goes(late_refund_id(payment_id), 1_000);
        assert_eq!(given(&then(expired, [pay(1, 1_000), disputed, goes])).order().owed_minor(), 0);
    }
}

#[test]
fn a_dispute_of_a_payment_that_was_never_asked_for_is_broken() {
    let other = is_told(2, "du_1", dispute(1, Open, 0));
    given(&bought_goods()).breaks(&other, &["attempt 2"]);
    let stranger = Command::RecordDispute {
        key: key(1),
        payment_id: key(2).payment_id(),
        dispute_id: "du_1".to_owned(),
        dispute: dispute(1, Open, 0),
    };
    given(&bought_goods()).breaks(&stranger, &["none that was asked for"]);
}
