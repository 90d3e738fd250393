//! Currencies without cents, with three digits, and two that Stripe counts in hundredths that nobody has: what a shop asks for is what Stripe
//! charges and gives back, to the unit.

use holdfast_tests::{is_accepted, stripe::StripeShop};
use proto::payments::v1::{CouponOffer, OpenCoupon};
use serde_json::{Value, json};

/// A currency, and of how many of Stripe's units hundred of ours are.
const CURRENCIES: [(&str, i64); 4] = [("JPY", 100), ("KWD", 100), ("ISK", 10_000), ("UGX", 10_000)];

/// What one piece costs, in our units: 1,250 JPY, 1.250 KWD.
const PRICE: i64 = 1_250;

fn order(currency: &str, coupon: &str) -> Value {
    json!({
        "customer_id": "customer-42",
        "lines": [{ "sku": "MUG", "quantity": 2, "unit_price": { "minor_units": PRICE, "currency": currency } }],
        "payment_method": "stripe",
        "coupon_code": coupon,
    })
}

async fn place(shop: &StripeShop, currency: &str, coupon: &str) -> String {
    let key = format!("{currency} {coupon}");
    let placed = shop.gateway.post("/v1/orders", &key, &order(currency, coupon)).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    placed.header("location").to_owned()
}

fn money(minor: i64, currency: &str) -> Value {
    json!({ "minor_units": minor.to_string(), "currency": currency })
}

/// What Stripe has captured, given back, and has on its way, in its own units.
fn stripes(shop: &StripeShop, currency: &str) -> (i64, i64, i64) {
    let totals = shop.stripe.ledger().totals.get(&currency.to_lowercase()).copied().unwrap_or_default();
    (totals.captured, totals.refunded, totals.refunding)
}

/// Gives back so much of an order, and waits until it has gone back.
async fn give_back(shop: &StripeShop, order: &str, what: &Value, currency: &str, gone_back: i64) {
    let asked = shop.gateway.post(&format!("{order}/refunds"), &format!("{order} {what}"), what).await.unwrap();
    assert_eq!(asked.status, 201, "{asked:?}");
    let is_back = |order: &Value| order.pointer("/money/gone_back") == Some(&money(gone_back, currency));
    shop.gateway.until(order, "the money is back", is_back).await.unwrap();
}

async fn is_paid_and_refunded(shop: &StripeShop, currency: &str, units_of_100: i64) {
    let order = place(shop, currency, "").await;
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    let paid = shop.until(&order, "paid").await.unwrap();
    assert_eq!(paid.pointer("/money/captured"), Some(&money(2 * PRICE, currency)), "{paid}");
    let units = |minor: i64| minor * units_of_100 / 100;
    assert_eq!(stripes(shop, currency), (units(2 * PRICE), 0, 0), "{currency}");
    let some = json!({ "amount": money(1_240, currency), "note": "a scratch" });
    give_back(shop, &order, &some, currency, 1_240).await;
    assert_eq!(stripes(shop, currency), (units(2 * PRICE), units(1_240), 0), "{currency}");
    give_back(shop, &order, &json!({ "note": "broken" }), currency, 2 * PRICE).await;
    assert_eq!(stripes(shop, currency), (units(2 * PRICE), units(2 * PRICE), 0), "{currency}");
    shop.until(&order, "refunded").await.unwrap();
}

async fn is_free_with_a_coupon(shop: &StripeShop, currency: &str) {
    let code = format!("ALL-{currency}");
    let offer = CouponOffer { basis_points: 10_000, currency: currency.to_owned(), ..CouponOffer::default() };
    let open = OpenCoupon { coupon_code: code.clone(), offer: Some(offer), actor: String::new() };
    assert!(is_accepted(&shop.fleet.send(&code, &open).await.unwrap()));
    let (before, pages) = (stripes(shop, currency), shop.stripe.ledger().payments.len());
    let order = place(shop, currency, &code).await;
    let free = shop.until(&order, "paid").await.unwrap();
    assert_eq!(free.pointer("/money/captured"), Some(&money(0, currency)), "{free}");
    let is_committed = |order: &Value| order.pointer("/holds/stock").and_then(Value::as_str) == Some("committed");
    shop.gateway.until(&order, "its stock is committed", is_committed).await.unwrap();
    assert_eq!((stripes(shop, currency), shop.stripe.ledger().payments.len()), (before, pages), "Stripe is not asked");
}

#[tokio::test]
async fn every_currency_is_charged_and_given_back_to_the_unit_and_a_coupon_may_pay_it_all() {
    let shop = StripeShop::open(1, 1_000, &[]).await.unwrap();
    for (currency, units_of_100) in CURRENCIES {
        is_paid_and_refunded(&shop, currency, units_of_100).await;
        is_free_with_a_coupon(&shop, currency).await;
    }
    shop.fleet.settle_and_verify().await.unwrap();
    // One of two orders of two pieces in each currency came back.
    assert_eq!(shop.fleet.number("select on_hand from inventory.stock").await.unwrap(), 1_000 - 4 * 2);
    assert_eq!(shop.fleet.number("select held from inventory.stock").await.unwrap(), 0);
    assert_eq!(shop.fleet.number("select sum(redeemed)::bigint from payments.coupons").await.unwrap(), 4);
}
