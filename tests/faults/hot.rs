//! One hot product: several replicas at once, and a mass expiry while others place orders on it at full speed.

use std::time::Duration;

use holdfast_tests::{Order, TestFleet};

const CROWD: u64 = 1_500;
const PIECES: i64 = 500;

pub(crate) async fn a_crowd_on_one_product(fleet: &TestFleet) {
    fleet.stock("HOT", PIECES).await.unwrap();
    let orders: Vec<Order> = (0..CROWD).map(|number| Order::new(number).line("HOT", 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), PIECES);
    assert_eq!(fleet.number("select committed from inventory.stock").await.unwrap(), PIECES);
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 0);
}

#[tokio::test]
async fn two_replicas_of_every_worker_sell_a_hot_product_exactly() {
    a_crowd_on_one_product(&TestFleet::with(2, &[]).await.unwrap()).await;
}

#[tokio::test]
async fn three_replicas_of_every_worker_sell_a_hot_product_exactly() {
    a_crowd_on_one_product(&TestFleet::with(3, &[]).await.unwrap()).await;
}

/// What the cron jobs of old got wrong: they wrote back the stock they had read, and so invented pieces that others had sold in
/// between; killed half-way, they leaked shares.
#[tokio::test]
async fn a_mass_expiry_while_others_buy_invents_and_leaks_nothing_even_when_killed() {
    let fleet = TestFleet::with(2, &[]).await.unwrap();
    let stock = 10_000;
    fleet.stock("HOT", stock).await.unwrap();
    let round = fleet.round("bicycle", 100_000).await.unwrap();
    let forgotten: Vec<Order> = (0..2_000)
        .map(|number| Order::new(number).line("HOT", 2).shares(round, 1))
        .map(|order| order.pays("sandbox:never").expires_after(Duration::from_secs(5)))
        .collect();
    let bought: Vec<Order> =
        (10_000..12_000).map(|number| Order::new(number).line("HOT", 1).shares(round, 1)).collect();
    fleet.place_all(&forgotten).await.unwrap();
    let kill = async {
        fleet.until_at_least("select count(*) from orders.orders where status = 'expired'", 200).await.unwrap();
        let mut processes = fleet.processes().await;
        for service in ["orders", "inventory", "rounds"] {
            processes.kill_worker(service, 0).await.unwrap();
            processes.start_worker(service, 0).unwrap();
        }
    };
    let (placed, ()) = tokio::join!(fleet.place_all(&bought), kill);
    placed.unwrap();
    fleet.settle_and_verify().await.unwrap();

    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'expired'").await.unwrap(), 2_000);
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 2_000);
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), stock - 2_000);
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 0);
    assert_eq!(fleet.number("select sold from rounds.rounds").await.unwrap(), 2_000);
    assert_eq!(fleet.number("select held from rounds.rounds").await.unwrap(), 0);
    let released = "select count(*) from log.events where type like '%.StockReleased'";
    assert_eq!(fleet.number(released).await.unwrap(), 2_000);
}
