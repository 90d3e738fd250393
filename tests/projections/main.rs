//! Rows: on a real Postgres and nothing else, the rows that a service keeps are the fold of its events, in whatever order, however
//! often and in whatever batches its messages come; and the sandbox keeps what every provider must promise.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot do its work fails")]

mod in_process_fleet;
mod provider;
mod service_runner;

use audit::audit;
use platform::migrations::migrate;
use tempfile::TempDir;
use testbed::{
    fleet::DATABASE,
    servers::{Postgres, SUPERUSER, scratch_dir},
};

use in_process_fleet::InProcessFleet;

/// Towns to simulate, each another sequence of chances.
const SEEDS: u64 = 6;

/// A database with all migrations, thrown away with the test.
async fn database() -> (TempDir, Postgres, String) {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let postgres = Postgres::start(&dir.path().join("pg")).await.unwrap();
    let url = postgres.url(SUPERUSER, DATABASE);
    migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await.unwrap();
    (dir, postgres, url)
}

#[tokio::test]
async fn rows_are_the_fold_of_their_events_whatever_comes_twice_late_or_out_of_order() {
    let (_dir, _postgres, url) = database().await;
    let mut town = InProcessFleet::new(&url).await;
    for seed in 0..SEEDS {
        town.live(seed).await;
        town.compare().await;
    }
    // By rules that the services do not share: nothing invented, nothing lost, nothing held that is over.
    let report = audit(&url).await.unwrap();
    assert!(report.ok, "{:#?}", report.findings);
    let seen = town.seen();
    // A town in which none of these happens proves too little.
    for kind in [
        "StockHeld",
        "StockRejected",
        "StockReleased",
        "StockReturned",
        "SharesHeld",
        "SharesRejected",
        "SharesReturned",
        "RoundSoldOut",
        "RoundReopened",
        "RoundCancelled",
        "RoundRefundsRequested",
        "OrderPaid",
        "OrderExpired",
        "OrderCancelled",
        "OrderRejected",
        "OrderReinstated",
        "OrderRefunded",
        "OrderPartiallyRefunded",
        "RefundAbandoned",
        "PaymentFailed",
        "PaymentCancelled",
    ] {
        assert!(seen.contains_key(kind), "no {kind} in all towns: {seen:#?}");
    }
}
