//! The rules of money that comes in, one test each.

use domain::{HoldKey, Money, PaymentId, spec::Spec as _};
use uuid::Uuid;

use crate::{
    command::Command,
    event::{Event, Reinstated},
    order::{
        ATTEMPTS_MAX, CancelReason, Extent, OrderTerms, RefundItems, RefundReason, ReinstateReason,
        Resource::{Shares, Stock},
        late_refund_id,
        spec::{
            EXPIRE, ORDER, all_back, both, bought_goods, cancel, euros, expired_and_released, given, goods, holds, key,
            pay, payment_fails, pieces, place, refund, refund_fails, refund_goes, rehold_terms, reinstate,
            rejected_by_owner, releases, then,
        },
    },
};

fn first() -> PaymentId {
    key(1).payment_id()
}

fn paid(attempt: i32, payment_id: PaymentId) -> Event {
    Event::OrderPaid { key: key(attempt), payment_id, amount: euros(1_000), holds: vec![Stock], discount: None }
}

/// The money of the first attempt goes back; the order has got to this attempt.
fn sent_back(key: HoldKey, minor_units: i64) -> Event {
    Event::RefundRequested {
        order_id: ORDER,
        refund_id: late_refund_id(first()),
        payment_id: first(),
        claim: RefundItems {
            attempt: key.attempt,
            amount: euros(minor_units),
            reason: RefundReason::LatePayment,
            lines: pieces(&[]),
            return_shares: false,
        },
        extent: Some(Extent::Amount),
        actor: "orders".to_owned(),
        note: "the money came when the order was closed".to_owned(),
    }
}

#[test]
fn money_pays_an_order_that_is_held() {
    assert_eq!(given(&[place(goods()), holds(1, Stock)]).when(&pay(1, 1_000)), Ok(vec![paid(1, first())]));
    assert_eq!(given(&bought_goods()).statuses(), ["paid", "paid", "ready"]);
    assert_eq!(given(&bought_goods()).order().captured_minor, 1_000);
}

#[test]
fn the_same_payment_told_again_changes_nothing() {
    assert_eq!(given(&bought_goods()).when(&pay(1, 1_000)), Ok(vec![]));
    let refunded = then(bought_goods(), [all_back(1), refund_goes(refund(1), 1_000)]);
    assert_eq!(given(&refunded).when(&pay(1, 1_000)), Ok(vec![]));
}

#[test]
fn money_for_an_order_that_is_not_held_is_broken_for_nobody_was_asked_to_pay() {
    given(&[place(goods())]).breaks(&pay(1, 1_000), &["pending"]);
}

#[test]
fn money_that_is_not_the_price_is_broken() {
    for wrong in [999, 1_001, 0] {
        given(&[place(goods()), holds(1, Stock)]).breaks(&pay(1, wrong), &[&euros(wrong).to_string()]);
    }
}

#[test]
fn money_that_was_never_asked_for_is_broken() {
    let state = given(&[place(goods()), holds(1, Stock)]);
    let other = Command::RecordPayment { key: key(1), payment_id: key(2).payment_id(), amount: euros(1_000) };
    state.breaks(&other, &["none that was asked for"]);
    let currency = domain::Currency::parse("USD").unwrap();
    let dollars = Money { minor_units: 1_000, currency };
    let other = Command::RecordPayment { key: key(1), payment_id: first(), amount: dollars };
    state.breaks(&other, &["none that was asked for"]);
    state.breaks(&pay(2, 1_000), &["attempt 2"]);
    let other = PaymentId(Uuid::from_u128(1));
    let stray = Command::RecordPayment { key: key(1), payment_id: other, amount: euros(1_000) };
    given(&expired_and_released(goods())).breaks(&stray, &["none that was asked for"]);
}

#[test]
fn a_late_payment_is_refunded() {
    let held = vec![place(goods()), holds(1, Stock)];
    for close in [EXPIRE, cancel(1), payment_fails(1)] {
        let state = given(&then(held.clone(), [close]));
        assert_eq!(state.when(&pay(1, 1_000)), Ok(vec![sent_back(key(1), 1_000)]));
    }
    let state = given(&[place(goods()), rejected_by_owner(1, Stock)]);
    assert_eq!(state.when(&pay(1, 1_000)), Ok(vec![sent_back(key(1), 1_000)]));
}

#[test]
fn a_late_payment_is_refunded_as_it_came_in() {
    assert_eq!(given(&expired_and_released(goods())).when(&pay(1, 1_001)), Ok(vec![sent_back(key(1), 1_001)]));
}

#[test]
fn a_late_payment_is_refunded_once() {
    let mut commands = then(expired_and_released(goods()), [pay(1, 1_000)]);
    assert_eq!(given(&commands).when(&pay(1, 1_000)), Ok(vec![]));
    commands.push(refund_goes(late_refund_id(first()), 1_000));
    assert_eq!(given(&commands).when(&pay(1, 1_000)), Ok(vec![]));
    commands.push(reinstate());
    assert_eq!(given(&commands).when(&pay(1, 1_000)), Ok(vec![]));
}

