//! Coupons: the buyer pays exactly what is left, a use is held by one order at a time, and no limit is ever passed.

use std::time::Duration;

use holdfast_tests::{Order, TestFleet, code, gateway::Gateway, is_accepted, money, pieces};
use platform::clock;
use proto::{
    common::v1::Money,
    orders::v1::{ReinstateOrder, RequestRefund},
    payments::v1::{CloseCoupon, CouponOffer, OpenCoupon},
};
use serde_json::json;
use tempfile::TempDir;
use testbed::fleet::stripe;

const REDEEMED: &str = "select sum(redeemed)::bigint from payments.coupons";
const HELD: &str = "select sum(held)::bigint from payments.coupons";

fn fixed(cents: i64) -> CouponOffer {
    CouponOffer { fixed: Some(money(cents)), ..CouponOffer::default() }
}

fn percent(percent: i32) -> CouponOffer {
    CouponOffer { basis_points: percent * 100, ..CouponOffer::default() }
}

async fn shop() -> TestFleet {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("mug", 1_000).await.unwrap();
    fleet
}

/// The same where buyers can also pay with Stripe, of which nothing is there but a key. The directory is that of the key.
async fn shop_with_stripe() -> (TestFleet, TempDir) {
    let keys = tempfile::tempdir().unwrap();
    let mut settings = stripe::settings(keys.path(), "http://127.0.0.1:1", "sk_test_nobody").unwrap();
    settings.insert("HOLDFAST_PAYMENTS_PROVIDERS".to_owned(), "sandbox,stripe".to_owned());
    settings.insert("HOLDFAST_STRIPE_MISSED_MS".to_owned(), "0".to_owned());
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let fleet = TestFleet::with(1, &settings).await.unwrap();
    fleet.stock("mug", 1_000).await.unwrap();
    (fleet, keys)
}

