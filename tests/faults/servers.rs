//! Servers that die, and a broker that loses all it had acknowledged, or the last of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

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

/// Copies what a directory holds.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// A power cut: what was written last is gone, while the consumers' own files, written more often, know of it still.
async fn a_broker_loses_its_last_messages(stream: &str) {
    let (fleet, orders) = start(2, ORDERS).await;
    let (first, rest) = orders.split_at(300);
    fleet.place_all(first).await.unwrap();
    let messages: PathBuf;
    let kept = fleet.dir().join("kept");
    {
        let mut processes = fleet.processes().await;
        messages = processes.nats.dir().join("jetstream/$G/streams").join(stream).join("msgs");
        processes.nats.stop().await.unwrap();
        copy(&messages, &kept);
        processes.nats.start_again().await.unwrap();
    }
    let harm = async {
        fleet.until_at_least("select count(*) from orders.orders", 700).await.unwrap();
        let jetstream = async_nats::jetstream::new(async_nats::connect(&fleet.address.broker_url).await.unwrap());
        let last =
            || async { jetstream.get_stream(stream).await.map(|stream| stream.cached_info().state.last_sequence) };
        let before = last().await.unwrap();
        let mut processes = fleet.processes().await;
        processes.nats.kill().await.unwrap();
        fs::remove_dir_all(&messages).unwrap();
        copy(&kept, &messages);
        processes.nats.start_again().await.unwrap();
        let after = last().await.unwrap();
        assert!(after < before, "{stream} lost nothing, so this proves nothing: {before}, then {after}");
    };
    let (placed, ()) = tokio::join!(fleet.place_all(rest), harm);
    placed.unwrap();
    all_is_well(&fleet, ORDERS).await;
}

#[tokio::test]
async fn a_broker_that_loses_its_last_events_is_told_them_again() {
    a_broker_loses_its_last_messages("EVENTS").await;
}

#[tokio::test]
async fn a_broker_that_loses_its_last_commands_gets_them_again() {
    a_broker_loses_its_last_messages("COMMANDS_ORDERS").await;
}
