//! Money that a provider sets aside before it is taken: taken when the order can be paid with it, and else let go, with nothing to refund.

use std::time::Duration;

use domain::{HoldKey, OrderId};
use fake_stripe::{Faults, Totals};
use holdfast_tests::{Order, TestFleet, eventually, stripe::StripeShop};
use serde_json::{Value, json};

const SHORT: Duration = Duration::from_secs(5);

const VOIDED: &str = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentVoided'";
const AUTHORISED: &str = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentAuthorised'";
const CAPTURE_SUBMITTED: &str = "select count(*) from log.events where type = 'holdfast.payments.v1.CaptureSubmitted'";
const VOID_SUBMITTED: &str = "select count(*) from log.events where type = 'holdfast.payments.v1.VoidSubmitted'";
const ABANDONED: &str = "select count(*) from log.events where type = 'holdfast.payments.v1.CheckoutAbandoned'";
const ASKED_BACK: &str = "select count(*) from log.events where type = 'holdfast.orders.v1.RefundRequested'";

#[tokio::test]
async fn an_order_is_paid_with_money_that_was_set_aside() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 2).await.unwrap();
    let order = Order::new(1).line("MUG", 1).pays("sandbox:succeed,hold=capture");
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let payment = HoldKey { order_id: OrderId(order.id), attempt: 1 }.payment_id();
    let story = fleet.stream(&format!("payment-{payment}")).await.unwrap();
    assert_eq!(story, ["PaymentRequested", "PaymentAuthorised", "CaptureSubmitted", "PaymentSucceeded"]);
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 1);
}

#[tokio::test]
async fn money_that_has_lapsed_closes_its_order_and_everything_is_given_back() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let order = Order::new(1).line("MUG", 1).pays("sandbox:succeed,hold=lapse");
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "cancelled").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 0);
    assert_eq!(fleet.number("select captured_minor from payments.payments").await.unwrap(), 0);
}

#[tokio::test]
async fn money_that_is_set_aside_too_late_is_let_go_and_never_taken() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let late = Order::new(1).line("MUG", 1).pays("sandbox:late,after=100ms,hold=capture").expires_after(SHORT);
    fleet.place(&late).await.unwrap();
    fleet.until_status(&late, "expired").await.unwrap();
    fleet.until(VOIDED, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select captured_minor from payments.payments").await.unwrap(), 0);
    assert_eq!(fleet.number(ASKED_BACK).await.unwrap(), 0, "nothing was charged, so nothing goes back");
}

#[tokio::test]
async fn late_money_that_is_set_aside_buys_what_is_still_free_and_is_let_go_if_nothing_is() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let lucky = Order::new(1).line("MUG", 1).pays("sandbox:late,after=1s,hold=capture").expires_after(SHORT).reholds();
    fleet.place(&lucky).await.unwrap();
    fleet.until_status(&lucky, "expired").await.unwrap();
    fleet.until_status(&lucky, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 0);

    fleet.stock("CUP", 1).await.unwrap();
    let unlucky =
        Order::new(2).line("CUP", 1).pays("sandbox:late,after=10s,hold=capture").expires_after(SHORT).reholds();
    fleet.place(&unlucky).await.unwrap();
    fleet.until_status(&unlucky, "expired").await.unwrap();
    // Somebody else is quicker.
    let other = Order::new(3).line("CUP", 1);
    fleet.place(&other).await.unwrap();
    fleet.until_status(&unlucky, "rejected").await.unwrap();
    fleet.until(VOIDED, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number(ASKED_BACK).await.unwrap(), 0);
}

/// A shop whose buyers' money is set aside first.
async fn shop_with(replicas: usize) -> StripeShop {
    StripeShop::open(replicas, 1_000, &[("HOLDFAST_STRIPE_CAPTURE", "on_paid")]).await.unwrap()
}

async fn shop() -> StripeShop {
    shop_with(2).await
}

fn nothing_is_set_aside(shop: &StripeShop) {
    let totals = totals(shop);
    assert_eq!(totals.authorised, 0, "{totals:?}");
}

fn totals(shop: &StripeShop) -> Totals {
    shop.stripe.ledger().totals.get("eur").copied().unwrap_or_default()
}