#[test]
fn the_refund_of_a_late_payment_moves_the_payment_and_not_the_order() {
    let late = then(expired_and_released(goods()), [pay(1, 1_000)]);
    assert_eq!(given(&late).statuses(), ["expired", "refunding", "cancelled"]);
    assert!(given(&late).order().note.starts_with("expired by its timer"));
    let back = given(&then(late.clone(), [refund_goes(late_refund_id(first()), 1_000)]));
    assert_eq!(back.statuses(), ["expired", "refunded", "cancelled"]);
    assert_eq!((back.order().captured_minor, back.order().refunded_minor), (0, 0));
    let kept = given(&then(late, [refund_fails(late_refund_id(first()))]));
    assert_eq!(kept.statuses(), ["expired", "paid", "cancelled"]);
    assert_eq!(kept.order().owed_minor(), 1_000, "somebody must see to it");
    assert!(kept.order().note.contains("CARD_CLOSED"));
}

#[test]
fn late_money_that_could_not_be_given_back_can_be_given_back_on_request() {
    let kept = then(expired_and_released(goods()), [pay(1, 1_000), refund_fails(late_refund_id(first()))]);
    let events = given(&kept).when(&all_back(5)).unwrap();
    let [Event::RefundRequested { payment_id, claim, .. }] = &*events else { panic!("{events:?}") };
    assert_eq!((*payment_id, claim.amount, claim.reason), (first(), euros(1_000), RefundReason::LatePayment));
    assert!(claim.lines.is_empty());
    let again = given(&then(kept.clone(), [all_back(5)]));
    assert_eq!(again.when(&all_back(5)), Ok(vec![]));
    assert_eq!(again.refuses(&all_back(6), &[]), "ORDER_NOT_PAID");
    let back = given(&then(kept, [all_back(5), refund_goes(refund(5), 1_000)]));
    assert_eq!(back.statuses(), ["expired", "refunded", "cancelled"]);
}

#[test]
fn money_of_an_older_attempt_is_refunded_and_moves_nothing_else() {
    let reopened = then(expired_and_released(goods()), [reinstate(), holds(2, Stock)]);
    assert_eq!(given(&reopened).when(&pay(1, 1_000)), Ok(vec![sent_back(key(1), 1_000)]));
    let mut commands = then(reopened, [pay(1, 1_000)]);
    assert_eq!(given(&commands).statuses(), ["reserved", "pending", "pending"]);
    commands.push(pay(2, 1_000));
    assert_eq!(given(&commands).statuses(), ["paid", "paid", "ready"]);
    commands.push(refund_goes(late_refund_id(first()), 1_000));
    assert_eq!(given(&commands).statuses(), ["paid", "paid", "ready"]);
    assert_eq!((given(&commands).order().captured_minor, given(&commands).order().refunded_minor), (1_000, 0));
    assert_eq!(given(&commands).order().left(key(2).payment_id(), None).minor, 1_000);
}

#[test]
fn late_money_holds_again_what_an_expired_order_held_if_that_was_agreed() {
    let reinstated = Event::OrderReinstated(Reinstated {
        key: key(2),
        lines: goods().lines,
        shares: None,
        coupon: None,
        expires_at: None,
        reason: ReinstateReason::LatePayment,
        actor: "orders".to_owned(),
        note: format!("payment {} came after the order had expired", first()),
        payment_id: Some(first()),
        is_authorised: false,
    });
    assert_eq!(given(&expired_and_released(rehold_terms())).when(&pay(1, 1_000)), Ok(vec![reinstated]));
    let state = given(&then(expired_and_released(rehold_terms()), [pay(1, 1_000)]));
    assert_eq!(state.statuses(), ["pending", "paid", "pending"]);
    assert_eq!(state.when(&pay(1, 1_000)), Ok(vec![]));
    assert_eq!(state.when(&EXPIRE), Ok(vec![]));
    assert_eq!(state.refuses(&all_back(1), &["pending"]), "ORDER_NOT_PAID");
}

#[test]
fn an_order_held_again_is_paid_with_the_late_money_at_once() {
    let again = then(expired_and_released(rehold_terms()), [pay(1, 1_000)]);
    assert_eq!(given(&again).when(&holds(2, Stock)), Ok(vec![paid(2, first())]));
    let state = given(&then(again, [holds(2, Stock)]));
    assert_eq!(state.statuses(), ["paid", "paid", "ready"]);
    assert_eq!(state.when(&pay(1, 1_000)), Ok(vec![]));
    assert_eq!(state.order().left(first(), None).minor, 1_000);
}

