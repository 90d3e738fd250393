//! A nats-server that encrypts what it stores, as deploy/nats/nats.conf says.

use std::{fs, path::Path};

use holdfast_tests::{Order, TestFleet, repo_root};

const SKU: &str = "A-MUG-THAT-IS-LOOKED-FOR";

/// Whether a file below this directory has these bytes.
fn is_written(dir: &Path, words: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => is_written(&path, words),
        false => fs::read(&path).unwrap().windows(words.len()).any(|part| part == words),
    })
}

/// A fleet that has sold something, on a nats-server with these settings, and whether that can be read from its disk.
async fn sells(settings: &str) -> bool {
    let fleet = TestFleet::with_broker_settings(settings).await.unwrap();
    fleet.stock(SKU, 100).await.unwrap();
    let orders: Vec<Order> = (0..20).map(|number| Order::new(number).line(SKU, 1)).collect();
    let (before, after) = orders.split_at(10);
    fleet.place_all(before).await.unwrap();
    let stored = {
        let mut processes = fleet.processes().await;
        processes.nats.kill().await.unwrap();
        processes.nats.start_again().await.unwrap();
        processes.nats.dir().join("jetstream")
    };
    fleet.place_all(after).await.unwrap();
    for order in &orders {
        fleet.until_status(order, "paid").await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    is_written(&stored, SKU.as_bytes())
}

#[tokio::test]
async fn what_a_nats_server_stores_can_be_encrypted() {
    assert!(sells("").await, "else the rest would prove nothing");
    let example = fs::read_to_string(repo_root().join("deploy/nats/nats.conf")).unwrap();
    let cipher = "cipher: chachapoly";
    assert!(example.contains(cipher), "{example}");
    assert!(!sells(&format!("jetstream {{ max_file_store: 64GB, {cipher}, key: \"a key of this test\" }}\n")).await);
}
