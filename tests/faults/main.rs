//! Faults, for real: SIGKILL of workers, of Postgres, of nats-server, the loss of the broker's disk; several replicas on one hot
//! product. After each, everything settles and the audit finds nothing lost or doubled.

#![expect(clippy::unwrap_used, reason = "a test that cannot do its harm fails")]

mod allowances;
mod bounds;

mod calls;
mod clocks;
mod consumers;
mod copies;
mod diagnosis;
mod gone_back;
mod hot;
mod killed;
mod limits;
mod one_process;
mod overload;
mod patience;
mod place;
mod poison;
mod pooler;
mod rebuild;
mod refused;
mod releases;
mod replay;
mod rotation;
mod servers;
mod silence;
mod stuck;
mod window;
mod wire;
mod workers;

use std::time::Duration;

use holdfast_tests::{Order, TestFleet};
use uuid::Uuid;

/// Orders of every kind on three products and one round: paid, declined, cancelled by time, refunded for being late.
fn mixed(count: u64, round: Uuid) -> Vec<Order> {
    let scripts = [
        "sandbox:succeed",
        "sandbox:succeed,after=500ms",
        "sandbox:decline",
        "sandbox:never",
        "sandbox:late,after=500ms",
    ];
    (0..count)
        .zip(scripts.iter().cycle())
        .map(|(number, script)| {
            let sku = match number % 3 {
                0 => "A",
                1 => "B",
                _ => "C",
            };
            let order = Order::new(number).line(sku, 1).pays(script);
            let order = if number % 4 == 0 { order.shares(round, 1) } else { order };
            // Buyers who pay have time enough: else a crash that costs seconds would make their money late, and rightly so.
            if number % 5 < 3 { order } else { order.expires_after(Duration::from_secs(5)) }
        })
        .collect()
}

/// A fleet with more than enough stock, and its orders.
async fn start(replicas: usize, count: u64) -> (TestFleet, Vec<Order>) {
    let fleet = TestFleet::with(replicas, &[("HOLDFAST_CONSUMER_BATCH_MAX", "50")]).await.unwrap();
    let orders = stock_up(&fleet, count).await;
    (fleet, orders)
}

/// More than enough stock, and orders for it.
async fn stock_up(fleet: &TestFleet, count: u64) -> Vec<Order> {
    for sku in ["A", "B", "C"] {
        fleet.stock(sku, 1_000_000).await.unwrap();
    }
    let round = fleet.round("bicycle", 1_000_000).await.unwrap();
    mixed(count, round)
}

/// Settled, nothing lost or doubled, every order ended as its script says.
async fn all_is_well(fleet: &TestFleet, count: u64) {
    fleet.settle_and_verify().await.unwrap();
    let fifth = i64::try_from(count / 5).unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 2 * fifth);
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'cancelled'").await.unwrap(), fifth);
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'expired'").await.unwrap(), 2 * fifth);
    // A buyer may be so late because of the fault that there was nothing left to pay for. Whoever paid too late has the money back.
    let kept = "select count(*) from orders.orders join payments.payments using (order_id)
        where orders.status = 'expired' and payments.captured_minor <> payments.refunded_minor";
    assert_eq!(fleet.number(kept).await.unwrap(), 0);
    assert_eq!(fleet.number("select sum(held)::bigint from inventory.stock").await.unwrap(), 0);
    assert_eq!(fleet.number("select held from rounds.rounds").await.unwrap(), 0);
}
