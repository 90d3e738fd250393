//! Bad input: each gets a reason back, none half an effect, none is lost.

use std::time::Duration;

use async_nats::HeaderMap;
use futures::StreamExt;
use holdfast_tests::{Order, TestFleet, code, money, remedy, report_resolution};
use proto::{
    Message,
    common::v1::{CommandReply, Remedy},
    inventory::v1::{AdjustStock, ReceiveStock, RegisterProduct},
    orders::v1::{PlaceOrder, RequestRefund, SharePurchase},
    payments::v1::ReportResolution,
    rounds::v1::OpenRound,
    well_known,
};
use uuid::Uuid;

/// The code that is wanted, the subject, the headers, the payload.
type Case = (&'static str, &'static str, Vec<(&'static str, String)>, Vec<u8>);

/// Publishes a raw message and waits for the answer's bytes on a reply subject.
async fn raw(fleet: &TestFleet, subject: &str, headers: &[(&str, &str)], payload: Vec<u8>) -> Vec<u8> {
    let client = fleet.client.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let mut all = HeaderMap::new();
    all.insert("reply-to", inbox.as_str());
    for (name, value) in headers {
        all.insert(*name, *value);
    }
    client.publish_with_headers(subject.to_owned(), all, payload.into()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(60), answers.next()).await.unwrap().unwrap();
    answer.payload.to_vec()
}

fn id(name: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

#[tokio::test]
async fn what_cannot_be_read_gets_a_reason_and_is_kept() {
    let fleet = TestFleet::start().await.unwrap();
    let place = "cmd.orders.PlaceOrder";
    let named = |name: &str| id(name);
    let cases: Vec<Case> = vec![
        ("MISSING_ID", place, vec![], Order::new(1).place.encode_to_vec()),
        ("MISSING_ID", place, vec![("ce-id", "not-a-uuid".to_owned())], Order::new(1).place.encode_to_vec()),
        ("UNDECODABLE", place, vec![("ce-id", named("a"))], vec![0xff, 0xff, 0xff]),
        ("UNKNOWN_COMMAND", "cmd.orders.Explode", vec![("ce-id", named("b"))], vec![]),
        ("TYPE_MISMATCH", place, vec![("ce-id", named("c")), ("ce-type", "x.Y".to_owned())], vec![]),
        ("MESSAGE_TOO_LARGE", place, vec![("ce-id", named("d"))], vec![0; 300_000]),
    ];
    for (wanted, subject, headers, payload) in cases {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = CommandReply::decode(raw(&fleet, subject, &headers, payload).await.as_slice()).unwrap();
        assert_eq!(code(&reply), wanted, "{reply:?}");
        // Nobody is told an id that nobody sent.
        let sent = headers.iter().find(|(name, value)| *name == "ce-id" && *value != "not-a-uuid");
        assert_eq!(reply.command_id, sent.map(|(_, value)| *value).unwrap_or_default());
    }
    // Each sender was told, so there is nothing for operators. Without an id there is none to answer for ever; the others are events.
    assert_eq!(fleet.number("select count(*) from orders.dead_letters").await.unwrap(), 0);
    let metrics = fleet.get("orders-0", "/metrics").await.unwrap();
    let slips = "holdfast_slips_total{service=\"orders\",code=\"MISSING_ID\"} 2";
    assert!(metrics.contains(slips), "{metrics}");
    let rejected = "select count(*) from log.events where type = 'holdfast.common.v1.CommandRejected'";
    assert_eq!(fleet.number(rejected).await.unwrap(), 4);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn json_that_does_not_fit_gets_a_reason_in_json() {
    let fleet = TestFleet::start().await.unwrap();
    let bodies = ["{", "[]", "{\"orderId\": 7}", "{\"orderIdd\": \"x\"}", "{\"lines\": [{\"quantity\": \"1e400\"}]}"];
    for (number, body) in bodies.iter().enumerate() {
        let command_id = id(&format!("json {number}"));
        let headers = [("ce-id", command_id.as_str()), ("content-type", "application/json")];
        let answer = raw(&fleet, "cmd.orders.PlaceOrder", &headers, body.as_bytes().to_vec()).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["rejected"]["code"], "INVALID_JSON", "{answer}");
        assert_eq!(answer["commandId"], command_id);
    }
}

#[tokio::test]
async fn orders_that_cannot_be_are_refused_with_their_reason() {
    let fleet = TestFleet::start().await.unwrap();
    let place = |change: &dyn Fn(&mut PlaceOrder)| {
        let mut order = Order::new(1).line("MUG", 1).place;
        change(&mut order);
        order
    };
    let duration = |seconds| Some(well_known::Duration { seconds, nanos: 0 });
    let cases: Vec<(&str, PlaceOrder)> = vec![
        ("INVALID_ID", place(&|order| order.order_id = String::new())),
        ("INVALID_ID", place(&|order| order.order_id = Uuid::nil().to_string())),
        ("INVALID_TEXT", place(&|order| order.customer_id = String::new())),
        ("INVALID_QUANTITY", place(&|order| order.lines[0].quantity = 0)),
        ("INVALID_QUANTITY", place(&|order| order.lines[0].quantity = -1)),
        ("INVALID_QUANTITY", place(&|order| order.lines[0].quantity = i64::MAX)),
        ("INVALID_SKU", place(&|order| order.lines[0].sku = "a\u{200b}b".to_owned())),
        ("INVALID_CURRENCY", place(&|order| order.lines[0].unit_price.as_mut().unwrap().currency = "ABC".to_owned())),
        ("INVALID_AMOUNT", place(&|order| order.lines[0].unit_price = None)),
        ("INVALID_AMOUNT", place(&|order| order.lines[0].unit_price = Some(money(-1)))),
        ("NOTHING_TO_PAY", place(&|order| order.lines[0].unit_price = Some(money(0)))),
        ("INVALID_TIME_TO_PAY", place(&|order| order.time_to_pay = duration(4))),
        ("INVALID_TIME_TO_PAY", place(&|order| order.time_to_pay = duration(7 * 86_400 + 1))),
        ("INVALID_TIME_TO_PAY", place(&|order| order.time_to_pay = duration(-60))),
    ];
    for (number, (wanted, command)) in cases.iter().enumerate() {
        let reply = fleet.send(&format!("case {number}"), command).await.unwrap();
        assert_eq!(code(&reply), *wanted, "{command:?}");
    }
    let refused = [
        place(&|order| order.lines.clear()),
        place(&|order| order.lines = vec![order.lines[0].clone(); 1_001]),
        place(&|order| {
            let mut dollars = money(1);
            dollars.currency = "USD".to_owned();
            let mut line = order.lines[0].clone();
            line.unit_price = Some(dollars);
            order.lines.push(line);
        }),
        place(&|order| {
            order.lines[0].quantity = 1_000_000_000;
            order.lines[0].unit_price = Some(money(1_000_000_000_000));
        }),
        place(&|order| {
            order.shares = Some(SharePurchase { round_id: "x".to_owned(), count: 1, unit_price: Some(money(1)) });
        }),
    ];
    for (number, command) in refused.iter().enumerate() {
        let reply = fleet.send(&format!("refused {number}"), command).await.unwrap();
        assert_ne!(code(&reply), "ACCEPTED", "{command:?}");
        assert!(!code(&reply).is_empty());
    }
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 0);
    let rejected = "select count(*) from log.events where type = 'holdfast.common.v1.CommandRejected'";
    assert_eq!(fleet.number(rejected).await.unwrap(), i64::try_from(cases.len() + refused.len()).unwrap());
}

#[tokio::test]
async fn commands_about_what_is_not_there_or_not_possible_are_refused() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 5).await.unwrap();
    let sku = || "MUG".to_owned();
    let closes_at = |seconds| Some(well_known::Timestamp { seconds, nanos: 0 });
    let round = |closes_at| OpenRound {
        round_id: id("round"),
        prize: "bicycle".to_owned(),
        total_shares: 10,
        share_price: Some(money(1)),
        closes_at,
        actor: String::new(),
    };
    let answers = [
        (
            "PRODUCT_EXISTS",
            fleet
                .send("other name", &RegisterProduct { sku: sku(), name: "Cup".to_owned(), actor: String::new() })
                .await,
        ),
        (
            "UNKNOWN_PRODUCT",
            fleet
                .send(
                    "x",
                    &ReceiveStock { sku: "NO".to_owned(), quantity: 1, reference: String::new(), actor: String::new() },
                )
                .await,
        ),
        (
            "INVALID_QUANTITY",
            fleet
                .send("y", &ReceiveStock { sku: sku(), quantity: -1, reference: String::new(), actor: String::new() })
                .await,
        ),
        (
            "WOULD_BREAK_HOLDS",
            fleet
                .send("z", &AdjustStock { sku: sku(), delta: -6, actor: "a".to_owned(), reason: "count".to_owned() })
                .await,
        ),
        (
            "UNKNOWN_ORDER",
            fleet.send("r", &RequestRefund { order_id: id("none"), actor: "a".to_owned(), ..Default::default() }).await,
        ),
        ("INVALID_TIME", fleet.send("past", &round(closes_at(1_000_000))).await),
        ("INVALID_TIME", fleet.send("never", &round(None)).await),
        ("UNKNOWN_PAYMENT", fleet.send("p", &report_resolution(&Order::new(1), "e", ReportResolution::Undone)).await),
    ];
    for (wanted, reply) in answers {
        let reply = reply.unwrap();
        assert_eq!(code(&reply), wanted, "{reply:?}");
    }
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 5);
    fleet.settle_and_verify().await.unwrap();
}

