//! What the broker allows and does not: a setting of its that does not suffice is named with ours, and once it does, all goes on.

use std::fs;

use holdfast_tests::{Order, TestFleet, is_accepted};

/// nats-server is started again with these settings, all workers too.
async fn restart(fleet: &TestFleet, settings: &str) {
    let mut processes = fleet.processes().await;
    for service in proto::SERVICES {
        processes.stop_worker(service, 0).await.unwrap();
    }
    processes.nats.kill().await.unwrap();
    fs::write(processes.nats.settings(), settings).unwrap();
    processes.nats.start_again().await.unwrap();
    processes.start_workers().unwrap();
}

/// One event that was too large for the broker stood in front of all others for ever, and those were published again and again.
#[tokio::test]
async fn workers_wait_where_the_broker_lets_no_message_through_that_an_event_may_need() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    restart(&fleet, "max_payload: 65536").await;
    fleet
        .until_unready("orders-0", &["max_payload is 65536 bytes", "consumer.message_bytes_max, which is 262144"])
        .await
        .unwrap();
    restart(&fleet, "max_payload: 1048576").await;
    fleet.processes().await.ready().await.unwrap();
    assert!(is_accepted(&fleet.place(&Order::new(1).line("MUG", 1)).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
}

/// The limit is lowered under workers that run: what did not fit stood in front of all else, and was sent again and again.
#[tokio::test]
async fn workers_stop_where_the_broker_is_made_to_let_less_through_than_an_event_may_need() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    for (settings, is_enough) in [("max_payload: 65536", false), ("max_payload: 1048576", true)] {
        {
            let mut processes = fleet.processes().await;
            processes.nats.kill().await.unwrap();
            fs::write(processes.nats.settings(), settings).unwrap();
            processes.nats.start_again().await.unwrap();
        }
        for worker in ["orders-0", "inventory-0", "rounds-0", "payments-0"] {
            if is_enough {
                fleet.until_ready(worker).await.unwrap();
            } else {
                fleet.until_unready(worker, &["max_payload is 65536 bytes"]).await.unwrap();
            }
        }
    }
    assert!(is_accepted(&fleet.place(&Order::new(1).line("MUG", 1)).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_broker_without_room_for_a_stream_is_named_with_the_stream_and_the_setting() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        processes.nats.kill().await.unwrap();
        processes.nats.wipe().unwrap();
    }
    restart(&fleet, "jetstream { max_file_store: 200MB }").await;
    fleet
        .until_unready("orders-0", &["insufficient storage", "EVENTS", "broker.events_bytes_max", "max_file_store"])
        .await
        .unwrap();
    // No set is made by halves: a command that is taken in and cannot be done would wait for nothing.
    let broker = async_nats::jetstream::new(fleet.client.client().clone());
    assert!(broker.get_stream("COMMANDS_ORDERS").await.is_err());
    restart(&fleet, "").await;
    fleet.processes().await.ready().await.unwrap();
    assert!(is_accepted(&fleet.place(&Order::new(1).line("MUG", 1)).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
}
