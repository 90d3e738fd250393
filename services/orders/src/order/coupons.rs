//! Specs of orders with a coupon: what is asked for, what is paid, and what goes back.

use domain::{Discount, spec::Spec};

use super::{
    Extent, OrderTerms, RefundItems, RefundReason,
    Resource::{self, Coupon, Shares, Stock},
    spec::{
        EXPIRE, NOW, ORDER, TIME_TO_PAY, all_back, authorises, both, cancel, coupon, coupon_holds, euros, given, goods,
        holds, key, none_left, pay, pieces, pieces_back, place, refund, refund_goes, rehold_terms, reinstate,
        rejected_by_owner, releases, round_fails, shares_back, takes_off, then,
    },
};
use crate::{command::Command, event::Event};

/// Two mugs at 450 and a cup at 100, with a coupon.
fn with_coupon() -> OrderTerms {
    OrderTerms { coupon: Some(coupon("SPRING")), ..goods() }
}

/// What it takes off: 101 of the mugs, so that one of them costs 400 and the other 399, and nothing of the cup.
fn some_off() -> Discount {
    takes_off(&[101, 0], 0)
}

fn all_off() -> Discount {
    takes_off(&[900, 100], 0)
}

fn requested(attempt: i32, terms: OrderTerms) -> Event {
    let OrderTerms { customer_id, lines, shares, payment_method, .. } = terms;
    Event::CouponRequested { key: key(attempt), coupon: coupon("SPRING"), customer_id, lines, shares, payment_method }
}

fn redeem(attempt: i32) -> Event {
    Event::RedemptionRequested { key: key(attempt), coupon: coupon("SPRING") }
}

fn paid(attempt: i32, minor_units: i64, holds: &[Resource], discount: Discount) -> Event {
    let (payment_id, amount) = (key(attempt).payment_id(), euros(minor_units));
    Event::OrderPaid { key: key(attempt), payment_id, amount, holds: holds.to_vec(), discount: Some(discount) }
}

/// Placed, held and paid with what the coupon leaves.
fn bought() -> Vec<Command> {
    vec![place(with_coupon()), coupon_holds(1, some_off()), holds(1, Stock), pay(1, 899)]
}

/// Placed and held, with a coupon that leaves nothing to pay.
fn free() -> Vec<Command> {
    vec![place(with_coupon()), holds(1, Stock), coupon_holds(1, all_off())]
}

#[test]
fn an_order_with_a_coupon_asks_for_it_and_one_without_asks_nothing() {
    let events = given(&[]).when(&place(with_coupon())).unwrap();
    assert_eq!(
        events,
        [
            Event::OrderPlaced {
                order_id: ORDER,
                terms: with_coupon(),
                placed_at: NOW,
                has_contact: false,
                actor: "ann".to_owned()
            },
            requested(1, with_coupon())
        ]
    );
    assert_eq!(given(&[]).when(&place(goods())).unwrap().len(), 1);
}

#[test]
fn the_buyer_is_asked_for_the_total_without_the_discount_in_whatever_order_the_holds_come() {
    let reserved = Event::OrderReserved {
        key: key(1),
        amount: euros(899),
        expires_at: Some(NOW + TIME_TO_PAY),
        payment_method: "card".to_owned(),
        discount: Some(some_off()),
        reference: None,
    };
    let confirmed = Event::OrderHoldConfirmed { key: key(1), resource: Coupon, discount: Some(some_off()) };
    let placed = given(&[place(with_coupon())]);
    assert_eq!(placed.when(&coupon_holds(1, some_off())), Ok(vec![confirmed]));
    let coupon_first = given(&[place(with_coupon()), coupon_holds(1, some_off())]);
    assert_eq!(coupon_first.when(&holds(1, Stock)), Ok(vec![reserved.clone()]));
    let stock_first = given(&[place(with_coupon()), holds(1, Stock)]);
    assert_eq!(stock_first.when(&coupon_holds(1, some_off())), Ok(vec![reserved.clone()]));
    let resources = vec![Coupon, Stock];
    let at_once = Command::ConfirmHolds { key: key(1), resources, discount: Some(some_off()) };
    assert_eq!(placed.when(&at_once), Ok(vec![reserved]));
}

#[test]
fn what_pays_the_order_redeems_its_coupon() {
    let state = given(&bought()[..3]);
    assert_eq!(state.when(&pay(1, 899)), Ok(vec![paid(1, 899, &[Stock, Coupon], some_off()), redeem(1)]));
    state.breaks(&pay(1, 1_000), &["costs 8.99 EUR"]);
}

