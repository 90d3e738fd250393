//! The main road: placed, held, paid, committed.

use holdfast_tests::{Order, TestFleet, events, is_accepted};

#[tokio::test]
async fn an_order_is_held_paid_and_committed() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let round = fleet.round("bicycle", 100).await.unwrap();
    // The same product twice is summed before it is checked.
    let order = Order::new(1).line("MUG", 2).line("MUG", 1).shares(round, 5);

    let reply = fleet.place(&order).await.unwrap();
    assert_eq!(events(&reply), ["OrderPlaced"]);
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();

    let mut seen = fleet.stream(&format!("order-{}", order.id)).await.unwrap();
    assert_eq!(seen.remove(0), "OrderPlaced");
    // Not said if both holds come together.
    seen.retain(|event| event != "OrderHoldConfirmed");
    assert_eq!(seen, ["OrderReserved", "OrderPaid"]);
    assert_eq!(fleet.stream(&format!("stock-{}.1", order.id)).await.unwrap(), ["StockHeld", "StockCommitted"]);
    assert_eq!(fleet.stream(&format!("shares-{}.1", order.id)).await.unwrap(), ["SharesHeld", "SharesSold"]);
    assert_eq!(fleet.number("select on_hand from inventory.stock where sku = 'MUG'").await.unwrap(), 7);
    assert_eq!(fleet.number("select held from inventory.stock where sku = 'MUG'").await.unwrap(), 0);
    assert_eq!(fleet.number("select sold from rounds.rounds").await.unwrap(), 5);
}

#[tokio::test]
async fn an_order_of_a_thousand_lines_and_one_of_shares_alone_are_paid() {
    let fleet = TestFleet::start().await.unwrap();
    let round = fleet.round("boat", 10).await.unwrap();
    let mut large = Order::new(1);
    for product in 0..250 {
        fleet.stock(&format!("P-{product}"), 100).await.unwrap();
        for quantity in 1..=4 {
            large = large.line(&format!("P-{product}"), quantity);
        }
    }
    let shares = Order::new(2).shares(round, 10);
    assert!(is_accepted(&fleet.place(&large).await.unwrap()));
    assert!(is_accepted(&fleet.place(&shares).await.unwrap()));
    fleet.until_status(&large, "paid").await.unwrap();
    fleet.until_status(&shares, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();

    assert_eq!(fleet.number("select sum(committed)::bigint from inventory.stock").await.unwrap(), 2_500);
    let round = fleet.stream(&format!("round-{round}")).await.unwrap();
    assert_eq!(round, ["RoundOpened", "RoundSoldOut"]);
}

#[tokio::test]
async fn a_command_sent_again_is_answered_again_and_done_once() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    // `stock` sent the same receipt under the same id.
    fleet.stock("MUG", 10).await.unwrap();
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 10);
    let order = Order::new(1).line("MUG", 1);
    let first = fleet.place(&order).await.unwrap();
    assert_eq!(fleet.place(&order).await.unwrap(), first);
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from log.events where type like '%.OrderPlaced'").await.unwrap(), 1);
}

#[tokio::test]
async fn one_story_carries_one_correlation_and_one_trace() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let order = Order::new(1).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle().await.unwrap();
    let mut database = fleet.database().await.unwrap();
    let uncaused: i64 = sqlx::query_scalar(
        "select count(*) from log.events e where correlation_id = $1 and stream not like 'product-%'
           and causation_id <> $1 and not exists (select from log.events c where c.event_id = e.causation_id)
           and type not like '%.PaymentSucceeded'",
    )
    .bind(order.id)
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(uncaused, 0, "an event names a cause that is not in the log");
    let story: i64 = sqlx::query_scalar("select count(*) from log.events where correlation_id = $1")
        .bind(order.id)
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(story >= 7, "only {story} events carry the order's correlation id");
}

#[tokio::test]
async fn a_fleet_that_does_not_come_up_says_what_its_workers_said() {
    let refused = TestFleet::with(1, &[("HOLDFAST_CONSUMER_BATCH_MAX", "many")]).await.unwrap_err().to_string();
    assert!(refused.contains("ended at once"), "{refused}");
    assert!(refused.contains("HOLDFAST_CONSUMER_BATCH_MAX"), "{refused}");
}
