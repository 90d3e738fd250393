//! Replays of a fleet that is at work and whose workers die: each is a prefix of the log, and says what another fold of it says.

use std::{cell::Cell, collections::BTreeMap};

use futures::future;
use holdfast_tests::{Order, TestFleet, is_accepted, money};
use proto::payments::v1::{CouponOffer, TopUpWallet};
use rand::{Rng, SeedableRng, rngs::StdRng};
use runtime::service::Service;
use serde_json::{Map, Value, json};

use crate::stock_up;

const ORDERS: u64 = 300;

/// What names the rows of each kind.
const KINDS: [(&str, &str); 6] = [
    ("stock", "sku"),
    ("shares", "round_id"),
    ("orders", "order_id"),
    ("payments", "payment_id"),
    ("coupons", "coupon_code"),
    ("wallets", "wallet_id"),
];

/// Orders of every kind, some with a coupon, some paid from a wallet, some refunded.
async fn orders(fleet: &TestFleet) -> Vec<Order> {
    let mut orders = stock_up(fleet, ORDERS).await;
    fleet.coupon("TEN", CouponOffer { basis_points: 1_000, ..CouponOffer::default() }).await.unwrap();
    let top_up = TopUpWallet {
        customer_id: "ada".to_owned(),
        amount: Some(money(1_000_000)),
        actor: "till".to_owned(),
        note: String::new(),
    };
    assert!(is_accepted(&fleet.send("ada", &top_up).await.unwrap()));
    for (number, order) in orders.iter_mut().enumerate() {
        if number % 5 == 0 {
            let script = if number % 10 == 0 { "wallet" } else { "sandbox:succeed" };
            *order = order.clone().by("ada").pays(script).coupon("TEN");
        }
    }
    orders
}

async fn replayed(fleet: &TestFleet, args: &[&str]) -> Value {
    let (code, said) = fleet.command(&[&["replay"], args].concat()).await.unwrap();
    assert_eq!(code, Some(0), "{args:?}: {said}");
    said
}

/// Products by another fold, of what the events say in JSON: received, adjusted, committed, returned and held.
async fn naive(fleet: &TestFleet) -> Vec<(i64, BTreeMap<String, [i64; 5]>)> {
    let mut connection = fleet.database().await.unwrap();
    let query = "select position, type, data from log.events order by position";
    let events: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(query).fetch_all(&mut connection).await.unwrap();
    let mut products: BTreeMap<String, [i64; 5]> = BTreeMap::new();
    let mut after = Vec::new();
    for (position, name, data) in events {
        let event = proto::to_json(&name, &data).unwrap();
        let pieces = |of: &Value, name: &str| of[name].as_str().map_or(0, |pieces| pieces.parse().unwrap());
        let sku = |of: &Value| of["sku"].as_str().unwrap().to_owned();
        // How often the pieces of each line are added to each of the five.
        let lines = match name.strip_prefix("holdfast.inventory.v1.") {
            Some("StockHeld") => [0, 0, 0, 0, 1],
            Some("StockCommitted") => [0, 0, 1, 0, -1],
            Some("StockReleased") => [0, 0, 0, 0, -1],
            Some("StockReturned") => [0, 0, 0, 1, 0],
            Some(_) | None => [0; 5],
        };
        match name.strip_prefix("holdfast.inventory.v1.") {
            Some("ProductRegistered") => drop(products.insert(sku(&event), [0; 5])),
            Some("StockReceived") => products.get_mut(&sku(&event)).unwrap()[0] += pieces(&event, "quantity"),
            Some("StockAdjusted") => products.get_mut(&sku(&event)).unwrap()[1] += pieces(&event, "delta"),
            Some(_) | None => {}
        }
        for line in event.get("lines").and_then(Value::as_array).into_iter().flatten().filter(|_| lines != [0; 5]) {
            let totals = products.get_mut(&sku(line)).unwrap();
            totals.iter_mut().zip(lines).for_each(|(total, times)| *total += times * pieces(line, "quantity"));
        }
        after.push((position, products.clone()));
    }
    after
}

/// Products of a replay.
fn products(replayed: &Value) -> BTreeMap<String, [i64; 5]> {
    let row = |row: &Value| {
        let totals = ["received", "adjusted", "committed", "returned", "held"].map(|name| row[name].as_i64().unwrap());
        let [received, adjusted, committed, returned, held] = totals;
        let on_hand = received + adjusted - committed + returned;
        assert_eq!(
            (row["on_hand"].as_i64(), row["available"].as_i64()),
            (Some(on_hand), Some(on_hand - held)),
            "{row}"
        );
        (row["sku"].as_str().unwrap().to_owned(), totals)
    };
    replayed["rows"].as_array().unwrap().iter().map(row).collect()
}

fn cut(replayed: &Value) -> i64 {
    replayed.pointer("/evidence/cut/position").and_then(Value::as_i64).unwrap()
}

/// Rows of the database as its service reads them, by the keys of one kind.
async fn live<S: Service>(fleet: &TestFleet, category: &str) -> BTreeMap<String, Value> {
    let state = S::load_all(&mut fleet.database().await.unwrap()).await.unwrap();
    let rows = S::rows(&state).into_iter();
    let rows = rows
        .filter_map(|(name, row)| Some((name.strip_prefix(category)?.to_owned(), serde_json::to_value(row).unwrap())));
    rows.collect()
}

