//! Golden bytes: every event ever released decodes for ever, and says the same. A new event gets its golden file with
//! `HOLDFAST_BLESS=1`; an old one never changes. What an event says since then has golden bytes of its own, written by hand: `EVENT+what.json`.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its golden files fails")]

use std::{env, fs, path::PathBuf};

use audit::catalogue::{PROMISED, event_types};
use domain::Decider;
use holdfast_tests::repo_root;
use serde_json::{Map, Value, json};

fn decodes(message_type: &str, data: &[u8]) -> Result<(), String> {
    let words = |rejection: domain::Rejection| rejection.to_string();
    match proto::owner(message_type) {
        Some("orders") => orders::Orders::decode_event(message_type, data).map(drop).map_err(words),
        Some("inventory") => inventory::Inventory::decode_event(message_type, data).map(drop).map_err(words),
        Some("rounds") => rounds::Rounds::decode_event(message_type, data).map(drop).map_err(words),
        Some("payments") => <payments::Payments>::decode_event(message_type, data).map(drop).map_err(words),
        _ => proto::to_json(message_type, data).map(drop).map_err(|error| error.to_string()),
    }
}

fn folder() -> PathBuf {
    repo_root().join("tests/golden/v1")
}

const ORDER: &str = "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81";

/// A message with every field set, as JSON: tries values until the contract takes them, so it needs no list of fields.
fn sample(message_type: &str) -> Value {
    let money = json!({ "minorUnits": "1999", "currency": "EUR" });
    let line = json!({ "sku": "MUG-01", "quantity": "2" });
    let fields = [
        ("orderId", json!(ORDER)),
        ("customerId", json!("customer-7")),
        ("roundId", json!("0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05")),
        ("paymentId", json!("c2a9f8d7-1b3e-5a4c-9f6d-8e7b0a1c2d3f")),
        ("refundId", json!("e4d3c2b1-a0f9-4e8d-8c7b-6a5948372615")),
        ("commandId", json!("77777777-7777-4777-8777-777777777777")),
        ("commandType", json!("holdfast.orders.v1.PlaceOrder")),
        ("attempt", json!(1)),
        ("sku", json!("MUG-01")),
        ("name", json!("Mug")),
        ("prize", json!("A bicycle")),
        ("quantity", json!("3")),
        ("delta", json!("-2")),
        ("count", json!("4")),
        ("totalShares", json!("100")),
        ("total", money.clone()),
        ("amount", money.clone()),
        ("discount", json!({ "amount": money, "linesMinor": ["1000", "999"] })),
        ("sharePrice", money.clone()),
        ("resource", json!("RESOURCE_STOCK")),
        ("holds", json!(["RESOURCE_STOCK", "RESOURCE_SHARES"])),
        ("rejection", json!({ "code": "OUT_OF_STOCK", "reason": "asked 2, free 1" })),
        ("shares", json!({ "roundId": "0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05", "count": "4", "unitPrice": money })),
        ("returnShares", json!(true)),
        ("placedAt", json!("2026-01-02T03:04:05.678901Z")),
        ("expiresAt", json!("2026-01-02T03:34:05.678901Z")),
        ("dueAt", json!("2026-01-02T03:34:05.678901Z")),
        ("closesAt", json!("2026-02-02T03:34:05.678901Z")),
        ("closedAt", json!("2026-01-02T03:34:05.678901Z")),
        ("cancelledAt", json!("2026-01-02T03:34:05.678901Z")),
        ("nextBatchAt", json!("2026-01-02T03:34:05.688901Z")),
        ("paymentReference", json!("pi-1")),
        ("deadline", json!("2026-01-02T03:39:05.678901Z")),
        ("latePaymentPolicy", json!("LATE_PAYMENT_POLICY_REHOLD")),
        ("paymentMethod", json!("sandbox:succeed")),
        ("provider", json!("sandbox")),
        ("providerReference", json!("sb-1")),
        ("providerEventId", json!("evt-1")),
        ("idempotencyKey", json!("e4d3c2b1-a0f9-4e8d-8c7b-6a5948372615")),
        ("evidence", json!("no answer; not found")),
        ("couponCode", json!("SPRING")),
        ("resolution", json!("REFUND_RESOLUTION_RETRY")),
        ("resolution", json!("REPORT_RESOLUTION_UNDONE")),
        ("mismatch", json!("REPORT_MISMATCH_SECOND_CHARGE")),
        ("report", report_sample()),
        ("occurredAt", json!("2026-01-02T03:04:05.678901Z")),
        ("settledBy", json!("evt-2")),
        ("answer", json!("refunded")),
        ("extent", json!("REFUND_EXTENT_EVERYTHING")),
        ("failure", json!("ROUND_FAILURE_CANCELLED")),
        ("participants", json!([{ "orderId": ORDER, "attempt": 1 }])),
        ("reference", json!("delivery 12")),
        ("actor", json!("ops@shop")),
        ("note", json!("as asked")),
    ];
    let lines = [
        json!([line]),
        json!([{ "sku": "MUG-01", "quantity": "2", "unitPrice": { "minorUnits": "999", "currency": "EUR" } }]),
    ];
    let reasons = ["REFUND_REASON_REQUESTED", "CANCEL_REASON_REQUESTED", "REINSTATE_REASON_REQUESTED", "as asked"];
    let choices = fields
        .into_iter()
        .chain(lines.map(|lines| ("lines", lines)))
        .chain(reasons.map(|reason| ("reason", json!(reason))));
    let choices = choices.chain(page_samples()).chain(draw_samples());
    fitting(message_type, choices.chain([("offer", offer_sample()), wallet_sample(), ("dispute", dispute_sample())]))
}

