//! Versions over HTTP: what a caller has is not sent again, and what he has not seen he does not change.

use std::time::{Duration, Instant};

use futures::future::join_all;
use holdfast_tests::{
    TestFleet,
    gateway::{Answer, Gateway, TOKEN},
};
use serde_json::{Value, json};

async fn shop() -> (TestFleet, Gateway) {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    (fleet, gateway)
}

async fn place(gateway: &Gateway, key: &str, script: &str) -> String {
    let body = json!({
        "customer_id": "customer-42", "payment_method": script,
        "lines": [{ "sku": "MUG", "quantity": 20, "unit_price": { "minor_units": 100, "currency": "EUR" } }],
    });
    let placed = gateway.post("/v1/orders", key, &body).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    placed.header("location").to_owned()
}

async fn get(gateway: &Gateway, path: &str, tag: &str) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("if-none-match", tag)];
    gateway.request("GET", path, &headers, "").await.unwrap()
}

#[tokio::test]
async fn what_the_caller_has_is_not_sent_again_until_something_of_it_changes() {
    let (fleet, gateway) = shop().await;
    let path = place(&gateway, "1", "sandbox:succeed,after=1s").await;
    let seen = gateway.get(&path).await.unwrap();
    let tag = seen.header("etag").to_owned();
    assert!(tag.starts_with(&format!("\"{}-", seen.json["version"].as_str().unwrap())), "{tag}");
    // Whatever of the answer changes, of its own stream or of another's, the tag changes with it.
    let mut told = vec![(tag.clone(), seen.text.clone())];
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is told of no change any more: {told:?}");
        let (last, text) = told.last().unwrap().clone();
        let again = get(&gateway, &path, &last).await;
        match again.status {
            304 => assert_eq!((again.header("etag"), again.text.as_str()), (last.as_str(), "")),
            _ => {
                assert_ne!((again.header("etag"), &again.text), (last.as_str(), &text));
                told.push((again.header("etag").to_owned(), again.text.clone()));
                if again.json["holds"]["stock"] == "committed" {
                    break;
                }
            }
        }
    }
    fleet.settle().await.unwrap();
    let tag = gateway.get(&path).await.unwrap().header("etag").to_owned();
    for same in [tag.clone(), format!("W/{tag}"), format!("\"1\", {tag}"), "*".to_owned()] {
        assert_eq!(get(&gateway, &path, &same).await.status, 304, "{same}");
    }
    for other in [told[0].0.as_str(), "\"1\"", "x"] {
        assert_eq!(get(&gateway, &path, other).await.status, 200, "{other}");
    }
    let product = gateway.get("/v1/products/MUG").await.unwrap();
    let tag = product.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", product.json["version"].as_str().unwrap()));
    assert_eq!(get(&gateway, "/v1/products/MUG", &tag).await.status, 304);
    gateway.post("/v1/products/MUG/receive", "more", &json!({ "quantity": 1 })).await.unwrap();
    assert_eq!(get(&gateway, "/v1/products/MUG", &tag).await.status, 200);
}

/// What has only been placed. Whoever asks for it may be told of more: its holds are made meanwhile.
const PLACED: &str = "\"1\"";

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn an_order_is_changed_only_as_its_caller_has_seen_it() {
    let (fleet, gateway) = shop().await;
    let path = place(&gateway, "1", "sandbox:succeed").await;
    gateway.until(&path, "it is paid", |order| order["status"] == "paid").await.unwrap();
    let part = json!({ "amount": { "minor_units": 1, "currency": "EUR" } });
    let refund = async |key: &str, tag: &str, body: &Value| {
        gateway.post_with(&format!("{path}/refunds"), key, &[("if-match", tag)], body).await.unwrap()
    };
    assert_eq!(refused(&refund("late", PLACED, &part).await), (412, "WRONG_VERSION"));
    let tag = gateway.get(&path).await.unwrap().header("etag").to_owned();
    // Many who have all seen the same: one of them is the first, and no other is done.
    let keys: Vec<String> = (0..20).map(|number| format!("part-{number}")).collect();
    let answers = join_all(keys.iter().map(|key| refund(key, &tag, &part))).await;
    let done = answers.iter().filter(|answer| answer.status == 201).count();
    let others = answers.iter().filter(|answer| refused(answer) == (412, "WRONG_VERSION")).count();
    assert_eq!((done, others), (1, 19), "{answers:?}");
    fleet.settle().await.unwrap();
    assert_eq!(gateway.get(&path).await.unwrap().json["refunds"].as_array().unwrap().len(), 1);

    // The same request is answered as before, whatever has happened since; another one under its key is refused.
    let now = gateway.get(&path).await.unwrap();
    let version = format!("\"{}\"", now.json["version"].as_str().unwrap());
    let second = refund("second", &version, &part).await;
    assert_eq!(second.status, 201, "{second:?}");
    let again = refund("second", &version, &part).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"), "{again:?}");
    assert_eq!(refused(&refund("second", &tag, &part).await), (422, "IDEMPOTENCY_KEY_REUSED"));

    for wrong in ["7", "W/\"7\"", "\"x\"", "\"7\", \"8\""] {
        assert_eq!(refused(&refund("wrong", wrong, &part).await), (400, "INVALID_PARAMETER"), "{wrong}");
    }
    let in_body = json!({ "expected_version": "7" });
    assert_eq!(refused(&refund("body", "*", &in_body).await), (400, "INVALID_BODY"));
    let receive = json!({ "quantity": 1 });
    let product = gateway.post_with("/v1/products/MUG/receive", "m", &[("if-match", "\"1\"")], &receive).await.unwrap();
    assert_eq!(refused(&product), (400, "INVALID_PARAMETER"));
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn whoever_cancels_or_expires_what_has_been_paid_meanwhile_is_told_so() {
    let (fleet, gateway) = shop().await;
    let order = place(&gateway, "1", "sandbox:never").await;
    gateway.until(&order, "it waits for its money", |order| order["status"] == "reserved").await.unwrap();
    let why = json!({ "note": "the sale is over" });
    for verb in ["cancel", "expire"] {
        let post = async |key: &str, tag: &str| {
            gateway.post_with(&format!("{order}/{verb}"), key, &[("if-match", tag)], &why).await.unwrap()
        };
        assert_eq!(refused(&post(&format!("{verb}-1"), PLACED).await), (412, "WRONG_VERSION"), "{verb}");
    }
    let tag = gateway.get(&order).await.unwrap().header("etag").to_owned();
    let expired = gateway.post_with(&format!("{order}/expire"), "2", &[("if-match", &tag)], &why).await.unwrap();
    assert_eq!(expired.status, 200, "{expired:?}");
    fleet.settle_and_verify().await.unwrap();
}
