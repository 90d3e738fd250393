//! Rows that somebody has spoiled are rebuilt while orders run and workers die: exactly those, and no worker writes what it remembers of them.

use std::collections::BTreeSet;

use holdfast_tests::{Order, TestFleet, is_accepted, money};
use proto::payments::v1::{CouponOffer, TopUpWallet};
use serde_json::Value;
use sqlx::Executor;

use crate::stock_up;

const KINDS: [&str; 6] = ["stock", "shares", "orders", "payments", "coupons", "wallets"];

/// What it found, and how it ended.
async fn rebuild(fleet: &TestFleet, args: &[&str]) -> (Option<i32>, Value) {
    fleet.command(&[&["rebuild"], args].concat()).await.unwrap()
}

fn names(report: &Value) -> BTreeSet<&str> {
    report["differences"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

async fn spoil(fleet: &TestFleet, statements: &'static str) {
    fleet.database().await.unwrap().execute(statements).await.unwrap();
}

/// The worker has read the spoiled row and remembers it as it saved it. A rebuild changes nothing that its writes ask for but the number of
/// the rebuild: not the version, and not the totals that a product's revision has.
#[tokio::test]
async fn no_worker_writes_what_it_remembers_of_a_row_that_was_rebuilt() {
    let fleet = TestFleet::start().await.unwrap();
    let orders = stock_up(&fleet, 60).await;
    let (before, rest) = orders.split_at(20);
    let (spoilt, after) = rest.split_at(20);
    fleet.place_all(before).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let received = "select received from inventory.stock where sku = 'A'";
    assert_eq!(fleet.number(received).await.unwrap(), 1_000_000);
    spoil(&fleet, "update inventory.stock set received = received + 7").await;
    {
        let mut processes = fleet.processes().await;
        processes.kill_worker("inventory", 0).await.unwrap();
        processes.start_worker("inventory", 0).unwrap();
    }
    fleet.place_all(spoilt).await.unwrap();
    fleet.settle().await.unwrap();
    assert_eq!(fleet.number(received).await.unwrap(), 1_000_007, "the worker has taken it for true");

    let (code, report) = rebuild(&fleet, &["stock", "--reason", "a test has spoiled it"]).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(names(&report), BTreeSet::from(["product-A", "product-B", "product-C"]));
    fleet.place_all(after).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number(received).await.unwrap(), 1_000_000);
}

/// Orders of every kind, some with a coupon, some paid from a wallet.
async fn orders(fleet: &TestFleet, count: u64) -> Vec<Order> {
    let mut orders = stock_up(fleet, count).await;
    fleet.coupon("TEN", CouponOffer { basis_points: 1_000, ..CouponOffer::default() }).await.unwrap();
    let (customer_id, actor, note) = ("ada".to_owned(), "till".to_owned(), String::new());
    let top_up = TopUpWallet { customer_id, amount: Some(money(1_000_000)), actor, note };
    assert!(is_accepted(&fleet.send("ada", &top_up).await.unwrap()));
    for order in orders.iter_mut().step_by(10) {
        *order = order.clone().by("ada").pays("wallet").coupon("TEN");
    }
    orders
}

const SPOIL: &str = "
    update inventory.stock set received = received + 5, held = held + 1 where sku = 'A';
    insert into inventory.holds values ('11111111-1111-4111-8111-111111111111', 1, 'released', '{}', '{}', 1);
    update rounds.rounds set held = held + 3;
    create table public.spoilt as select order_id, payment_id from orders.orders where status = 'paid' order by order_id limit 1;
    update orders.orders set note = 'spoilt' where order_id = (select order_id from public.spoilt);
    delete from payments.payments where payment_id = (select payment_id from public.spoilt);
    update payments.coupons set redeemed = redeemed + 1;
    update payments.wallets set available_minor = available_minor + 5;";

#[tokio::test]
async fn spoiled_rows_are_named_and_rebuilt_while_orders_run_and_workers_die() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_CONSUMER_BATCH_MAX", "50")]).await.unwrap();
    let orders = orders(&fleet, 300).await;
    let (before, during) = orders.split_at(60);
    fleet.place_all(before).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    spoil(&fleet, SPOIL).await;
    let report = audit::audit(&fleet.address.database_url).await.unwrap();
    assert!(!report.ok && report.findings.iter().any(|finding| finding.subject == "product-A"), "{report:?}");

    let load = async {
        for (number, part) in during.chunks(60).enumerate() {
            let service = ["inventory", "payments", "orders", "rounds"][number % 4];
            let harm = async {
                let mut processes = fleet.processes().await;
                processes.kill_worker(service, 0).await.unwrap();
                processes.start_worker(service, 0).unwrap();
            };
            let (placed, ()) = tokio::join!(fleet.place_all(part), harm);
            placed.unwrap();
        }
    };
    let repair = async {
        let mut found = BTreeSet::new();
        for kind in KINDS {
            let (code, looked) = rebuild(&fleet, &[kind, "--dry-run", "--reason", "not yet"]).await;
            assert_eq!((code, looked.get("rebuilt")), (Some(1), None), "{looked}");
            let (code, done) = rebuild(&fleet, &[kind, "--reason", "a test has spoiled it"]).await;
            assert_eq!(code, Some(0), "{done}");
            assert_eq!(names(&done), names(&looked), "{kind}");
            assert_eq!(done["rebuilt"]["rows"], names(&done).len(), "{done}");
            found.extend(names(&done).into_iter().map(str::to_owned));
        }
        found
    };
    let ((), found) = tokio::join!(load, repair);
    let mut connection = fleet.database().await.unwrap();
    let query =
        "select 'order-' || order_id from public.spoilt union select 'payment-' || payment_id from public.spoilt
        union select 'round-' || round_id from rounds.rounds union select 'wallet-' || wallet_id from payments.wallets";
    let mut spoilt: BTreeSet<String> =
        sqlx::query_scalar(query).fetch_all(&mut connection).await.unwrap().into_iter().collect();
    spoilt.extend(["product-A", "stock-11111111-1111-4111-8111-111111111111.1", "coupon-TEN"].map(str::to_owned));
    assert_eq!(found, spoilt);
    fleet.settle_and_verify().await.unwrap();

    // Whoever asks later is told: who, when, why, and what there was.
    let noted = "select count(*) from log.rebuilds where reason = 'a test has spoiled it' and done_by = session_user";
    assert_eq!(fleet.number(noted).await.unwrap(), 6);
    let query = "select before, after from log.rebuilt_rows where name = 'product-A'";
    let (was, is): (Value, Value) = sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
    let received = |contents: &Value| contents.pointer("/inventory.stock/0/received").and_then(Value::as_i64).unwrap();
    assert_eq!((received(&was), received(&is)), (1_000_005, 1_000_000));
    let gone =
        "select count(*) from log.rebuilt_rows where name like 'stock-1111%' and before is not null and after is null";
    assert_eq!(fleet.number(gone).await.unwrap(), 1);
}
