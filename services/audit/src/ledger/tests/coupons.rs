//! Coupons: what the ledger finds, and that it finds nothing where all is right.

use proto::{common::v1::Discount, inventory::v1 as inventory, orders::v1 as orders, payments::v1 as payments};

use super::{LogBuilder, eur, mugs, order, payment, time};
use crate::report::Check;

const ADA: &str = "ada";

fn lines() -> Vec<orders::OrderLine> {
    vec![
        orders::OrderLine { sku: "mug".to_owned(), quantity: 2, unit_price: eur(100) },
        orders::OrderLine { sku: "cup".to_owned(), quantity: 1, unit_price: eur(50) },
    ]
}

/// Two mugs at 100 and a cup at 50, with a coupon for the mugs that takes off so much, once.
fn placed(cents: i64) -> LogBuilder {
    let offer = payments::CouponOffer {
        fixed: eur(cents),
        currency: "EUR".to_owned(),
        uses_max: 1,
        skus: vec!["mug".to_owned()],
        ..Default::default()
    };
    LogBuilder::shop()
        .then(&payments::CouponOpened { coupon_code: "ONCE".to_owned(), offer: Some(offer), actor: String::new() })
        .then(&orders::OrderPlaced {
            order_id: order(),
            customer_id: ADA.to_owned(),
            lines: lines(),
            total: eur(250),
            expires_at: time(60),
            attempt: 1,
            coupon_code: "ONCE".to_owned(),
            ..Default::default()
        })
        .then(&orders::CouponRequested {
            order_id: order(),
            attempt: 1,
            coupon_code: "ONCE".to_owned(),
            customer_id: ADA.to_owned(),
            lines: lines(),
            ..Default::default()
        })
        .then(&inventory::StockHeld {
            order_id: order(),
            attempt: 1,
            lines: [mugs(2), vec![proto::common::v1::ProductQuantity { sku: "cup".to_owned(), quantity: 1 }]].concat(),
        })
}

fn held(order_id: String, discount: &[i64]) -> payments::CouponHeld {
    payments::CouponHeld {
        order_id,
        attempt: 1,
        coupon_code: "ONCE".to_owned(),
        discount: Some(Discount {
            amount: eur(discount.iter().sum()),
            lines_minor: discount.to_vec(),
            shares_minor: 0,
        }),
        customer_id: ADA.to_owned(),
    }
}

fn released() -> payments::CouponReleased {
    payments::CouponReleased {
        order_id: order(),
        attempt: 1,
        coupon_code: "ONCE".to_owned(),
        customer_id: ADA.to_owned(),
    }
}

fn paid(minor_units: i64) -> orders::OrderPaid {
    let (order_id, payment_id, amount) = (order(), payment(1), eur(minor_units));
    orders::OrderPaid { order_id, attempt: 1, payment_id, amount, ..Default::default() }
}

/// What is wrong with coupons and orders.
fn found(story: LogBuilder) -> Vec<String> {
    let of = |(check, _, what, _): (Check, String, String, Option<domain::GlobalPosition>)| {
        matches!(check, Check::Coupons | Check::Orders | Check::Money).then_some(what)
    };
    story.found().into_iter().filter_map(of).collect()
}

#[test]
fn nothing_is_wrong_with_an_order_that_pays_what_its_coupon_leaves_or_nothing_at_all() {
    let reserved = orders::OrderReserved { order_id: order(), attempt: 1, amount: eur(150), ..Default::default() };
    let asked = payments::PaymentRequested {
        payment_id: payment(1),
        order_id: order(),
        attempt: 1,
        amount: eur(150),
        ..Default::default()
    };
    let came = payments::PaymentSucceeded {
        payment_id: payment(1),
        order_id: order(),
        attempt: 1,
        amount: eur(150),
        ..Default::default()
    };
    let story = placed(100).then(&held(order(), &[100, 0])).then(&reserved).then(&asked).then(&came);
    assert_eq!(found(story.then(&paid(150))), [""; 0]);
    let story = placed(200).then(&held(order(), &[200, 0]));
    assert_eq!(found(story.then(&released())), [""; 0]);
}

#[test]
fn finds_a_discount_that_its_coupon_does_not_give_or_that_is_shared_otherwise() {
    let found = |discount: &[i64]| found(placed(100).then(&held(order(), discount))).join("; ");
    assert_eq!(found(&[99, 0]), "it takes 0.99 EUR off, and its coupon takes 1.00 EUR off");
    let parts = "its parts are 0.98 EUR and 0.02 EUR and 0.00 EUR, of prices 2.00 EUR and 0.00 EUR and 0.00 EUR";
    assert!(found(&[98, 2]).starts_with(parts));
}

#[test]
fn finds_more_uses_than_there_are_and_uses_of_a_coupon_that_is_closed() {
    let other = uuid::Uuid::from_u128(70).to_string();
    let story = placed(100).then(&held(order(), &[100, 0])).then(&held(other, &[100, 0]));
    assert!(found(story).contains(&"2 are held and 0 redeemed of 1 uses".to_owned()));
    let closed = payments::CouponClosed { coupon_code: "ONCE".to_owned(), ..Default::default() };
    let story = placed(100).then(&closed).then(&held(order(), &[100, 0]));
    assert_eq!(found(story), ["it is held of coupon ONCE, which is not open"]);
}

#[test]
fn finds_an_order_that_is_paid_with_another_amount_than_its_coupon_leaves() {
    let story = placed(100).then(&held(order(), &[100, 0])).then(&paid(250));
    assert_eq!(found(story), ["OrderPaid: it is paid with another amount than there is to pay or than its payment"]);
}

#[test]
fn finds_a_use_that_ends_twice() {
    let story = placed(100).then(&held(order(), &[100, 0])).then(&released()).then(&released());
    assert_eq!(found(story), ["it is released although it is released"]);
}

#[test]
fn finds_a_use_that_is_still_held_when_its_order_is_closed() {
    let closed = orders::OrderCancelled { order_id: order(), attempt: 1, ..Default::default() };
    let story = placed(100).then(&held(order(), &[100, 0])).then(&closed);
    let late = story.found_after(3_600);
    assert!(
        late.iter()
            .any(|(_, subject, what, _)| *subject == format!("use-{}.1", order()) && what.contains("still held"))
    );
}
