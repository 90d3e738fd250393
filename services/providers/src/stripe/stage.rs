//! What the tests of the adapter have in common: settings, requests, and somebody to talk to who says what they are told to.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{Currency, Money, OrderId, PaymentId, RefundId, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use uuid::Uuid;

use super::{
    Capture, Settings, Stripe,
    key::{Key, Source},
};
use crate::{AuthorisationRef, CheckoutRequest, RefundRequest};

/// A key; nothing that is printed may have it.
pub(super) const KEY: &str = "sk_test_51Staged0000";

pub(super) fn key() -> Source {
    Source::Given(Arc::new(Key::parse(KEY, false).unwrap()))
}

pub(super) fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        timeout: Duration::from_secs(5),
        success_url: "https://shop.example/thanks?id={CHECKOUT_SESSION_ID}".to_owned(),
        cancel_url: "https://shop.example/cart".to_owned(),
        fleet: "fleet-1".to_owned(),
        allow_live: false,
        missed_every: None,
        capture: Capture::AtOnce,
    }
}

pub(super) fn eur(minor_units: i64) -> Money {
    Money { minor_units, currency: Currency::parse("EUR").unwrap() }
}

pub(super) fn checkout() -> CheckoutRequest {
    CheckoutRequest {
        key: "key-1".to_owned(),
        payment_id: PaymentId(Uuid::from_u128(1)),
        order_id: OrderId(Uuid::from_u128(2)),
        order_reference: None,
        amount: eur(1_250),
        payment_method: "stripe".to_owned(),
        ends_at: Timestamp::from_micros(1_800_000_000_999_999),
    }
}

pub(super) fn authorisation() -> AuthorisationRef {
    AuthorisationRef {
        key: "key-1".to_owned(),
        payment_id: PaymentId(Uuid::from_u128(1)),
        payment_reference: "cs_test_1".to_owned(),
        reference: "pi_1".to_owned(),
        amount: eur(1_250),
    }
}

pub(super) fn refund() -> RefundRequest {
    RefundRequest {
        key: "key-1".to_owned(),
        payment_id: PaymentId(Uuid::from_u128(1)),
        payment_reference: "cs_test_1".to_owned(),
        charge_reference: "pi_1".to_owned(),
        refund_id: RefundId(Uuid::from_u128(3)),
        amount: eur(500),
    }
}

/// What is said to one request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Json {
        status: u16,
        headers: &'static str,
        body: String,
    },
    HangUp,
    /// The head, and half of the body.
    Half,
    Silence,
}

impl Reply {
    pub(super) fn json(status: u16, body: &str) -> Self {
        Self::Json { status, headers: "", body: body.to_owned() }
    }
}

/// Somebody who hears requests, and says to each what comes next.
pub(super) struct Stage {
    pub(super) url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    pub(super) async fn set(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut silent = Vec::new();
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = hear(&mut stream).await;
                hears.lock().unwrap().push(request);
                say(&mut stream, &reply).await;
                if matches!(reply, Reply::Silence) {
                    silent.push(stream);
                }
            }
            std::future::pending::<()>().await;
        });
        Self { url, heard }
    }

    /// Stripe, as if it were here.
    pub(super) fn stripe(&self) -> Stripe {
        Stripe::new(settings(&self.url), KEY).unwrap()
    }

    /// All that was heard.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// The first line of each request that was heard.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |request: &String| request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
        self.heard().iter().map(line).collect()
    }
}

/// Where nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn hear(stream: &mut TcpStream) -> String {
    let mut heard = String::new();
    loop {
        let mut bytes = [0; 4_096];
        let number = stream.read(&mut bytes).await.unwrap();
        assert!(number > 0, "who calls hung up: {heard}");
        heard.push_str(std::str::from_utf8(&bytes[..number]).unwrap());
        if let Some((head, body)) = heard.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return heard;
            }
        }
    }
}

async fn say(stream: &mut TcpStream, reply: &Reply) {
    let text = match reply {
        Reply::Json { status, headers, body } => {
            let length = body.len();
            format!("HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        }
        Reply::Half => "HTTP/1.1 200 Said\r\ncontent-length: 99\r\n\r\n{\"id\":".to_owned(),
        Reply::HangUp | Reply::Silence => return,
    };
    // Who calls may have heard enough.
    let _gone = stream.write_all(text.as_bytes()).await;
}
