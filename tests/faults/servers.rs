//! Servers that die, and a broker that loses all it had acknowledged.

use crate::{all_is_well, start};

const ORDERS: u64 = 1_000;

#[tokio::test]
async fn postgres_killed_and_started_again_loses_and_doubles_nothing() {
    let (fleet, orders) = start(1, ORDERS).await;
    let harm = async {
        for placed in [300, 600] {
            fleet.until_at_least("select count(*) from orders.orders", placed).await.unwrap();
            let mut processes = fleet.processes().await;
            processes.postgres.kill().await.unwrap();
            processes.postgres.start_again().await.unwrap();
        }
    };
    let (placed, ()) = tokio::join!(fleet.place_all(&orders), harm);
    placed.unwrap();
    all_is_well(&fleet, ORDERS).await;
}

#[tokio::test]
async fn nats_killed_and_started_again_loses_and_doubles_nothing() {
    let (fleet, orders) = start(1, ORDERS).await;
    let harm = async {
        fleet.until_at_least("select count(*) from orders.orders", 100).await.unwrap();
        let mut processes = fleet.processes().await;
        processes.nats.kill().await.unwrap();
        processes.nats.start_again().await.unwrap();
    };
    let (placed, ()) = tokio::join!(fleet.place_all(&orders), harm);
    placed.unwrap();
    all_is_well(&fleet, ORDERS).await;
}

#[tokio::test]
async fn a_broker_that_loses_its_whole_disk_costs_nothing_that_was_answered() {
    let (fleet, orders) = start(1, ORDERS).await;
    let harm = async {
        for placed in [300, 600] {
            fleet.until_at_least("select count(*) from orders.orders", placed).await.unwrap();
            let mut processes = fleet.processes().await;
            processes.nats.kill().await.unwrap();
            processes.nats.wipe().unwrap();
            processes.nats.start_again().await.unwrap();
        }
    };
    let (placed, ()) = tokio::join!(fleet.place_all(&orders), harm);
    placed.unwrap();
    all_is_well(&fleet, ORDERS).await;
}

#[tokio::test]
async fn a_broker_that_loses_its_disk_while_nobody_publishes_is_told_again() {
    let (fleet, orders) = start(1, 200).await;
    fleet.place_all(&orders).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        for service in ["inventory", "rounds", "payments"] {
            processes.kill_worker(service, 0).await.unwrap();
        }
        processes.nats.kill().await.unwrap();
        processes.nats.wipe().unwrap();
        processes.nats.start_again().await.unwrap();
        processes.start_workers().unwrap();
    }
    all_is_well(&fleet, 200).await;
}
