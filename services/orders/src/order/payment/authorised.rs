//! The rules of money that is set aside, one test each.

use domain::{PaymentId, spec::Spec as _};

use crate::{
    command::Command,
    event::{Event, Reinstated},
    order::{
        CancelReason, OrderTerms,
        Resource::{Shares, Stock},
        late_refund_id,
        spec::{
            EXPIRE, authorises, both, cancel, euros, expired_and_released, given, goods, holds, is_voided, key, pay,
            place, rehold_terms, reinstate, rejected_by_owner, releases, then,
        },
    },
};

fn first() -> PaymentId {
    key(1).payment_id()
}

fn capture(attempt: i32) -> Event {
    Event::CaptureRequested { key: key(attempt), payment_id: first(), amount: euros(1_000) }
}

fn is_void(events: &[Event]) -> bool {
    matches!(events, [Event::VoidRequested { payment_id, .. }] if *payment_id == first())
}

fn authorised() -> Vec<Command> {
    vec![place(goods()), holds(1, Stock), authorises(1, 1_000)]
}

#[test]
fn an_order_that_is_held_takes_the_money_and_does_not_expire_meanwhile() {
    assert_eq!(given(&[place(goods()), holds(1, Stock)]).when(&authorises(1, 1_000)), Ok(vec![capture(1)]));
    let state = given(&authorised());
    assert_eq!(state.statuses(), ["reserved", "capturing", "pending"]);
    assert_eq!(state.when(&EXPIRE), Ok(vec![]));
    assert_eq!(state.when(&authorises(1, 1_000)), Ok(vec![]));
    let paid = given(&then(authorised(), [pay(1, 1_000)]));
    assert_eq!(paid.statuses(), ["paid", "paid", "ready"]);
    assert_eq!(paid.when(&pay(1, 1_000)), Ok(vec![]));
    assert_eq!(paid.when(&is_voided(1)), Ok(vec![]));
}

#[test]
fn money_that_was_set_aside_before_it_was_taken_is_no_news() {
    let paid = given(&[place(goods()), holds(1, Stock), pay(1, 1_000)]);
    assert_eq!(paid.when(&authorises(1, 1_000)), Ok(vec![]));
    let late = given(&then(expired_and_released(goods()), [pay(1, 1_000)]));
    assert_eq!(late.when(&authorises(1, 1_000)), Ok(vec![]));
}

#[test]
fn money_that_cannot_be_taken_closes_the_order() {
    let events = given(&authorised()).when(&is_voided(1)).unwrap();
    let [Event::OrderCancelled { reason: CancelReason::PaymentFailed, note, .. }] = &*events else {
        panic!("{events:?}")
    };
    assert_eq!(note, "it has lapsed");
    assert_eq!(given(&then(authorised(), [is_voided(1)])).statuses(), ["cancelled", "failed", "cancelled"]);
}

#[test]
fn an_order_that_is_cancelled_while_its_money_is_taken_sends_it_back_once_it_is_there() {
    let events = given(&authorised()).when(&cancel(1)).unwrap();
    assert!(matches!(&*events, [Event::OrderCancelled { .. }]), "{events:?}");
    let closed = then(authorised(), [cancel(1)]);
    let events = given(&closed).when(&pay(1, 1_000)).unwrap();
    let [Event::RefundRequested { refund_id, .. }] = &*events else { panic!("{events:?}") };
    assert_eq!(*refund_id, late_refund_id(first()));
    assert_eq!(given(&closed).when(&is_voided(1)), Ok(vec![]));
}

#[test]
fn money_that_comes_too_late_is_let_go_and_never_taken() {
    let held = vec![place(goods()), holds(1, Stock)];
    for close in [EXPIRE, cancel(1)] {
        let closed = given(&then(held.clone(), [close]));
        assert!(is_void(&closed.when(&authorises(1, 1_000)).unwrap()));
    }
    let rejected = given(&[place(goods()), rejected_by_owner(1, Stock)]);
    assert!(is_void(&rejected.when(&authorises(1, 1_000)).unwrap()));
    let reopened = given(&then(expired_and_released(goods()), [reinstate()]));
    assert!(is_void(&reopened.when(&authorises(1, 1_000)).unwrap()), "it is of an older attempt");
}

#[test]
fn money_that_was_never_asked_for_is_broken() {
    let state = given(&[place(goods()), holds(1, Stock)]);
    state.breaks(&authorises(1, 999), &["9.99 EUR", "set aside"]);
    state.breaks(&authorises(2, 1_000), &["attempt 2"]);
    let other = Command::RecordAuthorisation { key: key(1), payment_id: key(2).payment_id(), amount: euros(1_000) };
    state.breaks(&other, &["none that was asked for"]);
    given(&[place(goods())]).breaks(&authorises(1, 1_000), &["pending"]);
}

/// Expired, with late money set aside that is to hold everything again.
fn waits() -> Vec<Command> {
    vec![place(rehold_terms()), holds(1, Stock), EXPIRE, authorises(1, 1_000)]
}

