//! Copies: those of events in JSON, which nobody of the fleet waits for, and those of streams among the servers of a cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy, Stream},
};
use futures::TryStreamExt;
use holdfast_tests::{Order, TestFleet, eventually, is_accepted};
use platform::broker::{EVENTS, streams};

const JSON: &str = "EVENTS_JSON";

fn context(fleet: &TestFleet) -> jetstream::Context {
    jetstream::new(fleet.client.client().clone())
}

async fn stream(fleet: &TestFleet, name: &str) -> anyhow::Result<Stream> {
    Ok(context(fleet).get_stream(name).await?)
}

fn orders(first: u64, count: u64) -> Vec<Order> {
    (first..first + count).map(|number| Order::new(number).line("MUG", 1)).collect()
}

async fn are_paid(fleet: &TestFleet, orders: &[Order]) {
    for order in orders {
        fleet.until_status(order, "paid").await.unwrap();
    }
}

/// Whether `holdfast status` says that something does not go on, in all of these words.
async fn until_stands(fleet: &TestFleet, words: &[&str]) {
    eventually(&format!("status says {words:?}"), || async {
        let (_, status) = fleet.command(&["status"]).await?;
        let stands = status.get("stands").map(ToString::to_string).unwrap_or_default();
        Ok(words.iter().all(|word| stands.contains(word)))
    })
    .await
    .unwrap();
}

async fn until_nothing_stands(fleet: &TestFleet) {
    eventually("status finds nothing", || async { Ok(fleet.command(&["status"]).await?.0 == Some(0)) }).await.unwrap();
}

/// Waits until every event after this position has its copy.
async fn are_copied(fleet: &TestFleet, after: i64) {
    eventually("every event has its copy", || async {
        let stream = stream(fleet, JSON).await?;
        let state = stream.cached_info().state.clone();
        let mut copied = BTreeSet::new();
        for sequence in state.first_sequence..=state.last_sequence {
            if let Ok(copy) = stream.get_raw_message(sequence).await {
                copied.insert(copy.headers.get("ce-position").map_or("0", |value| value.as_str()).parse::<i64>()?);
            }
        }
        let query = "select position from log.events where position > $1";
        let log: Vec<i64> = sqlx::query_scalar(query).bind(after).fetch_all(&mut fleet.database().await?).await?;
        Ok(!log.is_empty() && log.iter().all(|position| copied.contains(position)))
    })
    .await
    .unwrap();
}

const HEAD: &str = "select max(position) from log.events";

/// Changes the stream of copies as an administrator does, and removes what is in it.
async fn spoil(fleet: &TestFleet, change: impl Fn(&mut Config)) {
    let there = stream(fleet, JSON).await.unwrap();
    there.purge().await.unwrap();
    let mut config = there.cached_info().config.clone();
    change(&mut config);
    context(fleet).update_stream(config).await.unwrap();
}

#[tokio::test]
async fn copies_that_are_refused_hold_up_nobody_and_are_published_once_they_can_be() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_EVENTS_JSON", "true")]).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    are_copied(&fleet, 0).await;

    // What an administrator has done that can be undone, the relay undoes.
    let full: fn(&mut Config) = |config| (config.discard, config.max_bytes) = (DiscardPolicy::New, 2_000);
    let small: fn(&mut Config) = |config| config.max_message_size = 700;
    for (first, change) in [(0, full), (100, small)] {
        let before = fleet.number(HEAD).await.unwrap();
        spoil(&fleet, change).await;
        let orders = orders(first, 10);
        fleet.place_all(&orders).await.unwrap();
        are_paid(&fleet, &orders).await;
        are_copied(&fleet, before).await;
    }
    let before = fleet.number(HEAD).await.unwrap();
    context(&fleet).delete_stream(JSON).await.unwrap();
    let some = orders(200, 10);
    fleet.place_all(&some).await.unwrap();
    are_paid(&fleet, &some).await;
    are_copied(&fleet, before).await;

    // What is sealed stays so.
    fleet.settle_and_verify().await.unwrap();
    let before = fleet.number(HEAD).await.unwrap();
    spoil(&fleet, |config| config.sealed = true).await;
    let some = orders(300, 10);
    fleet.place_all(&some).await.unwrap();
    are_paid(&fleet, &some).await;
    until_stands(&fleet, &["copies in JSON are behind", JSON, "seal"]).await;
    fleet.settle_and_verify().await.unwrap();
    for service in proto::SERVICES {
        fleet.until_ready(&format!("{service}-0")).await.unwrap();
    }
    context(&fleet).delete_stream(JSON).await.unwrap();
    are_copied(&fleet, before).await;
    until_nothing_stands(&fleet).await;
}

