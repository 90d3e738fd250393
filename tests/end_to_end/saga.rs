//! Every way in which an order does not end well, and what it gives back.

use std::time::Duration;

use holdfast_tests::{Order, TestFleet, code, events, is_accepted};
use proto::orders::v1::ReinstateOrder;

const SHORT: Duration = Duration::from_secs(5);

fn reinstate(order: &Order) -> ReinstateOrder {
    ReinstateOrder {
        order_id: order.id.to_string(),
        actor: "ops".to_owned(),
        note: "the buyer called".to_owned(),
        time_to_pay: None,
        expected_version: 0,
    }
}

async fn nothing_is_held(fleet: &TestFleet) {
    assert_eq!(fleet.number("select sum(held)::bigint from inventory.stock").await.unwrap(), 0);
    assert_eq!(fleet.number("select sum(held)::bigint from rounds.rounds").await.unwrap(), 0);
}

#[tokio::test]
async fn an_unpaid_order_expires_and_gives_everything_back() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 3).await.unwrap();
    let round = fleet.round("bicycle", 3).await.unwrap();
    let order = Order::new(1).line("MUG", 3).shares(round, 3).pays("sandbox:never").expires_after(SHORT);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "reserved").await.unwrap();
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 3);
    fleet.until_status(&order, "expired").await.unwrap();
    fleet.settle_and_verify().await.unwrap();

    nothing_is_held(&fleet).await;
    let mut story = fleet.stream(&format!("order-{}", order.id)).await.unwrap();
    // Not said if both releases come together.
    story.retain(|event| event != "OrderReleaseConfirmed");
    assert_eq!(story[story.len() - 2..], ["OrderExpired", "OrderReleased"]);
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 3);
}

#[tokio::test]
async fn a_declined_order_is_cancelled_and_gives_everything_back() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 3).await.unwrap();
    let round = fleet.round("bicycle", 3).await.unwrap();
    let order = Order::new(1).line("MUG", 3).shares(round, 1).pays("sandbox:decline");
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "cancelled").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    nothing_is_held(&fleet).await;
}

#[tokio::test]
async fn a_cancelled_order_gives_everything_back_and_can_be_reinstated() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 3).await.unwrap();
    let order = Order::new(1).line("MUG", 3).pays("sandbox:never");
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "reserved").await.unwrap();
    let reply = fleet.send("first", &order.cancel()).await.unwrap();
    assert_eq!(events(&reply)[0], "OrderCancelled");
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 0);

    assert!(is_accepted(&fleet.send("back", &reinstate(&order)).await.unwrap()));
    fleet.until_status(&order, "reserved").await.unwrap();
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 3);
    assert!(is_accepted(&fleet.send("second", &order.cancel()).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 0);
}

#[tokio::test]
async fn a_reinstated_order_whose_stock_is_gone_is_rejected_and_takes_nothing() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 3).await.unwrap();
    let first = Order::new(1).line("MUG", 2).pays("sandbox:never");
    fleet.place(&first).await.unwrap();
    fleet.until_status(&first, "reserved").await.unwrap();
    fleet.send("first", &first.cancel()).await.unwrap();
    fleet.settle().await.unwrap();
    let second = Order::new(2).line("MUG", 2);
    fleet.place(&second).await.unwrap();
    fleet.until_status(&second, "paid").await.unwrap();

    assert!(is_accepted(&fleet.send("back", &reinstate(&first)).await.unwrap()));
    fleet.until_status(&first, "rejected").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select on_hand - held from inventory.stock").await.unwrap(), 1);
}

#[tokio::test]
async fn an_order_that_one_part_refuses_gives_the_other_part_back() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let round = fleet.round("bicycle", 3).await.unwrap();
    let orders = [
        Order::new(1).line("MUG", 2).shares(round, 1),
        Order::new(2).line("MUG", 1).shares(round, 4),
        Order::new(3).line("NO-SUCH-MUG", 1).shares(round, 1),
    ];
    fleet.place_all(&orders).await.unwrap();
    for order in &orders {
        fleet.until_status(order, "rejected").await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    nothing_is_held(&fleet).await;
    for order in &orders {
        assert_eq!(fleet.stream(&format!("order-{}", order.id)).await.unwrap().last().unwrap(), "OrderReleased");
    }
}

#[tokio::test]
async fn money_that_comes_late_goes_back() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let late = Order::new(1).line("MUG", 1).pays("sandbox:late,after=100ms").expires_after(SHORT);
    fleet.place(&late).await.unwrap();
    fleet.until_status(&late, "expired").await.unwrap();
    fleet.until("select count(*) from log.events where type like '%.PaymentRefunded'", 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.status(&late).await.unwrap(), "expired");
    assert_eq!(fleet.number("select refunded_minor from payments.payments").await.unwrap(), 1_000);
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 1);
}

#[tokio::test]
async fn money_that_comes_late_buys_what_is_still_free_if_the_order_says_so() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let late = Order::new(1).line("MUG", 1).pays("sandbox:late,after=1s").expires_after(SHORT).reholds();
    fleet.place(&late).await.unwrap();
    fleet.until_status(&late, "expired").await.unwrap();
    fleet.until_status(&late, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 0);

    let unlucky = Order::new(2).line("MUG", 1).pays("sandbox:late,after=1s").expires_after(SHORT).reholds();
    fleet.place(&unlucky).await.unwrap();
    fleet.until_status(&unlucky, "rejected").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_closed_order_cannot_be_cancelled_and_an_unknown_one_is_said_to_be_unknown() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let order = Order::new(1).line("MUG", 2);
    assert_eq!(code(&fleet.send("unknown", &order.cancel()).await.unwrap()), "UNKNOWN_ORDER");
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "rejected").await.unwrap();
    let reply = fleet.send("rejected", &order.cancel()).await.unwrap();
    assert!(!is_accepted(&reply), "{reply:?}");
    fleet.settle_and_verify().await.unwrap();
}
