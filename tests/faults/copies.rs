//! Copies of streams among the servers of a cluster.

use std::collections::BTreeMap;

use async_nats::jetstream::{self, stream::Stream};
use futures::TryStreamExt;
use holdfast_tests::{Order, TestFleet, eventually, is_accepted};
use runtime::broker::{EVENTS, streams};

fn context(fleet: &TestFleet) -> jetstream::Context {
    jetstream::new(fleet.publisher.client().clone())
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

    // One that was forgotten. All others are started again, so each might become the relay.
    let restart = async |service: &'static str, copies| {
        let mut processes = fleet.processes().await;
        processes.stop_worker(service, 0).await.unwrap();
        processes.start_worker_with(service, 0, &with_copies(copies)).unwrap();
    };
    restart("orders", 1).await;
    until_stands(&fleet, &["broker.replicas is 1, and the stream EVENTS has 3", "said by orders"]).await;
    for service in proto::SERVICES.into_iter().filter(|service| *service != "orders") {
        restart(service, 3).await;
        fleet.until_ready(&format!("{service}-0")).await.unwrap();
    }
    let some = orders(3_000, 10);
    fleet.place_all(&some).await.unwrap();
    are_paid(&fleet, &some).await;
    assert!(have(&fleet, 3).await.unwrap());
    restart("orders", 3).await;
    until_nothing_stands(&fleet).await;
    fleet.settle_and_verify().await.unwrap();
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