fn page_samples() -> [(&'static str, Value); 6] {
    [
        ("lookAt", json!("2026-01-02T03:32:05.678901Z")),
        ("checkoutUrl", json!("https://pay.example/c2a9f8d7")),
        ("checkoutEndsAt", json!("2026-01-02T03:34:05.678901Z")),
        ("page", json!(2)),
        ("isReplaced", json!(true)),
        ("end", json!("CHECKOUT_END_PAID")),
    ]
}

fn draw_samples() -> [(&'static str, Value); 10] {
    let digits = "5823445bd59cf296b5f06512d4de973bd44be3c0211c1487be7a62d8d4b1723e";
    [
        ("draw", json!({ "commitment": digits, "beacon": "drand-quicknet", "delayMs": "60000" })),
        ("listsAt", json!("2026-01-02T03:04:05.688901Z")),
        ("tickets", json!("100")),
        ("digest", json!(digits)),
        ("beaconRound", json!("24851234")),
        ("drawsAt", json!("2026-01-02T03:05:06Z")),
        ("seed", json!(digits)),
        ("beaconValue", json!(digits)),
        ("beaconSignature", json!("b44679b9")),
        ("ticket", json!("42")),
    ]
}

fn wallet_sample() -> (&'static str, Value) {
    ("walletId", json!("5b3a9c1e-7d2f-5e4b-a1c6-0f9e8d7c6b5a"))
}

fn offer_sample() -> Value {
    json!({
        "basisPoints": 1250,
        "currency": "EUR",
        "discountMax": { "minorUnits": "5000", "currency": "EUR" },
        "spendMin": { "minorUnits": "1000", "currency": "EUR" },
        "validFrom": "2026-01-02T03:04:05.678901Z",
        "validUntil": "2026-02-02T03:04:05.678901Z",
        "usesMax": "50",
        "usesPerCustomerMax": "1",
        "skus": ["CUP", "MUG-01"],
    })
}

fn dispute_sample() -> Value {
    let money = json!({ "minorUnits": "1999", "currency": "EUR" });
    json!({
        "disputeId": "du_1",
        "revision": 3,
        "status": "needs_response",
        "standing": "DISPUTE_STANDING_OPEN",
        "reason": "fraudulent",
        "amount": money,
        "dueBy": "2026-01-12T03:04:05Z",
        "refundable": true,
        "withdrawn": money,
        "reinstated": money,
        "asOf": "2026-01-02T03:04:05.678901Z",
    })
}

fn report_sample() -> Value {
    json!({
        "kind": "PROVIDER_EVENT_KIND_PAYMENT_SUCCEEDED",
        "providerEventId": "evt-1",
        "providerReference": "ch-2",
        "refundId": "r-1",
        "amount": { "minorUnits": "1999", "currency": "EUR" },
        "reason": "second card",
        "occurredAt": "2026-01-02T03:04:05.678901Z",
    })
}

/// What the contract takes of these fields, one after the other.
fn fitting(message_type: &str, choices: impl Iterator<Item = (&'static str, Value)>) -> Value {
    let mut message = Map::new();
    for (name, value) in choices {
        let mut tried = message.clone();
        tried.insert(name.to_owned(), value);
        if proto::from_json(message_type, Value::Object(tried.clone()).to_string().as_bytes()).is_ok() {
            message = tried;
        }
    }
    Value::Object(message)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_event_ever_released_decodes_for_ever() {
    let bless = env::var_os("HOLDFAST_BLESS").is_some();
    let mut missing = Vec::new();
    for message_type in event_types() {
        let path = folder().join(format!("{message_type}.json"));
        if bless && !path.exists() {
            let json = sample(&message_type);
            let bytes = proto::from_json(&message_type, json.to_string().as_bytes()).unwrap();
            let golden = json!({ "bytes": hex(&bytes), "json": proto::to_json(&message_type, &bytes).unwrap() });
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, format!("{golden:#}\n")).unwrap();
        }
        if !path.exists() {
            missing.push(message_type);
        }
    }
    assert!(missing.is_empty(), "no golden bytes; make them with HOLDFAST_BLESS=1: {missing:#?}");
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let message_type = name.split('+').next().unwrap().to_owned();
        let golden: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let bytes = unhex(golden["bytes"].as_str().unwrap());
        let json = proto::to_json(&message_type, &bytes).unwrap_or_else(|error| panic!("{message_type}: {error}"));
        assert_eq!(json, golden["json"], "{message_type} reads differently than when it was released");
        if !PROMISED.contains(&message_type.as_str()) {
            decodes(&message_type, &bytes).unwrap_or_else(|error| panic!("{message_type}: {error}"));
        }
        seen += 1;
    }
    assert!(seen >= 40, "only {seen} golden files");
}
