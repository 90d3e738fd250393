//! The rules of what the owners of stock and shares answer, one test each.

use domain::spec::Spec as _;

use crate::{
    command::Command,
    event::Event,
    order::{
        HoldStatus,
        Resource::{self, Shares, Stock},
        spec::{
            EXPIRE, NOW, TIME_TO_PAY, both, bought_both, bought_goods, cancel, euros, expired_and_released, given,
            goods, holds, key, none_left, place, referenced, reinstate, rejected_by_owner, releases, then,
        },
    },
};

fn held(minor_units: i64) -> Event {
    Event::OrderReserved {
        key: key(1),
        amount: euros(minor_units),
        expires_at: Some(NOW + TIME_TO_PAY),
        payment_method: "card".to_owned(),
        discount: None,
        reference: None,
    }
}

fn rejected(resource: Resource, holds: &[Resource]) -> Event {
    Event::OrderRejected { key: key(1), resource, rejection: none_left(), holds: holds.to_vec() }
}

#[test]
fn an_order_with_its_only_hold_can_be_paid() {
    assert_eq!(given(&[place(goods())]).when(&holds(1, Stock)), Ok(vec![held(1_000)]));
    assert_eq!(given(&[place(goods()), holds(1, Stock)]).statuses(), ["reserved", "pending", "pending"]);
}

#[test]
fn the_payment_of_an_order_is_asked_for_under_the_shops_own_number_also_after_it_was_opened_again() {
    let of = |commands: &[Command], attempt| match given(commands).when(&holds(attempt, Stock)).as_deref() {
        Ok([Event::OrderReserved { reference, .. }]) => reference.clone(),
        other => panic!("it can be paid: {other:?}"),
    };
    assert_eq!(of(&[place(referenced("R-1001"))], 1).as_deref(), Some("R-1001"));
    let reinstated = [expired_and_released(referenced("R-1001")), vec![reinstate()]].concat();
    assert_eq!(of(&reinstated, 2).as_deref(), Some("R-1001"));
    assert_eq!(of(&[place(goods())], 1), None);
}

#[test]
fn an_order_of_goods_and_shares_waits_for_both_in_any_order() {
    for (first, last) in [(Stock, Shares), (Shares, Stock)] {
        let confirmed = Event::OrderHoldConfirmed { key: key(1), resource: first, discount: None };
        assert_eq!(given(&[place(both())]).when(&holds(1, first)), Ok(vec![confirmed]));
        let state = given(&[place(both()), holds(1, first)]);
        assert_eq!(state.statuses(), ["pending", "pending", "pending"]);
        assert_eq!(state.when(&holds(1, last)), Ok(vec![held(2_500)]));
    }
}

#[test]
fn a_hold_told_twice_changes_nothing() {
    assert_eq!(given(&[place(both()), holds(1, Stock)]).when(&holds(1, Stock)), Ok(vec![]));
    assert_eq!(given(&[place(goods()), holds(1, Stock)]).when(&holds(1, Stock)), Ok(vec![]));
    assert_eq!(given(&bought_both()).when(&holds(1, Shares)), Ok(vec![]));
}

#[test]
fn a_hold_of_a_closed_order_changes_nothing_for_its_release_is_on_the_way() {
    for close in [EXPIRE, cancel(1), rejected_by_owner(1, Shares)] {
        assert_eq!(given(&[place(both()), close]).when(&holds(1, Stock)), Ok(vec![]));
    }
    assert_eq!(given(&expired_and_released(goods())).when(&holds(1, Stock)), Ok(vec![]));
}

#[test]
fn a_refused_hold_rejects_the_order_and_a_single_one_leaves_nothing_to_release() {
    let receipt = Event::OrderReleased { key: key(1) };
    assert_eq!(
        given(&[place(goods())]).when(&rejected_by_owner(1, Stock)),
        Ok(vec![rejected(Stock, &[Stock]), receipt])
    );
    let state = given(&[place(goods()), rejected_by_owner(1, Stock)]);
    assert_eq!(state.statuses(), ["rejected", "cancelled", "cancelled"]);
    assert_eq!(state.order().note, "no stock: OUT_OF_STOCK: none left");
    assert_eq!(state.order().holds[&Stock], HoldStatus::Rejected);
}

#[test]
fn the_first_of_two_refusals_rejects_the_order_and_the_second_settles_it() {
    let state = given(&[place(both())]);
    assert_eq!(state.when(&rejected_by_owner(1, Shares)), Ok(vec![rejected(Shares, &[Stock, Shares])]));
    let state = given(&[place(both()), rejected_by_owner(1, Shares)]);
    assert_eq!(state.when(&rejected_by_owner(1, Shares)), Ok(vec![]));
    assert_eq!(state.when(&rejected_by_owner(1, Stock)), Ok(vec![Event::OrderReleased { key: key(1) }]));
}

