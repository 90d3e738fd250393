//! Probes and metrics: what a cluster asks of every worker.

use holdfast_tests::{Order, TestFleet, eventually};

async fn get(fleet: &TestFleet, path: &str) -> String {
    fleet.get("orders-0", path).await.unwrap()
}

#[tokio::test]
async fn a_worker_says_that_it_lives_is_ready_and_what_it_does() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let order = Order::new(1).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    assert!(get(&fleet, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(&fleet, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(&fleet, "/metrics").await;
    for name in ["holdfast_batch_inputs", "holdfast_batch_seconds", "holdfast_events_appended_total"] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
}

#[tokio::test]
async fn a_worker_without_its_database_lives_and_is_not_ready() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.processes().await.postgres.stop().await.unwrap();
    eventually("the worker says that it is not ready", || async {
        Ok(get(&fleet, "/readyz").await.starts_with("HTTP/1.1 503"))
    })
    .await
    .unwrap();
    assert!(get(&fleet, "/livez").await.starts_with("HTTP/1.1 200"));
    fleet.processes().await.postgres.start_again().await.unwrap();
    eventually("the worker is ready again", || async { Ok(get(&fleet, "/readyz").await.starts_with("HTTP/1.1 200")) })
        .await
        .unwrap();
}
