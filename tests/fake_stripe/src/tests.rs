//! The fake over HTTP, as its callers see it.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes as Body, extract::State as Extracted, http::HeaderMap};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{Instant, interval, timeout},
};

use crate::{FakeStripe, Faults, RefundStatus, Settings, signature};

mod events;

const SESSION: &str = "mode=payment&success_url=https://shop/ok&line_items[0][quantity]=2\
    &line_items[0][price_data][currency]=eur&line_items[0][price_data][unit_amount]=1000\
    &line_items[0][price_data][product_data][name]=Tea&metadata[payment_id]=pay-1";

struct Shop {
    fake: FakeStripe,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[derive(Debug)]
struct Seen {
    status: u16,
    body: Value,
    headers: HeaderMap,
}

impl Seen {
    fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    fn is_replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }
}

impl Shop {
    async fn new(faults: Faults) -> Self {
        let settings = Settings { faults, seed: 7, ..Settings::default() };
        let fake = FakeStripe::start(settings).await.unwrap();
        Self { fake, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn send(&self, method: Method, path: &str, key: Option<&str>, form: &str) -> Option<Seen> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.fake.url()))
            .header("authorization", format!("Bearer {}", self.fake.key()))
            .header("stripe-version", crate::API_VERSION)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::new(Bytes::from(form.to_owned()))).unwrap();
        let answer = self.client.request(request).await.ok()?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Some(Seen { status: parts.status.as_u16(), body, headers: parts.headers })
    }

    async fn post(&self, path: &str, key: &str, form: &str) -> Seen {
        self.send(Method::POST, path, Some(key), form).await.unwrap()
    }

    async fn get(&self, path: &str) -> Seen {
        self.send(Method::GET, path, None, "").await.unwrap()
    }

    async fn session(&self, key: &str) -> String {
        self.post("/v1/checkout/sessions", key, SESSION).await.id()
    }

    /// The intent of a session that is paid.
    async fn paid(&self) -> String {
        let session = self.session("a").await;
        self.fake.pay(&session).unwrap().unwrap()
    }
}

/// Waits for it for ten seconds.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut look = interval(Duration::from_millis(5));
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come about");
        look.tick().await;
    }
}

/// An endpoint of a shop: what came, and how often it fails first.
#[derive(Debug, Default)]
struct Endpoint {
    events: Mutex<Vec<(String, Value, String)>>,
    failures: Mutex<usize>,
}

impl Endpoint {
    async fn start() -> (Arc<Self>, String) {
        let endpoint = Arc::new(Self::default());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(Arc::clone(&endpoint));
        tokio::spawn(crate::server::listen(listener, router));
        (endpoint, url)
    }

    fn kinds(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let mut kinds: Vec<String> =
            events.iter().map(|(_, event, _)| event["type"].as_str().unwrap_or_default().to_owned()).collect();
        kinds.sort_unstable();
        kinds
    }

    fn count(&self) -> usize {
        self.events.lock().unwrap().len()
    }
}

async fn take(Extracted(endpoint): Extracted<Arc<Endpoint>>, headers: HeaderMap, body: Body) -> axum::http::StatusCode {
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    let text = String::from_utf8(body.to_vec()).unwrap();
    let event = serde_json::from_str(&text).unwrap();
    endpoint.events.lock().unwrap().push((text, event, signature));
    let mut failures = endpoint.failures.lock().unwrap();
    if *failures > 0 {
        *failures -= 1;
        return axum::http::StatusCode::SERVICE_UNAVAILABLE;
    }
    axum::http::StatusCode::NO_CONTENT
}

