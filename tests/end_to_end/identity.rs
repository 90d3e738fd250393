//! Callers of an identity provider: what it signs for is done in their name, and its keys change while the gateway runs.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::join_all;
use holdfast_tests::{TestFleet, eventually, gateway::Gateway};
use platform::clock;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const ISSUER: &str = "https://id.example";
const SETTINGS: [(&str, &str); 2] =
    [("HOLDFAST_GATEWAY_JWT_ISSUER", ISSUER), ("HOLDFAST_GATEWAY_JWT_AUDIENCE", "holdfast")];

/// A key of the provider.
struct Key(&'static str, Ed25519KeyPair);

impl Key {
    fn new(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(kid, Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap())
    }

    fn set(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.1.public_key());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": self.0, "x": x }] }).to_string()
    }

    /// A token that is good for so many seconds.
    fn token(&self, scope: &str, seconds: i64) -> String {
        let exp = clock::now().as_micros() / 1_000_000 + seconds;
        let claims = json!({ "iss": ISSUER, "aud": "holdfast", "sub": "ann@shop", "exp": exp, "scope": scope });
        let coded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", coded(&json!({ "alg": "EdDSA", "kid": self.0 })), coded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.1.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

async fn status(gateway: &Gateway, token: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let answer = gateway.request("GET", "/v1/orders?customer_id=x", &[("authorization", &bearer)], "").await.unwrap();
    (answer.status, answer.code().to_owned())
}

fn refused() -> (u16, String) {
    (401, "UNAUTHENTICATED".to_owned())
}

#[tokio::test]
async fn what_a_provider_signs_for_is_done_in_the_callers_name_until_its_key_is_gone() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let (old, new) = (Key::new("old"), Key::new("new"));
    let file = fleet.dir().join("jwks.json");
    fs::write(&file, old.set()).unwrap();
    let path = file.to_string_lossy().into_owned();
    let settings = [&SETTINGS[..], &[("HOLDFAST_GATEWAY_JWKS", path.as_str())]].concat();
    let gateway = Gateway::start(&fleet, &settings).await.unwrap();

    let bearer = format!("Bearer {}", old.token("orders:read orders:write", 60));
    let headers =
        [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", "order-1")];
    let body = json!({
        "customer_id": "customer-42", "payment_method": "sandbox:never",
        "lines": [{ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
    });
    let placed = gateway.request("POST", "/v1/orders", &headers, &body.to_string()).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    // The key of a request is its caller's own: that of a token of the file is another.
    let by_token = gateway.post("/v1/orders", "order-1", &body).await.unwrap();
    assert_eq!((by_token.status, by_token.header("idempotent-replayed")), (201, ""));
    assert_ne!(by_token.json["order_id"], placed.json["order_id"]);
    gateway.post(&format!("{}/cancel", by_token.header("location")), "cancel", &json!({})).await.unwrap();
    let order = placed.header("location").to_owned();
    let cancelled = gateway.request("POST", &format!("{order}/cancel"), &headers, "{}").await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let events = gateway.get(&format!("{order}/events")).await.unwrap().json;
    assert!(events.to_string().contains("\"actor\":\"jwt:ann@shop\""), "{events}");

    // Not for this, not any more, not by this key.
    assert_eq!(status(&gateway, &old.token("orders:read", 60)).await.0, 200);
    assert_eq!(status(&gateway, &old.token("catalog:write openid", 60)).await, (403, "FORBIDDEN".to_owned()));
    assert_eq!(status(&gateway, &old.token("orders:read", -60)).await, refused());
    assert_eq!(status(&gateway, &Key::new("old").token("orders:read", 60)).await, refused());
    assert_eq!(status(&gateway, &new.token("orders:read", 60)).await, refused());

    fs::write(&file, "{").unwrap();
    assert_eq!(status(&gateway, &old.token("orders:read", 60)).await.0, 200);
    fs::write(&file, new.set()).unwrap();
    let is_new = || async { Ok(status(&gateway, &new.token("orders:read", 60)).await.0 == 200) };
    eventually("the new key is known", is_new).await.unwrap();
    assert_eq!(status(&gateway, &old.token("orders:read", 60)).await, refused());
    fleet.settle_and_verify().await.unwrap();
}

/// A provider's page of keys, and how often it was asked.
async fn page(set: Arc<Mutex<String>>, asked: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            asked.fetch_add(1, Ordering::SeqCst);
            let mut request = [0; 4_096];
            let _read = socket.read(&mut request).await;
            let body = set.lock().unwrap().clone();
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _written = socket.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}/jwks.json")
}

#[tokio::test]
async fn a_providers_page_is_asked_for_a_key_that_is_not_known_and_at_most_once_a_minute() {
    let fleet = TestFleet::start().await.unwrap();
    let (old, new) = (Key::new("old"), Key::new("new"));
    let (set, asked) = (Arc::new(Mutex::new(old.set())), Arc::new(AtomicUsize::new(0)));
    let url = page(Arc::clone(&set), Arc::clone(&asked)).await;
    let settings = [&SETTINGS[..], &[("HOLDFAST_GATEWAY_JWKS", url.as_str())]].concat();
    let gateway = Gateway::start(&fleet, &settings).await.unwrap();
    assert_eq!(status(&gateway, &old.token("orders:read", 60)).await.0, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // The key has changed: the first who come with the new one are believed, and all of them ask once.
    *set.lock().unwrap() = new.set();
    let tokens: Vec<String> = (0..10).map(|_| new.token("orders:read", 60)).collect();
    let answers = join_all(tokens.iter().map(|token| status(&gateway, token))).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(status(&gateway, &old.token("orders:read", 60)).await, refused());
    // Keys that are made up do not make it ask again and again.
    for kid in ["a", "b", "c", "d"] {
        assert_eq!(status(&gateway, &Key::new(kid).token("orders:read", 60)).await, refused());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
