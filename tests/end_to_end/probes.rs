//! Probes and metrics: what a cluster asks of every worker.

use holdfast_tests::{Order, TestFleet, eventually};
use sqlx::Connection;

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
async fn every_counter_is_there_before_anything_is_counted() {
    let fleet = TestFleet::start().await.unwrap();
    let told = fleet.get("payments-0", "/metrics").await.unwrap();
    for line in [
        "holdfast_conflicts_total 0",
        "holdfast_dead_letters_total{service=\"payments\"} 0",
        "holdfast_effects_total{ending=\"done\"} 0",
        "holdfast_effects_total{ending=\"retry\"} 0",
        "holdfast_payments_missed_reports_total{provider=\"stripe\"} 0",
        "holdfast_relay_losses_total 0",
        "# HELP holdfast_dead_letters_total messages that were kept as dead letters",
    ] {
        assert!(told.lines().any(|told| told == line), "no {line:?} in {told}");
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

/// The value of one line of a worker's metrics.
async fn metric(fleet: &TestFleet, worker: &str, line: &str) -> f64 {
    let metrics = fleet.get(worker, "/metrics").await.unwrap();
    let value = metrics.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(-1.0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_worker_says_how_far_it_is_behind_and_for_how_long() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let labels = r#"{service="inventory",consumer="inventory-events"}"#;
    let (messages, seconds) = (format!("holdfast_lag_messages{labels}"), format!("holdfast_lag_seconds{labels}"));
    eventually("nothing waits", || async { Ok(metric(&fleet, "inventory-0", &messages).await == 0.0) }).await.unwrap();
    // It decides what comes, and cannot write it.
    let mut connection = fleet.database().await.unwrap();
    let mut rows = connection.begin().await.unwrap();
    sqlx::query("select * from inventory.stock for update").execute(&mut *rows).await.unwrap();
    fleet.place(&Order::new(1).line("MUG", 1)).await.unwrap();
    eventually("one waits for more than two seconds", || async {
        // Twice if the relay, which has only begun, believes nobody yet.
        let count = metric(&fleet, "inventory-0", &messages).await;
        match metric(&fleet, "inventory-0", &seconds).await {
            behind if count >= 1.0 && behind > 2.0 && behind < 60.0 => Ok(true),
            behind => Err(anyhow::anyhow!("{count} for {behind} s")),
        }
    })
    .await
    .unwrap();
    rows.rollback().await.unwrap();
    eventually("nothing waits again", || async {
        Ok(metric(&fleet, "inventory-0", &messages).await == 0.0
            && metric(&fleet, "inventory-0", &seconds).await == 0.0)
    })
    .await
    .unwrap();
    fleet.settle_and_verify().await.unwrap();
}
