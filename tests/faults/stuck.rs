//! Surroundings that hang instead of failing: locks that nobody gives back, servers that are away, a worker that stands still.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures::FutureExt;
use holdfast_tests::{Order, TestFleet, eventually};
use sqlx::Connection;
use testbed::servers::Signal;

use crate::{all_is_well, start};

/// Asks a worker to stop, and sees that it does, in time and cleanly.
async fn stops_in_time(fleet: &TestFleet, service: &str) {
    let mut processes = fleet.processes().await;
    let asked = Instant::now();
    let code = processes.stop_worker(service, 0).await.unwrap();
    let took = asked.elapsed();
    assert_eq!(code, Some(0), "{service} took {took:?}");
    assert!(took < Duration::from_secs(5), "{service} took {took:?}");
}

#[tokio::test]
async fn a_worker_stops_in_time_while_its_batch_waits_for_a_lock() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut operator = fleet.database().await.unwrap();
    let mut forgotten = operator.begin().await.unwrap();
    sqlx::query("select * from inventory.stock for update").execute(&mut *forgotten).await.unwrap();
    let order = Order::new(1).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    fleet.until_at_least(waiting, 1).await.unwrap();

    stops_in_time(&fleet, "inventory").await;
    forgotten.rollback().await.unwrap();
    fleet.processes().await.start_workers().unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// Whoever acknowledges before the commit loses what a crash finds in between. Here the crash comes exactly there.
#[tokio::test]
async fn a_worker_killed_between_deciding_and_committing_loses_nothing() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    fleet.until("select count(broker) from log.relay", 1).await.unwrap();
    let mut connection = fleet.database().await.unwrap();
    let mut rows = connection.begin().await.unwrap();
    sqlx::query("select * from inventory.stock for update").execute(&mut *rows).await.unwrap();
    let order = Order::new(1).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    // It has decided, and waits with what it writes.
    let writing = "select count(*) from pg_stat_activity
        where usename = 'holdfast_inventory' and wait_event_type = 'Lock' and query like '%update inventory.stock set%'";
    fleet.until_at_least(writing, 1).await.unwrap();
    // Else the next relay, which knows only what is noted, would publish the order again, and hide a loss.
    let noted = "select count(*) from log.relay where published >= (select max(position) from log.events)";
    fleet.until(noted, 1).await.unwrap();
    fleet.processes().await.kill_worker("inventory", 0).await.unwrap();
    // Postgres, which does not know of the kill, would else write what it was sent.
    let sessions = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'holdfast_inventory'";
    sqlx::query(sessions).execute(&mut *rows).await.unwrap();
    fleet.until("select count(*) from pg_stat_activity where usename = 'holdfast_inventory'", 0).await.unwrap();
    rows.rollback().await.unwrap();
    fleet.processes().await.start_workers().unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn workers_stop_in_time_while_the_broker_is_away() {
    let (fleet, orders) = start(1, 200).await;
    fleet.place_all(&orders).await.unwrap();
    fleet.processes().await.nats.kill().await.unwrap();
    for service in proto::SERVICES {
        stops_in_time(&fleet, service).await;
    }
    let mut processes = fleet.processes().await;
    processes.nats.start_again().await.unwrap();
    processes.start_workers().unwrap();
    drop(processes);
    all_is_well(&fleet, 200).await;
}

#[tokio::test]
async fn workers_stop_in_time_while_the_database_is_away() {
    let (fleet, orders) = start(1, 200).await;
    let placing = fleet.place_all(&orders).fuse();
    tokio::pin!(placing);
    tokio::select! {
        placed = &mut placing => placed.unwrap(),
        some = fleet.until_at_least("select count(*) from orders.orders", 50) => some.unwrap(),
    }
    fleet.processes().await.postgres.kill().await.unwrap();
    for service in proto::SERVICES {
        stops_in_time(&fleet, service).await;
    }
    // Not yet connected, they can be stopped as well.
    fleet.processes().await.start_workers().unwrap();
    for service in proto::SERVICES {
        let log = fleet.dir().join("log").join(format!("{service}-0.log"));
        eventually("it tries to connect", || async { Ok(fs::read_to_string(&log)?.contains("not connected yet")) })
            .await
            .unwrap();
    }
    for service in proto::SERVICES {
        stops_in_time(&fleet, service).await;
    }
    let mut processes = fleet.processes().await;
    processes.postgres.start_again().await.unwrap();
    processes.start_workers().unwrap();
    drop(processes);
    fleet.place_all(&orders).await.unwrap();
    all_is_well(&fleet, 200).await;
}

#[tokio::test]
async fn the_only_replica_of_a_worker_stops_in_time_with_its_hands_full() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_CONSUMER_BATCH_MAX", "20")]).await.unwrap();
    fleet.stock("MUG", 100_000).await.unwrap();
    let orders: Vec<Order> = (0..3_000).map(|number| Order::new(number).line("MUG", 1)).collect();
    let stop = async {
        for at in [200, 900, 1_600] {
            fleet.until_at_least("select count(*) from orders.orders", at).await.unwrap();
            for service in ["orders", "inventory"] {
                stops_in_time(&fleet, service).await;
                fleet.processes().await.start_worker(service, 0).unwrap();
            }
        }
    };
    let (placed, ()) = tokio::join!(fleet.place_all(&orders), stop);
    placed.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// A machine that is paused, or gone without a word, still holds its locks and its place as the relay.
#[tokio::test]
async fn a_worker_that_stands_still_holds_nobody_up_for_long() {
    let (fleet, orders) = start(2, 1_000).await;
    let pause = async {
        for service in proto::SERVICES {
            fleet.processes().await.worker(service, 0).unwrap().signal(Signal::STOP).unwrap();
        }
    };
    let (placed, ()) = tokio::join!(fleet.place_all(&orders), async {
        fleet.until_at_least("select count(*) from orders.orders", 300).await.unwrap();
        pause.await;
    });
    placed.unwrap();
    all_is_well(&fleet, 1_000).await;
    for service in proto::SERVICES {
        fleet.processes().await.worker(service, 0).unwrap().signal(Signal::CONT).unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
}

/// Status of a probe of a worker.
async fn probe(fleet: &TestFleet, service: &str, path: &str) -> anyhow::Result<u16> {
    Ok(fleet.get(&format!("{service}-0"), path).await?.split(' ').nth(1).unwrap_or_default().parse()?)
}

#[tokio::test]
async fn a_worker_is_not_ready_while_the_database_or_the_broker_is_away_and_lives_on() {
    let fleet = TestFleet::start().await.unwrap();
    let is = |path: &'static str, wanted: u16| {
        let fleet = &fleet;
        async move {
            eventually(&format!("{path} is {wanted}"), || async { Ok(probe(fleet, "orders", path).await? == wanted) })
                .await
                .unwrap();
        }
    };
    is("/readyz", 200).await;
    fleet.processes().await.postgres.kill().await.unwrap();
    is("/readyz", 503).await;
    is("/livez", 200).await;
    fleet.processes().await.postgres.start_again().await.unwrap();
    is("/readyz", 200).await;
    fleet.processes().await.nats.kill().await.unwrap();
    is("/readyz", 503).await;
    is("/livez", 200).await;
    fleet.processes().await.nats.start_again().await.unwrap();
    is("/readyz", 200).await;
}