#[tokio::test]
async fn from_the_session_to_the_refund() {
    let shop = Shop::new(Faults::default()).await;
    let (endpoint, url) = Endpoint::start().await;
    shop.fake.set_webhook(url, vec!["whsec_one".to_owned(), "whsec_two".to_owned()]);
    let made = shop.post("/v1/checkout/sessions", "a", SESSION).await;
    assert_eq!(made.status, 200);
    assert!(made.headers["request-id"].to_str().unwrap().starts_with("req_"));
    let id = made.id();
    let page = shop.send(Method::GET, &format!("/pay/{id}"), None, "").await.unwrap();
    assert_eq!(page.status, 200);
    let declined = shop.send(Method::POST, &format!("/pay/{id}?card=decline"), None, "").await.unwrap();
    assert_eq!(declined.status, 402);
    let paid = shop.send(Method::POST, &format!("/pay/{id}"), None, "").await.unwrap();
    assert_eq!(paid.status, 200);
    assert_eq!(shop.send(Method::POST, &format!("/pay/{id}"), None, "").await.unwrap().status, 409);
    let session = shop.get(&format!("/v1/checkout/sessions/{id}?expand[]=payment_intent.latest_charge")).await;
    let intent = session.body["payment_intent"]["id"].as_str().unwrap().to_owned();
    assert_eq!(session.body["payment_intent"]["latest_charge"]["amount_captured"], 2_000);
    let form = format!("payment_intent={intent}&amount=300&metadata[refund_id]=r1");
    let refund = shop.post("/v1/refunds", "refund:r1", &form).await;
    assert_eq!((refund.status, &refund.body["status"]), (200, &json!("succeeded")));
    eventually(|| shop.fake.to_deliver() == 0).await;
    let expected = [
        "charge.refunded",
        "checkout.session.completed",
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
        "refund.created",
    ];
    assert_eq!(endpoint.kinds(), expected);
    for (text, event, signature) in endpoint.events.lock().unwrap().iter() {
        let time: i64 = signature[2..signature.find(',').unwrap()].parse().unwrap();
        let secrets = ["whsec_one".to_owned(), "whsec_two".to_owned()];
        assert_eq!(*signature, signature::header(time, text.as_bytes(), &secrets));
        assert_eq!(event["api_version"], crate::API_VERSION);
        if event["type"] == "refund.created" {
            assert_eq!(event["request"]["idempotency_key"], "refund:r1");
        }
    }
    let ledger = shop.fake.ledger();
    let payment = &ledger.payments["pay-1"];
    assert_eq!((payment.sessions.len(), payment.charges.len(), payment.refunds[0].amount), (1, 2, 300));
    assert_eq!((ledger.totals["eur"].captured, ledger.totals["eur"].refunded), (2_000, 300));
    assert!(shop.fake.journal().iter().all(|exchange| exchange.notes.is_empty()), "{:#?}", shop.fake.journal());
}

#[tokio::test]
async fn the_same_key_has_the_same_answer_for_a_day() {
    let shop = Shop::new(Faults::default()).await;
    let intent = shop.paid().await;
    let form = format!("payment_intent={intent}&amount=500");
    let first = shop.post("/v1/refunds", "k", &form).await;
    let second = shop.post("/v1/refunds", "k", &form).await;
    assert_eq!((first.is_replayed(), second.is_replayed(), first.id()), (false, true, second.id()));
    let other = shop.post("/v1/refunds", "k", &format!("payment_intent={intent}&amount=501")).await;
    assert_eq!((other.status, &other.body["error"]["type"]), (400, &json!("idempotency_error")));
    let elsewhere = shop.post("/v1/coupons", "k", "percent_off=5").await;
    assert_eq!((elsewhere.status, &elsewhere.body["error"]["type"]), (400, &json!("idempotency_error")));
    assert_eq!(shop.fake.ledger().totals["eur"].refunded, 500);
    shop.fake.advance(Duration::from_secs(24 * 60 * 60 - 60));
    assert!(shop.post("/v1/refunds", "k", &form).await.is_replayed());
    shop.fake.advance(Duration::from_secs(60));
    let late = shop.post("/v1/refunds", "k", &form).await;
    assert!(!late.is_replayed() && late.id() != first.id(), "a key that is forgotten refunds again");
    assert_eq!(shop.fake.ledger().totals["eur"].refunded, 1_000);
}

#[tokio::test]
async fn what_never_began_is_not_kept_and_what_was_refused_is() {
    let shop = Shop::new(Faults::default()).await;
    assert_eq!(shop.post("/v1/refunds", "k", "amount=1").await.status, 400);
    let intent = shop.paid().await;
    let form = format!("payment_intent={intent}&amount=9999");
    assert_eq!(shop.post("/v1/refunds", "k", &form).await.status, 400, "the key is still free");
    let again = shop.post("/v1/refunds", "k", &form).await;
    assert!(again.status == 400 && again.is_replayed());
    let long = "k".repeat(256);
    assert_eq!(shop.post("/v1/refunds", &long, &form).await.body["error"]["type"], "idempotency_error");
}

