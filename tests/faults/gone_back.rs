//! A database that goes back in time under its workers: a copy of a minute ago in the place of the right one.

use std::{path::Path, process::Command};

use futures::future::join_all;
use holdfast_tests::{Order, TestFleet, eventually, is_accepted};

/// `cp` or `mv`, also to another file system.
fn run(command: &str, from: &Path, to: &Path) {
    let arguments: &[&str] = if command == "cp" { &["-a"] } else { &[] };
    assert!(Command::new(command).args(arguments).arg(from).arg(to).status().unwrap().success(), "{command}");
}

/// Stops Postgres, has something done to its data, and starts it again.
async fn meanwhile(fleet: &TestFleet, harm: impl FnOnce(&Path)) {
    let mut processes = fleet.processes().await;
    processes.postgres.stop().await.unwrap();
    harm(processes.postgres.dir());
    processes.postgres.start_again().await.unwrap();
}

const WORKERS: [&str; 4] = ["orders-0", "inventory-0", "rounds-0", "payments-0"];

/// Orders were paid, then the database of before came up: they were open again, expired, their stock was given back, and the audit was
/// content. Now nobody touches it, and with the right one all goes on.
#[tokio::test]
async fn workers_do_not_write_to_a_database_that_has_gone_back() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let aside = fleet.dir().join("of-before");
    let orders: Vec<Order> =
        (0..10).map(|number| Order::new(number).line("MUG", 1).pays("sandbox:succeed,after=4s")).collect();
    fleet.place_all(&orders).await.unwrap();
    meanwhile(&fleet, |dir| run("cp", dir, &aside)).await;
    for order in &orders {
        fleet.until_status(order, "paid").await.unwrap();
    }
    fleet.settle().await.unwrap();
    let right = fleet.dir().join("right");
    meanwhile(&fleet, |dir| {
        run("mv", dir, &right);
        run("cp", &aside, dir);
    })
    .await;
    for worker in WORKERS {
        eventually(&format!("{worker} sees it"), || async {
            let answer = fleet.get(worker, "/readyz").await?;
            Ok(answer.starts_with("HTTP/1.1 503") && answer.contains("the log has gone back"))
        })
        .await
        .unwrap();
    }
    let before = fleet.number("select max(position) from log.events").await.unwrap();
    let late = Order::new(100).line("MUG", 1);
    let mending = async {
        eventually("a command waits", || async {
            let jetstream = async_nats::jetstream::new(fleet.publisher.client().clone());
            Ok(jetstream.get_stream("COMMANDS_ORDERS").await?.cached_info().state.messages > 0)
        })
        .await
        .unwrap();
        assert_eq!(fleet.number("select max(position) from log.events").await.unwrap(), before, "nobody wrote to it");
        meanwhile(&fleet, |dir| {
            std::fs::remove_dir_all(dir).unwrap();
            run("mv", &right, dir);
        })
        .await;
    };
    let (placed, ()) = tokio::join!(fleet.place(&late), mending);
    assert!(is_accepted(&placed.unwrap()));
    let statuses = join_all(orders.iter().map(|order| fleet.status(order))).await;
    assert!(statuses.iter().all(|status| status.as_ref().unwrap() == "paid"), "{statuses:?}");
    fleet.settle_and_verify().await.unwrap();
}
