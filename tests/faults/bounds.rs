//! Bounds: what comes in too large or too fast costs a worker little memory and nobody else anything.

use std::fs;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_tests::{Order, TestFleet};
use uuid::Uuid;

/// Together far more than what a worker may have in memory.
const COMMANDS: u64 = 350;

/// Nearly what a broker takes by default.
const BYTES: usize = 1_000_000;

/// The most that a process has ever had in memory.
pub(crate) fn peak_mb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_000
}

/// Publishes so many commands of one content and different ids, and waits until the broker has them all.
pub(crate) async fn flood(fleet: &TestFleet, subject: &'static str, payload: Bytes, commands: u64) {
    let jetstream = async_nats::jetstream::new(fleet.client.client().clone());
    stream::iter(0..commands)
        .map(|number| {
            let (jetstream, payload) = (&jetstream, payload.clone());
            let mut headers = HeaderMap::new();
            headers.insert("ce-id", Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).to_string());
            async move { jetstream.publish_with_headers(subject, headers, payload).await?.await }
        })
        .buffer_unordered(32)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_flood_of_the_largest_messages_fits_into_little_memory() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_COMMANDS_BYTES_MAX", "536870912")]).await.unwrap();
    fleet.processes().await.stop_worker("orders", 0).await.unwrap();
    flood(&fleet, "cmd.orders.PlaceOrder", Bytes::from(vec![0_u8; BYTES]), COMMANDS).await;
    let pid = {
        let mut processes = fleet.processes().await;
        processes.start_workers().unwrap();
        processes.worker("orders", 0).unwrap().pid()
    };
    let refused = "select count(*) from log.events where type like '%.CommandRejected'";
    fleet.until(refused, i64::try_from(COMMANDS).unwrap()).await.unwrap();
    let peak_mb = peak_mb(pid);
    assert!(peak_mb < 250, "orders took {peak_mb} MB for {COMMANDS} messages of {BYTES} bytes");

    fleet.stock("MUG", 1).await.unwrap();
    let order = Order::new(1).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}
