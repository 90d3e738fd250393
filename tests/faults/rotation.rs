//! Passwords, keys and certificates that are changed while a fleet works: nothing is restarted, and nothing is lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use holdfast_tests::{
    Order, TestFleet, eventually,
    gateway::Gateway,
    guarded::{Credentials, HOLDERS},
    is_accepted,
    users::connected,
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// Sessions that came without TLS, though all have to have it.
const IN_CLEAR: &str = "select count(*) from pg_stat_activity join pg_stat_ssl using (pid)
    where usename like 'holdfast\\_%' and not ssl";

/// Whoever has a session.
const COME: &str = "select count(distinct usename) from pg_stat_activity where usename like 'holdfast\\_%'";

/// A fleet whose servers ask who comes, and a gateway.
async fn guarded() -> (TestFleet, Credentials, Gateway) {
    let fleet = TestFleet::with_users(false).await.unwrap();
    fleet.stock("MUG", 1_000_000).await.unwrap();
    let credentials = {
        let mut processes = fleet.processes().await;
        for service in proto::SERVICES {
            processes.stop_worker(service, 0).await.unwrap();
        }
        let credentials = Credentials::of(&mut processes, &fleet.dir().join("secrets")).await.unwrap();
        for service in proto::SERVICES {
            let settings = credentials.settings(service).unwrap();
            processes.start_worker_with(service, 0, &settings).unwrap();
        }
        credentials
    };
    let settings = credentials.settings("gateway").unwrap();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let gateway = Gateway::start(&fleet, &settings).await.unwrap();
    (fleet, credentials, gateway)
}

/// Places one order after the other until it is told to stop, and says how many there were.
async fn buy(fleet: &TestFleet, stop: &AtomicBool) -> i64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let order = Order::new(u64::try_from(number).unwrap()).line("MUG", 1);
        assert!(is_accepted(&fleet.place(&order).await.unwrap()));
        number += 1;
    }
    number
}

async fn buys_through(gateway: &Gateway, number: u128) {
    let id = Uuid::from_u128(number);
    let line = json!({ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 100, "currency": "EUR" } });
    let body = json!({ "order_id": id, "customer_id": "c", "payment_method": "sandbox:succeed", "lines": [line] });
    eventually("the gateway takes an order", || async {
        Ok(gateway.post("/v1/orders", &number.to_string(), &body).await?.status == 201)
    })
    .await
    .unwrap();
    gateway.until(&format!("/v1/orders/{id}"), "it is paid", |order| order["status"] == "paid").await.unwrap();
}

/// Every worker takes messages in as the user that it is, by the key that the broker knows now.
async fn all_come_with_their_keys(fleet: &TestFleet) {
    let broker = fleet.dir().join("nats");
    eventually("all workers are connected, each as itself", || async {
        let connected = connected(&broker).await?;
        Ok(proto::SERVICES.into_iter().all(|service| {
            connected.contains(&(format!("holdfast-{service}-consumer"), format!("KEY_{}", service.to_uppercase())))
        }))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn passwords_keys_and_certificates_change_while_orders_are_placed_and_nothing_is_lost_or_restarted() {
    let (fleet, credentials, gateway) = guarded().await;
    let url = credentials.settings("orders").unwrap()["HOLDFAST_DATABASE_URL"].clone();
    let old = url.replacen('@', &format!(":{}@", credentials.password("orders").unwrap()), 1);
    PgConnection::connect(&old).await.unwrap().close().await.unwrap();
    let (fleet, stop) = (Arc::new(fleet), Arc::new(AtomicBool::new(false)));
    let (shop, told) = (Arc::clone(&fleet), Arc::clone(&stop));
    let buying = tokio::spawn(async move { buy(&shop, &told).await });
    let all = i64::try_from(HOLDERS.len()).unwrap();
    for round in 1..=2 {
        credentials.write_passwords(&*fleet.processes().await).await.unwrap();
        fleet.until_at_least(COME, all).await.unwrap();
        buys_through(&gateway, 100 + round).await;
        credentials.change_passwords(&*fleet.processes().await).await.unwrap();
        fleet.until_at_least(COME, all).await.unwrap();
        credentials.change_keys(&*fleet.processes().await).await.unwrap();
        all_come_with_their_keys(&fleet).await;
        credentials.change_certificates(&*fleet.processes().await).await.unwrap();
        fleet.until_at_least(COME, all).await.unwrap();
        all_come_with_their_keys(&fleet).await;
        buys_through(&gateway, round).await;
    }
    stop.store(true, Ordering::Relaxed);
    let bought = buying.await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    // Four of them through the gateway.
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), bought + 4);
    assert!(fleet.processes().await.ended_workers().is_empty());
    assert_eq!(fleet.number(IN_CLEAR).await.unwrap(), 0);
    // Else none of it would prove a thing.
    for url in [url, old] {
        let refused = PgConnection::connect(&url).await.unwrap_err().to_string();
        assert!(refused.contains("password"), "{refused}");
    }
}

#[tokio::test]
async fn a_server_for_which_nobody_vouches_is_told_nothing() {
    let (fleet, credentials, _gateway) = guarded().await;
    let good = credentials.settings("orders").unwrap();
    let another = fleet.dir().join("another.crt");
    // Any certificate that is no authority's of these servers.
    std::fs::copy(fleet.dir().join("secrets/nats/server.crt"), &another).unwrap();
    let another = another.to_string_lossy().into_owned();
    let (url, authority) = good["HOLDFAST_DATABASE_URL"].split_once("sslrootcert=").unwrap();
    assert!(authority.ends_with("ca.crt"), "{authority}");
    for (setting, value) in [
        ("HOLDFAST_DATABASE_URL", format!("{url}sslrootcert={another}")),
        ("HOLDFAST_BROKER_ROOT_CERTIFICATES", another.clone()),
    ] {
        let mut settings = good.clone();
        settings.insert(setting.to_owned(), value);
        {
            let mut processes = fleet.processes().await;
            processes.stop_worker("orders", 0).await.unwrap();
            processes.start_worker_with("orders", 0, &settings).unwrap();
        }
        fleet.until_unready("orders-0", &["certificate"]).await.unwrap();
    }
}
