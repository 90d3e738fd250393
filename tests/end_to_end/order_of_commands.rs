//! Commands that depend on each other: what is refused for a moment is refused for ever by its id, and the answer says so.

use std::time::Duration;

use async_nats::jetstream;
use holdfast_tests::{Order, TestFleet, code, events, eventually, reason, remedy, report_resolution};
use proto::{
    common::v1::{CommandReply, Remedy},
    inventory::v1::ReceiveStock,
    orders::v1::{ReinstateOrder, RequestRefund},
    payments::v1::{ReportResolution, ResolveRefund},
    rounds::v1::CancelRound,
    well_known,
};
use sqlx::Connection;
use testbed::servers::Signal;
use uuid::Uuid;

/// Refused, with a reason that sends nobody back under the same id.
fn is_final(reply: &CommandReply, wanted: &str) {
    assert_eq!((code(reply), remedy(reply)), (wanted, Remedy::NewId), "{reply:?}");
    assert!(reason(reply).ends_with("this ce-id stays refused: the next try needs a new one"), "{reply:?}");
    for lie in ["try again", "place it first", "open it first", "register it first"] {
        assert!(!reason(reply).contains(lie), "{reply:?}");
    }
}

/// A cancellation overtakes its order: it was told to place the order first, did so, and was refused again for ever.
#[tokio::test]
async fn a_cancellation_that_came_before_its_order_is_told_to_take_a_new_id_and_then_cancels() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 5).await.unwrap();
    let order = Order::new(1).line("MUG", 1).pays("sandbox:never");
    let early = fleet.send("early", &order.cancel()).await.unwrap();
    is_final(&early, "UNKNOWN_ORDER");
    assert!(reason(&early).contains("wait for the answer"), "{early:?}");
    fleet.place(&order).await.unwrap();
    assert_eq!(fleet.send("early", &order.cancel()).await.unwrap(), early);
    let later = fleet.send("later", &order.cancel()).await.unwrap();
    assert_eq!(events(&later), ["OrderCancelled"]);
    fleet.settle_and_verify().await.unwrap();
}

/// An order that is not released yet, for inventory stands still: "try again in a moment" went round in circles under one id.
#[tokio::test]
async fn a_reinstatement_before_the_release_is_told_what_to_wait_for_and_to_take_a_new_id() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 5).await.unwrap();
    let order = Order::new(1).line("MUG", 1).pays("sandbox:never");
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "reserved").await.unwrap();
    fleet.processes().await.worker("inventory", 0).unwrap().signal(Signal::STOP).unwrap();
    fleet.send("cancel", &order.cancel()).await.unwrap();
    let time_to_pay = Some(well_known::Duration { seconds: 600, nanos: 0 });
    let (order_id, actor, note) = (order.id.to_string(), "ops".to_owned(), "x".to_owned());
    let reinstate = ReinstateOrder { order_id, actor, note, time_to_pay, expected_version: 0 };
    let early = fleet.send("early", &reinstate).await.unwrap();
    is_final(&early, "ORDER_NOT_RELEASED");
    assert!(reason(&early).contains("wait for OrderReleased"), "{early:?}");
    fleet.processes().await.worker("inventory", 0).unwrap().signal(Signal::CONT).unwrap();
    fleet.until("select count(*) from orders.orders where released", 1).await.unwrap();
    assert_eq!(fleet.send("early", &reinstate).await.unwrap(), early);
    assert_eq!(events(&fleet.send("later", &reinstate).await.unwrap()), ["OrderReinstated"]);
    fleet.send("end", &order.cancel()).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn no_refusal_over_what_is_not_known_yet_asks_for_the_same_id_again() {
    let fleet = TestFleet::start().await.unwrap();
    let none = || Uuid::from_u128(7).to_string();
    let (actor, note) = (|| "ops".to_owned(), || "x".to_owned());
    let receive = ReceiveStock { sku: "NOPE".to_owned(), quantity: 1, reference: String::new(), actor: String::new() };
    is_final(&fleet.send("a", &receive).await.unwrap(), "UNKNOWN_PRODUCT");
    let cancel = CancelRound { round_id: none(), actor: actor(), note: note() };
    is_final(&fleet.send("b", &cancel).await.unwrap(), "UNKNOWN_ROUND");
    let refund = RequestRefund { order_id: none(), actor: actor(), note: note(), ..Default::default() };
    is_final(&fleet.send("c", &refund).await.unwrap(), "UNKNOWN_ORDER");
    let report = report_resolution(&Order::new(1), "e", ReportResolution::Undone);
    is_final(&fleet.send("d", &report).await.unwrap(), "UNKNOWN_PAYMENT");
    let resolve = ResolveRefund { payment_id: none(), refund_id: none(), resolution: 1, actor: actor(), note: note() };
    is_final(&fleet.send("e", &resolve).await.unwrap(), "UNKNOWN_PAYMENT");
}

