//! Disputes of what was paid on Stripe's page: facts of the payment, which need no person of ours, and leave the order as it is.

use fake_stripe::Faults;
use holdfast_tests::{eventually, stripe::StripeShop};
use serde_json::{Value, json};
use testbed::http;

async fn shop() -> StripeShop {
    StripeShop::open(1, 1_000, &[]).await.unwrap()
}

/// An order of two mugs that is paid and has them: its path, and what Stripe knows its charge by.
async fn paid(shop: &StripeShop, key: &str) -> (String, String) {
    let order = shop.place(key, 2).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    let intent = shop.stripe.pay(&session).unwrap().unwrap();
    shop.until(&order, "paid").await.unwrap();
    let is_committed = |order: &Value| order.pointer("/holds/stock").and_then(Value::as_str) == Some("committed");
    shop.gateway.until(&order, "its stock is committed", is_committed).await.unwrap();
    (order, intent)
}

fn charged_back(order: &Value) -> &str {
    order.pointer("/money/charged_back/minor_units").and_then(Value::as_str).unwrap_or_default()
}

/// What its disputes stand at, in the order of their ids.
fn standings(order: &Value) -> Vec<&str> {
    let disputes = order["disputes"].as_array().map(Vec::as_slice).unwrap_or_default();
    disputes.iter().filter_map(|dispute| dispute["standing"].as_str()).collect()
}

/// Waits until an order shows so much charged back, by disputes that stand so.
async fn until(shop: &StripeShop, order: &str, minor: &str, stand: &[&str]) -> Value {
    let is_so = |order: &Value| {
        let mut found = standings(order);
        found.sort_unstable();
        charged_back(order) == minor && found == stand
    };
    shop.gateway.until(order, &format!("{minor} are charged back, {stand:?}"), is_so).await.unwrap()
}

async fn want_back(shop: &StripeShop, order: &str, key: &str) -> (u16, Value) {
    let answer = shop.gateway.post(&format!("{order}/refunds"), key, &json!({})).await.unwrap();
    (answer.status, answer.json)
}

/// Disputes that orders knows of: it hears of them after payments does.
macro_rules! known {
    ($standing:literal) => {
        concat!(
            "select count(*) from orders.orders, jsonb_path_query(disputes, '$.*.standing') d where d = '\"",
            $standing,
            "\"'"
        )
    };
}

/// Nobody of ours has to decide anything about a dispute.
async fn nothing_waits_for_us(shop: &StripeShop) {
    let reports = "select count(*) from payments.reports where standing in ('open', 'accepted')";
    assert_eq!(shop.fleet.number(reports).await.unwrap(), 0);
}

