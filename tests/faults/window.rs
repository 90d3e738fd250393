//! The broker's window of events: small, while one worker is away and the others go on.

use holdfast_tests::{Order, TestFleet, eventually};

const WINDOW: u64 = 1_500_000;

/// The broker keeps events for a while and no more; a worker that is away is owed all of them for ever.
#[tokio::test]
async fn events_that_a_worker_has_not_seen_yet_are_not_pushed_out_by_newer_ones() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_EVENTS_BYTES_MAX", &WINDOW.to_string())]).await.unwrap();
    fleet.stock("MUG", 100_000).await.unwrap();
    let round = fleet.round("bicycle", 100_000).await.unwrap();
    fleet.processes().await.stop_worker("rounds", 0).await.unwrap();
    let both: Vec<Order> = (0..200).map(|number| Order::new(number).line("MUG", 1).shares(round, 1)).collect();
    fleet.place_all(&both).await.unwrap();
    let many: Vec<Order> = (1_000..3_000).map(|number| Order::new(number).line("MUG", 1)).collect();
    fleet.place_all(&many).await.unwrap();
    let jetstream = async_nats::jetstream::new(fleet.client.client().clone());
    eventually("the window is full of what the rounds worker is owed", || async {
        let state = jetstream.get_stream("EVENTS").await?.cached_info().state.clone();
        Ok(state.bytes > WINDOW * 9 / 10)
    })
    .await
    .unwrap();
    fleet.processes().await.start_workers().unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 2_200);
    assert_eq!(fleet.number("select sold from rounds.rounds").await.unwrap(), 200);
}