/// Replicas share the queue, so neighbours overtake each other; who waits for each answer is never refused.
#[tokio::test]
async fn a_cancellation_sent_after_the_answer_to_its_order_is_accepted_by_any_replica() {
    let fleet = TestFleet::with(2, &[]).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let orders: Vec<Order> = (0..100)
        .map(|number| Order::new(number).line("MUG", 1).pays("sandbox:never").expires_after(Duration::from_secs(600)))
        .collect();
    let pairs = orders.iter().map(|order| async {
        let placed = fleet.place(order).await.unwrap();
        let cancelled = fleet.send(&order.id.to_string(), &order.cancel()).await.unwrap();
        (code(&placed).to_owned(), code(&cancelled).to_owned())
    });
    for pair in futures::future::join_all(pairs).await {
        assert_eq!(pair, ("ACCEPTED".to_owned(), "ACCEPTED".to_owned()));
    }
    fleet.settle_and_verify().await.unwrap();
}

/// So many commands wait for orders.
async fn wait_for_orders(fleet: &TestFleet, count: u64) {
    eventually("the commands wait", || async {
        let jetstream = jetstream::new(fleet.client.client().clone());
        Ok(jetstream.get_stream("COMMANDS_ORDERS").await?.cached_info().state.messages == count)
    })
    .await
    .unwrap();
}

/// Who asks for money back while thousands of orders come in had to wait until all of them were placed.
#[tokio::test]
async fn a_refund_does_not_wait_behind_all_orders() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_CONSUMER_BATCH_MAX", "20")]).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let paid = Order::new(1_000).line("MUG", 1).pays("sandbox:succeed");
    fleet.place(&paid).await.unwrap();
    fleet.until_status(&paid, "paid").await.unwrap();
    let orders: Vec<Order> = (0..200).map(|number| Order::new(number).line("MUG", 1).pays("sandbox:never")).collect();
    fleet.processes().await.worker("orders", 0).unwrap().signal(Signal::STOP).unwrap();
    let refund = paid.refund();
    let all_wait = async {
        wait_for_orders(&fleet, 200).await;
        let goes_on = async {
            wait_for_orders(&fleet, 201).await;
            fleet.processes().await.worker("orders", 0).unwrap().signal(Signal::CONT).unwrap();
        };
        tokio::join!(fleet.send("refund", &refund), goes_on).0.unwrap()
    };
    let (placed, asked) = tokio::join!(fleet.place_all(&orders), all_wait);
    placed.unwrap();
    assert_eq!(events(&asked), ["RefundRequested"]);
    let overtaken = "select count(*) from log.events where type = 'holdfast.orders.v1.OrderPlaced'
        and position > (select position from log.events where type = 'holdfast.orders.v1.RefundRequested')";
    assert!(fleet.number(overtaken).await.unwrap() >= 100, "it waited behind most of them");
    for order in &orders {
        fleet.send(&order.id.to_string(), &order.cancel()).await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
}

/// At full load a batch takes long, and here it takes for ever: somebody keeps a row that it wants to write.
#[tokio::test]
async fn a_refund_does_not_wait_for_the_batch_that_is_under_way() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let paid = Order::new(1).line("MUG", 1).pays("sandbox:succeed");
    let other = Order::new(2).line("MUG", 1).pays("sandbox:never");
    fleet.place_all(&[paid.clone(), other.clone()]).await.unwrap();
    fleet.until_status(&paid, "paid").await.unwrap();
    fleet.until_status(&other, "reserved").await.unwrap();
    let mut operator = fleet.database().await.unwrap();
    let mut kept = operator.begin().await.unwrap();
    let row = sqlx::query("select * from orders.orders where order_id = $1 for update").bind(other.id);
    row.execute(&mut *kept).await.unwrap();
    let (cancel, refund) = (other.cancel(), paid.refund());
    let meanwhile = async {
        let waiting =
            "select count(*) from pg_stat_activity where usename = 'holdfast_orders' and wait_event_type = 'Lock'";
        fleet.until_at_least(waiting, 1).await.unwrap();
        let asked = fleet.send("refund", &refund).await.unwrap();
        assert_eq!(fleet.number(waiting).await.unwrap(), 1, "the batch is done");
        kept.commit().await.unwrap();
        asked
    };
    let (cancelled, asked) = tokio::join!(fleet.send("cancel", &cancel), meanwhile);
    assert_eq!(events(&asked), ["RefundRequested"]);
    assert_eq!(events(&cancelled.unwrap()), ["OrderCancelled"]);
    fleet.settle_and_verify().await.unwrap();
}
