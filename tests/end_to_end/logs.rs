//! What a worker logs: every line of ours says whose it is, and what is about a batch says which batch, and of which message it began.

use std::fs;

use holdfast_tests::{TestFleet, code, is_accepted};
use proto::inventory::v1::{ReceiveStock, RegisterProduct};
use serde_json::Value;

/// A file is no terminal.
#[tokio::test]
async fn a_log_in_words_has_no_colours_in_a_file() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_LOG_FORMAT", "text")]).await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let mut lines = 0;
    for service in proto::SERVICES {
        let log = fs::read_to_string(fleet.dir().join(format!("log/{service}-0.log"))).unwrap();
        assert!(!log.contains('\u{1b}'), "{log}");
        lines += log.lines().count();
    }
    assert!(lines > 4, "nothing is logged");
}

#[tokio::test]
async fn every_line_of_the_log_bears_its_service_and_those_of_a_batch_its_number_and_its_first_message() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_LOG_FORMAT", "json")]).await.unwrap();
    let register = RegisterProduct { sku: "POISON".to_owned(), name: "Poison".to_owned(), actor: String::new() };
    assert!(is_accepted(&fleet.send("register", &register).await.unwrap()));
    // What the deciders let through and the database does not: a defect, made on purpose.
    let mut database = fleet.database().await.unwrap();
    sqlx::query("alter table inventory.stock add constraint planted check (received = 0)")
        .execute(&mut database)
        .await
        .unwrap();
    let receive =
        ReceiveStock { sku: "POISON".to_owned(), quantity: 1, reference: String::new(), actor: String::new() };
    assert_eq!(code(&fleet.send("receive", &receive).await.unwrap()), "NOT_HANDLED");
    fleet.processes().await.stop_worker("inventory", 0).await.unwrap();

    let log = fs::read_to_string(fleet.dir().join("log/inventory-0.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_last = |line: &&Value| line["fields"]["message"] == "stopped";
    // The NATS client logs from tasks of its own, which know of no worker.
    let is_ours = |line: &&Value| !line["target"].as_str().unwrap().starts_with("async_nats");
    for line in lines.iter().filter(|line| is_ours(line) && !is_last(line)) {
        assert_eq!(line["spans"][0]["service"], "inventory", "{line}");
    }
    let is_given_up = |line: &&Value| line["fields"]["message"].as_str().unwrap_or_default().contains("dead letter");
    let given_up = lines.iter().find(is_given_up).unwrap();
    assert!(given_up["span"]["batch"].as_u64().is_some_and(|batch| batch > 0), "{given_up}");
    assert!(given_up["span"]["first"].as_str().is_some_and(|id| id.len() == 36), "{given_up}");
}
