//! The shop's own numbers of orders: one order each, whoever places them at the same moment, and found by them.

use std::collections::BTreeMap;

use futures::future::join_all;
use holdfast_tests::{Order, TestFleet, code, gateway::Gateway, reason};
use serde_json::json;

/// Many orders ask for the same few references at the same moment, of two replicas, in whatever batches they come.
#[tokio::test]
async fn of_orders_that_race_for_a_reference_one_is_placed_and_only_the_others_are_refused() {
    const REFERENCES: u64 = 60;
    const EACH: u64 = 5;
    let fleet = TestFleet::with(2, &[]).await.unwrap();
    fleet.stock("MUG", 10_000).await.unwrap();
    let order = |number: u64| Order::new(number).line("MUG", 1);
    let racing = (0..REFERENCES * EACH).map(|number| order(number).referenced(&format!("R-{}", number % REFERENCES)));
    // Others of the same batches must not suffer.
    let racing: Vec<Order> = racing.chain((1_000..1_200).map(order)).collect();
    let replies = join_all(racing.iter().map(|order| fleet.place(order))).await;
    let mut outcomes: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let replies: Vec<_> = replies.into_iter().map(Result::unwrap).collect();
    for (order, reply) in racing.iter().zip(&replies) {
        *outcomes.entry((&order.place.reference, code(reply))).or_default() += 1;
    }
    for number in 0..REFERENCES {
        let reference = format!("R-{number}");
        let count = |code| outcomes.get(&(reference.as_str(), code)).copied().unwrap_or_default();
        assert_eq!((count("ACCEPTED"), count("REFERENCE_TAKEN")), (1, EACH - 1), "{reference}: {outcomes:?}");
    }
    assert_eq!(outcomes[&("", "ACCEPTED")], 200);
    let refused = replies.iter().find(|reply| code(reply) == "REFERENCE_TAKEN").unwrap();
    assert!(reason(refused).contains("is that of order"), "{refused:?}");
    for service in ["orders", "inventory"] {
        assert_eq!(fleet.number(letters(service)).await.unwrap(), 0, "{service}");
    }
    fleet.settle_and_verify().await.unwrap();
    // Updates of orders stay in place: the index is of a column that never changes.
    let moved = "select (n_tup_upd - n_tup_hot_upd) * 10 / greatest(n_tup_upd, 1) from pg_stat_user_tables
        where schemaname = 'orders' and relname = 'orders'";
    fleet
        .until("select (n_tup_upd > 400)::int::bigint from pg_stat_user_tables where relname = 'orders'", 1)
        .await
        .unwrap();
    assert_eq!(fleet.number(moved).await.unwrap(), 0, "a tenth or more of all updates moved their row");
}

fn letters(service: &str) -> &'static str {
    match service {
        "orders" => "select count(*) from orders.dead_letters",
        _ => "select count(*) from inventory.dead_letters",
    }
}

#[tokio::test]
async fn an_order_is_found_by_its_reference_wherever_people_look() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let body = json!({
        "customer_id": "customer-42", "payment_method": "sandbox:succeed", "reference": "Bestellung 7/2026",
        "lines": [{ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
    });
    let placed = gateway.post("/v1/orders", "1", &body).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    let path = placed.header("location").to_owned();
    let order_id = placed.json["order_id"].as_str().unwrap();
    let order = gateway.get(&path).await.unwrap().json;
    assert_eq!(order["reference"], "Bestellung 7/2026");
    let found = gateway.get("/v1/orders?reference=Bestellung%207%2F2026").await.unwrap().json;
    assert_eq!((&found["data"][0]["order_id"], &found["has_more"]), (&json!(order_id), &json!(false)), "{found}");
    let listed = gateway.get("/v1/orders?customer_id=customer-42").await.unwrap().json;
    assert_eq!(listed["data"][0]["reference"], "Bestellung 7/2026");
    let events = gateway.get(&format!("{path}/events")).await.unwrap().json;
    assert_eq!(events["data"][0]["data"]["reference"], "Bestellung 7/2026");

    let again = gateway.post("/v1/orders", "2", &body).await.unwrap();
    assert_eq!((again.status, &again.json["code"]), (409, &json!("REFERENCE_TAKEN")), "{again:?}");
    let none = gateway.get("/v1/orders?reference=bestellung").await.unwrap();
    assert_eq!((none.status, &none.json["data"]), (200, &json!([])));
    for wrong in ["reference=", "reference=R&customer_id=customer-42", "reference=R&limit=5", "reference=a%0Ab"] {
        let answer = gateway.get(&format!("/v1/orders?{wrong}")).await.unwrap();
        assert_eq!((answer.status, &answer.json["code"]), (400, &json!("INVALID_PARAMETER")), "{wrong}: {answer:?}");
    }

    for name in ["Bestellung 7/2026", order_id] {
        let (code, timeline) = fleet.command(&["order", name]).await.unwrap();
        let placed = &timeline["rows"][0]["data"];
        assert_eq!((code, &placed["orderId"]), (Some(0), &json!(order_id)), "{timeline}");
        assert_eq!(placed["reference"], "Bestellung 7/2026");
    }
    let (code, timeline) = fleet.command(&["order", "R-0"]).await.unwrap();
    assert_eq!((code, &timeline["rows"]), (Some(1), &json!([])));
    fleet.settle_and_verify().await.unwrap();
}
