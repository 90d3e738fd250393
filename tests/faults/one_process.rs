//! All services in one process: what is decided there is decided once, whoever dies, and beside workers of either kind.

use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull};
use futures::StreamExt;
use holdfast_tests::{Order, TestFleet};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{all_is_well, hot::a_crowd_on_one_product, stock_up};

const ORDERS: u64 = 600;

/// Sends so many mixed orders, and a few hundred of them before each harm.
async fn lives_through(fleet: &TestFleet, harm: impl AsyncFn(usize)) {
    for (part, orders) in stock_up(fleet, ORDERS).await.chunks(200).enumerate() {
        let (first, rest) = orders.split_at(80);
        fleet.place_all(first).await.unwrap();
        let (placed, ()) = tokio::join!(fleet.place_all(rest), harm(part));
        placed.unwrap();
    }
    all_is_well(fleet, ORDERS).await;
}

/// How many events were published on subjects like these.
async fn published(fleet: &TestFleet, subjects: &str) -> u64 {
    let stream = jetstream::new(fleet.client.client().clone()).get_stream("EVENTS").await.unwrap();
    let settings = pull::Config { filter_subject: subjects.to_owned(), ..pull::Config::default() };
    let consumer = stream.create_consumer(settings).await.unwrap();
    consumer.cached_info().num_pending
}

#[tokio::test]
async fn an_order_is_held_in_one_transaction_and_paid_and_committed_in_another() {
    let fleet = TestFleet::all_in_one(1, &[]).await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let round = fleet.round("bicycle", 100).await.unwrap();
    let order = Order::new(1).line("MUG", 2).shares(round, 5);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();

    let mut database = fleet.database().await.unwrap();
    let transactions: Vec<Vec<String>> = sqlx::query_scalar(
        "select array_agg(substring(type from '[^.]+$') order by position) from log.events
         where correlation_id = (select correlation_id from log.events where type like '%.OrderPlaced')
         group by recorded_at order by recorded_at",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let held = ["OrderPlaced", "StockHeld", "SharesHeld", "OrderReserved", "PaymentRequested"];
    let paid = ["PaymentSucceeded", "OrderPaid", "StockCommitted", "SharesSold"];
    assert_eq!(transactions, [held.to_vec(), paid.to_vec()]);
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 8);
    // So that nobody takes them in once more; what the relay has published as well, in its first moments, is beside them.
    assert_eq!(published(&fleet, "evt.*.*.handled").await, 12);
}

#[tokio::test]
async fn killing_one_of_two_such_processes_in_mid_batch_loses_and_doubles_nothing() {
    let fleet = TestFleet::all_in_one(2, &[("HOLDFAST_CONSUMER_BATCH_MAX", "50")]).await.unwrap();
    lives_through(&fleet, async |part| {
        let mut processes = fleet.processes().await;
        processes.kill_worker("all-in-one", part % 2).await.unwrap();
        processes.start_worker("all-in-one", part % 2).unwrap();
    })
    .await;
}

#[tokio::test]
async fn beside_workers_of_one_service_each_and_with_both_kinds_killed_nothing_is_lost_or_doubled() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_CONSUMER_BATCH_MAX", "50")]).await.unwrap();
    fleet.processes().await.start_worker("all-in-one", 0).unwrap();
    lives_through(&fleet, async |part| {
        let mut processes = fleet.processes().await;
        for service in ["all-in-one", ["orders", "inventory", "payments"][part]] {
            processes.kill_worker(service, 0).await.unwrap();
            processes.start_worker(service, 0).unwrap();
        }
    })
    .await;
}

/// What was decided in rows of a batch that could not be written is decided anew.
#[tokio::test]
async fn a_database_that_dies_under_such_a_process_loses_and_doubles_nothing() {
    let fleet = TestFleet::all_in_one(1, &[("HOLDFAST_CONSUMER_BATCH_MAX", "50")]).await.unwrap();
    lives_through(&fleet, async |_part| {
        let mut processes = fleet.processes().await;
        processes.postgres.kill().await.unwrap();
        processes.postgres.start_again().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn two_such_processes_sell_a_hot_product_exactly() {
    a_crowd_on_one_product(&TestFleet::all_in_one(2, &[]).await.unwrap()).await;
}

/// Whoever takes in an event that was handled with its cause finds it done.
#[tokio::test]
async fn events_that_were_handled_and_come_on_the_open_subject_change_nothing() {
    let fleet = TestFleet::all_in_one(1, &[]).await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    let orders: Vec<Order> = (0..40).map(|number| Order::new(number).line("MUG", 3)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let events = fleet.number("select count(*) from log.events").await.unwrap();

    let jetstream = jetstream::new(fleet.client.client().clone());
    let stream = jetstream.get_stream("EVENTS").await.unwrap();
    let last = usize::try_from(stream.cached_info().state.last_sequence).unwrap();
    let consumer = stream.create_consumer(pull::OrderedConfig::default()).await.unwrap();
    let mut messages: Vec<_> = consumer.messages().await.unwrap().take(last).map(Result::unwrap).collect().await;
    messages.shuffle(&mut StdRng::seed_from_u64(7));
    for message in messages {
        let open = message.subject.trim_end_matches(".handled").to_owned();
        let sent = jetstream.publish_with_headers(open, message.headers.clone().unwrap(), message.payload.clone());
        sent.await.unwrap().await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from log.events").await.unwrap(), events);
}

/// A row that others have changed since it was remembered is read before anything is refused because of it.
#[tokio::test]
async fn stock_that_another_has_received_is_sold() {
    let fleet = TestFleet::all_in_one(1, &[]).await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let [first, refused, bought] = [1, 2, 3].map(|number| Order::new(number).line("MUG", 1));
    fleet.place(&first).await.unwrap();
    fleet.until_status(&first, "paid").await.unwrap();
    fleet.place(&refused).await.unwrap();
    fleet.until_status(&refused, "rejected").await.unwrap();

    // As another worker's receipt leaves the row.
    let mut database = fleet.database().await.unwrap();
    let received = sqlx::query("update inventory.stock set received = received + 1, version = version + 1");
    received.execute(&mut database).await.unwrap();
    fleet.place(&bought).await.unwrap();
    fleet.until_status(&bought, "paid").await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), fleet.settle()).await.unwrap().unwrap();
    assert_eq!(fleet.number("select committed from inventory.stock").await.unwrap(), 2);
}