/// Why the order was closed.
async fn note(fleet: &TestFleet, order: &Order) -> String {
    let mut connection = fleet.database().await.unwrap();
    sqlx::query_scalar("select note from orders.orders where order_id = $1")
        .bind(order.id)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

async fn refused(fleet: &TestFleet, order: &Order, why: &str) {
    assert!(is_accepted(&fleet.place(order).await.unwrap()));
    fleet.until_status(order, "rejected").await.unwrap();
    let note = note(fleet, order).await;
    assert!(note.contains(why), "{note}");
}

async fn reinstate(fleet: &TestFleet, order: &Order) {
    fleet
        .until("select count(*) from orders.orders where status in ('expired', 'cancelled') and not released", 0)
        .await
        .unwrap();
    let reinstate = ReinstateOrder {
        order_id: order.id.to_string(),
        actor: "ops".to_owned(),
        note: "they called".to_owned(),
        time_to_pay: None,
        expected_version: 0,
    };
    assert!(is_accepted(&fleet.send_new(&reinstate).await.unwrap()));
}

#[tokio::test]
async fn the_buyer_pays_the_total_without_the_discount_and_the_use_is_redeemed() {
    let fleet = shop().await;
    fleet.coupon("SPRING", fixed(250)).await.unwrap();
    let order = Order::new(1).line("mug", 1).coupon(" spring ");
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.until(REDEEMED, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.status(&order).await.unwrap(), "paid");
    assert_eq!(fleet.number("select captured_minor from payments.payments").await.unwrap(), 750);
    assert_eq!(fleet.number("select amount_minor from payments.payments").await.unwrap(), 750);
}

#[tokio::test]
async fn a_use_comes_back_from_every_order_that_ends_unpaid_and_from_no_other() {
    let fleet = shop().await;
    fleet.stock("rare", 1).await.unwrap();
    fleet.coupon("ONCE", CouponOffer { uses_max: 1, ..percent(50) }).await.unwrap();
    let buys = |number| Order::new(number).line("mug", 1).coupon("ONCE");
    // A expires, B is not paid, C is cancelled, D asks for more than there is.
    let expires = buys(1).pays("sandbox:never").expires_after(Duration::from_secs(5));
    fleet.place(&expires).await.unwrap();
    fleet.until(HELD, 1).await.unwrap();
    refused(&fleet, &buys(10), "COUPON_USED_UP").await;
    fleet.until_status(&expires, "expired").await.unwrap();
    fleet.until(HELD, 0).await.unwrap();
    let declined = buys(2).pays("sandbox:decline");
    fleet.place(&declined).await.unwrap();
    fleet.until_status(&declined, "cancelled").await.unwrap();
    fleet.until(HELD, 0).await.unwrap();
    let cancelled = buys(3).pays("sandbox:never");
    fleet.place(&cancelled).await.unwrap();
    fleet.until_status(&cancelled, "reserved").await.unwrap();
    assert!(is_accepted(&fleet.send("cancel", &cancelled.cancel()).await.unwrap()));
    fleet.until(HELD, 0).await.unwrap();
    let rejected = Order::new(4).line("rare", 2).coupon("ONCE");
    refused(&fleet, &rejected, "OUT_OF_STOCK").await;
    fleet.until(HELD, 0).await.unwrap();
    // E pays, and F comes too late.
    let pays = buys(5);
    fleet.place(&pays).await.unwrap();
    fleet.until(REDEEMED, 1).await.unwrap();
    refused(&fleet, &buys(6), "COUPON_USED_UP").await;
    // The use stays redeemed when the money goes back, so A cannot have it again.
    assert!(is_accepted(&fleet.send("back", &pays.refund()).await.unwrap()));
    fleet.until_status(&pays, "refunded").await.unwrap();
    assert_eq!(fleet.number("select sum(refunded_minor)::bigint from payments.payments").await.unwrap(), 500);
    reinstate(&fleet, &expires).await;
    fleet.until_status(&expires, "rejected").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!((fleet.number(REDEEMED).await.unwrap(), fleet.number(HELD).await.unwrap()), (1, 0));
}

#[tokio::test]
async fn an_order_that_costs_nothing_is_paid_without_a_provider_and_its_goods_come_back() {
    let (fleet, _keys) = shop_with_stripe().await;
    let round = fleet.round("bicycle", 10).await.unwrap();
    fleet.coupon("FREE", percent(100)).await.unwrap();
    fleet.coupon("TEN", fixed(1_000)).await.unwrap();
    // Nothing is asked of a provider that nobody reaches.
    let free = Order::new(1).line_at("mug", 2, 800).pays("stripe:card").coupon("free");
    let eight = Order::new(2).line_at("mug", 1, 800).coupon("TEN");
    let shares = Order::new(3).shares(round, 2).coupon("FREE");
    fleet.place_all(&[free.clone(), eight.clone(), shares.clone()]).await.unwrap();
    fleet.until(REDEEMED, 3).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    for order in [&free, &eight, &shares] {
        assert_eq!(fleet.status(order).await.unwrap(), "paid");
    }
    assert_eq!(fleet.number("select count(*) from payments.payments").await.unwrap(), 0);
    assert_eq!(fleet.number("select committed from inventory.stock").await.unwrap(), 3);
    assert_eq!(fleet.number("select sold from rounds.rounds").await.unwrap(), 2);
    // Goods come back, one by one and whole, and no money with them.
    let one = RequestRefund { lines: pieces("mug", 1), ..free.refund_as("one") };
    assert!(is_accepted(&fleet.send("one", &one).await.unwrap()));
    fleet.until_status(&free, "partially_refunded").await.unwrap();
    assert!(is_accepted(&fleet.send("rest", &free.refund_as("rest")).await.unwrap()));
    assert!(is_accepted(&fleet.send("shares", &shares.cancel()).await.unwrap()));
    fleet.until_status(&free, "refunded").await.unwrap();
    fleet.until_status(&shares, "refunded").await.unwrap();
    fleet.until("select returned from inventory.stock", 2).await.unwrap();
    fleet.until("select sold from rounds.rounds", 0).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number(REDEEMED).await.unwrap(), 3);
}

#[tokio::test]
async fn a_rest_that_the_provider_does_not_take_is_refused_with_a_reason() {
    let (fleet, _keys) = shop_with_stripe().await;
    fleet.coupon("MOST", fixed(960)).await.unwrap();
    let order = Order::new(1).line("mug", 1).pays("stripe:card").coupon("MOST");
    refused(&fleet, &order, "AMOUNT_TOO_SMALL: coupon MOST leaves 0.40 EUR to pay").await;
    let unknown = Order::new(2).line("mug", 1).coupon("LEAST");
    refused(&fleet, &unknown, "UNKNOWN_COUPON").await;
    let wrong = Order::new(3).line("mug", 1).coupon("10 %");
    assert_eq!(code(&fleet.place(&wrong).await.unwrap()), "INVALID_COUPON_CODE");
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number(HELD).await.unwrap(), 0);
}

