//! Webhooks: whose they are, and what is done about those that are not as they must be.

use std::{collections::BTreeMap, fs};

use fake_stripe::signature;
use holdfast_tests::{TestFleet, eventually, gateway::Answer, stripe::StripeShop};
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

/// Sends the gateway bytes, with this signature, as if they were a webhook.
async fn send(shop: &StripeShop, signature: &str, body: &[u8], headers: &str) -> (u16, String) {
    let head = format!(
        "POST /webhooks/stripe HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nstripe-signature: {signature}\r\n{headers}\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let answer = shop.gateway.raw(&[head.as_bytes(), body].concat()).await.unwrap();
    (answer.status, if answer.status == 200 { answer.text } else { answer.code().to_owned() })
}

#[tokio::test]
async fn a_webhook_that_is_not_as_it_must_be_changes_nothing() {
    let shop = shop().await;
    shop.keep_webhooks_away();
    let order = shop.place("one", 1).await.unwrap();
    let session = shop.page(&order).await.unwrap();
    shop.stripe.pay(&session).unwrap();
    let event = event(&shop, "payment_intent.succeeded").await;
    let body = event.to_string().into_bytes();
    let now = || clock::now().as_micros() / 1_000_000;
    let signed = |time: i64, body: &[u8]| signature(time, body, &[WEBHOOK_SECRET.to_owned()]);
    let bad = |code: &str| (400, code.to_owned());
    // Forged, truncated, changed, stale, from the future.
    let forged = signature(now(), &body, &["whsec_of_somebody_else_0123456789".to_owned()]);
    assert_eq!(send(&shop, &forged, &body, "").await, bad("SIGNATURE_INVALID"));
    let with_blank = signature(now(), &body, &[String::new()]);
    assert_eq!(send(&shop, &with_blank, &body, "").await, bad("SIGNATURE_INVALID"));
    let half = &body[..body.len() / 2];
    assert_eq!(send(&shop, &signed(now(), &body), half, "").await, bad("SIGNATURE_INVALID"));
    assert_eq!(send(&shop, &signed(now(), half), half, "").await, bad("INVALID_BODY"));
    let changed = [body.as_slice(), b" "].concat();
    assert_eq!(send(&shop, &signed(now(), &body), &changed, "").await, bad("SIGNATURE_INVALID"));
    for off in [-310, 310, -100_000, 100_000] {
        assert_eq!(send(&shop, &signed(now() + off, &body), &body, "").await, bad("SIGNATURE_INVALID"), "{off}");
    }
    // Packed, whether it says so or not: nobody of ours has asked for that.
    let packed = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff".as_slice(), &body].concat();
    for headers in ["", "content-encoding: gzip\r\n"] {
        assert_eq!(send(&shop, &signed(now(), &packed), &packed, headers).await, bad("INVALID_BODY"));
    }
    let large = vec![b' '; 524_289];
    assert_eq!(send(&shop, &signed(now(), &large), &large, "").await, (413, "MESSAGE_TOO_LARGE".to_owned()));
    assert_eq!(send(&shop, "", b"", "").await, bad("SIGNATURE_INVALID"));
    assert_eq!(shop.fleet.number("select count(*) from payments.inbox").await.unwrap(), 0);
    // As it must be, at the edge of the time that it may have; and again, which is the same.
    let late = signed(now() - 290, &body);
    for _ in 0..3 {
        assert_eq!(send(&shop, &late, &body, "").await, (200, "recorded".to_owned()));
    }
    shop.until(&order, "paid").await.unwrap();
    let paid = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentSucceeded'";
    assert_eq!(shop.fleet.number(paid).await.unwrap(), 1);
    shop.fleet.settle_and_verify().await.unwrap();
}

/// A blank secret is a key that everybody knows: with one there is no gateway at all.
#[tokio::test]
async fn with_a_secret_that_can_be_guessed_there_is_no_gateway() {
    let fleet = TestFleet::start().await.unwrap();
    let replaced = "whsec_of_the_fake_0123456789abcdef\n\nwhsec_another_0123456789abcdef";
    for (replica, secrets) in ["", "\n", " \n \n", "whsec_short", replaced].into_iter().enumerate() {
        let file = fleet.dir().join(format!("webhook-secrets-{replica}"));
        fs::write(&file, secrets).unwrap();
        let settings = BTreeMap::from([
            ("HOLDFAST_STRIPE_WEBHOOK_SECRETS".to_owned(), file.to_string_lossy().into_owned()),
            ("HOLDFAST_GATEWAY_ADDRESS".to_owned(), "127.0.0.1:0".to_owned()),
        ]);
        fleet.processes().await.start_worker_with("gateway", replica, &settings).unwrap();
        let has_ended = || async {
            let ended = fleet.processes().await.ended_workers();
            Ok(ended.iter().any(|(name, of, code)| name == "gateway" && *of == replica && *code == Some(1)))
        };
        eventually("it refuses to start", has_ended).await.unwrap();
        let said = fs::read_to_string(fleet.dir().join(format!("log/gateway-{replica}.log"))).unwrap();
        assert!(said.contains("stripe.webhook_secrets"), "{secrets:?}: {said}");
        assert!(!said.contains("serving the HTTP API") && !said.contains("0123456789"), "{secrets:?}: {said}");
    }
}