#[test]
fn an_order_that_costs_nothing_is_paid_with_its_last_hold_and_nobody_is_asked() {
    let with_last = vec![paid(1, 0, &[Stock, Coupon], all_off()), redeem(1)];
    assert_eq!(given(&free()[..2]).when(&coupon_holds(1, all_off())), Ok(with_last.clone()));
    assert_eq!(given(&[place(with_coupon()), coupon_holds(1, all_off())]).when(&holds(1, Stock)), Ok(with_last));
    assert_eq!(given(&free()).statuses(), ["paid", "paid", "ready"]);
    assert_eq!(given(&free()).order().captured_minor, 0);
    // Its timer finds it paid.
    assert_eq!(given(&free()).when(&EXPIRE), Ok(vec![]));
}

#[test]
fn a_coupon_that_is_refused_closes_the_order() {
    let state = given(&[place(with_coupon()), holds(1, Stock)]);
    let events = state.when(&rejected_by_owner(1, Coupon)).unwrap();
    let holds = vec![Stock, Coupon];
    assert_eq!(events, [Event::OrderRejected { key: key(1), resource: Coupon, rejection: none_left(), holds }]);
    let closed = given(&[place(with_coupon()), holds_stock(), rejected_by_owner(1, Coupon)]);
    assert_eq!(closed.when(&releases(1, Stock)), Ok(vec![Event::OrderReleased { key: key(1) }]));
}

fn holds_stock() -> Command {
    holds(1, Stock)
}

#[test]
fn a_closed_order_has_its_receipt_once_the_coupon_is_free_too() {
    let expired = vec![place(with_coupon()), coupon_holds(1, some_off()), holds(1, Stock), EXPIRE];
    let state = given(&then(expired.clone(), [releases(1, Stock)]));
    assert_eq!(state.when(&releases(1, Coupon)), Ok(vec![Event::OrderReleased { key: key(1) }]));
    let state = given(&then(expired, [releases(1, Coupon), releases(1, Stock)]));
    assert!(state.order().released);
}

#[test]
fn a_reinstated_order_asks_for_its_coupon_again() {
    let released = vec![place(with_coupon()), EXPIRE, releases(1, Stock), releases(1, Coupon)];
    let events = given(&released).when(&reinstate()).unwrap();
    assert!(matches!(&events[..], [Event::OrderReinstated(_), asked] if *asked == requested(2, with_coupon())));
    let refused = given(&then(released, [reinstate(), rejected_by_owner(2, Coupon)]));
    assert_eq!(refused.statuses(), ["rejected", "cancelled", "cancelled"]);
}

#[test]
fn late_money_holds_the_coupon_again_or_goes_back_whole() {
    let terms = OrderTerms { coupon: Some(coupon("SPRING")), ..rehold_terms() };
    let expired = [place(terms.clone()), coupon_holds(1, some_off()), holds(1, Stock), EXPIRE];
    let released = then(expired.to_vec(), [releases(1, Stock), releases(1, Coupon)]);
    let events = given(&released).when(&pay(1, 899)).unwrap();
    assert!(matches!(&events[..], [Event::OrderReinstated(_), asked] if *asked == requested(2, terms.clone())));
    let again = then(released, [pay(1, 899), holds(2, Stock)]);
    let Event::OrderPaid { key, amount, holds, discount, .. } = paid(2, 899, &[Stock, Coupon], some_off()) else {
        unreachable!()
    };
    // By the payment of the first attempt.
    let by_first = Event::OrderPaid { key, payment_id: super::spec::key(1).payment_id(), amount, holds, discount };
    assert_eq!(given(&again).when(&coupon_holds(2, some_off())), Ok(vec![by_first, redeem(2)]));
    let refused = given(&then(again, [rejected_by_owner(2, Coupon)]));
    let late = refused.order().refunds.values().next().unwrap();
    assert_eq!((late.claim.amount, late.claim.reason), (euros(899), RefundReason::LatePayment));
}

