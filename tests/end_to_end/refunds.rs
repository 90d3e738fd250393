//! Refunds, however the provider behaves.

use holdfast_tests::{Order, TestFleet, code, is_accepted, money};
use proto::{
    common::v1::ProductQuantity,
    orders::v1::RequestRefund,
    payments::v1::{RefundResolution, ResolveRefund},
};

async fn paid(fleet: &TestFleet, number: u64, script: &str) -> Order {
    fleet.paid(Order::new(number).line("MUG", 4).pays(script)).await.unwrap()
}

async fn start() -> TestFleet {
    let fleet = TestFleet::with(1, &[("HOLDFAST_EFFECTS_BACKOFF_MS", "20")]).await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    fleet
}

#[tokio::test]
async fn a_full_refund_gives_money_and_stock_back_once() {
    let fleet = start().await;
    let order = paid(&fleet, 1, "sandbox:succeed").await;
    assert!(is_accepted(&fleet.send("all", &order.refund()).await.unwrap()));
    fleet.until_status(&order, "refunded").await.unwrap();
    assert_eq!(code(&fleet.send("again", &order.refund()).await.unwrap()), "NOTHING_TO_REFUND");
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 100);
    assert_eq!(fleet.number("select refunded_minor from payments.payments").await.unwrap(), 4_000);
}

#[tokio::test]
async fn partial_refunds_add_up_and_never_exceed_what_was_paid() {
    let fleet = start().await;
    let order = paid(&fleet, 1, "sandbox:succeed").await;
    let one = ProductQuantity { sku: "MUG".to_owned(), quantity: 1 };
    let part = RequestRefund { lines: vec![one.clone()], ..order.refund() };
    assert!(is_accepted(&fleet.send("one", &part).await.unwrap()));
    fleet.until_status(&order, "partially_refunded").await.unwrap();
    let goodwill = RequestRefund { amount: Some(money(500)), ..order.refund() };
    assert!(is_accepted(&fleet.send("goodwill", &goodwill).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    let too_much = RequestRefund { amount: Some(money(2_501)), ..order.refund() };
    assert_eq!(code(&fleet.send("too much", &too_much).await.unwrap()), "REFUND_EXCEEDS_PAYMENT");
    let too_many = RequestRefund { lines: vec![ProductQuantity { quantity: 4, ..one }], ..order.refund() };
    assert_eq!(code(&fleet.send("too many", &too_many).await.unwrap()), "REFUND_EXCEEDS_LINES");
    let mut dollars = money(1);
    dollars.currency = "USD".to_owned();
    let foreign = RequestRefund { amount: Some(dollars), ..order.refund() };
    assert_eq!(code(&fleet.send("foreign", &foreign).await.unwrap()), "WRONG_CURRENCY");
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 97);
    assert_eq!(fleet.number("select refunded_minor from payments.payments").await.unwrap(), 1_500);
}

#[tokio::test]
async fn a_refund_whose_answer_is_lost_is_looked_up_and_paid_once() {
    let fleet = start().await;
    let order = paid(&fleet, 1, "sandbox:succeed,refund=lose_response").await;
    fleet.send("all", &order.refund()).await.unwrap();
    fleet.until_status(&order, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select sum(calls)::bigint from payments.sandbox_refunds").await.unwrap(), 1);
}

#[tokio::test]
async fn a_refund_that_fails_at_first_is_tried_again() {
    let fleet = start().await;
    let order = paid(&fleet, 1, "sandbox:succeed,refund=fail_then_succeed").await;
    fleet.send("all", &order.refund()).await.unwrap();
    fleet.until_status(&order, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_refund_that_the_provider_refuses_leaves_the_order_paid() {
    let fleet = start().await;
    let order = paid(&fleet, 1, "sandbox:succeed,refund=decline").await;
    fleet.send("all", &order.refund()).await.unwrap();
    fleet.until("select count(*) from log.events where type like '%.RefundAbandoned'", 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.status(&order).await.unwrap(), "paid");
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 96);
}

#[tokio::test]
async fn a_refund_that_fails_after_it_was_accepted_waits_for_an_operator() {
    let fleet = start().await;
    let order = paid(&fleet, 1, "sandbox:succeed,refund=fail_later,refund_after=50ms").await;
    let request = order.refund();
    fleet.send("all", &request).await.unwrap();
    fleet.until("select count(*) from log.events where type like '%.RefundReversed'", 1).await.unwrap();
    assert_eq!(fleet.status(&order).await.unwrap(), "refunded");

    let mut database = fleet.database().await.unwrap();
    let (payment_id, refund_id): (uuid::Uuid, uuid::Uuid) =
        sqlx::query_as("select payment_id, refund_id from payments.refunds").fetch_one(&mut database).await.unwrap();
    let resolve = |resolution: RefundResolution| ResolveRefund {
        payment_id: payment_id.to_string(),
        refund_id: refund_id.to_string(),
        resolution: resolution.into(),
        actor: "ops".to_owned(),
        note: "the bank says it came back".to_owned(),
    };
    let abandon = fleet.send("abandon", &resolve(RefundResolution::Abandon)).await.unwrap();
    assert_eq!(code(&abandon), "WRONG_STATE");
    assert!(is_accepted(&fleet.send("retry", &resolve(RefundResolution::Retry)).await.unwrap()));
    fleet.until("select count(*) from payments.refunds where status = 'refunded'", 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select refunded_minor from payments.payments").await.unwrap(), 4_000);
}
