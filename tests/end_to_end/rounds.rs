//! Rounds: never more than the total, and everybody's money back when a round fails.

use std::time::Duration;

use holdfast_tests::{Order, TestFleet, is_accepted};
use proto::rounds::v1::{CancelRound, CloseRound};

/// More than one batch of refunds.
const BUYERS: u64 = 230;

fn buyers(round: uuid::Uuid) -> Vec<Order> {
    (0..BUYERS).map(|number| Order::new(number).shares(round, 2)).collect()
}

async fn everybody_is_refunded_once(fleet: &TestFleet) {
    fleet.settle_and_verify().await.unwrap();
    let buyers = i64::try_from(BUYERS).unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'refunded'").await.unwrap(), buyers);
    assert_eq!(
        fleet.number("select count(*) from log.events where type like '%.PaymentRefunded'").await.unwrap(),
        buyers
    );
    assert_eq!(
        fleet.number("select sum(refunded_minor)::bigint from payments.payments").await.unwrap(),
        buyers * 1_000
    );
    assert_eq!(fleet.number("select sold + held from rounds.rounds").await.unwrap(), 0);
}

#[tokio::test]
async fn a_cancelled_round_refunds_every_participant_once_in_bounded_batches() {
    let fleet = TestFleet::start().await.unwrap();
    let round = fleet.round("bicycle", 1_000).await.unwrap();
    fleet.place_all(&buyers(round)).await.unwrap();
    fleet.settle().await.unwrap();
    let cancel = CancelRound { round_id: round.to_string(), actor: "ops".to_owned(), note: "prize broken".to_owned() };
    assert!(is_accepted(&fleet.send("cancel", &cancel).await.unwrap()));
    everybody_is_refunded_once(&fleet).await;
    let batches = "select count(*) from log.events where type like '%.RoundRefundsRequested'";
    assert!(fleet.number(batches).await.unwrap() >= 3);
}

#[tokio::test]
async fn a_round_cancelled_while_people_buy_refunds_them_all() {
    let fleet = TestFleet::start().await.unwrap();
    let round = fleet.round("bicycle", 1_000).await.unwrap();
    let orders: Vec<Order> = buyers(round).into_iter().map(|order| order.pays("sandbox:succeed,after=300ms")).collect();
    let cancel = CancelRound { round_id: round.to_string(), actor: "ops".to_owned(), note: "prize broken".to_owned() };
    let (placed, cancelled) = tokio::join!(fleet.place_all(&orders), async {
        fleet.until_at_least("select count(*) from rounds.holds", 1).await.unwrap();
        fleet.send("cancel", &cancel).await
    });
    placed.unwrap();
    assert!(is_accepted(&cancelled.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    let ended = "select count(*) from orders.orders where status in ('refunded', 'rejected')";
    assert_eq!(fleet.number(ended).await.unwrap(), i64::try_from(BUYERS).unwrap());
    assert_eq!(fleet.number("select sold + held from rounds.rounds").await.unwrap(), 0);
    let kept = "select sum(captured_minor - refunded_minor)::bigint from payments.payments";
    assert_eq!(fleet.number(kept).await.unwrap(), 0);
}

#[tokio::test]
async fn a_round_past_its_closing_time_refunds_every_participant() {
    let fleet = TestFleet::start().await.unwrap();
    let round = fleet.round_closing("bicycle", 1_000, Duration::from_secs(6)).await.unwrap();
    fleet.place_all(&buyers(round)).await.unwrap();
    fleet.until("select count(*) from rounds.rounds where status = 'closed'", 1).await.unwrap();
    everybody_is_refunded_once(&fleet).await;
}

#[tokio::test]
async fn a_closed_round_sells_nothing_more() {
    let fleet = TestFleet::start().await.unwrap();
    let round = fleet.round("bicycle", 10).await.unwrap();
    let close = CloseRound { round_id: round.to_string(), actor: "ops".to_owned(), note: "enough".to_owned() };
    assert!(is_accepted(&fleet.send("close", &close).await.unwrap()));
    let order = Order::new(1).shares(round, 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "rejected").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_round_is_never_oversold_by_a_crowd() {
    let fleet = TestFleet::with(2, &[]).await.unwrap();
    let round = fleet.round("bicycle", 100).await.unwrap();
    fleet.place_all(&buyers(round)).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select sold from rounds.rounds").await.unwrap(), 100);
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 50);
    assert_eq!(fleet.number("select count(*) from log.events where type like '%.RoundSoldOut'").await.unwrap(), 1);
}
