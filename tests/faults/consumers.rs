//! Consumers that somebody pauses, narrows or limits: each is put right, and what it passed over is handled.

use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use futures::StreamExt;
use holdfast_tests::{Order, TestFleet, change_consumer, eventually};
use platform::{broker::EVENTS, clock};
use time::OffsetDateTime;

async fn events(fleet: &TestFleet) -> Stream {
    jetstream::new(fleet.client.client().clone()).get_stream(EVENTS).await.unwrap()
}

/// Orders whose buyers pay, and others whose stock has to be given back.
fn orders(first: u64) -> Vec<Order> {
    let pays = |number| if number % 2 == 0 { "sandbox:succeed" } else { "sandbox:decline" };
    (first..first + 20).map(|number| Order::new(number).line("MUG", 1).pays(pays(number))).collect()
}

async fn all_are_done(fleet: &TestFleet, orders: &[Order]) {
    for (number, order) in orders.iter().enumerate() {
        fleet.until_status(order, if number % 2 == 0 { "paid" } else { "cancelled" }).await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select sum(held)::bigint from inventory.stock").await.unwrap(), 0);
}

#[tokio::test]
async fn a_paused_consumer_goes_on() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let until = OffsetDateTime::from(clock::now()) + Duration::from_secs(3_600);
    let stream = events(&fleet).await;
    assert!(stream.pause_consumer("inventory-events", until).await.unwrap().paused);
    let orders = orders(0);
    fleet.place_all(&orders).await.unwrap();
    all_are_done(&fleet, &orders).await;
}

#[tokio::test]
async fn what_a_narrowed_consumer_passed_over_is_handled() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    change_consumer(&events(&fleet).await, "inventory-events", |config| {
        config.filter_subjects = vec!["evt.orders.OrderPlaced".to_owned()];
    })
    .await
    .unwrap();
    let orders = orders(0);
    fleet.place_all(&orders).await.unwrap();
    all_are_done(&fleet, &orders).await;
    // An older worker, which reacts to less, starts beside the others.
    change_consumer(&events(&fleet).await, "inventory-events", |config| {
        config.filter_subjects.retain(|subject| subject != "evt.orders.OrderPaid");
    })
    .await
    .unwrap();
    let wanted = "evt.orders.OrderPaid".to_owned();
    eventually("the filter is as it was", || async {
        let info = events(&fleet).await.consumer_info("inventory-events").await;
        Ok(info.is_ok_and(|info| info.config.filter_subjects.contains(&wanted)))
    })
    .await
    .unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// A consumer that passes over messages has none left, and yet they are not handled: else a broker that loses its disk would not be
/// told them again, and one that is full would forget them.
#[tokio::test]
async fn what_a_narrowed_consumer_passes_over_does_not_count_as_handled() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
    change_consumer(&events(&fleet).await, "inventory-events", |config| {
        config.filter_subjects = vec!["evt.orders.OrderPaid".to_owned()];
    })
    .await
    .unwrap();
    let orders = orders(0);
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select count(*) from log.events where type like '%OrderPlaced'", 20).await.unwrap();
    // The relay has compared twice since, and the other services have handled all.
    for name in ["bicycle", "boat"] {
        fleet.round(name, 10).await.unwrap();
        relay_has_compared(&fleet).await;
    }
    let handled = fleet
        .number("select count(*) from log.events, log.relay where type like '%OrderPlaced' and position <= handled")
        .await
        .unwrap();
    assert_eq!(handled, 0);
    fleet.processes().await.start_worker("inventory", 0).unwrap();
    all_are_done(&fleet, &orders).await;
}

/// Waits until the relay has published all, and seen it in the stream.
async fn relay_has_compared(fleet: &TestFleet) {
    fleet.until("select max(position) - (select published from log.relay) from log.events", 0).await.unwrap();
    let last = i64::try_from(events(fleet).await.info().await.unwrap().state.last_sequence).unwrap();
    fleet.until_at_least("select stream_sequence from log.relay", last).await.unwrap();
}

/// Handed out once to somebody who never acknowledged them, and never again.
#[tokio::test]
async fn what_a_consumer_has_given_up_is_handled() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
    change_consumer(&events(&fleet).await, "inventory-events", |config| {
        config.max_deliver = 1;
        config.ack_wait = Duration::from_secs(1);
    })
    .await
    .unwrap();
    let orders = orders(0);
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select count(*) from log.events where type like '%OrderPlaced'", 20).await.unwrap();
    let stream = events(&fleet).await;
    let taken: jetstream::consumer::PullConsumer = stream.get_consumer("inventory-events").await.unwrap();
    let taken = taken.fetch().max_messages(20).expires(Duration::from_secs(10)).messages().await.unwrap();
    assert_eq!(taken.count().await, 20);
    fleet.processes().await.start_worker("inventory", 0).unwrap();
    all_are_done(&fleet, &orders).await;
}

/// An administrator takes a message from the middle of the stream before its consumer has come there.
#[tokio::test]
async fn a_message_that_is_gone_from_the_middle_of_the_stream_is_published_again() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
    let orders = orders(0);
    fleet.place_all(&orders).await.unwrap();
    let stream = events(&fleet).await;
    eventually("all are published", || async { Ok(placed(&events(&fleet).await).await.len() == 20) }).await.unwrap();
    // The relay has seen them all there, twice, and looks from now on for what came after them.
    for name in ["bicycle", "boat"] {
        fleet.round(name, 10).await.unwrap();
        relay_has_compared(&fleet).await;
    }
    // All of them, for a relay that had just begun has published some twice.
    for place in placed(&stream).await {
        assert!(stream.delete_message(place).await.unwrap());
    }
    fleet.processes().await.start_worker("inventory", 0).unwrap();
    all_are_done(&fleet, &orders).await;
}

/// An administrator takes away all but the last message, of a fleet that runs and of one that does not: the last one is there, and an
/// idle consumer has nothing left to do.
#[tokio::test]
async fn what_is_purged_but_for_the_last_message_is_published_again() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    for (first, is_running) in [(0, true), (100, false)] {
        fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
        let orders = orders(first);
        fleet.place_all(&orders).await.unwrap();
        for name in ["bicycle", "boat"] {
            fleet.round(&format!("{name} {first}"), 10).await.unwrap();
            relay_has_compared(&fleet).await;
        }
        if !is_running {
            let mut processes = fleet.processes().await;
            for service in ["orders", "rounds", "payments"] {
                processes.stop_worker(service, 0).await.unwrap();
            }
        }
        let stream = events(&fleet).await;
        stream.purge().keep(1).await.unwrap();
        assert_eq!(events(&fleet).await.cached_info().state.messages, 1);
        let services = if is_running { &["inventory"][..] } else { &["orders", "inventory", "rounds", "payments"] };
        for service in services {
            fleet.processes().await.start_worker(service, 0).unwrap();
        }
        all_are_done(&fleet, &orders).await;
    }
}

/// Where in the stream orders were placed.
async fn placed(stream: &Stream) -> Vec<u64> {
    let (mut places, mut next) = (Vec::new(), 1);
    while let Ok(message) = stream.get_first_raw_message_by_subject("evt.orders.OrderPlaced", next).await {
        places.push(message.sequence);
        next = message.sequence + 1;
    }
    places
}