/// nats-server is started again with these settings, all workers too.
async fn restart(fleet: &TestFleet, settings: &str, wipes: fn(&mut testbed::servers::NatsServer)) {
    let mut processes = fleet.processes().await;
    for service in proto::SERVICES {
        processes.stop_worker(service, 0).await.unwrap();
    }
    processes.nats.kill().await.unwrap();
    wipes(&mut processes.nats);
    fs::write(processes.nats.settings(), settings).unwrap();
    processes.nats.start_again().await.unwrap();
    processes.start_workers().unwrap();
}

#[tokio::test]
async fn a_broker_that_has_no_room_for_copies_in_json_has_a_fleet_all_the_same() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_EVENTS_JSON", "true")]).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    fleet.settle().await.unwrap();
    let before = fleet.number(HEAD).await.unwrap();
    // Events and commands fit.
    restart(&fleet, "jetstream { max_file_store: 900MB }", |nats| nats.wipe().unwrap()).await;
    fleet.processes().await.ready().await.unwrap();
    let some = orders(0, 20);
    fleet.place_all(&some).await.unwrap();
    are_paid(&fleet, &some).await;
    until_stands(&fleet, &["copies in JSON are behind", JSON, "insufficient storage", "broker.events_bytes_max"]).await;
    fleet.settle_and_verify().await.unwrap();
    for service in proto::SERVICES {
        fleet.until_ready(&format!("{service}-0")).await.unwrap();
    }
    restart(&fleet, "", |_nats| ()).await;
    are_copied(&fleet, before).await;
    until_nothing_stands(&fleet).await;
}

fn with_copies(copies: usize) -> BTreeMap<String, String> {
    BTreeMap::from([("HOLDFAST_BROKER_REPLICAS".to_owned(), copies.to_string())])
}

/// All workers are started again, and want so many copies of each stream.
async fn want(fleet: &TestFleet, copies: usize) {
    let mut processes = fleet.processes().await;
    for service in proto::SERVICES {
        processes.stop_worker(service, 0).await.unwrap();
    }
    for service in proto::SERVICES {
        processes.start_worker_with(service, 0, &with_copies(copies)).unwrap();
    }
}