#[tokio::test]
async fn two_hundred_buyers_use_a_coupon_of_fifty_fifty_times() {
    let fleet = TestFleet::with(2, &[]).await.unwrap();
    fleet.stock("mug", 1_000).await.unwrap();
    fleet.coupon("FIFTY", CouponOffer { uses_max: 50, ..percent(10) }).await.unwrap();
    let orders: Vec<Order> = (0..200).map(|number| Order::new(number).line("mug", 1).coupon("FIFTY")).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!((fleet.number(REDEEMED).await.unwrap(), fleet.number(HELD).await.unwrap()), (50, 0));
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 50);
    let paid = "select sum(captured_minor)::bigint from payments.payments";
    assert_eq!(fleet.number(paid).await.unwrap(), 50 * 900);
}

#[tokio::test]
async fn one_customer_uses_a_coupon_as_often_as_one_may_however_many_orders_come_at_once() {
    let fleet = TestFleet::with(2, &[]).await.unwrap();
    fleet.stock("mug", 1_000).await.unwrap();
    fleet.coupon("TWICE", CouponOffer { uses_per_customer_max: 2, ..percent(10) }).await.unwrap();
    let orders: Vec<Order> = (0..60)
        .map(|number| Order::new(number).line("mug", 1).coupon("TWICE").by(if number % 3 == 0 { "ada" } else { "bob" }))
        .collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number(REDEEMED).await.unwrap(), 4);
    let by_each = "select count(*) from payments.coupon_customers where redeemed = 2 and held = 0";
    assert_eq!(fleet.number(by_each).await.unwrap(), 2);
}

#[tokio::test]
async fn refunds_line_by_line_add_up_to_exactly_what_was_paid() {
    let fleet = shop().await;
    fleet.coupon("ODD", CouponOffer { basis_points: 3_333, ..CouponOffer::default() }).await.unwrap();
    let order = Order::new(1).line_at("mug", 3, 333).line_at("mug", 2, 101).coupon("ODD");
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    // 33.33 % of 12.01 is 4.00, and a bit that stays with the shop.
    assert_eq!(fleet.number("select captured_minor from orders.orders").await.unwrap(), 801);
    for number in 1..=5 {
        let name = format!("mug {number}");
        let back = RequestRefund { lines: pieces("mug", 1), ..order.refund_as(&name) };
        assert!(is_accepted(&fleet.send(&name, &back).await.unwrap()));
        fleet.until("select count(*) from payments.refunds where status = 'refunded'", number).await.unwrap();
        fleet.until("select count(*) from orders.orders where payment_status = 'refunding'", 0).await.unwrap();
    }
    fleet.until_status(&order, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select refunded_minor from payments.payments").await.unwrap(), 801);
}

#[tokio::test]
async fn yen_have_no_cents() {
    let fleet = shop().await;
    let yen = |minor_units| Some(Money { minor_units, currency: "JPY".to_owned() });
    let offer = CouponOffer {
        basis_points: 1_500,
        currency: "JPY".to_owned(),
        discount_max: yen(200),
        ..CouponOffer::default()
    };
    let open = |offer| OpenCoupon { coupon_code: "YEN".to_owned(), offer: Some(offer), actor: String::new() };
    assert_eq!(
        code(&fleet.send("wrong", &open(CouponOffer { spend_min: Some(money(5)), ..offer.clone() })).await.unwrap()),
        "WRONG_CURRENCY"
    );
    assert!(is_accepted(&fleet.send("yen", &open(offer)).await.unwrap()));
    let order = |number, price| {
        let mut order = Order::new(number).line("mug", 1).coupon("yen");
        order.place.lines[0].unit_price = yen(price);
        order
    };
    let (cut, capped) = (order(1, 999), order(2, 5_000));
    fleet.place_all(&[cut, capped]).await.unwrap();
    refused(&fleet, &Order::new(3).line("mug", 1).coupon("YEN"), "WRONG_CURRENCY").await;
    fleet.settle_and_verify().await.unwrap();
    // 15 % of 999 is 149.85, and of 5,000 at most 200.
    let paid = "select sum(captured_minor)::bigint from payments.payments where captured_minor in (850, 4800)";
    assert_eq!(fleet.number(paid).await.unwrap(), 5_650);
}

#[tokio::test]
async fn what_is_held_stays_good_when_the_coupon_closes_and_its_time_ends() {
    let fleet = shop().await;
    let soon = Some((clock::now() + Duration::from_secs(12)).to_wire());
    fleet.coupon("SHORT", CouponOffer { valid_until: soon, ..fixed(100) }).await.unwrap();
    fleet.coupon("CLOSED", fixed(100)).await.unwrap();
    let slow = |number, code| Order::new(number).line("mug", 1).pays("sandbox:succeed,after=16s").coupon(code);
    fleet.place_all(&[slow(1, "SHORT"), slow(2, "CLOSED")]).await.unwrap();
    fleet.until(HELD, 2).await.unwrap();
    let close =
        |note: &str| CloseCoupon { coupon_code: "closed".to_owned(), actor: "ops".to_owned(), note: note.to_owned() };
    assert!(is_accepted(&fleet.send("close", &close("enough")).await.unwrap()));
    assert!(is_accepted(&fleet.send("again", &close("enough, again")).await.unwrap()));
    refused(&fleet, &Order::new(3).line("mug", 1).coupon("CLOSED"), "COUPON_NOT_OPEN").await;
    fleet.until("select count(*) from payments.coupons where valid_until < now()", 1).await.unwrap();
    refused(&fleet, &Order::new(4).line("mug", 1).coupon("SHORT"), "COUPON_NOT_OPEN").await;
    fleet.until(REDEEMED, 2).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 2);
}

