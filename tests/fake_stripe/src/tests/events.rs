//! Events as they come to an endpoint, and what becomes of them on the way.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, Shop, eventually};
use crate::{Faults, Foreign};

#[tokio::test]
async fn an_event_is_sent_until_it_is_taken() {
    let shop = Shop::new(Faults::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    *endpoint.failures.lock().unwrap() = 2;
    shop.fake.set_webhook(url, vec!["whsec_one".to_owned()]);
    let session = shop.session("a").await;
    shop.post(&format!("/v1/checkout/sessions/{session}/expire"), "e", "").await;
    let open = shop.get("/v1/events?delivery_success=false").await;
    eventually(|| shop.fake.to_deliver() == 0).await;
    let events = endpoint.events.lock().unwrap().clone();
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|(text, _, _)| *text == events[0].0), "each time the same body");
    assert!(open.body["data"].as_array().unwrap().len() <= 1);
    let all = shop.get("/v1/events?delivery_success=true&type=checkout.session.expired").await;
    assert_eq!((&all.body["data"][0]["id"], &all.body["data"][0]["pending_webhooks"]), (&events[0].1["id"], &json!(0)));
    assert!(shop.fake.resend(events[0].1["id"].as_str().unwrap()));
    eventually(|| endpoint.count() == 4).await;
}

#[tokio::test]
async fn a_lost_event_is_listed_and_never_sent() {
    let shop = Shop::new(Faults { event_lost: 100, ..Faults::default() }).await;
    let (endpoint, url) = Endpoint::start().await;
    shop.fake.set_webhook(url, vec!["whsec_one".to_owned()]);
    shop.paid().await;
    let listed = shop.get("/v1/events?delivery_success=false").await;
    assert_eq!(listed.body["data"].as_array().unwrap().len(), 2);
    assert_eq!(listed.body["data"][0]["type"], "checkout.session.completed");
    let one = shop.get(&format!("/v1/events/{}", listed.body["data"][1]["id"].as_str().unwrap())).await;
    assert_eq!((&one.body["type"], &one.body["pending_webhooks"]), (&json!("payment_intent.succeeded"), &json!(1)));
    assert_eq!((shop.fake.to_deliver(), endpoint.count()), (0, 0));
}

#[tokio::test]
async fn events_come_twice_as_themselves_and_as_copies_and_late() {
    let faults =
        Faults { event_twice: 100, event_copied: 100, event_overtaken: 100, event_late: 100, ..Faults::default() };
    let shop = Shop::new(Faults { event_delay_ms: 20, ..faults }).await;
    let (endpoint, url) = Endpoint::start().await;
    shop.fake.set_webhook(url, vec!["whsec_one".to_owned()]);
    shop.paid().await;
    eventually(|| shop.fake.to_deliver() == 0).await;
    let events = endpoint.events.lock().unwrap();
    let completed: Vec<&Value> = events
        .iter()
        .map(|(_, event, _)| event)
        .filter(|event| event["type"] == "checkout.session.completed")
        .collect();
    assert_eq!(completed.len(), 4);
    let mut ids: Vec<&str> = completed.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2);
    assert!(completed.iter().all(|event| event["data"] == completed[0]["data"]));
}

#[tokio::test]
async fn time_passes_by_itself() {
    let shop = Shop::new(Faults::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    shop.fake.set_webhook(url, vec!["whsec_one".to_owned()]);
    let session = shop.session("a").await;
    shop.fake.advance(Duration::from_secs(86_400));
    eventually(|| endpoint.kinds() == ["checkout.session.expired"]).await;
    assert!(shop.fake.pay(&session).is_err());
}

#[tokio::test]
async fn others_events_come_too() {
    let shop = Shop::new(Faults::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    shop.fake.set_webhook(url, vec!["whsec_one".to_owned()]);
    for foreign in [Foreign::OtherShop, Foreign::OtherMode, Foreign::Thin] {
        shop.fake.send_foreign(foreign);
    }
    eventually(|| endpoint.count() == 3).await;
    let events = endpoint.events.lock().unwrap();
    assert!(events.iter().any(|(_, event, _)| event["livemode"] == true));
    assert!(events.iter().any(|(_, event, _)| event["object"] == "v2.core.event"));
    assert!(shop.fake.ledger().payments.is_empty());
}
