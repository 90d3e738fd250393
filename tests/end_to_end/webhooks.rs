//! Webhooks: whose they are, and what is done about those that are not as they must be.

use fake_stripe::signature;
use holdfast_tests::{eventually, gateway::Answer, stripe::StripeShop};
use platform::clock;
use serde_json::{Value, json};
use testbed::{fleet::stripe::WEBHOOK_SECRET, http};

/// A shop that asks for nothing that no webhook has brought.
async fn shop() -> StripeShop {
    StripeShop::open(1, 1_000, &[("HOLDFAST_STRIPE_MISSED_MS", "0")]).await.unwrap()
}

/// What the fake of Stripe answers somebody who has the account's key.
async fn at_stripe(shop: &StripeShop, method: &str, path: &str, form: &str) -> Value {
    let (address, _) = http::parts(shop.stripe.url()).unwrap();
    let bearer = format!("Bearer {}", shop.stripe.key());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let answer = http::request(address, method, path, &headers, form).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

/// Sends the gateway what Stripe would, and with its signature.
async fn bring(shop: &StripeShop, event: &Value) -> Answer {
    let (body, now) = (event.to_string(), clock::now().as_micros() / 1_000_000);
    let signed = signature(now, body.as_bytes(), &[WEBHOOK_SECRET.to_owned()]);
    let headers = [("stripe-signature", signed.as_str()), ("content-type", "application/json")];
    shop.gateway.request("POST", "/webhooks/stripe", &headers, &body).await.unwrap()
}

/// The newest event of a kind.
async fn event(shop: &StripeShop, kind: &str) -> Value {
    let events = at_stripe(shop, "GET", &format!("/v1/events?type={kind}"), "").await;
    events.pointer("/data/0").cloned().unwrap_or_default()
}

/// Another shop on the same account sells, refunds and is disputed; none of it names a fleet, and refunds and disputes name nobody at all.
#[tokio::test]
async fn what_another_shop_on_the_account_does_is_counted_and_confirmed() {
    let shop = shop().await;
    let form = "mode=payment&success_url=https://other.example/&metadata[shop]=other\
        &line_items[0][quantity]=1&line_items[0][price_data][currency]=eur&line_items[0][price_data][unit_amount]=4200\
        &line_items[0][price_data][product_data][name]=Hat";
    let session = at_stripe(&shop, "POST", "/v1/checkout/sessions", form).await["id"].as_str().unwrap().to_owned();
    let intent = shop.stripe.pay(&session).unwrap().unwrap();
    shop.stripe.refund_in_dashboard(&intent, 100).unwrap();
    let dispute = shop.stripe.dispute(&intent, 4_000).unwrap();
    shop.stripe.close_dispute(&dispute, false).unwrap();
    eventually("everything is confirmed", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    assert_eq!(shop.fleet.number("select count(*) from payments.inbox").await.unwrap(), 0);
    for kind in ["refund.created", "charge.dispute.created"] {
        let answer = bring(&shop, &event(&shop, kind).await).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "foreign charge"), "{kind}");
    }
    // Of others an object may look like none of ours.
    let mut strange = event(&shop, "payment_intent.succeeded").await;
    strange["data"]["object"] = json!({ "object": "payment_intent", "amount": "a lot" });
    let answer = bring(&shop, &strange).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "foreign"));
}

/// A dispute of a charge of ours whose own report has not come yet has to come again, however old it is.
#[tokio::test]
async fn what_is_ours_and_not_known_yet_has_to_come_again() {
    let shop = shop().await;
    shop.keep_webhooks_away();
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    let intent = shop.stripe.pay(&session).unwrap().unwrap();
    shop.stripe.dispute(&intent, 1_250).unwrap();
    let mut disputed = event(&shop, "charge.dispute.created").await;
    for hours in [0, 2, 48] {
        disputed["created"] = json!(clock::now().as_micros() / 1_000_000 - hours * 3_600);
        let answer = bring(&shop, &disputed).await;
        assert_eq!(
            (answer.status, answer.code(), answer.header("retry-after")),
            (503, "UNKNOWN_CHARGE", "1"),
            "{hours}"
        );
    }
    let paid = bring(&shop, &event(&shop, "payment_intent.succeeded").await).await;
    assert_eq!((paid.status, paid.text.as_str()), (200, "recorded"), "{paid:?}");
    let answer = bring(&shop, &disputed).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "recorded"), "{answer:?}");
    shop.gateway.until(&order, "it is disputed", |order| order["disputed"] == true).await.unwrap();
    shop.fleet.settle_and_verify().await.unwrap();
}