#[tokio::test]
async fn a_key_is_in_use_while_its_call_runs() {
    let shop = Shop::new(Faults { hang: 100, hang_ms: 60_000, ..Faults::default() }).await;
    let hanging = shop.send(Method::POST, "/v1/checkout/sessions", Some("k"), SESSION);
    assert!(timeout(Duration::from_millis(200), hanging).await.is_err());
    eventually(|| shop.fake.journal().len() == 1).await;
    shop.fake.set_faults(Faults::default());
    let running = shop.post("/v1/checkout/sessions", "k", SESSION).await;
    assert_eq!((running.status, running.code()), (409, "idempotency_key_in_use"));
    assert_eq!(shop.fake.ledger().payments.len(), 1, "it was done nonetheless");
}

#[tokio::test]
async fn a_hanging_call_ends_without_an_answer_and_is_replayed_afterwards() {
    let shop = Shop::new(Faults { hang: 100, hang_ms: 50, ..Faults::default() }).await;
    assert!(shop.send(Method::POST, "/v1/checkout/sessions", Some("k"), SESSION).await.is_none());
    shop.fake.set_faults(Faults::default());
    assert!(shop.post("/v1/checkout/sessions", "k", SESSION).await.is_replayed());
}

#[tokio::test]
async fn a_slow_answer_comes_in_the_end() {
    let shop = Shop::new(Faults { slow: 100, slow_ms: 50, ..Faults::default() }).await;
    let before = Instant::now();
    assert_eq!(shop.post("/v1/checkout/sessions", "k", SESSION).await.status, 200);
    assert!(before.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn calls_above_the_limit_of_a_second_are_refused_and_no_others() {
    let shop = Shop::new(Faults { calls_per_s: 3, ..Faults::default() }).await;
    let mut refused = 0;
    while refused == 0 {
        let seen = shop.get("/v1/refunds").await;
        refused += usize::from(seen.status == 429 && seen.code() == "rate_limit");
    }
    let taken = shop.fake.journal().iter().filter(|exchange| exchange.status == 200).count();
    assert!(taken >= 3, "{taken}");
    eventually(|| !shop.fake.shared.with(|state| state.meter.is_full(3))).await;
    assert_eq!(shop.get("/v1/refunds").await.status, 200);
}

#[tokio::test]
async fn a_lost_answer_was_an_effect_and_a_lost_request_was_none() {
    let shop = Shop::new(Faults { lost_request: 100, ..Faults::default() }).await;
    assert!(shop.send(Method::POST, "/v1/checkout/sessions", Some("k"), SESSION).await.is_none());
    assert!(shop.fake.ledger().payments.is_empty());
    shop.fake.set_faults(Faults { lost_answer: 100, ..Faults::default() });
    assert!(shop.send(Method::POST, "/v1/checkout/sessions", Some("k"), SESSION).await.is_none());
    assert_eq!(shop.fake.ledger().payments.len(), 1);
    shop.fake.set_faults(Faults::default());
    let seen = shop.post("/v1/checkout/sessions", "k", SESSION).await;
    assert!(seen.status == 200 && seen.is_replayed());
}

#[tokio::test]
async fn a_server_error_is_kept_whether_it_was_done_or_not() {
    for (faults, done) in
        [(Faults { error_before: 100, ..Faults::default() }, 0), (Faults { error_after: 100, ..Faults::default() }, 1)]
    {
        let shop = Shop::new(faults).await;
        assert_eq!(shop.post("/v1/checkout/sessions", "k", SESSION).await.status, 500);
        shop.fake.set_faults(Faults::default());
        let again = shop.post("/v1/checkout/sessions", "k", SESSION).await;
        assert!(again.status == 500 && again.is_replayed());
        assert_eq!(shop.fake.ledger().payments.len(), done);
    }
}

#[tokio::test]
async fn what_comes_before_the_keys_is_not_kept() {
    for (faults, status) in [
        (Faults { busy: 100, ..Faults::default() }, 429),
        (Faults { lock_timeout: 100, ..Faults::default() }, 429),
        (Faults { forbidden: 100, ..Faults::default() }, 403),
    ] {
        let shop = Shop::new(faults).await;
        assert_eq!(shop.post("/v1/checkout/sessions", "k", SESSION).await.status, status);
        shop.fake.set_faults(Faults::default());
        let again = shop.post("/v1/checkout/sessions", "k", SESSION).await;
        assert!(again.status == 200 && !again.is_replayed());
    }
    let shop = Shop::new(Faults { bad_gateway: 100, ..Faults::default() }).await;
    assert_eq!(shop.post("/v1/checkout/sessions", "k", SESSION).await.status, 502);
    assert_eq!(shop.fake.ledger().payments.len(), 1);
}

#[tokio::test]
async fn the_same_seed_makes_the_same_faults() {
    let faults = Faults { busy: 20, error_before: 10, error_after: 10, lost_answer: 20, ..Faults::default() };
    let mut runs = Vec::new();
    for _run in 0..2 {
        let shop = Shop::new(faults.clone()).await;
        for number in 0..50 {
            shop.send(Method::POST, "/v1/checkout/sessions", Some(&format!("k{number}")), SESSION).await;
        }
        runs.push(shop.fake.journal().iter().map(|exchange| exchange.fault).collect::<Vec<_>>());
    }
    // A client may send once more on a connection that was closed, so the calls need not be fifty.
    let shared = runs[0].len().min(runs[1].len());
    assert!(shared >= 50 && runs[0][..shared] == runs[1][..shared]);
    assert!(runs[0].iter().any(Option::is_some) && runs[0].iter().any(Option::is_none));
}

#[tokio::test]
async fn keys_are_shown_by_bearer_or_basic() {
    let shop = Shop::new(Faults::default()).await;
    let url = format!("{}/v1/refunds", shop.fake.url());
    // `sk_test_fake:` in base64.
    for (header, status) in [
        (Some("Bearer sk_test_fake"), 200),
        (Some("Basic c2tfdGVzdF9mYWtlOg=="), 200),
        (Some("Bearer sk_test_other"), 401),
        (Some("Basic !!"), 401),
        (None, 401),
    ] {
        let mut request = Request::builder().uri(&url);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let answer = shop.client.request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{header:?}");
    }
    assert_eq!(shop.fake.journal()[0].notes, ["no Stripe-Version"]);
}

#[tokio::test]
async fn expiring_and_paying_at_once_has_one_winner() {
    let shop = Shop::new(Faults::default()).await;
    let mut winners = [0, 0];
    for number in 0..40 {
        let session = shop.session(&format!("s{number}")).await;
        let (expire, pay) = (format!("/v1/checkout/sessions/{session}/expire"), format!("/pay/{session}"));
        let key = format!("e{number}");
        let expired = shop.send(Method::POST, &expire, Some(&key), "");
        let paid = shop.send(Method::POST, &pay, None, "");
        // Whoever is asked first is sent first.
        let (expired, paid) = if number % 2 == 0 {
            tokio::join!(expired, paid)
        } else {
            let (paid, expired) = tokio::join!(paid, expired);
            (expired, paid)
        };
        let (expired, paid) = (expired.unwrap(), paid.unwrap());
        let seen = shop.get(&format!("/v1/checkout/sessions/{session}")).await;
        match (expired.status, paid.status) {
            (200, 409) => {
                assert_eq!((&seen.body["status"], &seen.body["payment_intent"]), (&json!("expired"), &Value::Null));
                winners[0] += 1;
            }
            (400, 200) => {
                assert_eq!((&seen.body["status"], &seen.body["payment_status"]), (&json!("complete"), &json!("paid")));
                winners[1] += 1;
            }
            both => panic!("expire and pay were answered {both:?}"),
        }
    }
    assert_eq!(winners[0] + winners[1], 40);
}

#[tokio::test]
async fn refunds_are_listed_in_pages_the_newest_first() {
    let shop = Shop::new(Faults::default()).await;
    let intent = shop.paid().await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let form = format!("payment_intent={intent}&amount={}", 100 + number);
        ids.push(shop.post("/v1/refunds", &format!("r{number}"), &form).await.id());
    }
    ids.push(shop.fake.refund_in_dashboard(&intent, 7).unwrap());
    ids.reverse();
    let mut seen: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let page = shop.get(&format!("/v1/refunds?payment_intent={intent}&limit=4{after}")).await;
        let data = page.body["data"].as_array().unwrap();
        seen.extend(data.iter().map(|refund| refund["id"].as_str().unwrap().to_owned()));
        if page.body["has_more"] == false {
            break;
        }
        after = format!("&starting_after={}", seen.last().unwrap());
    }
    assert_eq!(seen, ids);
    let page = shop.get(&format!("/v1/refunds?limit=2&ending_before={}", ids[4])).await;
    assert_eq!((&page.body["data"][0]["id"], &page.body["data"][1]["id"]), (&json!(ids[2]), &json!(ids[3])));
    assert_eq!(shop.get("/v1/refunds?limit=101").await.status, 400);
    assert_eq!(shop.get("/v1/refunds?payment_intent=pi_none").await.status, 404);
    assert_eq!(shop.get("/v1/refunds?nonsense=1").await.code(), "parameter_unknown");
}

