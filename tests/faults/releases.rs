//! Workers of two releases beside each other: what only the newer one knows is left to it by the older one.

use async_nats::jetstream::{self, AckKind, consumer::PullConsumer, stream::Stream};
use futures::StreamExt;
use holdfast_tests::{Order, TestFleet, change_consumer};
use platform::broker::EVENTS;

const RELEASED: &str = "evt.orders.OrderReleased";

async fn events(fleet: &TestFleet) -> Stream {
    jetstream::new(fleet.client.client().clone()).get_stream(EVENTS).await.unwrap()
}

/// A release of inventory that is still to come reacts to one more event, and has made the consumer that all replicas share.
async fn a_newer_release_comes(fleet: &TestFleet) {
    change_consumer(&events(fleet).await, "inventory-events", |config| {
        config.filter_subjects.push(RELEASED.to_owned());
        let asked_for = config.filter_subjects.join(" ");
        config.metadata.extend([
            ("holdfast-subjects".to_owned(), asked_for),
            ("holdfast-release".to_owned(), "99.0.0".to_owned()),
        ]);
    })
    .await
    .unwrap();
}

/// Orders that are not paid, so each is released.
async fn are_released(fleet: &TestFleet, numbers: std::ops::Range<u64>) {
    let orders: Vec<Order> = numbers.map(|number| Order::new(number).line("MUG", 1).pays("sandbox:decline")).collect();
    fleet.place_all(&orders).await.unwrap();
    for order in &orders {
        fleet.until_status(order, "cancelled").await.unwrap();
    }
}

/// A worker of the newer release, as far as it is needed here: it takes what only it knows, and leaves the rest.
async fn newer_worker(consumer: PullConsumer) {
    let mut messages = consumer.stream().max_messages_per_batch(10).messages().await.unwrap();
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        let is_known = message.subject.starts_with(RELEASED);
        message.ack_with(if is_known { AckKind::Ack } else { AckKind::Nak(None) }).await.unwrap();
    }
}

#[tokio::test]
async fn an_event_that_only_a_newer_release_knows_waits_for_one_of_its_workers() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    a_newer_release_comes(&fleet).await;
    are_released(&fleet, 0..20).await;
    // One that starts beside newer ones does not take back what they have asked for.
    {
        let mut processes = fleet.processes().await;
        processes.stop_worker("inventory", 0).await.unwrap();
        processes.start_worker("inventory", 0).unwrap();
    }
    are_released(&fleet, 20..40).await;
    let consumer: PullConsumer = events(&fleet).await.get_consumer("inventory-events").await.unwrap();
    assert!(consumer.cached_info().config.filter_subjects.iter().any(|subject| subject == RELEASED));
    assert_eq!(fleet.number("select count(*) from inventory.dead_letters").await.unwrap(), 0);
    // So many that little comes to the older one by then.
    let newer: Vec<_> = (0..10).map(|_| tokio::spawn(newer_worker(consumer.clone()))).collect();
    fleet.settle_and_verify().await.unwrap();
    newer.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(fleet.number("select count(*) from inventory.dead_letters").await.unwrap(), 0);
}

/// Tries of the call that were put off, each as if it had not been begun.
const PUT_OFF: &str = "select count(*) from payments.effects
    where attempts > 1 and last_error like '%newer release%' and begun_at is null and due_at < 'infinity'";

/// Of a call that nobody knows a person is told only when it is an hour past its deadline: until then it is for workers that may yet come.
#[tokio::test]
async fn a_call_that_only_a_newer_release_knows_waits_for_one_of_its_workers() {
    let fleet = TestFleet::start().await.unwrap();
    let mut database = fleet.database().await.unwrap();
    let plant = "insert into payments.effects
            (key, type, data, due_at, deadline, correlation_id, causation_id, callee, created_at)
        values ('of tomorrow', 'holdfast.payments.v1.MoneyPromised', '', now(), now() + interval '1 minute',
            gen_random_uuid(), gen_random_uuid(), 'sandbox', now())";
    sqlx::query(plant).execute(&mut database).await.unwrap();
    fleet.until(PUT_OFF, 1).await.unwrap();
    assert_eq!(fleet.number("select count(*) from payments.dead_letters").await.unwrap(), 0);
    let late = "update payments.effects set due_at = now(), deadline = now() - interval '2 hours'";
    sqlx::query(late).execute(&mut database).await.unwrap();
    fleet.until("select count(*) from payments.dead_letters where code = 'UNKNOWN_TYPE'", 1).await.unwrap();
    assert_eq!(fleet.number("select count(*) from payments.effects where due_at = 'infinity'").await.unwrap(), 1);
}