fn rows<'a>(replayed: &'a Value, key: &str) -> BTreeMap<String, &'a Map<String, Value>> {
    let rows = replayed["rows"].as_array().unwrap().iter().map(|row| row.as_object().unwrap());
    rows.map(|row| (row[key].as_str().unwrap().to_owned(), row)).collect()
}

#[tokio::test]
async fn a_replay_of_a_fleet_at_work_whose_workers_die_says_what_another_fold_of_that_prefix_says() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_CONSUMER_BATCH_MAX", "50")]).await.unwrap();
    let orders = orders(&fleet).await;
    let is_over = Cell::new(false);
    let load = async {
        for (number, part) in orders.chunks(75).enumerate() {
            let (first, rest) = part.split_at(25);
            fleet.place_all(first).await.unwrap();
            let service = ["inventory", "orders", "payments", "rounds"][number % 4];
            let harm = async {
                let mut processes = fleet.processes().await;
                processes.kill_worker(service, 0).await.unwrap();
                processes.start_worker(service, 0).unwrap();
            };
            let (placed, ()) = tokio::join!(fleet.place_all(rest), harm);
            placed.unwrap();
        }
        is_over.set(true);
    };
    let replays = async {
        let mut during = Vec::new();
        while !is_over.get() {
            during.push(replayed(&fleet, &["stock"]).await);
        }
        during
    };
    let ((), during) = tokio::join!(load, replays);
    fleet.settle().await.unwrap();
    let refunds = orders.iter().step_by(5).map(|order| async { fleet.send_new(&order.refund()).await.unwrap() });
    future::join_all(refunds).await;
    fleet.settle_and_verify().await.unwrap();

    let naive = naive(&fleet).await;
    let at = |position: i64| {
        let behind = naive.partition_point(|(place, _)| *place <= position);
        (i64::try_from(behind).unwrap(), naive[behind - 1].clone())
    };
    assert!(!during.is_empty());
    for replayed in &during {
        let (read, (position, wanted)) = at(cut(replayed));
        assert_eq!((position, products(replayed)), (cut(replayed), wanted));
        assert_eq!(replayed["evidence"]["events_read"], read);
    }
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let (first, last) = (naive.first().unwrap().0, naive.last().unwrap().0);
    for _ in 0..50 {
        let position = chance.random_range(first..=last);
        let replayed = replayed(&fleet, &["stock", "--at", &position.to_string()]).await;
        let (read, (cut_at, wanted)) = at(position);
        assert_eq!((cut(&replayed), products(&replayed)), (cut_at, wanted), "at {position}");
        assert_eq!(replayed["evidence"]["events_read"], read);
    }
    the_end_is_as_the_rows(&fleet).await;
    keys_and_movements_agree_with_the_whole(&fleet).await;
}

/// At the end of the log each row is what the database has.
async fn the_end_is_as_the_rows(fleet: &TestFleet) {
    let rows_of = [
        live::<inventory::Inventory>(fleet, "product-").await,
        live::<rounds::Rounds>(fleet, "round-").await,
        live::<orders::Orders>(fleet, "order-").await,
        live::<payments::Payments>(fleet, "payment-").await,
        live::<payments::Payments>(fleet, "coupon-").await,
        live::<payments::Payments>(fleet, "wallet-").await,
    ];
    for ((kind, key), live) in KINDS.into_iter().zip(rows_of) {
        let replayed = replayed(fleet, &[kind]).await;
        let folded = rows(&replayed, key);
        assert!(!live.is_empty(), "{kind}");
        assert_eq!(folded.keys().collect::<Vec<_>>(), live.keys().collect::<Vec<_>>(), "{kind}");
        for (name, live) in live {
            for (field, live) in
                live.as_object().unwrap().iter().filter(|(field, _)| (kind, field.as_str()) != ("shares", "status"))
            {
                assert_eq!(folded.get(&name).and_then(|row| row.get(field)), Some(live), "{field} of {name}");
            }
        }
    }
}

/// Of a key there is the same as among all, and its movements add up to its figures.
async fn keys_and_movements_agree_with_the_whole(fleet: &TestFleet) {
    for (kind, key) in KINDS {
        let whole = replayed(fleet, &[kind, "--movements"]).await;
        let at = cut(&whole).to_string();
        let movements = whole.get("movements").and_then(Value::as_array).unwrap();
        let mut sums: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for movement in movements {
            for (figure, moved) in movement["figures"].as_object().unwrap() {
                let sum = sums.entry((movement["key"].as_str().unwrap(), figure)).or_default();
                *sum += moved["delta"].as_i64().unwrap();
                assert_eq!(moved["balance"], *sum, "{movement}");
            }
        }
        let folded = rows(&whole, key);
        for ((name, figure), sum) in sums {
            assert_eq!(folded.get(name).and_then(|row| row.get(figure)?.as_i64()), Some(sum), "{figure} of {name}");
        }
        for name in folded.keys().take(3) {
            let one = replayed(fleet, &[kind, "--movements", "--key", name, "--at", &at]).await;
            assert_eq!(one.get("rows"), Some(&json!([folded.get(name)])));
            let of_it: Vec<_> = movements.iter().filter(|movement| movement["key"] == name.as_str()).cloned().collect();
            assert!(!of_it.is_empty(), "{kind} {name}");
            assert_eq!(one.get("movements"), Some(&Value::Array(of_it)));
        }
    }
}