#[tokio::test]
async fn stripe_sets_the_money_aside_and_it_is_taken_once_the_order_can_be_paid() {
    let shop = shop().await;
    let order = shop.place("one", 2).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    let paid = shop.until(&order, "paid").await.unwrap();
    let money = |minor: &str| json!({ "minor_units": minor, "currency": "EUR" });
    assert_eq!((&paid["money"]["captured"], &paid["money"]["authorised"]), (&money("2500"), &money("0")));
    let refund = shop.gateway.post(&format!("{order}/refunds"), "back", &json!({ "note": "broken" })).await.unwrap();
    assert_eq!(refund.status, 201, "{refund:?}");
    shop.until(&order, "refunded").await.unwrap();
    nothing_is_set_aside(&shop);
    shop.close().await.unwrap();
}

/// The one mug of such a shop is free again, and nobody has paid for it.
async fn all_is_given_back(shop: &StripeShop, order: &str) {
    let cancelled = shop.until(order, "cancelled").await.unwrap();
    assert_eq!(cancelled.pointer("/money/captured/minor_units"), Some(&json!("0")), "{cancelled}");
    let free = |product: &Value| product.get("available") == Some(&json!("1000"));
    shop.gateway.until("/v1/products/MUG", "its stock is free", free).await.unwrap();
    shop.fleet.until(VOIDED, 1).await.unwrap();
    nothing_is_set_aside(shop);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn an_order_whose_money_is_gone_when_it_is_to_be_taken_gives_all_back_at_once() {
    let shop = shop().await;
    shop.stripe.set_faults(Faults { capture_fails: 100, ..Faults::default() });
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    all_is_given_back(&shop, &order).await;
}

#[tokio::test]
async fn money_that_a_bank_does_not_give_is_let_go_when_its_time_is_over() {
    let shop = shop().await;
    shop.stripe.set_faults(Faults { capture_declined: 100, ..Faults::default() });
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.fleet.until_at_least("select max(attempts)::int8 from payments.effects", 3).await.unwrap();
    assert_eq!(shop.fleet.number(VOIDED).await.unwrap(), 0, "a bank may think better of it");
    let mut connection = shop.fleet.database().await.unwrap();
    let over = "update payments.effects set begun_at = now() - interval '1 hour'";
    sqlx::query(over).execute(&mut connection).await.unwrap();
    all_is_given_back(&shop, &order).await;
}

/// A shop that hears of nothing but what its own calls are answered, and of what it is told by hand.
async fn deaf_shop() -> StripeShop {
    let settings = [
        ("HOLDFAST_STRIPE_CAPTURE", "on_paid"),
        ("HOLDFAST_STRIPE_MISSED_MS", "0"),
        ("HOLDFAST_EFFECTS_BACKOFF_MS", "50"),
        ("HOLDFAST_EFFECTS_BACKOFF_MAX_MS", "500"),
    ];
    StripeShop::open(1, 1_000, &settings).await.unwrap()
}

/// Longer than Stripe keeps money set aside.
const UNTIL_LAPSED: Duration = Duration::from_hours(8 * 24);

#[tokio::test]
async fn money_that_lapses_while_it_cannot_be_taken_ends_its_order_though_nobody_tells_of_the_lapse() {
    let shop = deaf_shop().await;
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    let only = "/v1/payment_intents".to_owned();
    shop.stripe.set_faults(Faults { only, lost_request: 100, ..Faults::default() });
    shop.stripe.pay(&session).unwrap();
    shop.fleet.until_at_least("select coalesce(max(attempts), 0)::int8 from payments.effects", 2).await.unwrap();
    shop.keep_webhooks_away();
    shop.stripe.advance(UNTIL_LAPSED);
    eventually("it has lapsed", || async { Ok(totals(&shop).authorised == 0) }).await.unwrap();
    assert_eq!(shop.fleet.number(VOIDED).await.unwrap(), 0, "nobody has heard of it");
    assert_eq!(shop.gateway.get(&order).await.unwrap().json["payment_status"], "capturing");
    shop.stripe.set_faults(Faults::default());
    let cancelled = shop.until(&order, "cancelled").await.unwrap();
    assert!(cancelled["note"].as_str().unwrap().contains("automatic"), "it says why: {cancelled}");
    shop.let_webhooks_come();
    all_is_given_back(&shop, &order).await;
}

#[tokio::test]
async fn money_that_lapses_before_orders_has_decided_ends_its_order_whether_or_not_somebody_tells_of_the_lapse() {
    for is_told in [false, true] {
        let shop = deaf_shop().await;
        let order = shop.place("one", 1).await.unwrap();
        let session = shop.page(&order).await.unwrap();
        shop.fleet.processes().await.stop_worker("orders", 0).await.unwrap();
        shop.stripe.pay(&session).unwrap();
        shop.fleet.until(AUTHORISED, 1).await.unwrap();
        if !is_told {
            shop.keep_webhooks_away();
        }
        shop.stripe.advance(UNTIL_LAPSED);
        eventually("it has lapsed", || async { Ok(totals(&shop).authorised == 0) }).await.unwrap();
        shop.fleet.until(VOIDED, i64::from(is_told)).await.unwrap();
        start(&shop, "orders").await;
        let cancelled = shop.until(&order, "cancelled").await.unwrap();
        assert_eq!(cancelled.pointer("/money/captured/minor_units"), Some(&json!("0")), "{cancelled}");
        let held = "select held from inventory.stock";
        shop.fleet.until(held, 0).await.unwrap();
        shop.fleet.until("select count(*) from payments.effects", 0).await.unwrap();
        let voided = shop.fleet.number(VOIDED).await.unwrap();
        // Orders may ask for money of whose end it was told before: then it is told once more.
        assert!((1..=2).contains(&voided), "{voided}");
        shop.let_webhooks_come();
        shop.close().await.unwrap();
    }
}

#[tokio::test]
async fn money_that_stripe_has_set_aside_when_the_order_ends_is_let_go_also_without_a_webhook() {
    let shop = shop().await;
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.keep_webhooks_away();
    shop.stripe.pay(&session).unwrap();
    cancel(&shop, &order).await;
    shop.fleet.until(VOIDED, 1).await.unwrap();
    nothing_is_set_aside(&shop);
    let came = |order: &Value| order.pointer("/money/captured/minor_units").and_then(Value::as_str) == Some("0");
    shop.gateway.until(&order, "nothing was taken", came).await.unwrap();
    shop.let_webhooks_come();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn money_is_taken_once_whatever_becomes_of_the_calls_and_the_webhooks() {
    let shop = shop().await;
    shop.stripe.set_faults(Faults { lost_answer: 30, event_lost: 20, event_copied: 30, ..Faults::default() });
    let mut orders = Vec::new();
    for number in 0..8 {
        orders.push(shop.place(&format!("order {number}"), 1).await.unwrap());
    }
    for (number, order) in orders.iter().enumerate() {
        let session = shop.page(order).await.unwrap();
        shop.stripe.pay(&session).unwrap();
        // Some are given up in the moment in which they are paid: whoever is first, no money stays where it should not.
        if number % 3 == 0 {
            let _too_late = shop.gateway.post(&format!("{order}/cancel"), &format!("no {number}"), &json!({})).await;
        }
    }
    shop.stripe.set_faults(Faults::default());
    let waiting = "select count(*) from orders.orders where status in ('pending', 'reserved', 'refunding')";
    shop.fleet.until(waiting, 0).await.unwrap();
    shop.close().await.unwrap();
    nothing_is_set_aside(&shop);
}

async fn cancel(shop: &StripeShop, order: &str) {
    let cancelled = shop.gateway.post(&format!("{order}/cancel"), "no", &json!({})).await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
}

async fn kill(shop: &StripeShop, service: &str) {
    shop.fleet.processes().await.kill_worker(service, 0).await.unwrap();
}

async fn start(shop: &StripeShop, service: &str) {
    shop.fleet.processes().await.start_worker(service, 0).unwrap();
}

/// An order for each step at which a worker is killed, and the page that it is paid on.
async fn one_for_each_step(shop: &StripeShop) -> Vec<(String, String)> {
    let mut orders = Vec::new();
    for step in ["nobody hears", "nobody decides", "no call", "no answer"] {
        let order = shop.place(step, 1).await.unwrap();
        let session = shop.page(&order).await.unwrap();
        orders.push((order, session));
    }
    orders
}

#[tokio::test]
async fn a_worker_that_is_killed_at_any_step_of_a_capture_takes_the_money_once() {
    // While a worker is killed, nobody does its work.
    let shop = shop_with(1).await;
    let orders = one_for_each_step(&shop).await;
    // The provider tells of money that is set aside, and nobody hears.
    kill(&shop, "payments").await;
    shop.stripe.pay(&orders[0].1).unwrap();
    start(&shop, "payments").await;
    shop.until(&orders[0].0, "paid").await.unwrap();
    // It is heard, and nobody decides what to do.
    kill(&shop, "orders").await;
    shop.stripe.pay(&orders[1].1).unwrap();
    shop.fleet.until(AUTHORISED, 2).await.unwrap();
    start(&shop, "orders").await;
    shop.until(&orders[1].0, "paid").await.unwrap();
    // The money is to be taken, and no call for it has done anything.
    shop.stripe.set_faults(Faults { busy: 100, ..Faults::default() });
    shop.stripe.pay(&orders[2].1).unwrap();
    shop.fleet.until(CAPTURE_SUBMITTED, 3).await.unwrap();
    kill(&shop, "payments").await;
    shop.stripe.set_faults(Faults::default());
    start(&shop, "payments").await;
    shop.until(&orders[2].0, "paid").await.unwrap();
    // It is taken, and nobody has heard.
    shop.stripe.set_faults(Faults { busy: 100, ..Faults::default() });
    shop.stripe.pay(&orders[3].1).unwrap();
    shop.fleet.until(CAPTURE_SUBMITTED, 4).await.unwrap();
    shop.stripe.set_faults(Faults { hang: 100, hang_ms: 3_000, event_lost: 100, ..Faults::default() });
    eventually("the money is taken", async || Ok(totals(&shop).captured == 4 * 1_250)).await.unwrap();
    kill(&shop, "payments").await;
    shop.stripe.set_faults(Faults::default());
    start(&shop, "payments").await;
    shop.until(&orders[3].0, "paid").await.unwrap();
    shop.close().await.unwrap();
    assert_eq!(totals(&shop).captured, 4 * 1_250);
    nothing_is_set_aside(&shop);
}

#[tokio::test]
async fn a_worker_that_is_killed_at_any_step_of_a_void_lets_the_money_go() {
    // While a worker is killed, nobody does its work.
    let shop = shop_with(1).await;
    let orders = one_for_each_step(&shop).await;
    // Nobody hears of the money until the page of the cancelled order is closed.
    shop.keep_webhooks_away();
    for (_, session) in &orders {
        shop.stripe.pay(session).unwrap();
    }
    let busy = |path: &str| Faults { only: path.to_owned(), busy: 100, ..Faults::default() };
    // The order is cancelled, and nobody closes its page.
    kill(&shop, "payments").await;
    cancel(&shop, &orders[0].0).await;
    start(&shop, "payments").await;
    shop.fleet.until(VOIDED, 1).await.unwrap();
    // The page is closed, money is found on it, and nobody decides what to do.
    shop.stripe.set_faults(busy("/expire"));
    cancel(&shop, &orders[1].0).await;
    shop.fleet.until(ABANDONED, 2).await.unwrap();
    kill(&shop, "orders").await;
    shop.stripe.set_faults(Faults::default());
    shop.fleet.until(AUTHORISED, 2).await.unwrap();
    start(&shop, "orders").await;
    shop.fleet.until(VOIDED, 2).await.unwrap();
    // The money is to be let go, and no call for it has done anything.
    shop.stripe.set_faults(busy("/cancel"));
    cancel(&shop, &orders[2].0).await;
    shop.fleet.until(VOID_SUBMITTED, 3).await.unwrap();
    kill(&shop, "payments").await;
    shop.stripe.set_faults(Faults::default());
    start(&shop, "payments").await;
    shop.fleet.until(VOIDED, 3).await.unwrap();
    // It is let go, and nobody has heard.
    shop.stripe.set_faults(Faults { only: "/cancel".to_owned(), hang: 100, hang_ms: 3_000, ..Faults::default() });
    cancel(&shop, &orders[3].0).await;
    eventually("the money is let go", async || Ok(totals(&shop).authorised == 0)).await.unwrap();
    kill(&shop, "payments").await;
    shop.stripe.set_faults(Faults::default());
    start(&shop, "payments").await;
    shop.fleet.until(VOIDED, 4).await.unwrap();
    shop.let_webhooks_come();
    shop.close().await.unwrap();
    assert_eq!(totals(&shop).captured, 0);
    nothing_is_set_aside(&shop);
}