/// An id names its command for ever: what was refused under it is refused, also when its body was corrected, or its cause is gone.
#[tokio::test]
async fn a_command_id_used_for_another_body_is_refused_and_is_no_dead_letter() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 5).await.unwrap();
    let (first, mut other) = (Order::new(1).line("MUG", 1), Order::new(2).line("MUG", 1));
    fleet.place(&first).await.unwrap();
    other.id = first.id;
    let reply = fleet.place(&other).await.unwrap();
    assert_eq!((code(&reply), remedy(&reply)), ("COMMAND_ID_REUSED", Remedy::NewId));
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 1);

    // Broken JSON, a field that is none, an empty customer: then the corrected body, under the id of the broken one.
    let good = "{\"orderId\": \"ORDER\", \"customerId\": \"c\", \"paymentMethod\": \"sandbox:succeed\", \"lines\":
        [{\"sku\": \"MUG\", \"quantity\": 1, \"unitPrice\": {\"minorUnits\": 1, \"currency\": \"EUR\"}}]}";
    let slips = [("{", "INVALID_JSON"), ("{\"orderIdd\": \"x\"}", "INVALID_JSON"), ("EMPTY", "INVALID_TEXT")];
    for (number, (body, wanted)) in slips.iter().enumerate() {
        let (slip_id, new_id, order_id) = (id(&format!("slip {number}")), id(&format!("new {number}")), id(wanted));
        let good = good.replace("ORDER", &format!("{}{number}", &order_id[..order_id.len() - 1]));
        let slip = if *body == "EMPTY" { good.replace("\"c\"", "\"\"") } else { (*body).to_owned() };
        for (command_id, body, wanted) in
            [(&slip_id, &slip, *wanted), (&slip_id, &good, "COMMAND_ID_REUSED"), (&slip_id, &slip, *wanted)]
        {
            let answer = answer_in_json(&fleet, command_id, body).await;
            assert_eq!(answer["rejected"]["code"], wanted, "{answer}");
            assert_eq!(answer["rejected"]["remedy"], "REMEDY_NEW_ID", "{answer}");
        }
        let answer = answer_in_json(&fleet, &new_id, &good).await;
        assert!(answer["accepted"].is_object(), "{answer}");
    }
    assert_eq!(fleet.number("select count(*) from orders.dead_letters").await.unwrap(), 0);
    fleet.settle_and_verify().await.unwrap();
}

async fn answer_in_json(fleet: &TestFleet, command_id: &str, body: &str) -> serde_json::Value {
    let headers = [("ce-id", command_id), ("content-type", "application/json")];
    let answer = raw(fleet, "cmd.orders.PlaceOrder", &headers, body.as_bytes().to_vec()).await;
    serde_json::from_slice(&answer).unwrap()
}