#[tokio::test]
async fn the_controls_do_what_the_library_does() {
    let shop = Shop::new(Faults::default()).await;
    let control = async |act: &str, body: Value| {
        shop.send(Method::POST, &format!("/_fake/{act}"), None, &body.to_string()).await.unwrap()
    };
    control("refunds_begin", json!({ "status": "pending" })).await;
    let session = shop.session("a").await;
    assert_eq!(control("decline", json!({ "session": session })).await.status, 200);
    let intent = control("pay", json!({ "session": session })).await.body["payment_intent"].clone();
    let refund = control("refund", json!({ "payment_intent": intent, "amount": 100 })).await.body["refund"].clone();
    let settled = control("settle_refund", json!({ "refund": refund, "status": "failed" })).await;
    assert_eq!(settled.status, 200, "{settled:?}");
    let dispute =
        control("dispute", json!({ "payment_intent": intent, "amount": 2_000 })).await.body["dispute"].clone();
    assert_eq!(control("close_dispute", json!({ "dispute": dispute, "won": false })).await.status, 200);
    assert_eq!(control("close_dispute", json!({ "dispute": dispute, "won": true })).await.status, 400);
    assert_eq!(control("faults", json!({ "busy": 100 })).await.status, 200);
    assert_eq!(control("faults", json!({ "bussy": 100 })).await.status, 400);
    assert_eq!(shop.get("/v1/refunds").await.status, 429);
    assert_eq!(shop.get("/_fake/faults").await.body["busy"], 100);
    let ledger = shop.get("/_fake/ledger").await.body;
    assert_eq!(ledger["totals"]["eur"]["charged_back"], 2_000);
    assert_eq!(ledger["payments"]["pay-1"]["refunds"][0]["status"], "failed");
    assert_eq!(ledger["payments"]["pay-1"]["refunds"][0]["origin"], "dashboard");
    assert_eq!(control("nonsense", json!({})).await.status, 404);
    let before = shop.fake.now();
    control("advance", json!({ "seconds": 1_000 })).await;
    assert!(shop.fake.now() >= before + 1_000);
}