#[tokio::test]
async fn a_disputed_order_stays_paid_and_is_refunded_once_the_dispute_is_won() {
    let shop = shop().await;
    let (order, intent) = paid(&shop, "one").await;
    let dispute = shop.stripe.dispute(&intent, 1_000).unwrap();
    let shown = until(&shop, &order, "1000", &["open"]).await;
    assert_eq!(
        (&shown["status"], &shown["payment_status"], &shown["disputed"]),
        (&json!("paid"), &json!("paid"), &json!(true))
    );
    assert_eq!(shown["holds"]["stock"], "committed", "what was bought stays bought");
    let told = &shown["disputes"][0];
    assert_eq!(
        (&told["dispute_id"], &told["status"], &told["reason"]),
        (&json!(dispute), &json!("needs_response"), &json!("fraudulent"))
    );
    assert_eq!(told["amount"], json!({ "minor_units": "1000", "currency": "EUR" }));
    assert!(told["due_by"].is_string(), "{told}");

    shop.fleet.until(known!("open"), 1).await.unwrap();
    let (status, problem) = want_back(&shop, &order, "too soon").await;
    assert_eq!((status, &problem["code"]), (409, &json!("PAYMENT_DISPUTED")), "{problem}");
    assert!(problem["detail"].as_str().unwrap_or_default().contains(&dispute), "{problem}");
    nothing_waits_for_us(&shop).await;

    shop.stripe.close_dispute(&dispute, true).unwrap();
    let shown = until(&shop, &order, "0", &["won"]).await;
    assert_eq!(shown["disputed"], false);
    shop.fleet.until(known!("won"), 1).await.unwrap();
    assert_eq!(want_back(&shop, &order, "now").await.0, 201);
    shop.until(&order, "refunded").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_dispute_that_is_lost_needs_no_person_and_leaves_nothing_to_refund() {
    let shop = shop().await;
    let (order, intent) = paid(&shop, "one").await;
    // Above the charge.
    let dispute = shop.stripe.dispute(&intent, 3_000).unwrap();
    until(&shop, &order, "3000", &["open"]).await;
    shop.stripe.close_dispute(&dispute, false).unwrap();
    let shown = until(&shop, &order, "3000", &["lost"]).await;
    assert_eq!((&shown["status"], &shown["disputed"]), (&json!("paid"), &json!(false)));
    shop.fleet.until(known!("lost"), 1).await.unwrap();
    let (status, problem) = want_back(&shop, &order, "too late").await;
    assert_eq!((status, &problem["code"]), (409, &json!("PAYMENT_DISPUTED")), "{problem}");
    assert!(problem["detail"].as_str().unwrap_or_default().contains("lost"), "{problem}");
    nothing_waits_for_us(&shop).await;
    shop.close().await.unwrap();
}

#[tokio::test]
async fn two_disputes_of_one_charge_are_two() {
    let shop = shop().await;
    let (order, intent) = paid(&shop, "one").await;
    let first = shop.stripe.dispute(&intent, 1_000).unwrap();
    let second = shop.stripe.dispute(&intent, 1_500).unwrap();
    until(&shop, &order, "2500", &["open", "open"]).await;
    shop.stripe.close_dispute(&first, true).unwrap();
    shop.stripe.close_dispute(&second, false).unwrap();
    until(&shop, &order, "1500", &["lost", "won"]).await;
    nothing_waits_for_us(&shop).await;
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_dispute_that_is_closed_before_it_is_opened_comes_to_the_same() {
    let shop = StripeShop::open(1, 1_000, &[("HOLDFAST_STRIPE_MISSED_MS", "0")]).await.unwrap();
    let (order, intent) = paid(&shop, "one").await;
    // What is told first comes last, and what comes first comes twice.
    shop.stripe.set_faults(Faults { event_lost: 100, ..Faults::default() });
    let dispute = shop.stripe.dispute(&intent, 1_250).unwrap();
    shop.stripe.set_faults(Faults { event_twice: 100, ..Faults::default() });
    shop.stripe.close_dispute(&dispute, true).unwrap();
    until(&shop, &order, "-1250", &["won"]).await;
    let opened = lost(&shop, &["charge.dispute.created", "charge.dispute.funds_withdrawn"]).await;
    assert_eq!(opened.len(), 2, "that there is a dispute, and that it has taken money: {opened:?}");
    assert!(opened.iter().all(|event| shop.stripe.resend(event)));
    until(&shop, &order, "0", &["won"]).await;
    eventually("all webhooks are delivered", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    until(&shop, &order, "0", &["won"]).await;
    nothing_waits_for_us(&shop).await;
    shop.close().await.unwrap();
}

/// Ids of Stripe's events of these types that were not delivered.
async fn lost(shop: &StripeShop, types: &[&str]) -> Vec<String> {
    let (address, bearer) = (shop.stripe.url().trim_start_matches("http://"), format!("Bearer {}", shop.stripe.key()));
    let path = "/v1/events?limit=100&delivery_success=false";
    let answer = http::request(address, "GET", path, &[("authorization", &bearer)], "").await.unwrap();
    let events = answer.json.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_them = events.iter().filter(|event| types.iter().any(|kind| event["type"] == *kind));
    of_them.filter_map(|event| event["id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn an_order_that_is_cancelled_while_it_is_disputed_goes_back_when_that_is_won() {
    let shop = shop().await;
    let (order, intent) = paid(&shop, "one").await;
    let dispute = shop.stripe.dispute(&intent, 2_500).unwrap();
    until(&shop, &order, "2500", &["open"]).await;
    let cancelled = shop.gateway.post(&format!("{order}/cancel"), "no", &json!({})).await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    shop.fleet.until("select count(*) from payments.refunds where status = 'deferred'", 1).await.unwrap();
    let calls = shop.stripe.journal().iter().filter(|call| call.path == "/v1/refunds" && call.method == "POST").count();
    assert_eq!(calls, 0, "nothing is sent that would be refused");
    shop.stripe.close_dispute(&dispute, true).unwrap();
    shop.until(&order, "refunded").await.unwrap();
    shop.close().await.unwrap();
}
