//! Rounds: never more than the total, and everybody's money back when a round fails.

use std::time::Duration;

use holdfast_tests::{Order, TestFleet, code, events, is_accepted};
use proto::{
    orders::v1::RequestRefund,
    rounds::v1::{CancelRound, CloseRound},
};
use uuid::Uuid;

/// More than one batch of refunds.
const BUYERS: u64 = 230;

fn buyers(round: Uuid) -> Vec<Order> {
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

/// A round of two shares, each sold to another order, that closes after this time.
async fn sold_out(fleet: &TestFleet, closes_after: Duration) -> (Uuid, Order, Order) {
    let round = fleet.round_closing("bicycle", 2, closes_after).await.unwrap();
    let (first, second) = (Order::new(1).shares(round, 1), Order::new(2).shares(round, 1));
    fleet.place_all(&[first.clone(), second.clone()]).await.unwrap();
    fleet.until("select count(*) from rounds.rounds where status = 'sold_out'", 1).await.unwrap();
    (round, first, second)
}

fn close(round: Uuid) -> CloseRound {
    CloseRound { round_id: round.to_string(), actor: "ops".to_owned(), note: "enough".to_owned() }
}

/// Has the order's shares come back, and once more, which must change nothing.
async fn give_back_twice(fleet: &TestFleet, order: &Order) {
    let refund = RequestRefund {
        order_id: order.id.to_string(),
        return_shares: true,
        actor: "ops".to_owned(),
        note: "changed my mind".to_owned(),
        ..RequestRefund::default()
    };
    assert!(is_accepted(&fleet.send("back", &refund).await.unwrap()));
    fleet.until("select count(*) from log.events where type like '%.SharesReturned'", 1).await.unwrap();
    fleet.until_status(order, "refunded").await.unwrap();
    assert!(!is_accepted(&fleet.send("back again", &refund).await.unwrap()));
    assert_eq!(fleet.number("select sold + held from rounds.rounds").await.unwrap(), 1);
}

const REFUNDS: &str = "select count(*) from log.events where type like '%.PaymentRefunded'";
const KEPT: &str = "select sum(captured_minor - refunded_minor)::bigint from payments.payments";

#[tokio::test]
async fn a_share_that_comes_back_to_a_sold_out_round_is_sold_to_the_next_buyer() {
    let fleet = TestFleet::start().await.unwrap();
    let (round, first, second) = sold_out(&fleet, Duration::from_secs(3_600)).await;
    assert_eq!(code(&fleet.send("close", &close(round)).await.unwrap()), "ROUND_NOT_OPEN");
    give_back_twice(&fleet, &first).await;
    let (third, fourth) = (Order::new(3).shares(round, 1), Order::new(4).shares(round, 1));
    fleet.place(&third).await.unwrap();
    fleet.until_status(&third, "paid").await.unwrap();
    fleet.until("select count(*) from rounds.rounds where status = 'sold_out' and sold = 2", 1).await.unwrap();
    fleet.place(&fourth).await.unwrap();
    fleet.until_status(&fourth, "rejected").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let stream = fleet.stream(&format!("round-{round}")).await.unwrap();
    assert_eq!(stream, ["RoundOpened", "RoundSoldOut", "RoundReopened", "RoundSoldOut"]);
    assert_eq!(fleet.status(&second).await.unwrap(), "paid");
    assert_eq!((fleet.number(REFUNDS).await.unwrap(), fleet.number(KEPT).await.unwrap()), (1, 1_000));
}

#[tokio::test]
async fn a_round_that_was_sold_out_until_a_share_came_back_can_be_closed_and_refunds_the_others_once() {
    let fleet = TestFleet::start().await.unwrap();
    let (round, first, second) = sold_out(&fleet, Duration::from_secs(3_600)).await;
    give_back_twice(&fleet, &first).await;
    assert_eq!(events(&fleet.send("close", &close(round)).await.unwrap()), ["RoundClosed"]);
    assert_eq!(events(&fleet.send("close again", &close(round)).await.unwrap()), [""; 0]);
    fleet.until_status(&second, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!((fleet.number(REFUNDS).await.unwrap(), fleet.number(KEPT).await.unwrap()), (2, 0));
    assert_eq!(fleet.number("select sold + held from rounds.rounds").await.unwrap(), 0);
}

#[tokio::test]
async fn a_round_that_was_sold_out_until_a_share_came_back_closes_at_its_closing_time_and_refunds_the_others_once() {
    let fleet = TestFleet::start().await.unwrap();
    let (round, first, second) = sold_out(&fleet, Duration::from_secs(10)).await;
    give_back_twice(&fleet, &first).await;
    fleet.until_status(&second, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let stream = fleet.stream(&format!("round-{round}")).await.unwrap();
    assert_eq!(stream, ["RoundOpened", "RoundSoldOut", "RoundReopened", "RoundClosed", "RoundRefundsRequested"]);
    assert_eq!((fleet.number(REFUNDS).await.unwrap(), fleet.number(KEPT).await.unwrap()), (2, 0));
}

#[tokio::test]
async fn a_share_that_comes_back_after_the_closing_time_of_a_sold_out_round_is_not_sold_again() {
    let fleet = TestFleet::start().await.unwrap();
    let (round, first, second) = sold_out(&fleet, Duration::from_secs(6)).await;
    fleet.until("select count(*) from rounds.rounds where closes_at < now()", 1).await.unwrap();
    give_back_twice(&fleet, &first).await;
    let third = Order::new(3).shares(round, 1);
    fleet.place(&third).await.unwrap();
    fleet.until_status(&third, "rejected").await.unwrap();
    assert_eq!(code(&fleet.send("close", &close(round)).await.unwrap()), "ROUND_NOT_OPEN");
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from rounds.rounds where status = 'sold_out'").await.unwrap(), 1);
    assert_eq!(fleet.status(&second).await.unwrap(), "paid");

    let cancel = CancelRound { round_id: round.to_string(), actor: "ops".to_owned(), note: "prize broken".to_owned() };
    assert!(is_accepted(&fleet.send("cancel", &cancel).await.unwrap()));
    fleet.until_status(&second, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!((fleet.number(REFUNDS).await.unwrap(), fleet.number(KEPT).await.unwrap()), (2, 0));
}