#[test]
fn a_rejected_order_is_settled_when_its_other_hold_is_released() {
    for commands in [
        vec![place(both()), rejected_by_owner(1, Shares)],
        vec![place(both()), holds(1, Stock), rejected_by_owner(1, Shares)],
    ] {
        assert_eq!(given(&commands).when(&releases(1, Stock)), Ok(vec![Event::OrderReleased { key: key(1) }]));
    }
}

#[test]
fn a_closed_order_is_settled_by_its_last_release_in_any_order() {
    for (first, last) in [(Stock, Shares), (Shares, Stock)] {
        for close in [EXPIRE, cancel(1)] {
            let confirmed = Event::OrderReleaseConfirmed { key: key(1), resource: first };
            let closed = vec![place(both()), holds(1, Stock), close];
            assert_eq!(given(&closed).when(&releases(1, first)), Ok(vec![confirmed]));
            let state = given(&then(closed, [releases(1, first)]));
            assert!(!state.order().released);
            assert_eq!(state.when(&releases(1, first)), Ok(vec![]));
            assert_eq!(state.when(&releases(1, last)), Ok(vec![Event::OrderReleased { key: key(1) }]));
        }
    }
}

#[test]
fn a_refusal_settles_a_closed_order_as_a_release_does() {
    let state = given(&[place(both()), EXPIRE, releases(1, Shares)]);
    assert_eq!(state.when(&rejected_by_owner(1, Stock)), Ok(vec![Event::OrderReleased { key: key(1) }]));
}

#[test]
fn what_is_released_is_released_once() {
    let state = given(&expired_and_released(goods()));
    assert!(state.order().released);
    assert_eq!(state.when(&releases(1, Stock)), Ok(vec![]));
    assert_eq!(state.when(&rejected_by_owner(1, Stock)), Ok(vec![]));
}

#[test]
fn answers_to_an_older_attempt_change_nothing() {
    let state = given(&then(expired_and_released(goods()), [reinstate()]));
    for answer in [holds(1, Stock), rejected_by_owner(1, Stock), releases(1, Stock)] {
        assert_eq!(state.when(&answer), Ok(vec![]));
    }
}

#[test]
fn an_answer_to_an_attempt_that_is_yet_to_come_is_broken() {
    for answer in [holds(2, Stock), rejected_by_owner(2, Stock), releases(2, Stock)] {
        given(&[place(goods())]).breaks(&answer, &["attempt 2"]);
    }
}

#[test]
fn an_answer_that_was_never_asked_for_is_broken() {
    for answer in [holds(1, Shares), rejected_by_owner(1, Shares), releases(1, Shares)] {
        given(&[place(goods())]).breaks(&answer, &["never asked for"]);
    }
}

#[test]
fn an_answer_that_contradicts_another_is_broken() {
    let held = [place(goods()), holds(1, Stock)];
    given(&held).breaks(&rejected_by_owner(1, Stock), &["stock is said to be rejected, but is held"]);
    given(&bought_goods()).breaks(&rejected_by_owner(1, Stock), &["rejected"]);
    given(&then(held.to_vec(), [EXPIRE])).breaks(&rejected_by_owner(1, Stock), &["rejected"]);
    given(&held).breaks(&releases(1, Stock), &["the order reserved"]);
    given(&bought_goods()).breaks(&releases(1, Stock), &["the order paid"]);
}

#[test]
fn answers_about_both_that_come_together_are_one_event() {
    let both_held = Command::ConfirmHolds { key: key(1), resources: vec![Shares, Stock], discount: None };
    assert_eq!(given(&[place(both())]).when(&both_held), Ok(vec![held(2_500)]));
    // One of them was there before.
    assert_eq!(given(&[place(both()), holds(1, Stock)]).when(&both_held), Ok(vec![held(2_500)]));
    assert_eq!(given(&[place(both()), both_held.clone()]).when(&both_held), Ok(vec![]));
    let both_released = Command::ConfirmReleases { key: key(1), resources: vec![Stock, Shares] };
    let closed = [place(both()), both_held, EXPIRE];
    assert_eq!(given(&closed).when(&both_released), Ok(vec![Event::OrderReleased { key: key(1) }]));
    let [placed, held, expired] = closed;
    assert_eq!(given(&[placed, held, expired, both_released.clone()]).when(&both_released), Ok(vec![]));
}
