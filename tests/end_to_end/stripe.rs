//! Orders that are paid on Stripe's page, by way of a fake of Stripe's HTTP API.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use fake_stripe::{Faults, RefundStatus};
use holdfast_tests::{
    Order, eventually,
    gateway::Answer,
    guide::is_in_the_guide,
    is_accepted, money,
    stripe::{StripeShop, order_id, session},
};
use proto::payments::v1::{ProviderEventKind, RecordProviderEvent, TopUpWallet};
use serde_json::{Value, json};

async fn shop() -> StripeShop {
    StripeShop::open(1, 1_000, &[]).await.unwrap()
}

fn gone_back(order: &Value) -> &str {
    order.pointer("/money/gone_back/minor_units").and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn an_order_is_paid_on_stripes_page_and_refunded() {
    let shop = shop().await;
    let order = shop.place("one", 2).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    let paid = shop.until(&order, "paid").await.unwrap();
    assert_eq!(paid["money"]["captured"], json!({ "minor_units": "2500", "currency": "EUR" }));
    assert_eq!(paid["payments"][0]["provider_reference"], session);
    assert_eq!(paid["payments"][0]["checkout_url"], Value::Null, "nobody is to pay again");

    let refund = shop.gateway.post(&format!("{order}/refunds"), "back", &json!({ "note": "broken" })).await.unwrap();
    assert_eq!(refund.status, 201, "{refund:?}");
    let refund = refund.header("location").to_owned();
    let refund = shop.gateway.until(&refund, "the money is back", |refund| refund["step"] == "refunded").await.unwrap();
    assert!(refund["provider_reference"].as_str().unwrap().starts_with("re_"), "{refund}");
    shop.until(&order, "refunded").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn where_there_is_a_key_for_stripe_no_order_is_paid_for_nothing() {
    let shop = shop().await;
    let order = |method: Value| {
        let mut order = StripeShop::order(1);
        order["payment_method"] = method;
        order
    };
    for (key, method) in [("toy", "sandbox:succeed"), ("typo", "stirpe"), ("bare", "sandbox")] {
        let refused = shop.gateway.post("/v1/orders", key, &order(method.into())).await.unwrap();
        assert_eq!((refused.status, &refused.json["code"]), (422, &json!("PAYMENT_METHOD_NOT_TAKEN")), "{refused:?}");
    }
    // Who says nothing pays on the page of the one default.
    let silent = shop.gateway.post("/v1/orders", "silent", &order("".into())).await.unwrap();
    assert_eq!(silent.status, 201, "{silent:?}");
    let silent = silent.header("location").to_owned();
    let session = shop.page(&silent).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    assert_eq!(shop.until(&silent, "paid").await.unwrap()["payments"][0]["provider"], "stripe");

    // A worker of orders that was told another setting lets the toy in, and then payments does not.
    {
        let mut processes = shop.fleet.processes().await;
        processes.stop_worker("orders", 0).await.unwrap();
        let other = BTreeMap::from([("HOLDFAST_PAYMENTS_PROVIDERS".to_owned(), "sandbox,stripe".to_owned())]);
        processes.start_worker_with("orders", 0, &other).unwrap();
    }
    let toy = shop.gateway.post("/v1/orders", "let in", &order("sandbox:succeed".into())).await.unwrap();
    assert_eq!(toy.status, 201, "{toy:?}");
    let toy = shop.until(toy.header("location"), "cancelled").await.unwrap();
    assert_eq!(toy["money"]["captured"]["minor_units"], "0", "{toy}");
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_declined_card_is_no_end_and_another_one_pays() {
    let shop = shop().await;
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.decline(&session).unwrap();
    let declined = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentDeclined'";
    shop.fleet.until(declined, 1).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn the_page_of_a_cancelled_order_is_closed() {
    let shop = shop().await;
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    let cancelled = shop.gateway.post(&format!("{order}/cancel"), "no", &json!({})).await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    shop.fleet.until("select count(*) from payments.payments where page = 'closed'", 1).await.unwrap();
    assert!(shop.stripe.pay(&session).is_err(), "nobody can pay on it");
    shop.close().await.unwrap();
}

/// Asks for another page.
async fn ask_for_page(shop: &StripeShop, order: &str, key: &str) -> Answer {
    let shown = shop.gateway.get(order).await.unwrap().json;
    let payment_id = shown.pointer("/payments/0/payment_id").and_then(Value::as_str).unwrap();
    shop.gateway.post(&format!("/v1/payments/{payment_id}/checkout"), key, &json!({ "anew": true })).await.unwrap()
}

/// The same, and waits until there is one.
async fn another_page(shop: &StripeShop, order: &str, key: &str, before: &str) -> String {
    let asked = ask_for_page(shop, order, key).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let has_another = |order: &Value| !["", before].contains(&session(order));
    let shown = shop.gateway.until(order, "there is another page", has_another).await.unwrap();
    session(&shown).to_owned()
}

#[tokio::test]
async fn a_buyer_who_has_lost_the_link_pays_on_another_page_and_on_no_other() {
    let shop = shop().await;
    let order = shop.place("one", 2).await.unwrap();
    let first = shop.page(&order).await.unwrap();
    let second = another_page(&shop, &order, "lost", &first).await;
    assert!(shop.stripe.pay(&first).is_err(), "nobody can pay on the first any more");
    let third = another_page(&shop, &order, "lost again", &second).await;
    assert!(shop.stripe.pay(&second).is_err(), "nor on the second");
    shop.stripe.pay(&third).unwrap();
    let paid = shop.until(&order, "paid").await.unwrap();
    assert_eq!(paid["money"]["captured"], json!({ "minor_units": "2500", "currency": "EUR" }));
    shop.close().await.unwrap();
}

/// What Stripe shows of a page: its lines, and the shop's own number of the order beside them.
fn shown(shop: &StripeShop, session: &str) -> (Vec<String>, Option<String>) {
    let ledger = shop.stripe.ledger();
    let page = ledger.payments.values().flat_map(|payment| &payment.sessions).find(|page| page.id == session).unwrap();
    (page.names.clone(), page.metadata.get("order_reference").cloned())
}

#[tokio::test]
async fn a_buyer_reads_the_shops_own_number_of_the_order_also_on_a_page_that_is_opened_anew() {
    let shop = shop().await;
    // Whatever a shop may call an order, as long as it may be.
    let number = format!("R&D=1001 №+%5D {}", "\u{1f9fe}".repeat(49));
    assert_eq!(number.chars().count(), 64);
    let mut order = StripeShop::order(2);
    order["reference"] = json!(number);
    let placed = shop.gateway.post("/v1/orders", "named", &order).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let order = placed.header("location").to_owned();
    let first = shop.page(&order).await.unwrap();
    let under_its_number = (vec![format!("Order {number}")], Some(number.clone()));
    assert_eq!(shown(&shop, &first), under_its_number);
    // The row remembers it, whoever asks and whatever was forgotten meanwhile.
    shop.fleet.processes().await.stop_worker("payments", 0).await.unwrap();
    shop.fleet.processes().await.start_worker("payments", 0).unwrap();
    let second = another_page(&shop, &order, "lost", &first).await;
    assert_eq!(shown(&shop, &second), under_its_number);
    shop.stripe.pay(&second).unwrap();
    shop.until(&order, "paid").await.unwrap();
    let ledger = shop.stripe.ledger();
    let of_charge = ledger.payments.values().flat_map(|payment| &payment.intents);
    let of_charge: Vec<_> = of_charge.map(|intent| intent.metadata.get("order_reference")).collect();
    assert_eq!(of_charge, [Some(&number)], "it is beside the money, too");

    let nameless = shop.place("nameless", 1).await.unwrap();
    let page = shop.page(&nameless).await.unwrap();
    assert_eq!(shown(&shop, &page), (vec![format!("Order {}", order_id(&nameless).unwrap())], None));
    shop.stripe.pay(&page).unwrap();
    shop.until(&nameless, "paid").await.unwrap();
    shop.close().await.unwrap();
}

/// Places an order that may be paid for so long, with this policy for late money, and lets its buyer have a bank debited. Its path and its page.
async fn debited(shop: &StripeShop, (key, policy, time_to_pay): (&str, &str, &str)) -> (String, String) {
    let mut order = StripeShop::order(1);
    order.as_object_mut().unwrap().extend([
        ("late_payment_policy".to_owned(), json!(format!("LATE_PAYMENT_POLICY_{policy}"))),
        ("time_to_pay".to_owned(), json!(time_to_pay)),
    ]);
    let placed = shop.gateway.post("/v1/orders", key, &order).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let order = placed.header("location").to_owned();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay_delayed(&session).unwrap();
    (order, session)
}

/// All that Stripe tells is told, and has changed what it changes.
async fn told(shop: &StripeShop) {
    eventually("all webhooks are delivered", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
}

fn pages_opened(shop: &StripeShop) -> usize {
    let journal = shop.stripe.journal();
    journal.iter().filter(|call| call.method == "POST" && call.path == "/v1/checkout/sessions").count()
}

const DAYS: Duration = Duration::from_hours(5 * 24);

const HELD: &str = "select held from inventory.stock";

#[tokio::test]
async fn money_that_is_under_way_for_days_pays_its_order_and_the_buyer_cannot_pay_twice_meanwhile() {
    let shop = shop().await;
    shop.stripe.set_offers_debit(true);
    let (paying, session) = debited(&shop, ("pays", "REFUND", "604800s")).await;
    let (failing, _) = debited(&shop, ("fails", "REFUND", "604800s")).await;
    told(&shop).await;
    assert_eq!(shop.gateway.get(&paying).await.unwrap().json["status"], "reserved", "the money is not there");

    // On the page itself nothing more can be paid. Who wants another is asked to wait, once Stripe has said what the first has come to.
    assert!(shop.stripe.pay(&session).is_err());
    assert_eq!(ask_for_page(&shop, &paying, "lost").await.status, 200);
    shop.fleet.until("select count(*) from payments.payments where page = 'closed'", 1).await.unwrap();
    let refused = ask_for_page(&shop, &paying, "lost again").await;
    assert_eq!(refused.json["code"], "PAYMENT_UNDER_WAY", "{refused:?}");
    assert!(refused.json["detail"].as_str().unwrap().contains("the money is under way"), "{refused:?}");
    assert_eq!(pages_opened(&shop), 2, "one for each order");

    shop.stripe.advance(DAYS);
    shop.stripe.settle_payment(&session, true).unwrap();
    let paid = shop.until(&paying, "paid").await.unwrap();
    assert_eq!(paid["money"]["captured"], json!({ "minor_units": "1250", "currency": "EUR" }));
    let failed = shop.page(&failing).await.unwrap();
    shop.stripe.settle_payment(&failed, false).unwrap();
    shop.until(&failing, "cancelled").await.unwrap();
    shop.fleet.until(HELD, 0).await.unwrap();
    let refused = ask_for_page(&shop, &failing, "again").await;
    assert_eq!(refused.json["code"], "NOT_PAYABLE", "{refused:?}");
    shop.close().await.unwrap();
}

#[tokio::test]
async fn money_that_was_under_way_when_its_order_expired_goes_by_the_policy_and_if_none_comes_nothing_is_left() {
    let shop = shop().await;
    shop.stripe.set_offers_debit(true);
    let wanted = [("goes back", "REFUND"), ("buys", "REHOLD"), ("fails", "REHOLD")];
    let mut orders = Vec::new();
    for (key, policy) in wanted {
        orders.push(debited(&shop, (key, policy, "15s")).await);
    }
    for (order, session) in &orders {
        shop.until(order, "expired").await.unwrap();
        assert!(shop.stripe.pay(session).is_err());
    }
    let under_way = "select count(*) from log.events where type = 'holdfast.payments.v1.CheckoutClosed'";
    shop.fleet.until(under_way, 3).await.unwrap();
    assert!(looks(&shop, &orders[0].1) > 0, "it was asked before, and nothing came of it: {:?}", shop.stripe.journal());
    shop.fleet.until(HELD, 0).await.unwrap();

    shop.stripe.advance(DAYS);
    for ((_, session), succeeds) in orders.iter().zip([true, true, false]) {
        shop.stripe.settle_payment(session, succeeds).unwrap();
    }
    let [back, buys, fails] = [0, 1, 2].map(|number: usize| orders[number].0.as_str());
    shop.gateway.until(back, "the late money went back", |order| gone_back(order) == "1250").await.unwrap();
    shop.until(buys, "paid").await.unwrap();
    told(&shop).await;
    shop.fleet.settle().await.unwrap();
    assert_eq!(shop.gateway.get(fails).await.unwrap().json["status"], "expired");
    assert_eq!(shop.gateway.get(back).await.unwrap().json["status"], "expired");
    shop.fleet.until(HELD, 0).await.unwrap();
    for left in ["select count(*) from payments.effects", "select count(*) from payments.timers"] {
        shop.fleet.until(left, 0).await.unwrap();
    }
    assert_eq!(pages_opened(&shop), 3, "nobody is asked again");
    assert_eq!(refunds_sent(&shop), 1);
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_page_that_was_paid_on_is_followed_by_no_other() {
    let shop = shop().await;
    let order = shop.place("one", 2).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.keep_webhooks_away();
    shop.stripe.pay(&session).unwrap();
    let asked = ask_for_page(&shop, &order, "lost").await;
    assert_eq!(asked.status, 200, "{asked:?}");
    shop.until(&order, "paid").await.unwrap();
    let refused = ask_for_page(&shop, &order, "lost again").await;
    assert_eq!(refused.json["code"], "NOT_PAYABLE", "{refused:?}");
    shop.let_webhooks_come();
    eventually("all webhooks are delivered", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn money_that_is_quicker_than_the_closing_goes_back_also_without_a_webhook() {
    let shop = shop().await;
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.keep_webhooks_away();
    shop.stripe.pay(&session).unwrap();
    let cancelled = shop.gateway.post(&format!("{order}/cancel"), "no", &json!({})).await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let went_back = |order: &Value| gone_back(order) == "1250";
    shop.gateway.until(&order, "the late money went back", went_back).await.unwrap();
    // What is told now changes nothing.
    shop.let_webhooks_come();
    eventually("all webhooks are delivered", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn what_no_webhook_brings_is_asked_for() {
    let shop = StripeShop::open(2, 1_000, &[("HOLDFAST_STRIPE_MISSED_MS", "200")]).await.unwrap();
    shop.stripe.set_faults(Faults { event_lost: 100, ..Faults::default() });
    let order = shop.place("one", 2).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.decline(&session).unwrap();
    let intent = shop.stripe.pay(&session).unwrap().unwrap();
    shop.until(&order, "paid").await.unwrap();
    // Of this only the charge says whose it is.
    shop.stripe.refund_in_dashboard(&intent, 1_000).unwrap();
    shop.gateway.until(&order, "the refund is booked", |order| gone_back(order) == "1000").await.unwrap();
    // It is found again and again, by two workers, and is one fact.
    let reports = "select count(*) from log.events where type in \
        ('holdfast.payments.v1.PaymentSucceeded', 'holdfast.payments.v1.PaymentRefundedElsewhere')";
    shop.fleet.until(reports, 2).await.unwrap();
    assert_eq!(shop.stripe.to_deliver(), 0);
    is_silent_until_one_is_brought(&shop).await;
    shop.close().await.unwrap();
}

/// All that was due had to be asked for: that is a finding, also behind the probes of the workers, until a webhook comes.
async fn is_silent_until_one_is_brought(shop: &StripeShop) {
    let found = async || {
        let (_, diagnosis) = shop.fleet.command(&["diagnose"]).await?;
        Ok::<_, anyhow::Error>(diagnosis.get("findings").and_then(Value::as_array).cloned().unwrap_or_default())
    };
    let is_found = async || Ok(found().await?.iter().any(|finding| finding["code"] == "WEBHOOKS_SILENT"));
    eventually("it is found", is_found).await.unwrap();
    let all = found().await.unwrap();
    let [silent] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!(silent.get("subject"), Some(&json!("stripe")));
    is_in_the_guide("the provider's webhooks lost on their way", silent).unwrap();
    let probed = async || {
        Ok(shop.fleet.get("payments-0", "/readyz").await?.contains(
            "ready
WEBHOOKS_SILENT delay stripe
",
        ))
    };
    eventually("the probe says so", probed).await.unwrap();

    shop.stripe.set_faults(Faults::default());
    let order = shop.place("brought", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    eventually("it is over", async || Ok(found().await?.is_empty())).await.unwrap();
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_and_nobody_else_asks_meanwhile() {
    // Far shorter than the answers take, which only Stripe's own limit allows.
    let settings = [
        ("HOLDFAST_EFFECTS_CALL_MS", "500"),
        ("HOLDFAST_EFFECTS_LEASE_MS", "1600"),
        ("HOLDFAST_EFFECTS_POLL_MS", "50"),
        ("HOLDFAST_STRIPE_MISSED_MS", "0"),
    ];
    let shop = StripeShop::open(2, 1_000, &settings).await.unwrap();
    shop.stripe.set_faults(Faults { slow: 100, slow_ms: 4_000, ..Faults::default() });
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    ask_for_money(&shop, &order).await;
    shop.gateway.until(&order, "the money is back", |order| gone_back(order) == "1250").await.unwrap();
    let asked: Vec<String> =
        shop.stripe.journal().iter().map(|exchange| format!("{} {}", exchange.method, exchange.path)).collect();
    assert_eq!(asked, ["POST /v1/checkout/sessions", "POST /v1/refunds"], "each once, and nothing is looked up");

    // Who is told to stop does not wait for an answer, and whoever takes the call over finds what was done.
    shop.stripe.set_faults(Faults { slow: 100, slow_ms: 60_000, ..Faults::default() });
    let second = shop.place("two", 1).await.unwrap();
    eventually("the call is made", || async { Ok(shop.stripe.journal().len() == 3) }).await.unwrap();
    let begun = Instant::now();
    for replica in 0..2 {
        let mut processes = shop.fleet.processes().await;
        assert_eq!(processes.stop_worker("payments", replica).await.unwrap(), Some(0));
        processes.start_worker("payments", replica).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    shop.stripe.set_faults(Faults::default());
    let session = shop.page(&second).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&second, "paid").await.unwrap();
    shop.close().await.unwrap();
}

/// How often Stripe was asked what has become of a page.
fn looks(shop: &StripeShop, session: &str) -> usize {
    let path = format!("/v1/checkout/sessions/{session}");
    shop.stripe.journal().iter().filter(|exchange| exchange.method == "GET" && exchange.path == path).count()
}

#[tokio::test]
async fn where_no_webhook_ever_comes_a_buyer_who_pays_in_time_has_paid_in_time() {
    let shop = StripeShop::open(2, 1_000, &[("HOLDFAST_STRIPE_MISSED_MS", "0")]).await.unwrap();
    let place = async |key: &str| {
        let mut order = StripeShop::order(2);
        order["time_to_pay"] = json!("20s");
        let placed = shop.gateway.post("/v1/orders", key, &order).await.unwrap();
        assert_eq!(placed.status, 201, "{placed:?}");
        placed.header("location").to_owned()
    };
    let heard = place("heard").await;
    let heard_page = shop.page(&heard).await.unwrap();
    shop.stripe.pay(&heard_page).unwrap();
    shop.until(&heard, "paid").await.unwrap();
    shop.keep_webhooks_away();
    let order = place("unheard").await;
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    assert_eq!(looks(&shop, &session), 1, "{:?}", shop.stripe.journal());

    shop.fleet.until("select count(*) from payments.timers", 0).await.unwrap();
    shop.fleet.until("select count(*) from payments.effects", 0).await.unwrap();
    assert_eq!(looks(&shop, &heard_page), 0, "what is settled is not asked for");
    // What is told now is known.
    shop.let_webhooks_come();
    eventually("all webhooks are delivered", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    let reports = "select count(*) from log.events where type in \
        ('holdfast.payments.v1.PaymentSucceeded', 'holdfast.payments.v1.ProviderReportUnmatched')";
    shop.fleet.until(reports, 2).await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_refund_made_in_stripes_dashboard_is_booked() {
    let shop = shop().await;
    let order = shop.place("one", 2).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    let intent = shop.stripe.pay(&session).unwrap().unwrap();
    shop.until(&order, "paid").await.unwrap();
    shop.stripe.refund_in_dashboard(&intent, 1_000).unwrap();
    shop.gateway.until(&order, "the refund is booked", |order| gone_back(order) == "1000").await.unwrap();
    shop.close().await.unwrap();
}

/// A shop that hears of nothing but what its own calls are answered, with an order that is paid.
async fn deaf_shop() -> (StripeShop, String) {
    let settings = [("HOLDFAST_STRIPE_MISSED_MS", "0"), ("HOLDFAST_EFFECTS_BACKOFF_MS", "50")];
    let shop = StripeShop::open(1, 1_000, &settings).await.unwrap();
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    shop.keep_webhooks_away();
    (shop, order)
}

async fn ask_for_money(shop: &StripeShop, order: &str) {
    let asked = shop.gateway.post(&format!("{order}/refunds"), "back", &json!({ "note": "broken" })).await.unwrap();
    assert_eq!(asked.status, 201, "{asked:?}");
}

/// How often a refund was sent, and not only looked for.
fn refunds_sent(shop: &StripeShop) -> usize {
    let journal = shop.stripe.journal();
    journal.iter().filter(|exchange| exchange.method == "POST" && exchange.path == "/v1/refunds").count()
}

/// Nobody waits for the answer to a call any more, and an operator has the refund sent again without asking Stripe.
async fn have_sent_again(shop: &StripeShop) {
    let mut connection = shop.fleet.database().await.unwrap();
    let over = "update payments.effects set begun_at = now() - interval '1 hour', due_at = now(),
        key_spent_at = case when key_spent then now() - interval '1 hour' end";
    sqlx::query(over).execute(&mut connection).await.unwrap();
    shop.fleet.until("select count(*) from payments.refunds where status = 'unknown'", 1).await.unwrap();
    let refund = "select '/v1/payments/' || payment_id || '/refunds/' || refund_id || '/resolve' from payments.refunds";
    let path: String = sqlx::query_scalar(refund).fetch_one(&mut connection).await.unwrap();
    let retry = json!({ "resolution": "REFUND_RESOLUTION_RETRY", "note": "the buyer is waiting" });
    let answer = shop.gateway.post(&path, "again", &retry).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_refund_that_an_operator_has_sent_again_is_found_if_it_had_gone_out() {
    let (shop, order) = deaf_shop().await;
    let faults = Faults { only: "/v1/refunds".to_owned(), error_after: 100, ..Faults::default() };
    shop.stripe.set_faults(faults);
    ask_for_money(&shop, &order).await;
    shop.fleet.until_at_least("select max(attempts)::int8 from payments.effects", 2).await.unwrap();
    have_sent_again(&shop).await;
    shop.stripe.set_faults(Faults::default());
    shop.gateway.until(&order, "the money is back", |order| gone_back(order) == "1250").await.unwrap();
    assert_eq!(refunds_sent(&shop), 1, "{:?}", shop.stripe.journal());
    shop.let_webhooks_come();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn under_a_key_that_stripe_answers_with_an_error_for_ever_a_refund_is_sent_no_more() {
    let (shop, order) = deaf_shop().await;
    let faults = Faults { only: "/v1/refunds".to_owned(), error_before: 100, ..Faults::default() };
    shop.stripe.set_faults(faults);
    ask_for_money(&shop, &order).await;
    eventually("it is sent", || async { Ok(refunds_sent(&shop) == 1) }).await.unwrap();
    shop.stripe.set_faults(Faults::default());
    // The second sending shows that the key is of no use, and then it is only looked for.
    shop.fleet.until("select count(*) from payments.effects where key_spent", 1).await.unwrap();
    assert_eq!(refunds_sent(&shop), 2);
    let mut connection = shop.fleet.database().await.unwrap();
    for _ in 0..2 {
        let now = "update payments.effects set due_at = now() where key_spent returning attempts";
        let attempts: i32 = sqlx::query_scalar(now).fetch_one(&mut connection).await.unwrap();
        let more = || async {
            let tried = "select max(attempts)::int8 from payments.effects";
            Ok(shop.fleet.number(tried).await? > i64::from(attempts))
        };
        eventually("it is looked for", more).await.unwrap();
    }
    assert_eq!(refunds_sent(&shop), 2, "{:?}", shop.stripe.journal());
    have_sent_again(&shop).await;
    shop.gateway.until(&order, "the money is back", |order| gone_back(order) == "1250").await.unwrap();
    assert_eq!(refunds_sent(&shop), 3);
    shop.let_webhooks_come();
    shop.close().await.unwrap();
}

/// Whoever waits for money sees how often it was sent, under which key, what was heard, and when it is tried again.
#[tokio::test]
async fn a_refund_shows_how_its_call_to_the_provider_goes() {
    let settings = [("HOLDFAST_EFFECTS_BACKOFF_MS", "50"), ("HOLDFAST_STRIPE_MISSED_MS", "0")];
    let shop = StripeShop::open(1, 1_000, &settings).await.unwrap();
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    shop.stripe.set_faults(Faults { forbidden: 100, ..Faults::default() });
    let asked = shop.gateway.post(&format!("{order}/refunds"), "back", &json!({ "note": "broken" })).await.unwrap();
    let path = asked.header("location").to_owned();
    let is_tried = |refund: &Value| refund["call"]["tries"].as_i64().is_some_and(|tries| tries >= 2);
    let refund = shop.gateway.until(&path, "it is tried again", is_tried).await.unwrap();
    assert_eq!((&refund["step"], &refund["times_sent"]), (&json!("refunding"), &json!(1)), "{refund}");
    let call = &refund["call"];
    assert_eq!(call["stopped_by"], "stripe", "{refund}");
    assert!(call["last_heard"].as_str().unwrap().contains("403"), "{refund}");
    assert!(call["next_try_at"].as_str() > refund["events"][0]["recorded_at"].as_str(), "{refund}");
    let key = refund["idempotency_key"].as_str().unwrap().to_owned();
    let journal = shop.stripe.journal();
    let sent = journal.iter().filter(|exchange| exchange.method == "POST" && exchange.path == "/v1/refunds");
    assert!(sent.clone().count() > 0 && sent.into_iter().all(|sent| sent.key.as_deref() == Some(&key)), "{journal:?}");
    shop.stripe.set_faults(Faults::default());
    let refund = shop.gateway.until(&path, "the money is back", |refund| refund["step"] == "refunded").await.unwrap();
    assert_eq!((&refund["call"], refund["idempotency_key"].as_str()), (&Value::Null, Some(key.as_str())), "{refund}");
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_refund_for_which_nobody_had_time_is_sent_however_late() {
    let (shop, order) = deaf_shop().await;
    shop.stripe.set_faults(Faults { only: "/v1/refunds".to_owned(), busy: 100, ..Faults::default() });
    ask_for_money(&shop, &order).await;
    // A try that was sent away is none: nothing has begun.
    shop.fleet.until("select count(*) from payments.effects where attempts > 0 and begun_at is null", 1).await.unwrap();
    // An hour later Stripe has room, but cannot say what it knows.
    shop.stripe.set_faults(Faults { only: "/v1/refunds".to_owned(), error_before: 100, ..Faults::default() });
    let mut connection = shop.fleet.database().await.unwrap();
    let later = "update payments.effects set deadline = deadline - interval '1 hour', due_at = now()";
    sqlx::query(later).execute(&mut connection).await.unwrap();
    shop.fleet.until_at_least("select max(attempts)::int8 from payments.effects", 6).await.unwrap();
    let refunding = "select count(*) from payments.refunds where status = 'refunding'";
    assert_eq!(shop.fleet.number(refunding).await.unwrap(), 1, "what was never sent is no matter of a person");
    shop.stripe.set_faults(Faults::default());
    shop.gateway.until(&order, "the money is back", |order| gone_back(order) == "1250").await.unwrap();
    shop.let_webhooks_come();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_key_that_stripe_refuses_is_told_of_by_name_until_it_is_mended() {
    let settings = [("HOLDFAST_EFFECTS_BACKOFF_MS", "50"), ("HOLDFAST_STRIPE_MISSED_MS", "0")];
    let shop = StripeShop::open(1, 1_000, &settings).await.unwrap();
    let first = shop.place("one", 1).await.unwrap();
    shop.page(&first).await.unwrap();
    shop.stripe.set_faults(Faults { forbidden: 100, ..Faults::default() });
    let second = shop.place("two", 1).await.unwrap();
    let cancelled = shop.gateway.post(&format!("{first}/cancel"), "no", &json!({})).await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    shop.fleet.until("select count(*) from payments.effects where stopped_by = 'stripe'", 2).await.unwrap();

    // Of the page that is to be closed nobody else would say that it is late.
    let mut connection = shop.fleet.database().await.unwrap();
    let late =
        "update payments.effects set deadline = now() - interval '1 minute' where type like '%CheckoutAbandoned'";
    sqlx::query(late).execute(&mut connection).await.unwrap();
    let (code, status) = shop.fleet.command(&["status"]).await.unwrap();
    assert_eq!(code, Some(1), "{status}");
    let stopped = &status["stopped"][0];
    assert_eq!((&stopped["by"], &stopped["calls"]), (&json!("stripe"), &json!(2)), "{status}");
    let stands = status["stands"].to_string();
    assert!(
        stands.contains("2 outside calls to stripe wait until somebody mends") && stands.contains("403"),
        "{stands}"
    );
    let item = &status["waiting"]["items"][0];
    assert_eq!((&item["what"], status["waiting"]["total"].as_i64()), (&json!("call CheckoutAbandoned"), Some(1)));
    assert!(item["reason"].as_str().unwrap().contains("403"), "{item}");
    let (code, diagnosis) = shop.fleet.command(&["diagnose"]).await.unwrap();
    let found: Vec<&Value> = diagnosis["findings"].as_array().unwrap().iter().map(|finding| &finding["code"]).collect();
    assert_eq!((code, found), (Some(1), vec![&json!("MONEY_CALL_STUCK"), &json!("PROVIDER_MISCONFIGURED")]));
    assert_eq!(diagnosis["findings"][1]["numbers"]["calls"], 2);
    let gauge = |value: &'static str| {
        let shop = &shop;
        move || async move {
            let metrics = shop.fleet.get("payments-0", "/metrics").await?;
            let line = metrics.lines().find(|line| line.starts_with("holdfast_calls_stopped{"));
            Ok(line.is_some_and(|line| line.contains("by=\"stripe\"") && line.ends_with(value)))
        }
    };
    eventually("the metric counts them", gauge(" 2")).await.unwrap();
    let log = std::fs::read_to_string(shop.fleet.dir().join("log/payments-0.log")).unwrap();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("somebody mends how this one is asked")).collect();
    assert_eq!(said.len(), 1, "once a minute, and not once a call: {said:?}");
    assert!(said[0].contains("ERROR") && said[0].contains("stripe"), "{said:?}");

    shop.stripe.set_faults(Faults::default());
    let session = shop.page(&second).await.unwrap();
    shop.fleet.until("select count(*) from payments.effects", 0).await.unwrap();
    eventually("nobody waits any more", gauge(" 0")).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&second, "paid").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_charge_that_fitted_nothing_is_found_by_its_name() {
    let shop = shop().await;
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    let paid = shop.until(&order, "paid").await.unwrap();
    let payment_id = paid.pointer("/payments/0/payment_id").and_then(Value::as_str).unwrap();
    for (charge, cents) in [("pi_second", 1_251), ("pi_other_amount", 999)] {
        let report = RecordProviderEvent {
            kind: ProviderEventKind::PaymentSucceeded.into(),
            payment_id: payment_id.to_owned(),
            amount: Some(money(cents)),
            provider_event_id: format!("{charge} succeeded"),
            provider_reference: charge.to_owned(),
            ..RecordProviderEvent::default()
        };
        assert!(is_accepted(&shop.fleet.send(charge, &report).await.unwrap()));
        // A refund of it, or a dispute, names nothing else.
        let path = format!("/v1/payments/{payment_id}/reports/{charge}%20succeeded/resolve");
        let undone = json!({ "resolution": "REPORT_RESOLUTION_UNDONE", "note": "given back by hand" });
        assert_eq!(shop.gateway.post(&path, charge, &undone).await.unwrap().status, 200);
    }
    let known = "select count(*) from payments.charges where reference in ('pi_second', 'pi_other_amount')";
    shop.fleet.until(known, 2).await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn webhooks_that_are_not_stripes_change_nothing() {
    let shop = shop().await;
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    let event = json!({
        "id": "evt_forged", "object": "event", "type": "checkout.session.completed", "livemode": false,
        "data": { "object": { "id": session, "object": "checkout.session", "payment_status": "paid" } },
    })
    .to_string();
    for signature in ["", "t=1,v1=00", "t=99999999999,v1=00", "v1=00", "t=now,v1=zz"] {
        let headers = [("stripe-signature", signature), ("content-type", "application/json")];
        let refused = shop.gateway.request("POST", "/webhooks/stripe", &headers, &event).await.unwrap();
        assert_eq!((refused.status, refused.json["code"].as_str()), (400, Some("SIGNATURE_INVALID")), "{signature}");
    }
    assert_eq!(shop.fleet.number("select count(*) from payments.inbox").await.unwrap(), 0);
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn lost_answers_and_repeated_webhooks_double_nothing_and_lose_nothing() {
    let shop = shop().await;
    shop.stripe.set_faults(Faults {
        lost_answer: 10,
        error_after: 10,
        event_twice: 10,
        event_copied: 10,
        event_overtaken: 20,
        ..Faults::default()
    });
    let mut orders = Vec::new();
    for number in 0..20 {
        orders.push(shop.place(&format!("order {number}"), 1).await.unwrap());
    }
    for order in &orders {
        let session = shop.page(order).await.unwrap();
        shop.stripe.pay(&session).unwrap();
    }
    for order in &orders {
        shop.until(order, "paid").await.unwrap();
        let back = shop.gateway.post(&format!("{order}/refunds"), &format!("back {order}"), &json!({})).await.unwrap();
        assert_eq!(back.status, 201, "{back:?}");
    }
    for order in &orders {
        shop.gateway.until(order, "the money is back", |order| gone_back(order) == "1250").await.unwrap();
    }
    shop.close().await.unwrap();
}

#[tokio::test]
async fn a_refund_that_stripe_has_accepted_waits_also_while_it_cannot_be_looked_up() {
    let (shop, order) = deaf_shop().await;
    shop.stripe.set_refunds_begin(RefundStatus::Pending);
    ask_for_money(&shop, &order).await;
    shop.fleet.until("select count(*) from payments.effects where accepted", 1).await.unwrap();
    let faults = Faults { only: "/v1/refunds".to_owned(), lost_request: 100, ..Faults::default() };
    shop.stripe.set_faults(faults);
    let mut connection = shop.fleet.database().await.unwrap();
    // Its deadline has passed long ago, and it was looked up often.
    let late =
        "update payments.effects set begun_at = now() - interval '1 hour', due_at = now(), attempts = attempts + 9
        where accepted returning attempts";
    let attempts: i32 = sqlx::query_scalar(late).fetch_one(&mut connection).await.unwrap();
    let looked = "select coalesce(max(attempts), 0)::int8 from payments.effects where last_error like '%look up%'";
    shop.fleet.until_at_least(looked, i64::from(attempts) + 1).await.unwrap();
    assert_eq!(shop.fleet.number("select count(*) from payments.refunds where status = 'refunding'").await.unwrap(), 1);
    shop.stripe.set_faults(Faults::default());
    let ledger = shop.stripe.ledger();
    let refund = ledger.payments.values().flat_map(|payment| &payment.refunds).next().unwrap();
    shop.stripe.settle_refund(&refund.id, RefundStatus::Succeeded).unwrap();
    sqlx::query("update payments.effects set due_at = now()").execute(&mut connection).await.unwrap();
    shop.gateway.until(&order, "the money is back", |order| gone_back(order) == "1250").await.unwrap();
    assert_eq!(refunds_sent(&shop), 1, "{:?}", shop.stripe.journal());
    shop.let_webhooks_come();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn verify_finds_a_page_that_nobody_would_look_at() {
    let shop = shop().await;
    let order = shop.place("one", 1).await.unwrap();
    shop.page(&order).await.unwrap();
    let (code, report) = shop.fleet.command(&["verify"]).await.unwrap();
    assert_eq!(code, Some(0), "{report}");
    let mut database = shop.fleet.database().await.unwrap();
    sqlx::query("delete from payments.timers").execute(&mut database).await.unwrap();
    let (code, report) = shop.fleet.command(&["verify"]).await.unwrap();
    assert_eq!(code, Some(1), "{report}");
    let findings = report["findings"].to_string();
    assert!(findings.contains("payment-") && findings.contains("it has no timer"), "{findings}");
    // What is paid is not looked at.
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    shop.until(&order, "paid").await.unwrap();
    shop.close().await.unwrap();
}

#[tokio::test]
async fn while_stripe_answers_nothing_wallets_pay_and_are_given_back() {
    let shop = StripeShop::open(1, 1_000, &[("HOLDFAST_EFFECTS_CONCURRENCY_MAX", "2")]).await.unwrap();
    let (customer_id, actor, note) = ("ada".to_owned(), "till".to_owned(), "cash".to_owned());
    let top_up = TopUpWallet { customer_id, amount: Some(money(5_000)), actor, note };
    assert!(is_accepted(&shop.fleet.send("first", &top_up).await.unwrap()));
    shop.stripe.set_faults(Faults { hang: 100, hang_ms: 600_000, ..Faults::default() });
    for number in 0..6 {
        shop.place(&format!("stripe-{number}"), 1).await.unwrap();
    }
    shop.fleet.until("select count(*) from payments.effects where callee = 'stripe'", 6).await.unwrap();
    shop.fleet
        .until("select count(*) from payments.effects where callee = 'stripe' and attempts > 0", 2)
        .await
        .unwrap();

    let orders: Vec<Order> = (0..4).map(|number| Order::new(number).line("MUG", 1).by("ada").pays("wallet")).collect();
    shop.fleet.place_all(&orders).await.unwrap();
    for order in &orders {
        shop.fleet.until_status(order, "paid").await.unwrap();
        assert!(is_accepted(&shop.fleet.send(&order.id.to_string(), &order.refund_as("all")).await.unwrap()));
    }
    for order in &orders {
        shop.fleet.until_status(order, "refunded").await.unwrap();
    }
    shop.fleet.until("select sum(available_minor)::bigint from payments.wallets", 5_000).await.unwrap();
    let waiting = "select count(*) from payments.effects where callee = 'stripe' and attempts = 0";
    assert_eq!(shop.fleet.number(waiting).await.unwrap(), 4, "no more of them are under way than may be");
}
