//! Poison among timers and outcomes, with several replicas at it: the culprit alone is set aside.

use std::time::Duration;

use holdfast_tests::{Order, TestFleet};

#[tokio::test]
async fn a_poisonous_timer_takes_no_other_timer_with_it() {
    let fleet = TestFleet::with(3, &[("HOLDFAST_TIMERS_CLAIM_MAX", "10")]).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    // What the deciders let through and the database does not: a defect, made on purpose.
    let mut database = fleet.database().await.unwrap();
    sqlx::query(
        "alter table orders.orders add constraint planted
         check (status <> 'expired' or customer_id not in ('customer-5', 'customer-105', 'customer-205'))",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let orders: Vec<Order> = (0..300)
        .map(|number| Order::new(number).line("MUG", 1).pays("sandbox:never").expires_after(Duration::from_secs(5)))
        .collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select count(*) from orders.orders where status = 'expired'", 297).await.unwrap();
    fleet.until("select count(*) from orders.dead_letters", 3).await.unwrap();
    // They are owed an end all the same.
    assert_eq!(fleet.number("select count(*) from orders.timers where due_at > now()").await.unwrap(), 3);
}
