//! Traces: what a collector of OpenTelemetry is told of an order, from whoever asked for it through every service.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_tests::{
    Order, TestFleet,
    collector::{Collector, Span},
    eventually,
    gateway::{Gateway, TOKEN},
};
use serde_json::json;
use testbed::http;
use uuid::Uuid;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Starts what tells the collector: of one trace of so many.
async fn start(fleet: &TestFleet, collector: &Collector, one_in: u64) {
    let token = fleet.dir().join("collector-token");
    std::fs::write(&token, "of-the-collector\n").unwrap();
    let settings = BTreeMap::from([
        ("HOLDFAST_TRACES_URL".to_owned(), collector.url.clone()),
        ("HOLDFAST_TRACES_TOKEN".to_owned(), token.to_string_lossy().into_owned()),
        ("HOLDFAST_TRACES_ONE_IN".to_owned(), one_in.to_string()),
        ("HOLDFAST_TRACES_SLOW_MS".to_owned(), "60000".to_owned()),
        ("HOLDFAST_TRACES_POLL_MS".to_owned(), "20".to_owned()),
    ]);
    fleet.processes().await.start_worker_with("traces", 0, &settings).unwrap();
    fleet.until("select count(*) from traces.told", 1).await.unwrap();
}

async fn collector() -> Collector {
    Collector::start("Bearer of-the-collector").await.unwrap()
}

/// Waits until the collector was told of all that the log has.
async fn until_told(fleet: &TestFleet) {
    let behind = "select (select max(position) from log.events) - position from traces.told";
    fleet.until(behind, 0).await.unwrap();
}

/// Places an order through the gateway, as a caller who has a trace of his own.
async fn place(gateway: &Gateway, id: Uuid) {
    let line = json!({ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 100, "currency": "EUR" } });
    let body =
        json!({ "order_id": id, "customer_id": "c", "payment_method": "sandbox:succeed", "lines": [line] }).to_string();
    let (proof, trace) = (format!("Bearer {TOKEN}"), format!("00-{TRACE}-{CALLER}-01"));
    let headers = [
        ("authorization", proof.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "traced"),
        ("traceparent", &trace),
    ];
    let answer = http::request(&gateway.address, "POST", "/v1/orders", &headers, &body).await.unwrap();
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn an_order_is_one_trace_from_its_caller_through_every_service() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let collector = collector().await;
    start(&fleet, &collector, 1).await;
    let id = Uuid::from_u128(7);
    place(&gateway, id).await;
    gateway.until(&format!("/v1/orders/{id}"), "it is paid", |order| order["status"] == "paid").await.unwrap();
    fleet.settle().await.unwrap();
    until_told(&fleet).await;

    let spans: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace == TRACE).collect();
    let of_the_log = fleet.number("select count(*) from log.events where traceparent is not null").await.unwrap();
    assert_eq!(i64::try_from(spans.len()).unwrap(), of_the_log, "{spans:#?}");
    let ids: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    assert_eq!(ids.len(), spans.len());
    let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(["holdfast-inventory", "holdfast-orders", "holdfast-payments"]));
    // One tree: whoever has called is the parent of what he asked for, and each other span has another of the trace above it.
    for span in &spans {
        let parent = span.parent.as_deref().unwrap();
        assert_eq!(parent == CALLER, span.name == "OrderPlaced", "{span:#?}");
        assert!(span.times.0 <= span.times.1 && !span.is_error, "{span:#?}");
        if parent != CALLER {
            let above = ids[parent];
            assert!(above.times.1 <= span.times.1, "{above:#?} {span:#?}");
        }
    }
    let parent_of = |name: &str| {
        let span = spans.iter().find(|span| span.name == name).unwrap();
        ids[span.parent.as_deref().unwrap()].name.as_str()
    };
    assert_eq!(parent_of("StockHeld"), "OrderPlaced");
    // The provider's answer is no event: the payment follows from what asked for it.
    assert_eq!(parent_of("OrderPaid"), "PaymentSucceeded");
    assert_eq!(parent_of("StockCommitted"), "OrderPaid");
}

#[tokio::test]
async fn a_trace_out_of_the_sample_is_told_whole_once_something_failed_in_it() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let collector = collector().await;
    start(&fleet, &collector, 1_000_000_000).await;
    let good = Order::new(1).line("MUG", 1);
    fleet.place(&good).await.unwrap();
    fleet.until_status(&good, "paid").await.unwrap();
    let bad = Order::new(2).line("MUG", 1);
    fleet.place(&bad).await.unwrap();
    fleet.until_status(&bad, "rejected").await.unwrap();
    fleet.settle().await.unwrap();
    until_told(&fleet).await;
    let spans = collector.spans();
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(
        BTreeSet::from(["OrderPlaced", "StockRejected", "OrderRejected", "OrderReleased"]).is_subset(&names),
        "{names:?}"
    );
    let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
    assert_eq!(traces.len(), 1, "{spans:#?}");
    let failed: Vec<&Span> = spans.iter().filter(|span| span.is_error).collect();
    assert_eq!(failed.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["OrderRejected"]);
    assert_eq!(failed[0].attributes["holdfast.notable"], "failed");
}

#[tokio::test]
async fn nothing_is_left_out_when_the_collector_is_away_or_the_process_is_killed() {
    let fleet = TestFleet::start().await.unwrap();
    let before = fleet.number("select count(*) from log.events").await.unwrap();
    assert_eq!(before, 0);
    let collector = collector().await;
    start(&fleet, &collector, 1).await;
    fleet.stock("MUG", 100).await.unwrap();
    collector.refuse(true);
    let orders: Vec<Order> = (0..10).map(|number| Order::new(number).line("MUG", 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.until_unready("traces-0", &["503"]).await.unwrap();
    fleet.processes().await.kill_worker("traces", 0).await.unwrap();
    collector.refuse(false);
    start(&fleet, &collector, 1).await;
    fleet.settle().await.unwrap();
    until_told(&fleet).await;
    let events = fleet.number("select count(*) from log.events").await.unwrap();
    let told = |events: &[Span]| events.iter().map(|span| span.attributes["holdfast.event_id"].clone()).collect();
    let told: BTreeSet<String> = told(&collector.spans());
    assert_eq!(i64::try_from(told.len()).unwrap(), events);
    eventually("one process is ready again", || async {
        Ok(fleet.get("traces-0", "/readyz").await?.starts_with("HTTP/1.1 200"))
    })
    .await
    .unwrap();
}
