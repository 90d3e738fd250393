//! Workers that die, and workers that are asked to stop.

use std::time::{Duration, Instant};

use holdfast_tests::TestFleet;

use crate::{all_is_well, start};

const ORDERS: u64 = 1_000;

async fn killed_in_mid_batch(service: &str) {
    let (fleet, orders) = start(1, ORDERS).await;
    for part in orders.chunks(250) {
        // Half-way through placing, and again: whatever it had begun is lost with it.
        let (first, rest) = part.split_at(100);
        fleet.place_all(first).await.unwrap();
        let harm = async {
            let mut processes = fleet.processes().await;
            processes.kill_worker(service, 0).await.unwrap();
            processes.start_worker(service, 0).unwrap();
        };
        let (placed, ()) = tokio::join!(fleet.place_all(rest), harm);
        placed.unwrap();
    }
    all_is_well(&fleet, ORDERS).await;
}

#[tokio::test]
async fn killing_orders_in_mid_batch_loses_and_doubles_nothing() {
    killed_in_mid_batch("orders").await;
}

#[tokio::test]
async fn killing_inventory_in_mid_batch_loses_and_doubles_nothing() {
    killed_in_mid_batch("inventory").await;
}

#[tokio::test]
async fn killing_rounds_in_mid_batch_loses_and_doubles_nothing() {
    killed_in_mid_batch("rounds").await;
}

#[tokio::test]
async fn killing_payments_in_mid_batch_loses_and_doubles_nothing() {
    killed_in_mid_batch("payments").await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_stops_cleanly_within_five_seconds_under_load() {
    let (fleet, orders) = start(2, ORDERS).await;
    let stop = async {
        for service in proto::SERVICES {
            let mut processes = fleet.processes().await;
            let asked = Instant::now();
            assert_eq!(processes.stop_worker(service, 1).await.unwrap(), Some(0), "{service}");
            assert!(asked.elapsed() < Duration::from_secs(5), "{service} took {:?}", asked.elapsed());
            processes.start_worker(service, 1).unwrap();
        }
    };
    let (placed, ()) = tokio::join!(fleet.place_all(&orders), stop);
    placed.unwrap();
    all_is_well(&fleet, ORDERS).await;
}

#[tokio::test]
async fn the_relay_of_a_fleet_that_nobody_has_used_yet_begins_once_and_goes_on() {
    let fleet = TestFleet::with(1, &[]).await.unwrap();
    // It says so when it has gone on for two seconds.
    fleet.until("select count(broker) from log.relay", 1).await.unwrap();
    let logs = std::fs::read_dir(fleet.dir().join("log")).unwrap().map(|file| file.unwrap().path());
    for log in logs {
        assert!(!std::fs::read_to_string(&log).unwrap().contains("the relay begins again"), "{}", log.display());
    }
}

#[tokio::test]
async fn another_replica_becomes_the_relay_when_its_holder_dies() {
    let (fleet, orders) = start(2, 100).await;
    // Whoever it is: kill the first replica of every service, one of the second ones takes over.
    for service in proto::SERVICES {
        fleet.processes().await.kill_worker(service, 0).await.unwrap();
    }
    fleet.place_all(&orders).await.unwrap();
    all_is_well(&fleet, 100).await;
}