/// Whether all streams and consumers have as many copies, all of them whole.
async fn have(fleet: &TestFleet, copies: usize) -> anyhow::Result<bool> {
    let is_whole = |cluster: Option<&jetstream::stream::ClusterInfo>| {
        cluster.is_some_and(|cluster| {
            cluster.leader.is_some()
                && cluster.replicas.len() + 1 == copies
                && cluster.replicas.iter().all(|replica| replica.current)
        })
    };
    for name in streams() {
        let stream = stream(fleet, &name).await?;
        let info = stream.cached_info();
        let consumers: Vec<_> = stream.consumers().try_collect().await?;
        let are_whole = consumers.iter().all(|consumer| is_whole(consumer.cluster.as_ref()));
        if info.config.num_replicas != copies || !is_whole(info.cluster.as_ref()) || !are_whole {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn until_they_have(fleet: &TestFleet, copies: usize) {
    let what = format!("all streams and consumers have {copies} copies");
    eventually(&what, || async { have(fleet, copies).await }).await.unwrap();
}

#[tokio::test]
async fn a_fleet_that_is_restarted_with_another_number_of_copies_has_them_and_one_worker_changes_none() {
    let fleet = TestFleet::clustered().await.unwrap();
    fleet.stock("MUG", 10_000).await.unwrap();
    until_they_have(&fleet, 1).await;
    // To three streams made anew, to one, and to three again, which these are then.
    for (first, copies) in [(0, 3), (1_000, 1), (2_000, 3)] {
        let before: Vec<Order> =
            orders(first, 30).into_iter().map(|order| order.pays("sandbox:succeed,after=4s")).collect();
        fleet.place_all(&before).await.unwrap();
        want(&fleet, copies).await;
        let meanwhile = orders(first + 100, 30);
        fleet.place_all(&meanwhile).await.unwrap();
        until_they_have(&fleet, copies).await;
        let after = orders(first + 200, 10);
        fleet.place_all(&after).await.unwrap();
        for orders in [&before, &meanwhile, &after] {
            are_paid(&fleet, orders).await;
        }
        fleet.settle_and_verify().await.unwrap();
    }
    one_worker_changes_none(&fleet).await;
}

/// One that was forgotten has another number, and nobody else is the relay for a moment.
async fn one_worker_changes_none(fleet: &TestFleet) {
    let mut forgotten = with_copies(1);
    forgotten.insert("HOLDFAST_RELAY_COMPARE_MS".to_owned(), "2000".to_owned());
    {
        let mut processes = fleet.processes().await;
        processes.stop_worker("orders", 0).await.unwrap();
        processes.start_worker_with("orders", 0, &forgotten).unwrap();
    }
    until_stands(fleet, &["broker.replicas is 1, and the stream EVENTS has 3", "said by orders"]).await;
    for service in proto::SERVICES.into_iter().filter(|service| *service != "orders") {
        fleet.processes().await.stop_worker(service, 0).await.unwrap();
    }
    orders_sees_no_relay(fleet).await;
    for service in proto::SERVICES.into_iter().filter(|service| *service != "orders") {
        fleet.processes().await.start_worker_with(service, 0, &with_copies(3)).unwrap();
    }
    let is_led = "select count(*) from pg_locks join pg_stat_activity using (pid)
        where locktype = 'advisory' and granted and application_name = 'holdfast-relay' and usename <> 'holdfast_orders'";
    fleet.until(is_led, 1).await.unwrap();
    let some = orders(3_000, 10);
    fleet.place_all(&some).await.unwrap();
    are_paid(fleet, &some).await;
    assert!(have(fleet, 3).await.unwrap());
    {
        let mut processes = fleet.processes().await;
        processes.stop_worker("orders", 0).await.unwrap();
        processes.start_worker_with("orders", 0, &with_copies(3)).unwrap();
    }
    until_nothing_stands(fleet).await;
    fleet.settle_and_verify().await.unwrap();
}

/// Waits until the session by which the worker of orders would be the relay has looked, and found that nobody is.
async fn orders_sees_no_relay(fleet: &TestFleet) {
    let mut database = fleet.database().await.unwrap();
    let now: f64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let database = tokio::sync::Mutex::new(database);
    let query = "select count(*) from pg_stat_activity where application_name = 'holdfast-relay'
        and usename = 'holdfast_orders' and state = 'idle' and extract(epoch from query_start)::float8 > $1";
    eventually("orders sees that nobody is the relay", || async {
        let looked: i64 = sqlx::query_scalar(query).bind(now).fetch_one(&mut *database.lock().await).await?;
        Ok(looked == 1)
    })
    .await
    .unwrap();
}

/// Others than the fleet may have read nothing of it yet.
#[tokio::test]
async fn a_stream_that_others_read_is_not_made_anew_and_status_says_how_it_can_be() {
    let fleet = TestFleet::clustered().await.unwrap();
    fleet.stock("MUG", 10_000).await.unwrap();
    let reader = jetstream::consumer::pull::Config { durable_name: Some("others".to_owned()), ..Default::default() };
    stream(&fleet, EVENTS).await.unwrap().create_consumer(reader).await.unwrap();
    want(&fleet, 3).await;
    until_stands(&fleet, &["EVENTS keeps its one copy", "(others)", "Delete EVENTS while the workers run"]).await;
    assert!(is_accepted(&fleet.place(&Order::new(1).line("MUG", 1)).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    assert!(
        stream(&fleet, EVENTS).await.unwrap().get_consumer::<jetstream::consumer::pull::Config>("others").await.is_ok()
    );
    context(&fleet).delete_stream(EVENTS).await.unwrap();
    until_they_have(&fleet, 3).await;
    assert!(is_accepted(&fleet.place(&Order::new(2).line("MUG", 1)).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
}

/// A window that takes nothing in, as a broker whose disk is full, although it is connected.
#[tokio::test]
async fn every_worker_says_that_the_broker_takes_nothing_in() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_EVENTS_BYTES_MAX", "1048576")]).await.unwrap();
    fleet.stock("MUG", 100_000).await.unwrap();
    fleet.processes().await.stop_worker("rounds", 0).await.unwrap();
    let round = "0190f5c4-0000-7000-8000-000000000001".parse().unwrap();
    let orders: Vec<Order> = (0..1_500).map(|number| Order::new(number).line("MUG", 1).shares(round, 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    let asked = tokio::time::Instant::now();
    for service in ["orders", "inventory", "payments"] {
        let words = ["nothing that is committed gets into the broker", "broker.events_bytes_max"];
        fleet.until_unready(&format!("{service}-0"), &words).await.unwrap();
    }
    println!("all say so after {:?}", asked.elapsed());
    let refused =
        "select extract(epoch from clock_timestamp() - min(since))::bigint from log.notices where topic = 'refused'";
    let seconds = fleet.number(refused).await.unwrap();
    assert!((10..20).contains(&seconds), "after {seconds} s");
    until_stands(&fleet, &["broker.events_bytes_max"]).await;
    fleet.processes().await.start_workers().unwrap();
    fleet.settle_and_verify().await.unwrap();
    for service in proto::SERVICES {
        fleet.until_ready(&format!("{service}-0")).await.unwrap();
    }
    until_nothing_stands(&fleet).await;
}