#[tokio::test]
async fn refunds_settle_by_themselves_where_faults_say_so() {
    let faults = Faults { refund_pending: 100, refund_fails: 100, refund_settles_s: 60, ..Faults::default() };
    let shop = Shop::new(faults).await;
    let intent = shop.paid().await;
    let refund = shop.post("/v1/refunds", "r", &format!("payment_intent={intent}")).await;
    assert_eq!(refund.body["status"], "pending");
    shop.fake.advance(Duration::from_secs(60));
    assert_eq!(shop.get(&format!("/v1/refunds/{}", refund.id())).await.body["status"], "failed");
    assert!(shop.fake.settle_refund(&refund.id(), RefundStatus::Succeeded).is_err());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let shop = Shop::new(Faults::default()).await;
    for path in [
        "/v1/checkout/sessions/cs_x",
        "/v1/payment_intents/pi_x",
        "/v1/charges/ch_x",
        "/v1/refunds/re_x",
        "/v1/disputes/du_x",
        "/v1/events/evt_x",
        "/v1/coupons/x",
        "/v1/balance_transactions/txn_x",
    ] {
        let seen = shop.get(path).await;
        assert_eq!((seen.status, seen.code()), (404, "resource_missing"), "{path}");
    }
    assert_eq!(shop.get("/v1/customers").await.status, 404);
    assert_eq!(shop.send(Method::DELETE, "/v1/refunds", None, "").await.unwrap().status, 404);
    assert_eq!(shop.get("/v1/refunds/re_x?expand[]=nothing").await.status, 400);
}

#[tokio::test]
async fn it_ends_when_it_is_dropped() {
    let shop = Shop::new(Faults::default()).await;
    shop.session("a").await;
    let Shop { fake, client } = shop;
    let url: hyper::Uri = fake.url().parse().unwrap();
    drop(fake);
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.get(url.clone()).await.is_ok() {
        assert!(Instant::now() < deadline, "it still answers");
    }
}
