//! Specs of coupons: what opens and closes them, and what an order can have of them.

use domain::{
    CouponCode, Currency, DecideError, Discount, HoldKey, Money, OrderId, Rejection, Sku, Timestamp, spec::Spec,
};
use uuid::Uuid;

use super::{Item, Off, Offer, Purchase};
use crate::{
    command::{Command, CouponCommand},
    event::{CouponEvent, Event, UseOf},
    payment::{
        State,
        spec::{NOW, given},
    },
};

pub(crate) fn code() -> CouponCode {
    CouponCode::parse("SPRING").unwrap()
}

pub(crate) fn key(order: u128) -> HoldKey {
    HoldKey { order_id: OrderId(Uuid::from_u128(order)), attempt: 1 }
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

/// Ten per cent off everything.
pub(crate) fn ten_percent() -> Offer {
    Offer {
        off: Off::BasisPoints(1_000),
        currency: currency("EUR"),
        discount_max: None,
        spend_min: None,
        valid_from: None,
        valid_until: None,
        uses_max: None,
        uses_per_customer_max: None,
        skus: vec![],
    }
}

fn fixed(minor_units: i64) -> Offer {
    Offer { off: Off::Fixed(minor_units), ..ten_percent() }
}

pub(crate) fn opened(offer: Offer) -> Event {
    Event::Coupon(CouponEvent::Opened { code: code(), offer, actor: "ann".to_owned() })
}

fn open(offer: Offer) -> Command {
    Command::Coupon(CouponCommand::Open { code: code(), offer, actor: "ann".to_owned() })
}

fn close() -> Command {
    Command::Coupon(CouponCommand::Close { code: code(), actor: "ann".to_owned(), note: "enough".to_owned() })
}

fn closed() -> Event {
    let (actor, note) = ("ann".to_owned(), "enough".to_owned());
    Event::Coupon(CouponEvent::Closed { code: code(), actor, note, closed_at: NOW })
}

pub(crate) fn purchase(customer: &str, lines: &[(&str, i64)], shares: i64) -> Purchase {
    let item = |(sku, price): &(&str, i64)| Item { sku: Sku::parse(sku).unwrap(), price: *price };
    Purchase {
        code: code(),
        customer_id: customer.to_owned(),
        currency: currency("EUR"),
        lines: lines.iter().map(item).collect(),
        shares,
        payment_method: "sandbox:succeed".to_owned(),
    }
}

/// Two mugs and a cup.
fn goods() -> Purchase {
    purchase("ada", &[("mug", 900), ("cup", 100)], 0)
}

fn hold(order: u128, purchase: Purchase) -> Command {
    Command::Coupon(CouponCommand::Hold { key: key(order), purchase })
}

fn redeem(order: u128) -> Command {
    Command::Coupon(CouponCommand::Redeem { key: key(order) })
}

fn release(order: u128) -> Command {
    Command::Coupon(CouponCommand::Release { key: key(order) })
}

fn of(customer: &str) -> UseOf {
    UseOf { code: code(), customer_id: customer.to_owned() }
}

fn discount(lines: &[i64], shares: i64) -> Discount {
    let amount = Money { minor_units: lines.iter().sum::<i64>() + shares, currency: currency("EUR") };
    Discount { amount, lines: lines.to_vec(), shares }
}

fn held(order: u128, customer: &str) -> Event {
    Event::Coupon(CouponEvent::Held { key: key(order), of: of(customer), discount: discount(&[90, 10], 0) })
}

fn redeemed(order: u128, customer: &str) -> Event {
    Event::Coupon(CouponEvent::Redeemed { key: key(order), of: of(customer) })
}

fn released(order: u128, customer: Option<&str>) -> Event {
    Event::Coupon(CouponEvent::Released { key: key(order), of: customer.map(of) })
}

/// What is taken off, or the code of the refusal and its words.
fn taken_off(state: &State, purchase: Purchase) -> Result<Discount, Rejection> {
    match &state.when(&hold(9, purchase)).unwrap()[..] {
        [Event::Coupon(CouponEvent::Held { discount, .. })] => Ok(discount.clone()),
        [Event::Coupon(CouponEvent::Rejected { rejection, .. })] => Err(rejection.clone()),
        other => panic!("{other:?}"),
    }
}

fn refusal(state: &State, purchase: Purchase) -> String {
    taken_off(state, purchase).unwrap_err().code.into_owned()
}

#[test]
fn a_code_names_one_offer_for_ever() {
    assert_eq!(given(&[]).when(&open(ten_percent())), Ok(vec![opened(ten_percent())]));
    let state = given(&[opened(ten_percent()), closed()]);
    assert_eq!(state.when(&open(ten_percent())), Ok(vec![]));
    assert_eq!(state.refuses(&open(fixed(5)), &["SPRING", "10.00 %", "closed"]), "COUPON_EXISTS");
}

#[test]
fn refuses_a_coupon_whose_time_is_over_before_it_begins() {
    let until = |valid_until| open(Offer { valid_until: Some(valid_until), ..ten_percent() });
    assert_eq!(given(&[]).refuses(&until(NOW), &["valid_until"]), "INVALID_TIME");
    let later = Timestamp::from_micros(70_000_000);
    let begins_later = Offer { valid_from: Some(later), valid_until: Some(later), ..ten_percent() };
    assert_eq!(given(&[]).refuses(&open(begins_later), &["valid_from"]), "INVALID_TIME");
    assert!(given(&[]).when(&until(later)).is_ok());
}

#[test]
fn a_coupon_is_closed_once() {
    assert_eq!(given(&[opened(ten_percent())]).when(&close()), Ok(vec![closed()]));
    assert_eq!(given(&[opened(ten_percent()), closed()]).when(&close()), Ok(vec![]));
    assert_eq!(given(&[]).refuses(&close(), &["SPRING"]), "UNKNOWN_COUPON");
}

#[test]
fn a_percentage_is_shared_over_all_lines_and_the_shares() {
    let state = given(&[opened(ten_percent())]);
    assert_eq!(taken_off(&state, goods()), Ok(discount(&[90, 10], 0)));
    assert_eq!(taken_off(&state, purchase("ada", &[("mug", 333)], 672)), Ok(discount(&[33], 67)));
}

#[test]
fn a_discount_has_a_cap_and_is_never_more_than_what_it_is_for_costs() {
    let capped = Offer { discount_max: Some(50), ..ten_percent() };
    assert_eq!(taken_off(&given(&[opened(capped)]), goods()), Ok(discount(&[45, 5], 0)));
    assert_eq!(taken_off(&given(&[opened(fixed(5_000))]), goods()), Ok(discount(&[900, 100], 0)));
    let all = Offer { off: Off::BasisPoints(10_000), ..ten_percent() };
    assert_eq!(taken_off(&given(&[opened(all)]), goods()), Ok(discount(&[900, 100], 0)));
}

#[test]
fn a_coupon_for_some_products_takes_nothing_off_the_others_nor_off_shares() {
    let of_cups = Offer { skus: vec![Sku::parse("cup").unwrap()], spend_min: Some(100), ..fixed(500) };
    let state = given(&[opened(of_cups)]);
    assert_eq!(taken_off(&state, goods()), Ok(discount(&[0, 100], 0)));
    let too_little = taken_off(&state, purchase("ada", &[("mug", 900), ("cup", 99)], 700)).unwrap_err();
    assert_eq!(too_little.code, "COUPON_SPEND_TOO_SMALL");
    assert!(too_little.reason.contains("1.00 EUR") && too_little.reason.contains("0.99 EUR"), "{too_little}");
    let of_mugs = Offer { skus: vec![Sku::parse("mug").unwrap()], ..ten_percent() };
    assert_eq!(refusal(&given(&[opened(of_mugs)]), purchase("ada", &[("cup", 100)], 0)), "COUPON_NOT_FOR_ORDER");
}

#[test]
fn refuses_what_comes_to_nothing_and_another_currency() {
    let state = given(&[opened(ten_percent())]);
    assert_eq!(refusal(&state, purchase("ada", &[("mug", 9)], 0)), "COUPON_NOT_FOR_ORDER");
    assert_eq!(refusal(&state, Purchase { currency: currency("USD"), ..goods() }), "WRONG_CURRENCY");
    assert_eq!(refusal(&given(&[]), goods()), "UNKNOWN_COUPON");
}

#[test]
fn refuses_a_rest_that_the_provider_does_not_take_and_takes_none_at_all() {
    let by_card = || Purchase { payment_method: "stripe:card".to_owned(), ..goods() };
    let too_little = taken_off(&given(&[opened(fixed(960))]), by_card()).unwrap_err();
    assert_eq!(too_little.code, "AMOUNT_TOO_SMALL");
    assert!(too_little.reason.contains("leaves 0.40 EUR to pay"), "{too_little}");
    assert!(taken_off(&given(&[opened(fixed(1_000))]), by_card()).is_ok());
    assert!(taken_off(&given(&[opened(fixed(500))]), by_card()).is_ok());
}

#[test]
fn refuses_before_and_after_its_time_and_once_it_is_closed() {
    let at = |micros| Some(Timestamp::from_micros(micros));
    let early = Offer { valid_from: at(60_000_001), ..ten_percent() };
    let over = Offer { valid_until: at(60_000_000), ..ten_percent() };
    for events in [vec![opened(early)], vec![opened(over)], vec![opened(ten_percent()), closed()]] {
        assert_eq!(refusal(&given(&events), goods()), "COUPON_NOT_OPEN");
    }
    let in_time = Offer { valid_from: at(60_000_000), valid_until: at(60_000_001), ..ten_percent() };
    assert!(taken_off(&given(&[opened(in_time)]), goods()).is_ok());
}

#[test]
fn uses_that_are_held_count_as_used() {
    let one = Offer { uses_max: Some(1), ..ten_percent() };
    let held_by_other = given(&[opened(one.clone()), held(1, "bob")]);
    assert_eq!(refusal(&held_by_other, goods()), "COUPON_USED_UP");
    let redeemed = given(&[opened(one.clone()), held(1, "bob"), redeemed(1, "bob")]);
    assert_eq!(refusal(&redeemed, goods()), "COUPON_USED_UP");
    let released = given(&[opened(one), held(1, "bob"), released(1, Some("bob"))]);
    assert!(taken_off(&released, goods()).is_ok());
}

#[test]
fn one_customer_uses_it_as_often_as_one_may() {
    let twice = Offer { uses_per_customer_max: Some(2), ..ten_percent() };
    let events = [opened(twice), held(1, "ada"), held(2, "bob"), redeemed(1, "ada"), held(3, "ada")];
    let refused = taken_off(&given(&events), goods()).unwrap_err();
    assert_eq!(refused.code, "COUPON_USED_BY_CUSTOMER");
    assert!(refused.reason.contains("\"ada\"") && refused.reason.contains("redeemed 1 and holds 1"), "{refused}");
    assert!(taken_off(&given(&events), purchase("bob", &[("mug", 900)], 0)).is_ok());
    let back = given(&[&events[..], &[released(3, Some("ada"))]].concat());
    assert!(taken_off(&back, goods()).is_ok());
}

#[test]
fn what_is_held_stays_good_whatever_becomes_of_the_coupon() {
    let over = Offer { valid_until: Some(NOW), ..ten_percent() };
    let state = given(&[opened(over), held(1, "ada"), closed()]);
    assert_eq!(state.when(&redeem(1)), Ok(vec![redeemed(1, "ada")]));
    assert_eq!(state.when(&release(1)), Ok(vec![released(1, Some("ada"))]));
}

#[test]
fn a_use_is_closed_once() {
    let used = given(&[opened(ten_percent()), held(1, "ada"), redeemed(1, "ada")]);
    assert_eq!(used.when(&redeem(1)), Ok(vec![]));
    assert_eq!(used.when(&hold(1, goods())), Ok(vec![]));
    let Err(DecideError::Broken { stream, .. }) = used.when(&release(1)) else { panic!("not broken") };
    assert_eq!(stream, format!("use-{}", key(1)));
    let free = given(&[opened(ten_percent()), held(1, "ada"), released(1, Some("ada"))]);
    assert_eq!(free.when(&release(1)), Ok(vec![]));
    assert_eq!(free.when(&hold(1, goods())), Ok(vec![]));
    assert!(matches!(free.when(&redeem(1)), Err(DecideError::Broken { .. })));
}

#[test]
fn a_release_before_the_hold_leaves_a_tombstone() {
    let state = given(&[opened(ten_percent())]);
    assert_eq!(state.when(&release(1)), Ok(vec![released(1, None)]));
    let state = given(&[opened(ten_percent()), released(1, None)]);
    assert_eq!(state.when(&hold(1, goods())), Ok(vec![]));
    assert_eq!(state.coupons.get(&code()).unwrap().held, 0);
}

#[test]
fn a_refused_use_has_nothing_to_release() {
    let refused = given(&[]).when(&hold(1, goods())).unwrap();
    let state = given(&refused);
    assert_eq!(state.when(&release(1)), Ok(vec![]));
    assert!(matches!(state.when(&redeem(1)), Err(DecideError::Broken { .. })));
}

#[test]
fn a_refund_of_no_money_of_an_order_that_was_paid_with_nothing_is_none_of_its_business() {
    let key = key(1);
    let refund = |minor_units| Command::BeginRefund {
        payment_id: key.payment_id(),
        order_id: key.order_id,
        refund_id: domain::RefundId(Uuid::from_u128(9)),
        amount: Money { minor_units, currency: currency("EUR") },
    };
    assert_eq!(given(&[]).when(&refund(0)), Ok(vec![]));
    assert!(matches!(given(&[]).when(&refund(1)), Err(DecideError::Broken { .. })));
}
