//! How commands from outside are read: whoever can be heard is answered, and what is not exactly understood is refused in words.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderName};
use futures::StreamExt;
use holdfast_tests::{Order, TestFleet, code, is_accepted, money};
use proto::{
    Message,
    common::v1::{CommandReply, ProductQuantity},
    orders::v1::{PlaceOrder, RequestRefund},
    rounds::v1::OpenRound,
    well_known,
};
use serde_json::{Value, json};
use uuid::Uuid;

const PLACE: &str = "cmd.orders.PlaceOrder";

fn id(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

/// Someone who writes headers as they like, and listens on a place of their own.
struct Outsider<'a> {
    fleet: &'a TestFleet,
    inbox: String,
    answers: async_nats::Subscriber,
}

impl<'a> Outsider<'a> {
    async fn new(fleet: &'a TestFleet) -> Self {
        let client = fleet.client.client();
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.unwrap();
        Self { fleet, inbox, answers }
    }

    async fn say(&self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name.parse::<HeaderName>().unwrap(), *value);
        }
        let client = self.fleet.client.client();
        client.publish_with_headers(subject.to_owned(), all, payload.to_vec().into()).await.unwrap();
    }

    async fn hear(&mut self) -> (String, Vec<u8>) {
        let answer = tokio::time::timeout(Duration::from_secs(60), self.answers.next()).await.unwrap().unwrap();
        let content_type = answer.headers.unwrap().get("content-type").unwrap().to_string();
        (content_type, answer.payload.to_vec())
    }

    /// Sends with the header reply-to, and reads the answer, which must be JSON.
    async fn ask(&mut self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Value {
        let inbox = self.inbox.clone();
        self.say(subject, &[headers, &[("reply-to", inbox.as_str())]].concat(), payload).await;
        let (content_type, answer) = self.hear().await;
        assert_eq!(content_type, "application/json", "{}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// The code and the reason of a command in JSON that is refused.
    async fn refusal(&mut self, subject: &str, name: &str, payload: &str) -> (String, String) {
        let headers = [("ce-id", id(name)), ("content-type", "application/json".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        refused(&self.ask(subject, &headers, payload.as_bytes()).await)
    }
}

fn refused(answer: &Value) -> (String, String) {
    let text = |name: &str| {
        let said = answer.pointer(&format!("/rejected/{name}")).and_then(Value::as_str);
        said.unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
    };
    (text("code"), text("reason"))
}

fn order_json(number: u64) -> (Order, Value) {
    let order = Order::new(number).line("MUG", 1);
    let bytes = order.place.encode_to_vec();
    let json = proto::to_json("holdfast.orders.v1.PlaceOrder", &bytes).unwrap();
    (order, json)
}

#[tokio::test]
async fn headers_in_capitals_are_headers_and_their_sender_is_answered() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut outsider = Outsider::new(&fleet).await;
    let (inbox, json) = (outsider.inbox.clone(), "Application/JSON; charset=UTF-8");
    let cases: [&[(&str, &str)]; 5] = [
        &[("Ce-Id", &id("a")), ("Reply-To", &inbox), ("Content-Type", json)],
        &[("CE-ID", &id("b")), ("reply-to", &inbox), ("content-type", "application/json")],
        &[("ce-id", &id("c")), ("Reply-To", &inbox), ("content-type", "APPLICATION/JSON")],
        // Twice the same is once.
        &[("ce-id", &id("d")), ("Ce-Id", &id("d")), ("reply-to", &inbox), ("Reply-To", &inbox), ("content-type", json)],
        &[
            ("ce-id", &id("e")),
            ("Ce-Type", "holdfast.orders.v1.PlaceOrder"),
            ("reply-to", &inbox),
            ("Content-Type", json),
        ],
    ];
    for (number, headers) in (0..).zip(cases) {
        let (order, json) = order_json(number);
        outsider.say(PLACE, headers, json.to_string().as_bytes()).await;
        let (content_type, answer) = outsider.hear().await;
        assert_eq!(content_type, "application/json");
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["accepted"].is_object(), "{headers:?}: {answer}");
        fleet.until_status(&order, "paid").await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.dead_letters").await.unwrap(), 0);
}

#[tokio::test]
async fn a_content_type_that_is_not_taken_or_not_said_is_told_in_json_to_who_sends_json() {
    let fleet = TestFleet::start().await.unwrap();
    let mut outsider = Outsider::new(&fleet).await;
    let body = order_json(1).1.to_string();
    for other in ["text/plain", "application/cloudevents+json", "application/json-seq"] {
        let headers = [("ce-id", id(other)), ("content-type", other.to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let (code, reason) = refused(&outsider.ask(PLACE, &headers, body.as_bytes()).await);
        assert_eq!(code, "UNSUPPORTED_CONTENT_TYPE");
        assert!(reason.contains(other) && reason.contains("application/json"), "{reason}");
    }
    let unsaid = id("unsaid");
    let (code, reason) = refused(&outsider.ask(PLACE, &[("ce-id", &unsaid)], body.as_bytes()).await);
    assert_eq!(code, "UNDECODABLE");
    assert!(reason.contains("send content-type: application/json"), "{reason}");
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 0);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn two_values_for_one_header_and_headers_that_are_too_long_are_refused_by_name() {
    let fleet = TestFleet::start().await.unwrap();
    let mut outsider = Outsider::new(&fleet).await;
    let body = order_json(1).1.to_string();
    let (one, two, long, story) = (id("one"), id("two"), "x".repeat(513), id("story"));
    let json = ("content-type", "application/json");
    let cases: [(&str, &[(&str, &str)]); 8] = [
        ("ce-id", &[("ce-id", &one), ("ce-id", &two), json]),
        ("ce-id", &[("ce-id", &one), ("Ce-Id", &two), json]),
        ("content-type", &[("ce-id", &id("f")), json, ("Content-Type", "application/protobuf")]),
        ("ce-type", &[("ce-id", &id("g")), json, ("ce-type", "a.B"), ("CE-Type", "holdfast.orders.v1.PlaceOrder")]),
        ("ce-type", &[("ce-id", &id("h")), json, ("ce-type", &long)]),
        ("traceparent", &[("ce-id", &id("i")), json, ("traceparent", &long)]),
        ("ce-correlationid", &[("ce-id", &id("j")), json, ("ce-correlationid", "order 7")]),
        ("ce-correlationid", &[("ce-id", &id("k")), json, ("Ce-CorrelationId", &story), ("ce-correlationid", &one)]),
    ];
    for (header, headers) in cases {
        let (code, reason) = refused(&outsider.ask(PLACE, headers, body.as_bytes()).await);
        assert_eq!(code, "INVALID_HEADER", "{headers:?}: {reason}");
        assert!(reason.contains(&format!("the header {header} ")), "{headers:?}: {reason}");
    }
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 0);
}

#[tokio::test]
async fn a_command_whose_sender_cannot_be_answered_is_not_done_but_kept_and_can_be_sent_again() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut outsider = Outsider::new(&fleet).await;
    let (order, body) = order_json(1);
    let command = id("unanswerable");
    let common = [("ce-id", command.as_str()), ("content-type", "application/json")];
    let long = "x".repeat(513);
    let bad = [PLACE, "evt.x", "json.x", "$JS.API.INFO", "holdfast.x", ">", "a.*", "a b", "_INBOX..x", &long];
    for reply_to in bad {
        outsider.say(PLACE, &[&common[..], &[("reply-to", reply_to)]].concat(), body.to_string().as_bytes()).await;
    }
    // Two places are none either.
    let inbox = outsider.inbox.clone();
    let twice = [("reply-to", inbox.as_str()), ("Reply-To", "shop.answers")];
    outsider.say(PLACE, &[&common[..], &twice].concat(), body.to_string().as_bytes()).await;
    let kept = "select count(*) from orders.dead_letters where code = 'INVALID_REPLY_TO' and reason like '%reply-to%'";
    fleet.until(kept, i64::try_from(bad.len() + 1).unwrap()).await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 0);
    assert_eq!(fleet.number("select count(*) from orders.inbox").await.unwrap(), 0);

    let answer = outsider.ask(PLACE, &common, body.to_string().as_bytes()).await;
    assert!(answer["accepted"].is_object(), "{answer}");
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn json_is_read_exactly_and_a_refusal_names_the_field_and_quotes_the_value() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut outsider = Outsider::new(&fleet).await;
    let place = |line: &str, more: &str| {
        format!(r#"{{"orderId": "{}", "customerId": "c", "lines": [{{"sku": "MUG", {line}}}]{more}}}"#, id("order"))
    };
    let price = |number: &str| {
        place(&format!(r#""quantity": 1, "unitPrice": {{"minorUnits": {number}, "currency": "EUR"}}"#), "")
    };
    let quantity = |number: &str| place(&format!(r#""quantity": {number}"#), "");
    let cases = [
        (
            price("999.99999999999999999"),
            "lines[0].unitPrice.minorUnits: expected a whole number",
            "999.99999999999999999",
        ),
        (price("999999999999.99999"), "lines[0].unitPrice.minorUnits: ", "999999999999.99999"),
        (price("0.99999999999999999999"), "lines[0].unitPrice.minorUnits: ", "0.99999999999999999999"),
        (price("-9223372036854775809"), "lines[0].unitPrice.minorUnits: ", "-9223372036854775809"),
        (quantity("999999999.9999999999999999999"), "lines[0].quantity: ", "999999999.9999999999999999999"),
        (quantity("1.5"), "lines[0].quantity: ", "1.5"),
        (quantity(r#"1, "quantity": 2"#), "lines[0].quantity: it is there twice", ""),
        (
            place("\"quantity\": 1", r#", "timeToPay": "5.0000000001s""#),
            "timeToPay: expected seconds",
            "\"5.0000000001s\"",
        ),
        (place("\"quantity\": 1", r#", "voucherCode": "SUMMER""#), "PlaceOrder has no field 'voucherCode'", ""),
    ];
    for (body, field, value) in &cases {
        let (code, reason) = outsider.refusal(PLACE, body, body).await;
        assert_eq!(code, "INVALID_JSON", "{body}: {reason}");
        let told = reason.trim_end_matches("; this ce-id stays refused: the next try needs a new one");
        assert!(told.contains(field) && told.ends_with(value), "{body}: {reason}");
    }
    for time in
        ["2027-03-28T02:30:00", "2027-10-31 02:30:00Z", "2027-10-31", "2027-10-31T23:59:60Z", "2027-02-29T00:00:00Z"]
    {
        let body = json!({ "roundId": id("round"), "closesAt": time }).to_string();
        let (code, reason) = outsider.refusal("cmd.rounds.OpenRound", time, &body).await;
        assert_eq!(code, "INVALID_JSON");
        let told = "closesAt: expected an RFC 3339 time with its offset, such as 2027-10-31T02:30:00+02:00";
        assert!(reason.contains(told), "{reason}");
    }
    // What is whole is taken, however it is written.
    let good = place(r#""quantity": 2.0, "unitPrice": {"minorUnits": 1e3, "currency": "EUR"}"#, "");
    let (command, kind) = (id("good"), "application/json");
    let answer = outsider.ask(PLACE, &[("ce-id", &command), ("content-type", kind)], good.as_bytes()).await;
    assert!(answer["accepted"].is_object(), "{answer}");
    assert_eq!(fleet.number("select total_minor from orders.orders").await.unwrap(), 2_000);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_field_that_a_worker_does_not_know_is_refused_in_protobuf_as_in_json() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut outsider = Outsider::new(&fleet).await;
    let order = Order::new(1).line("MUG", 1);
    // Field 15 of the order: "SUMMER". And field 9 of its line.
    let voucher = [order.place.encode_to_vec(), b"\x7a\x06SUMMER".to_vec()].concat();
    let line = [order.place.lines[0].encode_to_vec(), b"\x4a\x01x".to_vec()].concat();
    let of_lines = PlaceOrder { lines: vec![], ..order.place.clone() }.encode_to_vec();
    let nested = [of_lines, vec![0x1a, u8::try_from(line.len()).unwrap()], line].concat();
    for (name, field, bytes) in [
        ("voucher", "holdfast.orders.v1.PlaceOrder has no field 15", voucher),
        ("line", "holdfast.orders.v1.OrderLine has no field 9", nested),
    ] {
        let (command, inbox) = (id(name), outsider.inbox.clone());
        outsider.say(PLACE, &[("ce-id", &command), ("reply-to", &inbox)], &bytes).await;
        let reply = CommandReply::decode(outsider.hear().await.1.as_slice()).unwrap();
        assert_eq!(code(&reply), "UNKNOWN_FIELD", "{reply:?}");
        assert!(format!("{reply:?}").contains(field), "{reply:?}");
    }
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 0);
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_currency_that_is_not_in_use_is_refused_for_orders_and_rounds() {
    let fleet = TestFleet::start().await.unwrap();
    for currency in ["ABC", "XXX", "HRK", "eur", ""] {
        let mut price = money(1_000);
        price.currency = currency.to_owned();
        let mut order = Order::new(1).line("MUG", 1);
        order.place.lines[0].unit_price = Some(price.clone());
        let reply = fleet.send(currency, &order.place).await.unwrap();
        assert_eq!(code(&reply), "INVALID_CURRENCY", "{reply:?}");
        let open = OpenRound {
            round_id: id("round"),
            prize: "bicycle".to_owned(),
            total_shares: 10,
            share_price: Some(price),
            closes_at: Some(well_known::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
            actor: String::new(),
        };
        let reply = fleet.send(currency, &open).await.unwrap();
        assert_eq!(code(&reply), "INVALID_CURRENCY", "{reply:?}");
    }
}

#[tokio::test]
async fn products_named_as_real_shops_name_them_are_sold_refunded_and_found_in_every_place() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_EVENTS_JSON", "true")]).await.unwrap();
    let longest = "ß".repeat(128);
    let skus = [
        "M6x20 / galv. #4",
        "A+B",
        "10% \"off\"",
        "it's, a; \\mug",
        "Größe L",
        "тарелка",
        "茶碗",
        "caf\u{e9}",
        "cafe\u{301}",
    ];
    let skus: Vec<&str> = skus.into_iter().chain([longest.as_str()]).collect();
    for sku in &skus {
        fleet.stock(sku, 10).await.unwrap();
    }
    let order = skus.iter().fold(Order::new(1), |order, sku| order.line(sku, 2));
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.until_status(&order, "paid").await.unwrap();
    let back = skus.iter().map(|sku| ProductQuantity { sku: (*sku).to_owned(), quantity: 1 });
    let refund = RequestRefund {
        order_id: order.id.to_string(),
        lines: back.collect(),
        actor: "ops".to_owned(),
        ..RequestRefund::default()
    };
    assert!(is_accepted(&fleet.send("some", &refund).await.unwrap()));
    fleet.until_status(&order, "partially_refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    // Each normal form of a text is a product of its own.
    let left = "select count(*) from inventory.stock where on_hand = 9 and held = 0";
    assert_eq!(fleet.number(left).await.unwrap(), i64::try_from(skus.len()).unwrap());
    assert_eq!(fleet.number("select count(*) from orders.dead_letters").await.unwrap(), 0);

    // The stream of the product is named in a header, which is ASCII, in both streams. What is published again may come after it.
    fleet.until("select published - copied from log.relay", 0).await.unwrap();
    let wanted = format!("product-{}", "%C3%9F".repeat(128));
    for (stream, prefix) in [("EVENTS", "evt"), ("EVENTS_JSON", "json")] {
        let stream = async_nats::jetstream::new(fleet.client.client().clone()).get_stream(stream).await.unwrap();
        let subject = format!("{prefix}.inventory.StockReceived");
        let (mut names, mut next) = (Vec::new(), 1);
        while let Ok(message) = stream.get_first_raw_message_by_subject(&subject, next).await {
            names.push(message.headers.get("ce-subject").unwrap().as_str().to_owned());
            next = message.sequence + 1;
        }
        assert!(names.contains(&wanted), "{names:?}");
    }
}