#[test]
fn late_money_that_holds_nothing_again_goes_back() {
    let again = then(expired_and_released(rehold_terms()), [pay(1, 1_000)]);
    let events = given(&again).when(&rejected_by_owner(2, Stock)).unwrap();
    let [Event::OrderRejected { key: closed, .. }, Event::OrderReleased { .. }, back] = &*events else {
        panic!("{events:?}")
    };
    assert_eq!((*closed, back), (key(2), &sent_back(key(2), 1_000)));
    let state = given(&then(again, [rejected_by_owner(2, Stock)]));
    assert_eq!(state.statuses(), ["rejected", "refunding", "cancelled"]);
    assert_eq!(state.order().payment_id, None);
    assert_eq!(state.when(&pay(1, 1_000)), Ok(vec![]));
}

#[test]
fn late_money_goes_back_when_the_order_is_cancelled_while_it_is_held_again() {
    let events = given(&then(expired_and_released(rehold_terms()), [pay(1, 1_000)])).when(&cancel(1)).unwrap();
    let [Event::OrderCancelled { .. }, back] = &*events else { panic!("{events:?}") };
    assert_eq!(back, &sent_back(key(2), 1_000));
}

#[test]
fn late_money_waits_until_all_is_released_and_then_holds_it_again() {
    let terms = OrderTerms { late_payment_policy: rehold_terms().late_payment_policy, ..both() };
    let closed = [place(terms), holds(1, Stock), holds(1, Shares), EXPIRE, releases(1, Stock)];
    let waits =
        Event::LatePaymentDeferred { key: key(1), payment_id: first(), amount: euros(2_500), is_authorised: false };
    assert_eq!(given(&closed).when(&pay(1, 2_500)), Ok(vec![waits]));
    let waiting = then(closed.to_vec(), [pay(1, 2_500)]);
    assert_eq!(given(&waiting).statuses(), ["expired", "paid", "cancelled"]);
    assert_eq!(given(&waiting).when(&pay(1, 2_500)), Ok(vec![]), "once");
    assert_eq!(given(&waiting).refuses(&reinstate(), &["not released"]), "ORDER_NOT_RELEASED");
    let events = given(&waiting).when(&releases(1, Shares)).unwrap();
    assert!(
        matches!(&*events, [Event::OrderReleased { .. }, Event::OrderReinstated(again)] if again.payment_id == Some(first())),
        "{events:?}"
    );
    let again = given(&then(waiting, [releases(1, Shares)]));
    assert_eq!((again.statuses(), again.order().waiting_payment), (["pending", "paid", "pending"], None));
}

#[test]
fn late_money_holds_nothing_again_if_it_is_not_the_price() {
    assert_eq!(given(&expired_and_released(rehold_terms())).when(&pay(1, 999)), Ok(vec![sent_back(key(1), 999)]));
}

#[test]
fn late_money_holds_nothing_again_if_the_order_did_not_expire() {
    let cancelled = [place(rehold_terms()), cancel(1), releases(1, Stock)];
    assert_eq!(given(&cancelled).when(&pay(1, 1_000)), Ok(vec![sent_back(key(1), 1_000)]));
}

#[test]
fn late_money_holds_nothing_again_if_it_is_of_an_older_attempt() {
    let twice = then(expired_and_released(rehold_terms()), [reinstate(), EXPIRE, releases(2, Stock)]);
    assert_eq!(given(&twice).when(&pay(1, 1_000)), Ok(vec![sent_back(key(1), 1_000)]));
    assert_eq!(given(&then(twice, [pay(1, 1_000)])).statuses(), ["expired", "cancelled", "cancelled"]);
}

#[test]
fn late_money_holds_nothing_again_after_the_last_attempt() {
    let mut commands = expired_and_released(rehold_terms());
    for attempt in 2..=ATTEMPTS_MAX {
        commands.extend([reinstate(), EXPIRE, releases(attempt, Stock)]);
    }
    let events = given(&commands).when(&pay(ATTEMPTS_MAX, 1_000)).unwrap();
    assert!(matches!(&*events, [Event::RefundRequested { .. }]));
}

#[test]
fn a_failed_payment_cancels_an_open_order() {
    let cancelled = Event::OrderCancelled {
        key: key(1),
        reason: CancelReason::PaymentFailed,
        actor: "payments".to_owned(),
        note: "card declined".to_owned(),
        holds: vec![Stock],
    };
    assert_eq!(given(&[place(goods()), holds(1, Stock)]).when(&payment_fails(1)), Ok(vec![cancelled]));
    assert_eq!(
        given(&[place(goods()), holds(1, Stock), payment_fails(1)]).statuses(),
        ["cancelled", "failed", "cancelled"]
    );
}

#[test]
fn a_failed_payment_of_an_order_that_is_paid_or_closed_changes_nothing() {
    for commands in [bought_goods(), expired_and_released(goods()), then(expired_and_released(goods()), [reinstate()])]
    {
        assert_eq!(given(&commands).when(&payment_fails(1)), Ok(vec![]));
    }
    given(&[place(goods())]).breaks(&payment_fails(2), &["attempt 2"]);
}
