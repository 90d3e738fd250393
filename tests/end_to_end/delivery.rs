//! Delivery: every event twice, late and out of order changes nothing.

use async_nats::jetstream;
use futures::StreamExt;
use holdfast_tests::{Order, TestFleet};
use proto::orders::v1::{CancelOrder, RequestRefund};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

#[tokio::test]
async fn every_event_delivered_again_in_any_order_changes_nothing() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 60).await.unwrap();
    let round = fleet.round("bicycle", 60).await.unwrap();
    let scripts = ["sandbox:succeed", "sandbox:decline", "sandbox:never", "sandbox:succeed,refund=decline"];
    let orders: Vec<Order> = (0..80)
        .zip(scripts.iter().cycle())
        .map(|(number, script)| Order::new(number).line("MUG", 1).shares(round, 1).pays(script))
        .collect();
    fleet.place_all(&orders).await.unwrap();
    for (number, order) in orders.iter().enumerate() {
        let order_id = order.id.to_string();
        let (actor, note) = ("test".to_owned(), String::new());
        if number % 4 == 2 {
            fleet
                .send(&order_id, &CancelOrder { order_id: order_id.clone(), actor, note, expected_version: 0 })
                .await
                .unwrap();
        } else if number % 4 == 0 && fleet.status(order).await.unwrap() == "paid" {
            let refund = RequestRefund { order_id: order_id.clone(), actor, note, ..RequestRefund::default() };
            fleet.send(&order_id, &refund).await.unwrap();
        }
    }
    fleet.settle_and_verify().await.unwrap();
    let before = fleet.number("select count(*) from log.events").await.unwrap();

    let jetstream = jetstream::new(fleet.client.client().clone());
    let stream = jetstream.get_stream("EVENTS").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let consumer = stream.create_consumer(jetstream::consumer::pull::OrderedConfig::default()).await.unwrap();
    let mut messages: Vec<_> =
        consumer.messages().await.unwrap().take(usize::try_from(last).unwrap()).map(Result::unwrap).collect().await;
    messages.shuffle(&mut StdRng::seed_from_u64(7));
    for (number, message) in messages.iter().enumerate() {
        let mut headers = message.headers.clone().unwrap();
        headers.insert("Nats-Msg-Id", format!("again-{number}"));
        let subject = message.subject.clone();
        jetstream.publish_with_headers(subject, headers, message.payload.clone()).await.unwrap().await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from log.events").await.unwrap(), before);
    assert_eq!(fleet.number("select count(*) from orders.dead_letters").await.unwrap(), 0);
    assert_eq!(fleet.number("select count(*) from inventory.dead_letters").await.unwrap(), 0);
    assert_eq!(fleet.number("select count(*) from rounds.dead_letters").await.unwrap(), 0);
    assert_eq!(fleet.number("select count(*) from payments.dead_letters").await.unwrap(), 0);
}
