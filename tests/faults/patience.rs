//! Work that takes long: the broker is told that it is under way, so that it does not come again and multiply.

use holdfast_tests::{Order, TestFleet};

use crate::limits::{COMMANDS, counted, handed_out, waiting_at_a_lock};

/// A batch that took longer than `ack_wait` came again together with all that was fetched behind it, and each copy took as long.
#[tokio::test]
async fn what_takes_longer_than_the_broker_waits_does_not_come_again() {
    let settings = [("HOLDFAST_CONSUMER_BATCH_MAX", "5"), ("HOLDFAST_CONSUMER_ACK_WAIT_MS", "1000")];
    let fleet = TestFleet::with(1, &settings).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let lock = waiting_at_a_lock(&fleet, 100).await;
    handed_out(&fleet, COMMANDS, 100, 0).await;
    let long = "select count(*) from pg_stat_activity
        where wait_event_type = 'Lock' and clock_timestamp() - query_start > interval '3.5 seconds'";
    fleet.until_at_least(long, 1).await.unwrap();
    let info = handed_out(&fleet, COMMANDS, 100, 0).await;
    assert_eq!(info.num_redelivered, 0, "{info:?}");
    drop(lock);
    fleet.until("select received from inventory.stock", 1_100).await.unwrap();
    // Each of them three times at least, those not begun as well.
    assert!(counted(&fleet, "inventory", "holdfast_progress_told_total").await >= Some(300));
    // What was held is done, and more is fetched.
    let order = Order::new(1).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    let jobs = counted(&fleet, "inventory", "holdfast_batch_inputs_sum").await.unwrap();
    assert!((101..=105).contains(&jobs), "{jobs} jobs for 100 commands and the events of one order");
    fleet.settle_and_verify().await.unwrap();
}
