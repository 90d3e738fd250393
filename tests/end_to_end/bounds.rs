//! Every field of every command over HTTP at its limits, and beyond them; and ids in all spellings.

use std::time::Duration;

use holdfast_tests::{
    TestFleet,
    gateway::{Answer, Gateway},
};
use platform::clock;
use serde_json::{Value, json};
use uuid::Uuid;

/// One field: where it is, what of it is taken, and what is refused with which code.
struct Field {
    path: String,
    body: Value,
    at: &'static str,
    taken: Vec<Value>,
    refused: Vec<Value>,
    code: &'static str,
}

fn field(path: &str, body: &Value, at: &'static str, code: &'static str) -> Field {
    Field { path: path.to_owned(), body: body.clone(), at, taken: Vec::new(), refused: Vec::new(), code }
}

impl Field {
    /// A text of so many characters: none beside the limits is taken.
    fn text(self, least: usize, most: usize) -> Self {
        let text = |count: usize, letter: &str| json!(letter.repeat(count));
        // A character is a character, however many bytes it has.
        let taken = vec![text(least, "a"), text(most, "a"), text(most, "é")];
        let mut refused = vec![text(most + 1, "a"), text(most + 1, "é"), json!("a\nb"), json!("a\u{0}b")];
        if least > 0 {
            refused.push(text(least - 1, "a"));
        }
        Self { taken, refused, ..self }
    }

    /// A whole number, in both ways in which it can be written.
    fn number(self, least: i64, most: i64) -> Self {
        let both = |number: i64| [json!(number), json!(number.to_string())];
        let taken = [least, most].into_iter().flat_map(both).collect();
        let refused = [least - 1, most + 1, i64::MIN, i64::MAX].into_iter().flat_map(both).collect();
        Self { taken, refused, ..self }
    }
}

fn order() -> Value {
    json!({
        "customer_id": "customer-42", "payment_method": "sandbox:never",
        "lines": [{ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 1, "currency": "EUR" } }],
    })
}

fn fields() -> Vec<Field> {
    let (order, unknown) = (order(), format!("/v1/orders/{}", Uuid::from_u128(7)));
    let cancel = format!("{unknown}/cancel");
    let (reinstate, refund) = (format!("{unknown}/reinstate"), format!("{unknown}/refunds"));
    let closes_at = (clock::now() + Duration::from_secs(3_600)).to_string();
    let round = json!({
        "prize": "A car", "total_shares": 10, "share_price": { "minor_units": 100, "currency": "EUR" },
        "closes_at": closes_at,
    });
    let money = json!({ "amount": { "minor_units": 1, "currency": "EUR" }, "note": "cash" });
    let adjust = json!({ "delta": 1, "reason": "counted" });
    vec![
        field("/v1/orders", &order, "/customer_id", "INVALID_TEXT").text(1, 128),
        field("/v1/orders", &order, "/reference", "INVALID_TEXT").text(0, 64),
        field("/v1/orders", &order, "/lines/0/quantity", "INVALID_QUANTITY").number(1, 1_000_000_000),
        field("/v1/orders", &order, "/lines/0/sku", "INVALID_SKU").text(1, 128),
        field("/v1/orders", &order, "/lines/0/unit_price/minor_units", "INVALID_AMOUNT").number(1, 1_000_000_000_000),
        field(&cancel, &json!({}), "/note", "INVALID_TEXT").text(0, 512),
        field(&refund, &json!({}), "/note", "INVALID_TEXT").text(0, 512),
        field(&reinstate, &json!({}), "/note", "INVALID_TEXT").text(1, 512),
        field("/v1/products", &json!({ "name": "Cup" }), "/sku", "INVALID_SKU").text(1, 128),
        field("/v1/products", &json!({ "sku": "NAMED" }), "/name", "INVALID_TEXT").text(1, 256),
        field("/v1/products/MUG/receive", &json!({}), "/quantity", "INVALID_QUANTITY").number(1, 1_000_000_000),
        field("/v1/products/MUG/receive", &json!({ "quantity": 1 }), "/reference", "INVALID_TEXT").text(0, 128),
        field("/v1/products/MUG/adjust", &adjust, "/reason", "INVALID_TEXT").text(1, 512),
        field("/v1/rounds", &round, "/prize", "INVALID_TEXT").text(1, 256),
        field("/v1/rounds", &round, "/total_shares", "INVALID_QUANTITY").number(1, 1_000_000),
        field("/v1/wallets/ann/top-up", &money, "/note", "INVALID_TEXT").text(1, 512),
        field("/v1/wallets/bob/top-up", &money, "/amount/minor_units", "INVALID_AMOUNT").number(1, 1_000_000_000_000),
    ]
}

/// The body with the field as it is to be; where it was not, it is added.
fn with(body: &Value, at: &str, value: &Value) -> Value {
    let mut body = body.clone();
    if let Some(there) = body.pointer_mut(at) {
        *there = value.clone();
    } else if let Some(fields) = body.as_object_mut() {
        fields.insert(at.trim_start_matches('/').to_owned(), value.clone());
    }
    body
}

/// Whether it came as far as its worker's state, whatever that said.
fn is_understood(answer: &Answer) -> bool {
    answer.status < 400 || [404, 409].contains(&answer.status)
}