#[tokio::test]
async fn late_money_holds_its_coupon_again_or_goes_back_whole() {
    let fleet = shop().await;
    fleet.coupon("AGAIN", CouponOffer { uses_max: 1, ..percent(50) }).await.unwrap();
    let late = |number| {
        let late = Order::new(number).line("mug", 1).pays("sandbox:late,after=2s");
        late.expires_after(Duration::from_secs(5)).reholds().coupon("AGAIN")
    };
    let holds_again = late(1);
    fleet.place(&holds_again).await.unwrap();
    fleet.until_status(&holds_again, "expired").await.unwrap();
    fleet.until_status(&holds_again, "paid").await.unwrap();
    fleet.until(REDEEMED, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select captured_minor from orders.orders").await.unwrap(), 500);
    assert_eq!(fleet.number("select count(*) from payments.coupon_uses where status = 'released'").await.unwrap(), 1);
}

#[tokio::test]
async fn coupons_over_http() {
    let fleet = shop().await;
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let offer = json!({ "basis_points": 1_250, "currency": "EUR", "uses_max": "2" });
    let open = json!({ "coupon_code": "spring", "offer": offer });
    let opened = gateway.post("/v1/coupons", "open", &open).await.unwrap();
    assert_eq!((opened.status, opened.header("content-location")), (200, "/v1/coupons/spring"), "{opened:?}");
    let wrong = json!({ "coupon_code": "spring", "offer": { "fixed": { "minor_units": "5", "currency": "EUR" }, "currency": "EUR" } });
    let exists = gateway.post("/v1/coupons", "wrong", &wrong).await.unwrap();
    assert_eq!((exists.status, &exists.json["code"]), (409, &json!("COUPON_EXISTS")), "{exists:?}");
    let place = json!({
        "customer_id": "customer-42",
        "lines": [{ "sku": "mug", "quantity": 1, "unit_price": { "minor_units": 1_250, "currency": "EUR" } }],
        "payment_method": "sandbox:succeed",
        "couponCode": "Spring",
    });
    let placed = gateway.post("/v1/orders", "order", &place).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let path = placed.header("location").to_owned();
    let order = gateway.until(&path, "its coupon is redeemed", |order| order["holds"]["coupon"] == "committed");
    let order = order.await.unwrap();
    let discount = json!({ "coupon_code": "SPRING", "discount": { "minor_units": "156", "currency": "EUR" } });
    assert_eq!((&order["coupon"], &order["money"]["captured"]["minor_units"]), (&discount, &json!("1094")));
    let coupon = gateway.get("/v1/coupons/SPRING").await.unwrap().json;
    assert_eq!(
        (&coupon["redeemed"], &coupon["available"], &coupon["status"]),
        (&json!("1"), &json!("1"), &json!("open"))
    );
    let closed = gateway.post("/v1/coupons/spring/close", "close", &json!({ "note": "enough" })).await.unwrap();
    assert_eq!(closed.status, 200, "{closed:?}");
    assert_eq!(gateway.get("/v1/coupons/spring").await.unwrap().json["status"], "closed");
    let unknown = gateway.get("/v1/coupons/OTHER").await.unwrap();
    assert_eq!((unknown.status, &unknown.json["code"]), (404, &json!("UNKNOWN_COUPON")));
    let strange = gateway.get("/v1/coupons/10%25").await.unwrap();
    assert_eq!((strange.status, &strange.json["code"]), (400, &json!("INVALID_COUPON_CODE")));
    let events = gateway.get(&format!("{path}/events")).await.unwrap().text;
    assert!(events.contains("CouponHeld") && events.contains("CouponRedeemed"), "{events}");
    fleet.settle_and_verify().await.unwrap();
}
