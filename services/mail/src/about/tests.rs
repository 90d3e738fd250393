//! Which events cause a mail, and what it says of the order.

use domain::Timestamp;
use proto::{
    Message, Name,
    common::v1::{Discount, Money, ProductQuantity},
    orders::v1::{
        OrderExpired, OrderLine, OrderPaid, OrderPartiallyRefunded, OrderPlaced, OrderRefunded, RefundReason,
        SharePurchase,
    },
};
use uuid::Uuid;

use super::{About, Kind, Wanted, caused_by, story};

const ORDER: Uuid = Uuid::from_u128(7);
const REFUND: Uuid = Uuid::from_u128(8);

fn money(minor_units: i64, currency: &str) -> Option<Money> {
    Some(Money { minor_units, currency: currency.to_owned() })
}

fn refunded(reason: RefundReason, minor_units: i64) -> Vec<u8> {
    OrderRefunded {
        order_id: ORDER.to_string(),
        refund_id: REFUND.to_string(),
        amount: money(minor_units, "EUR"),
        reason: reason.into(),
        lines: vec![ProductQuantity { sku: "MUG".to_owned(), quantity: 2 }],
        ..OrderRefunded::default()
    }
    .encode_to_vec()
}

fn caused(message_type: &str, data: &[u8], wanted: Wanted) -> Option<About> {
    caused_by(message_type, data, wanted).unwrap()
}

#[test]
fn an_order_that_is_paid_causes_one_mail_and_each_refund_one() {
    let paid = OrderPaid { order_id: ORDER.to_string(), attempt: 1, ..OrderPaid::default() }.encode_to_vec();
    let again = OrderPaid { order_id: ORDER.to_string(), attempt: 2, ..OrderPaid::default() }.encode_to_vec();
    let about = |data: &[u8]| caused(&OrderPaid::full_name(), data, Wanted::default()).unwrap();
    assert_eq!(about(&paid), About { order_id: ORDER, kind: Kind::Paid, refund_id: None });
    assert_eq!(about(&paid).mail_id(), about(&again).mail_id());
    let of_refund = |name: String| caused(&name, &refunded(RefundReason::Requested, 5), Wanted::default()).unwrap();
    let whole = of_refund(OrderRefunded::full_name());
    assert_eq!(whole, About { order_id: ORDER, kind: Kind::Refunded, refund_id: Some(REFUND) });
    assert_eq!(whole, of_refund(OrderPartiallyRefunded::full_name()));
    assert_eq!(whole.name(), format!("refunded.{ORDER}.{REFUND}"));
    assert_ne!(whole.mail_id(), about(&paid).mail_id());
}

#[test]
fn of_late_money_and_of_what_happened_elsewhere_a_buyer_is_told_only_if_the_shop_wants_it() {
    let cases = [
        (RefundReason::LatePayment, Wanted { late_payments: true, elsewhere: false }),
        (RefundReason::Elsewhere, Wanted { late_payments: false, elsewhere: true }),
    ];
    for (reason, wanted) in cases {
        let data = refunded(reason, 5);
        let other = Wanted { late_payments: !wanted.late_payments, elsewhere: !wanted.elsewhere };
        assert_eq!(caused(&OrderRefunded::full_name(), &data, Wanted::default()), None);
        assert_eq!(caused(&OrderRefunded::full_name(), &data, other), None);
        assert!(caused(&OrderRefunded::full_name(), &data, wanted).is_some());
    }
}

#[test]
fn goods_that_come_back_without_money_and_other_events_cause_none() {
    let free = refunded(RefundReason::Requested, 0);
    assert_eq!(caused(&OrderRefunded::full_name(), &free, Wanted::default()), None);
    assert!(caused_by(&OrderExpired::full_name(), &[], Wanted::default()).is_err());
    assert!(caused_by(&OrderPaid::full_name(), &[0xff], Wanted::default()).is_err());
}

#[test]
fn amounts_are_written_with_the_digits_of_their_currency() {
    for (currency, price, total) in [("JPY", "1,250 JPY", "3,750 JPY"), ("KWD", "1.250 KWD", "3.750 KWD")] {
        let placed = OrderPlaced {
            order_id: ORDER.to_string(),
            lines: vec![OrderLine { sku: "MUG".to_owned(), quantity: 3, unit_price: money(1_250, currency) }],
            shares: Some(SharePurchase { round_id: REFUND.to_string(), count: 3, unit_price: money(1_250, currency) }),
            total: money(7_500, currency),
            placed_at: Some(Timestamp::from_micros(5).to_wire()),
            ..OrderPlaced::default()
        };
        let discount = Discount { amount: money(3_750, currency), ..Discount::default() };
        let paid = OrderPaid { amount: money(3_750, currency), discount: Some(discount), ..OrderPaid::default() };
        let at = Timestamp::from_micros(9);
        let told = story(&placed.encode_to_vec(), &OrderPaid::full_name(), &paid.encode_to_vec(), at).unwrap();
        let (line, shares) = (told.order.lines.first().unwrap(), told.order.shares.as_ref().unwrap());
        assert_eq!((line.unit_price.as_str(), line.price.as_str()), (price, total));
        assert_eq!((shares.unit_price.as_str(), shares.price.as_str()), (price, total));
        assert_eq!((told.paid.as_deref(), told.order.discount.as_deref()), (Some(total), Some(total)));
        assert_eq!((told.order.number, told.at), (ORDER.to_string(), 9));
    }
}

#[test]
fn a_refund_says_what_comes_back() {
    let placed_at = Some(Timestamp::from_micros(5).to_wire());
    let placed =
        OrderPlaced { order_id: ORDER.to_string(), reference: "R-7".to_owned(), placed_at, ..OrderPlaced::default() };
    let data = refunded(RefundReason::Requested, 500);
    let part = OrderPartiallyRefunded::full_name();
    let told = story(&placed.encode_to_vec(), &part, &data, Timestamp::from_micros(9)).unwrap();
    let refund = told.refund.unwrap();
    assert_eq!((refund.amount.as_str(), refund.is_whole, refund.lines.len()), ("5.00 EUR", false, 1));
    assert_eq!((told.order.number.as_str(), told.paid), ("R-7", None));
}