#[test]
fn late_money_of_an_order_whose_coupon_was_never_held_goes_back_whole() {
    let terms = OrderTerms { coupon: Some(coupon("SPRING")), ..rehold_terms() };
    let expired = vec![place(terms), EXPIRE];
    let released = then(expired.clone(), [releases(1, Stock), releases(1, Coupon)]);
    for so_far in [expired, released] {
        let events = given(&so_far).when(&pay(1, 1_000)).unwrap();
        let [Event::RefundRequested { claim, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((claim.amount, claim.reason), (euros(1_000), RefundReason::LatePayment));
        let events = given(&so_far).when(&authorises(1, 1_000)).unwrap();
        assert!(matches!(&events[..], [Event::VoidRequested { .. }]), "{events:?}");
    }
}

#[test]
fn pieces_come_back_for_what_was_paid_and_all_of_them_for_all() {
    let claims = |state: &super::State, command: &Command| match &state.when(command).unwrap()[..] {
        [Event::RefundRequested { claim, .. }] => claim.amount.minor_units,
        other => panic!("{other:?}"),
    };
    let mut commands = bought();
    // The dearer mug first.
    for (number, (sku, price)) in [("mug", 400), ("cup", 100), ("mug", 399)].into_iter().enumerate() {
        let id = u128::try_from(number).unwrap() + 1;
        let back = pieces_back(id, &[(sku, 1)]);
        assert_eq!(claims(&given(&commands), &back), price);
        commands.extend([back, refund_goes(refund(id), price)]);
    }
    assert_eq!(given(&commands).statuses(), ["refunded", "refunded", "returned"]);
    assert_eq!(claims(&given(&bought()), &all_back(9)), 899);
}

#[test]
fn shares_come_back_for_what_was_paid_for_them() {
    let terms = OrderTerms { coupon: Some(coupon("SPRING")), ..both() };
    let discount = takes_off(&[0, 0], 1_499);
    let held = [place(terms), coupon_holds(1, discount), holds(1, Stock), holds(1, Shares)];
    let state = given(&then(held.to_vec(), [pay(1, 1_001)]));
    for command in [shares_back(1), round_fails()] {
        let events = state.when(&command).unwrap();
        let [Event::RefundRequested { claim, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((claim.amount, claim.return_shares), (euros(1), true));
    }
}

#[test]
fn goods_of_an_order_that_cost_nothing_come_back_without_money_and_at_once() {
    let claim = |lines: &[(&str, i64)]| RefundItems {
        attempt: 1,
        amount: euros(0),
        reason: RefundReason::Requested,
        lines: pieces(lines),
        return_shares: false,
    };
    let part = given(&free()).when(&pieces_back(1, &[("mug", 1)])).unwrap();
    let [Event::RefundRequested { extent, .. }, back] = &part[..] else { panic!("{part:?}") };
    let (order_id, refund_id) = (ORDER, refund(1));
    assert_eq!(*extent, Some(Extent::Price));
    assert_eq!(*back, Event::OrderPartiallyRefunded { order_id, refund_id, claim: claim(&[("mug", 1)]) });
    let after = then(free(), [pieces_back(1, &[("mug", 1)])]);
    assert_eq!(given(&after).statuses(), ["partially_refunded", "partially_refunded", "ready"]);
    let rest = given(&after).when(&all_back(2)).unwrap();
    let all = claim(&[("cup", 1), ("mug", 1)]);
    assert_eq!(rest[1], Event::OrderRefunded { order_id, refund_id: refund(2), claim: all });
    assert_eq!(given(&then(after, [all_back(2)])).statuses(), ["refunded", "refunded", "returned"]);
    let cancelled = given(&then(free(), [cancel(3)]));
    assert_eq!(cancelled.statuses(), ["refunded", "refunded", "returned"]);
    assert_eq!(given(&free()).refuses(&super::spec::money_back(4, 1), &["0.00 EUR is left"]), "REFUND_EXCEEDS_PAYMENT");
}

#[test]
fn shares_of_an_order_that_cost_nothing_come_back_if_their_round_fails() {
    let terms = OrderTerms { coupon: Some(coupon("SPRING")), ..both() };
    let held = vec![place(terms), holds(1, Stock), holds(1, Shares), coupon_holds(1, takes_off(&[900, 100], 1_500))];
    let state = given(&then(held, [round_fails()]));
    assert_eq!(state.statuses(), ["partially_refunded", "partially_refunded", "ready"]);
    assert_eq!(state.when(&round_fails()), Ok(vec![]));
}

#[test]
fn a_discount_that_cannot_be_is_broken() {
    let state = given(&[place(with_coupon())]);
    for wrong in [takes_off(&[901, 100], 0), takes_off(&[1], 0)] {
        state.breaks(&coupon_holds(1, wrong), &["no discount that it can have"]);
    }
}