#[test]
fn late_money_that_is_set_aside_waits_for_the_receipt_and_holds_everything_again() {
    let late = &[place(rehold_terms()), holds(1, Stock), EXPIRE];
    let deferred =
        Event::LatePaymentDeferred { key: key(1), payment_id: first(), amount: euros(1_000), is_authorised: true };
    assert_eq!(given(late).when(&authorises(1, 1_000)), Ok(vec![deferred]));
    assert_eq!(given(&waits()).statuses(), ["expired", "authorised", "cancelled"]);
    let events = given(&waits()).when(&releases(1, Stock)).unwrap();
    let [Event::OrderReleased { .. }, Event::OrderReinstated(Reinstated { is_authorised: true, .. })] = &*events else {
        panic!("{events:?}")
    };
    let again = then(waits(), [releases(1, Stock)]);
    assert_eq!(given(&again).statuses(), ["pending", "authorised", "pending"]);
    assert_eq!(given(&again).when(&holds(2, Stock)), Ok(vec![capture(2)]));
    let taken = then(again, [holds(2, Stock), pay(1, 1_000)]);
    assert_eq!(given(&taken).statuses(), ["paid", "paid", "ready"]);
    assert_eq!(given(&taken).order().payment_id, Some(first()));
}

#[test]
fn late_money_is_let_go_if_what_was_held_is_gone() {
    let again = then(waits(), [releases(1, Stock)]);
    let events = given(&again).when(&rejected_by_owner(2, Stock)).unwrap();
    let [Event::OrderRejected { .. }, Event::OrderReleased { .. }, void] = &*events else { panic!("{events:?}") };
    assert!(is_void(std::slice::from_ref(void)), "{void:?}");
    let events = given(&again).when(&cancel(1)).unwrap();
    assert!(matches!(&*events, [Event::OrderCancelled { .. }, Event::VoidRequested { .. }]), "{events:?}");
}

#[test]
fn late_money_that_lapses_is_waited_for_no_more() {
    assert!(is_void(&given(&waits()).when(&is_voided(1)).unwrap()));
    let lapsed = then(waits(), [is_voided(1)]);
    assert_eq!(given(&lapsed).statuses(), ["expired", "voided", "cancelled"]);
    let events = given(&lapsed).when(&releases(1, Stock)).unwrap();
    assert!(matches!(&*events, [Event::OrderReleased { .. }]), "{events:?}");
    let again = then(waits(), [releases(1, Stock)]);
    let events = given(&again).when(&is_voided(1)).unwrap();
    assert!(matches!(&*events, [Event::OrderCancelled { .. }]), "there is nothing to let go: {events:?}");
}

#[test]
fn late_money_that_was_let_go_holds_nothing_again_when_it_is_heard_of_once_more() {
    let lapsed = then(waits(), [is_voided(1)]);
    let released = then(lapsed.clone(), [releases(1, Stock)]);
    for so_far in [lapsed, released.clone()] {
        assert!(is_void(&given(&so_far).when(&authorises(1, 1_000)).unwrap()));
    }
    // Of money that is there after all it is not so.
    let events = given(&released).when(&pay(1, 1_000)).unwrap();
    assert!(matches!(&*events, [Event::OrderReinstated(Reinstated { is_authorised: false, .. })]), "{events:?}");
}

#[test]
fn late_money_that_somebody_has_taken_need_not_be_taken() {
    let taken =
        Event::LatePaymentDeferred { key: key(1), payment_id: first(), amount: euros(1_000), is_authorised: false };
    assert_eq!(given(&waits()).when(&pay(1, 1_000)), Ok(vec![taken]));
    let there = then(waits(), [pay(1, 1_000), releases(1, Stock)]);
    assert_eq!(given(&there).statuses(), ["pending", "paid", "pending"]);
    assert!(matches!(given(&there).when(&holds(2, Stock)).as_deref(), Ok([Event::OrderPaid { .. }])));
    let again = then(waits(), [releases(1, Stock), pay(1, 1_000)]);
    assert_eq!(given(&again).statuses(), ["pending", "paid", "pending"]);
    assert!(matches!(given(&again).when(&holds(2, Stock)).as_deref(), Ok([Event::OrderPaid { .. }])));
}

#[test]
fn the_money_is_taken_with_the_last_of_several_holds() {
    let terms = OrderTerms { late_payment_policy: rehold_terms().late_payment_policy, ..both() };
    let closed = vec![place(terms), holds(1, Stock), holds(1, Shares), EXPIRE, authorises(1, 2_500)];
    let again = then(closed, [releases(1, Stock), releases(1, Shares), holds(2, Stock)]);
    let events = given(&again).when(&holds(2, Shares)).unwrap();
    assert!(matches!(&*events, [Event::CaptureRequested { .. }]), "{events:?}");
    assert_eq!(given(&then(again, [holds(2, Shares), pay(1, 2_500)])).statuses(), ["paid", "paid", "ready"]);
}
