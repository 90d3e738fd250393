//! Money against the clock: buyers who pay in the milliseconds around the end of their time.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use holdfast_tests::{Order, eventually, is_accepted, report, stripe::StripeShop};
use platform::clock;
use proto::payments::v1::ProviderEventKind;
use sqlx::Row;

/// Orders in all; the money of each comes in another millisecond.
const ORDERS: u64 = 1_000;

/// Of so many, one is paid on Stripe's page, where the money is set aside; the others' money is there when it is told.
const ONE_IN: u64 = 5;

/// So long before its order's time is over, the money of the first order comes; that of each other one a millisecond later.
const FIRST_MS: i64 = 200;

/// Time to pay: enough to have asked for all the money before the first order's time is over.
const TIME_TO_PAY: Duration = Duration::from_secs(25);

fn is_stripes(number: u64) -> bool {
    number.is_multiple_of(ONE_IN)
}

/// What an order's money and stock have come to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// It has what it paid for.
    Paid,
    /// The money came, and all of it went back.
    Refunded,
    /// No money was taken.
    Unpaid,
}

async fn shop() -> StripeShop {
    let settings = [
        ("HOLDFAST_PAYMENTS_PROVIDERS", "sandbox,stripe"),
        ("HOLDFAST_STRIPE_CAPTURE", "on_paid"),
        ("HOLDFAST_STRIPE_MISSED_MS", "0"),
    ];
    StripeShop::open(1, 10_000, &settings).await.unwrap()
}

/// Until when each order may be paid, in microseconds since 1970.
async fn ends(shop: &StripeShop) -> BTreeMap<String, i64> {
    let mut database = shop.fleet.database().await.unwrap();
    let query = "select order_id::text, (extract(epoch from expires_at) * 1000000)::int8 from orders.orders";
    let rows = sqlx::query(query).fetch_all(&mut database).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The buyer's money comes at this time. What becomes of it is what the test asks.
async fn pays_at(shop: &StripeShop, number: u64, order: &Order, sessions: &BTreeMap<String, String>, at_us: i64) {
    let left_us = at_us.saturating_sub(clock::now().as_micros());
    clock::sleep(Duration::from_micros(u64::try_from(left_us).unwrap_or(0))).await;
    if is_stripes(number) {
        // Refused: the page was closed first.
        drop(shop.stripe.pay(&sessions[&order.payment_id().to_string()]));
        return;
    }
    let told = report(ProviderEventKind::PaymentSucceeded, order, &format!("evt_{number}"), 1_000);
    assert!(is_accepted(&shop.fleet.send(&format!("paid {number}"), &told).await.unwrap()));
}

async fn end(shop: &StripeShop, order: &Order) -> End {
    let query = "select o.status, p.captured_minor, p.refunded_minor, p.refunding_minor
        from orders.orders o join payments.payments p using (order_id) where order_id = $1";
    let mut database = shop.fleet.database().await.unwrap();
    let row = sqlx::query(query).bind(order.id).fetch_one(&mut database).await.unwrap();
    match (row.get(0), row.get(1), row.get(2), row.get(3)) {
        ("paid", 1_000_i64, 0_i64, 0_i64) => End::Paid,
        ("expired", 1_000, 1_000, 0) => End::Refunded,
        ("expired", 0, 0, 0) => End::Unpaid,
        other => panic!("{}: {other:?}", order.id),
    }
}

#[tokio::test]
async fn money_that_races_the_end_of_its_order_buys_it_or_goes_back() {
    let shop = shop().await;
    let orders: Vec<Order> = (0..ORDERS)
        .map(|number| {
            let method = if is_stripes(number) { "stripe" } else { "sandbox:never" };
            Order::new(number).line("MUG", 1).pays(method).expires_after(TIME_TO_PAY)
        })
        .collect();
    shop.fleet.place_all(&orders).await.unwrap();
    let pages = || async { Ok(shop.stripe.ledger().payments.len() == orders.len() / 5) };
    eventually("there is a page for each that needs one", pages).await.unwrap();
    shop.fleet.until("select count(*) from payments.payments where status = 'requested'", 1_000).await.unwrap();
    let ends = ends(&shop).await;
    let ledger = shop.stripe.ledger();
    let sessions = ledger.payments.iter().map(|(id, payment)| (id.clone(), payment.sessions[0].id.clone())).collect();
    join_all(orders.iter().zip(0..).map(|(order, number)| {
        let offset_ms = i64::try_from(number).unwrap() - FIRST_MS;
        pays_at(&shop, number, order, &sessions, ends[&order.id.to_string()] + offset_ms * 1_000)
    }))
    .await;
    shop.fleet.until("select count(*) from orders.orders where status in ('paid', 'expired')", 1_000).await.unwrap();
    eventually("all is told", || async { Ok(shop.stripe.to_deliver() == 0) }).await.unwrap();
    shop.fleet.settle_and_verify().await.unwrap();
    all_ended_well(&shop, &orders).await;
}

/// Each was paid for or has its money back; stock and Stripe's books say the same.
async fn all_ended_well(shop: &StripeShop, orders: &[Order]) {
    let mut counts: BTreeMap<(bool, End), i64> = BTreeMap::new();
    for (order, number) in orders.iter().zip(0..) {
        *counts.entry((is_stripes(number), end(shop, order).await)).or_default() += 1;
    }
    println!("by whether it is Stripe's, and its end: {counts:?}");
    let count = |is_stripes: bool, end: End| counts.get(&(is_stripes, end)).copied().unwrap_or(0);
    for (is_stripes, other) in [(false, End::Refunded), (true, End::Unpaid)] {
        assert!(count(is_stripes, End::Paid) > 0 && count(is_stripes, other) > 0, "no race: {counts:?}");
    }
    let paid = count(false, End::Paid) + count(true, End::Paid);
    assert_eq!(shop.fleet.number("select on_hand from inventory.stock").await.unwrap(), 10_000 - paid);
    assert_eq!(shop.fleet.number("select held from inventory.stock").await.unwrap(), 0);

    let ledger = shop.stripe.ledger();
    let theirs = ledger.totals.get("eur").copied().unwrap();
    let refunded = count(true, End::Refunded) * 1_000;
    let ours = (count(true, End::Paid) * 1_000 + refunded, refunded);
    assert_eq!((theirs.captured, theirs.refunded), ours, "{theirs:?}");
    assert_eq!((theirs.authorised, theirs.refunding), (0, 0), "nothing is left set aside or on its way");
}