#[tokio::test]
async fn every_field_is_taken_at_its_limits_and_refused_beyond_them() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for Field { path, body, at, taken, refused, code } in fields() {
        for (value, is_taken) in
            taken.iter().map(|value| (value, true)).chain(refused.iter().map(|value| (value, false)))
        {
            count += 1;
            let answer = gateway.post(&path, &format!("case {count}"), &with(&body, at, value)).await.unwrap();
            // What is no text, or longer than any number, is no JSON of this command at all.
            let is_refused = (400..500).contains(&answer.status)
                && [code, "INVALID_BODY", "NOTHING_TO_PAY"].contains(&answer.code());
            if if is_taken { !is_understood(&answer) } else { !is_refused } {
                let shown: String = value.to_string().chars().take(24).collect();
                wrong.push(format!("{path} {at} {shown}: {} {}", answer.status, answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "of {count}: {wrong:#?}");
}

#[tokio::test]
async fn a_key_and_a_body_are_taken_at_their_limits_and_refused_beyond_them() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    for (chars, status) in [(1, 201), (255, 201), (256, 400), (0, 400)] {
        let answer = gateway.post("/v1/orders", &"k".repeat(chars), &order()).await.unwrap();
        assert_eq!(answer.status, status, "{chars}: {answer:?}");
    }
    let body = order().to_string();
    for (bytes, status) in [(262_144, 201), (262_145, 413)] {
        let blank = " ".repeat(bytes - body.len());
        let bearer = format!("Bearer {}", holdfast_tests::gateway::TOKEN);
        let key = format!("long {bytes}");
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", &key)];
        let answer = gateway.request("POST", "/v1/orders", &headers, &(body.clone() + &blank)).await.unwrap();
        assert_eq!(answer.status, status, "{bytes}: {answer:?}");
    }
    let lines = |count: usize| {
        let mut order = order();
        order["lines"] = vec![order["lines"][0].clone(); count].into();
        order
    };
    for (count, is_taken) in [(1_000, true), (1_001, false), (0, false)] {
        let answer = gateway.post("/v1/orders", &format!("{count} lines"), &lines(count)).await.unwrap();
        assert_eq!(answer.status == 201, is_taken, "{count}: {answer:?}");
        assert!(answer.status < 500, "{answer:?}");
    }
}

/// One id is one order and one request, however it is spelled.
#[tokio::test]
async fn an_id_is_the_same_in_all_spellings() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    fleet.stock("MUG", 5).await.unwrap();
    let id = Uuid::from_u128(0x7b1f_0a52_3c8e_4d3a_9a51_0e9f_6f2d_8c11);
    let mut first = order();
    first["order_id"] = json!(id.to_string().to_uppercase());
    first["payment_method"] = json!("sandbox:succeed");
    let placed = gateway.post("/v1/orders", "place", &first).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let order = format!("/v1/orders/{id}");
    gateway.until(&order, "it is paid", |order| order["status"] == "paid").await.unwrap();
    let spellings = [
        id.to_string(),
        id.to_string().to_uppercase(),
        id.simple().to_string(),
        id.urn().to_string(),
        format!("%7B{id}%7D"),
    ];
    let mut refunds = Vec::new();
    for spelled in &spellings {
        let read = gateway.get(&format!("/v1/orders/{spelled}")).await.unwrap();
        assert_eq!((read.status, &read.json["order_id"]), (200, &json!(id)), "{spelled}: {read:?}");
        let events = gateway.get(&format!("/v1/orders/{spelled}/events")).await.unwrap();
        assert_eq!(events.status, 200, "{spelled}: {events:?}");
        // Sent again under the same key, it is the same refund.
        let back = gateway.post(&format!("/v1/orders/{spelled}/refunds"), "back", &json!({})).await.unwrap();
        assert_eq!(back.status, 201, "{spelled}: {back:?}");
        refunds.push(back.json["refund_id"].clone());
    }
    refunds.dedup();
    assert_eq!(refunds.len(), 1, "{refunds:?}");
    assert_eq!(fleet.number("select count(*) from payments.refunds").await.unwrap(), 1);
    let no_ids = ["7", "%20", &format!("{id}%20"), &format!("{id}0"), &format!("{id}%00"), &format!("x{id}"), "%7B%7D"];
    for no_id in no_ids {
        for path in
            [format!("/v1/orders/{no_id}"), format!("/v1/orders/{no_id}/events"), format!("/v1/commands/{no_id}")]
        {
            let answer = gateway.get(&path).await.unwrap();
            assert_eq!((answer.status, answer.code()), (400, "INVALID_PARAMETER"), "{path}");
        }
        let cancel =
            gateway.post(&format!("/v1/orders/{no_id}/cancel"), &format!("c {no_id}"), &json!({})).await.unwrap();
        assert!((400..500).contains(&cancel.status), "{no_id}: {cancel:?}");
    }
    let split = gateway.get(&format!("/v1/orders%2F{id}")).await.unwrap();
    assert_eq!((split.status, split.code()), (404, "NOT_FOUND"), "a slash that is encoded is no slash");
    fleet.settle_and_verify().await.unwrap();
}
