//! Limits of queues, batches and tries: each set low, driven to where it is met, and seen to do what its setting says.

use std::{
    fs,
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, consumer, stream};
use bytes::Bytes;
use holdfast_tests::{Order, TestFleet, code, eventually, is_accepted};
use proto::{
    Message,
    inventory::v1::{ReceiveStock, RegisterProduct},
    orders::v1::RequestRefund,
};
use sqlx::{Executor, PgConnection};

use crate::{bounds::flood, wire};

fn jetstream(fleet: &TestFleet) -> jetstream::Context {
    jetstream::new(fleet.client.client().clone())
}

/// Commands that each put one mug into stock and wait for inventory, which was not there and then meets a row that somebody has
/// locked: whoever has the answer may let go of it.
pub(crate) async fn waiting_at_a_lock(fleet: &TestFleet, commands: u64) -> PgConnection {
    fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
    let one = ReceiveStock { sku: "MUG".to_owned(), quantity: 1, reference: String::new(), actor: String::new() };
    flood(fleet, "cmd.inventory.ReceiveStock", Bytes::from(one.encode_to_vec()), commands).await;
    let mut lock = fleet.database().await.unwrap();
    lock.execute("begin; select * from inventory.stock for update").await.unwrap();
    fleet.processes().await.start_workers().unwrap();
    fleet.until_at_least("select count(*) from pg_stat_activity where wait_event_type = 'Lock'", 1).await.unwrap();
    lock
}

/// The consumer of commands for inventory.
pub(crate) const COMMANDS: (&str, &str) = ("COMMANDS_INVENTORY", "inventory-commands");

/// A stream's consumer, once so many messages are handed out and not acknowledged, and so many wait.
pub(crate) async fn handed_out(
    fleet: &TestFleet,
    (stream, name): (&str, &str),
    least: usize,
    waiting: u64,
) -> consumer::Info {
    let jetstream = jetstream(fleet);
    let info = || async {
        let stream = jetstream.get_stream(stream).await?;
        anyhow::Ok(stream.consumer_info(name).await?)
    };
    let is_so = || async {
        let info = info().await?;
        Ok(info.num_ack_pending >= least && info.num_pending >= waiting)
    };
    eventually("messages are handed out", is_so).await.unwrap();
    info().await.unwrap()
}

/// A number that a worker's metrics tell.
async fn metric(fleet: &TestFleet, service: &str, name: &str) -> u64 {
    let value = counted(fleet, service, name).await;
    assert!(value.is_some(), "{service} tells no {name}");
    value.unwrap()
}

/// A number that a worker's metrics tell, if there was anything to count.
pub(crate) async fn counted(fleet: &TestFleet, service: &str, name: &str) -> Option<u64> {
    let metrics = fleet.get(&format!("{service}-0"), "/metrics").await.unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Lines of all workers' logs that say something.
fn logged(fleet: &TestFleet, words: &str) -> Vec<String> {
    let files = fs::read_dir(fleet.dir().join("log")).unwrap().map(|file| file.unwrap().path());
    let logs = files.map(|path| fs::read_to_string(path).unwrap());
    logs.flat_map(|log| log.lines().filter(|line| line.contains(words)).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// How many rows came back each time that a worker ran a statement.
fn rows_returned(fleet: &TestFleet, statement: &str) -> Vec<u64> {
    let number = |line: &String| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line.pointer("/fields/rows_returned").unwrap().as_u64().unwrap()
    };
    logged(fleet, statement).iter().map(number).collect()
}

#[tokio::test]
async fn a_backlog_is_taken_in_by_batches_and_pages_of_the_size_that_is_set() {
    let settings = [
        ("HOLDFAST_CONSUMER_BATCH_MAX", "5"),
        ("HOLDFAST_CONSUMER_PREFETCH_MAX", "20"),
        // Nothing comes a second time while it waits.
        ("HOLDFAST_CONSUMER_ACK_WAIT_MS", "20000"),
        ("HOLDFAST_TIMERS_CLAIM_MAX", "7"),
        ("HOLDFAST_RELAY_PAGE_MAX", "3"),
        ("HOLDFAST_LOG_FILTER", "info,sqlx::query=debug"),
    ];
    let fleet = TestFleet::with(1, &settings).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();

    let lock = waiting_at_a_lock(&fleet, 200).await;
    let info = handed_out(&fleet, COMMANDS, 20, 0).await;
    // Asked for again when half of it is taken, and five are in the batch that waits.
    assert!(info.num_ack_pending <= 20 + 10 + 5, "{} fetched ahead of 200", info.num_ack_pending);
    assert!(info.num_pending >= 165, "{} left of 200", info.num_pending);
    drop(lock);
    fleet.until("select received from inventory.stock", 1_200).await.unwrap();
    let batches = async |bound: &str| {
        metric(&fleet, "inventory", &format!("holdfast_batch_inputs_bucket{{le=\"{bound}\"}}")).await
    };
    assert_eq!(batches("5").await, batches("+Inf").await);
    assert!(batches("2").await < batches("5").await, "no batch was of more than two");

    // Many timers due at once, and a log that nobody has seen the end of when the broker loses all.
    fleet.processes().await.stop_worker("rounds", 0).await.unwrap();
    let orders: Vec<Order> = (0..40)
        .map(|number| Order::new(number).line("MUG", 1).pays("sandbox:never").expires_after(Duration::from_secs(5)))
        .collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select count(*) from orders.orders where status = 'reserved'", 40).await.unwrap();
    fleet.processes().await.stop_worker("orders", 0).await.unwrap();
    fleet.until("select count(*) from orders.timers where due_at <= now()", 40).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        processes.nats.kill().await.unwrap();
        processes.nats.wipe().unwrap();
        processes.nats.start_again().await.unwrap();
        processes.start_workers().unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'expired'").await.unwrap(), 40);
    let claimed = rows_returned(&fleet, "select ctid from timers where due_at <= $1 order by due_at limit $2");
    assert_eq!(claimed.iter().max(), Some(&7), "{claimed:?}");
    let pages =
        rows_returned(&fleet, "from log.events where position > $1 and position <= $2 order by position limit $3");
    assert_eq!(pages.iter().max(), Some(&3), "{pages:?}");
    assert!(pages.iter().sum::<u64>() >= 40, "{pages:?}");
}

fn refund(order: &Order) -> RequestRefund {
    RequestRefund { order_id: order.id.to_string(), actor: "test".to_owned(), ..RequestRefund::default() }
}

/// Orders that are paid, and then to be refunded.
async fn to_be_refunded(fleet: &TestFleet, numbers: std::ops::Range<u64>, script: &str) -> Vec<Order> {
    let orders: Vec<Order> = numbers.map(|number| Order::new(number).line("MUG", 1).pays(script)).collect();
    fleet.place_all(&orders).await.unwrap();
    for order in &orders {
        fleet.until_status(order, "paid").await.unwrap();
    }
    for order in &orders {
        assert!(is_accepted(&fleet.send(&order.id.to_string(), &refund(order)).await.unwrap()));
    }
    orders
}

#[tokio::test]
async fn no_more_is_under_way_at_once_than_is_set_and_no_race_is_run_for_ever() {
    let settings = [
        ("HOLDFAST_CONSUMER_ACK_PENDING_MAX", "10"),
        ("HOLDFAST_CONSUMER_ACK_WAIT_MS", "20000"),
        ("HOLDFAST_CONSUMER_CONFLICT_TRIES_MAX", "3"),
        ("HOLDFAST_EFFECTS_CONCURRENCY_MAX", "2"),
        // Calls that hang do so for longer than the test.
        ("HOLDFAST_EFFECTS_LEASE_MS", "600000"),
        ("HOLDFAST_EFFECTS_CALL_MS", "500000"),
    ];
    let fleet = TestFleet::with(1, &settings).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();

    let lock = waiting_at_a_lock(&fleet, 100).await;
    let info = handed_out(&fleet, COMMANDS, 10, 0).await;
    assert_eq!((info.num_ack_pending, info.num_pending), (10, 90));
    drop(lock);
    fleet.until("select received from inventory.stock", 1_100).await.unwrap();

    // A race that is lost each time: a defect, made on purpose.
    fleet.stock("TWIN-A", 5).await.unwrap();
    let mut operator = fleet.database().await.unwrap();
    let planted = "create unique index planted on inventory.stock (received) where sku like 'TWIN-%' and received > 0";
    operator.execute(planted).await.unwrap();
    let register = RegisterProduct { sku: "TWIN-B".to_owned(), name: "the other".to_owned(), actor: String::new() };
    assert!(is_accepted(&fleet.send("twin", &register).await.unwrap()));
    let receive =
        ReceiveStock { sku: "TWIN-B".to_owned(), quantity: 5, reference: String::new(), actor: String::new() };
    assert_eq!(code(&fleet.send("twin", &receive).await.unwrap()), "NOT_HANDLED");
    // Once without locks, and then behind them, as often as is set.
    assert_eq!(metric(&fleet, "inventory", "holdfast_conflicts_total").await, 4);
    fleet.stock("CUP", 1).await.unwrap();

    // Money that comes later: no more of it is under way than may be unacknowledged.
    let later: Vec<Order> =
        (200..230).map(|number| Order::new(number).line("MUG", 1).pays("sandbox:succeed,after=3s")).collect();
    fleet.place_all(&later).await.unwrap();
    let info = handed_out(&fleet, ("EVENTS", "payments-sandbox"), 10, 20).await;
    assert_eq!((info.num_ack_pending, info.num_pending), (10, 20));
    fleet.until("select count(*) from orders.orders where status = 'paid'", 30).await.unwrap();

    // The provider answers nothing; what else there is to refund waits its turn, and everything else goes on.
    to_be_refunded(&fleet, 0..6, "sandbox:succeed,refund=time_out").await;
    fleet.until("select count(*) from payments.effects", 6).await.unwrap();
    fleet.until_at_least("select count(*) from payments.sandbox_refunds", 2).await.unwrap();
    let order = Order::new(100).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    assert_eq!(fleet.number("select sum(calls)::bigint from payments.sandbox_refunds").await.unwrap(), 2);
    assert_eq!(fleet.number("select count(*) from payments.effects where attempts = 0").await.unwrap(), 4);
}

/// Sees that a stream of the broker has let go of its oldest messages rather than grow.
async fn is_a_window(fleet: &TestFleet, name: &str, bytes_max: u64) {
    let jetstream = jetstream(fleet);
    let state = || async { anyhow::Ok(jetstream.get_stream(name).await?.cached_info().state.clone()) };
    let has_moved = || async { Ok(state().await?.first_sequence > 1) };
    eventually(&format!("{name} has let go of its oldest messages"), has_moved).await.unwrap();
    let stream::State { bytes, .. } = state().await.unwrap();
    assert!(bytes <= bytes_max, "{name} has {bytes} bytes");
}

#[tokio::test]
async fn the_broker_keeps_a_window_of_events_and_their_copies_and_the_largest_order_fits_into_it() {
    let bytes_max = 1_048_576;
    let settings =
        [("HOLDFAST_BROKER_EVENTS_JSON", "true"), ("HOLDFAST_BROKER_EVENTS_BYTES_MAX", &*bytes_max.to_string())];
    let fleet = TestFleet::with(1, &settings).await.unwrap();
    let skus: Vec<String> = ["A", "B", "C", "D", "E"].map(|letter| letter.repeat(64)).to_vec();
    for sku in &skus {
        fleet.stock(sku, 1_000_000).await.unwrap();
    }
    let largest = (0..1_000).zip(skus.iter().cycle()).fold(Order::new(0), |order, (_, sku)| order.line(sku, 1));
    fleet.place(&largest).await.unwrap();
    fleet.until_status(&largest, "paid").await.unwrap();
    fleet.settle().await.unwrap();
    fleet.until("select published - copied from log.relay", 0).await.unwrap();
    let copies = jetstream(&fleet).get_stream("EVENTS_JSON").await.unwrap();
    let copy = copies.get_last_raw_message_by_subject("json.orders.OrderPlaced").await.unwrap();
    let copy: serde_json::Value = serde_json::from_slice(&copy.payload).unwrap();
    assert_eq!(copy["lines"].as_array().unwrap().len(), 1_000);

    let orders: Vec<Order> = (1..=300).map(|number| Order::new(number).line(&skus[0], 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 301);
    for name in ["EVENTS", "EVENTS_JSON"] {
        is_a_window(&fleet, name, bytes_max).await;
    }
}

#[tokio::test]
async fn waits_for_the_broker_the_database_and_the_provider_end_when_their_time_is_up() {
    let settings = [
        ("HOLDFAST_DATABASE_CONNECTIONS_MAX", "4"),
        ("HOLDFAST_BROKER_PUBLISH_TIMEOUT_MS", "500"),
        ("HOLDFAST_RELAY_COMPARE_MS", "100"),
        ("HOLDFAST_EFFECTS_CALL_MS", "400"),
        ("HOLDFAST_EFFECTS_BACKOFF_MS", "20"),
        ("HOLDFAST_EFFECTS_BACKOFF_MAX_MS", "100"),
    ];
    let fleet = TestFleet::with(1, &settings).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();

    // Forty calls at a time that are put off, each in a transaction of its own.
    let refunded = to_be_refunded(&fleet, 0..40, "sandbox:succeed,refund=fail_then_succeed").await;
    for order in &refunded {
        fleet.until_status(order, "refunded").await.unwrap();
    }
    let sessions = "select count(*) from pg_stat_activity where application_name = 'holdfast-payments'";
    assert_eq!(fleet.number(sessions).await.unwrap(), 4);

    // Five waits of half a second, not of five seconds, which is the default.
    fleet.processes().await.nats.pause().unwrap();
    let paused = Instant::now();
    eventually("relays have given up", || async { Ok(logged(&fleet, "the relay begins again").len() >= 5) })
        .await
        .unwrap();
    let took = paused.elapsed();
    fleet.processes().await.nats.resume().unwrap();
    assert!(took < Duration::from_secs(20), "{took:?}");
    fleet.settle_and_verify().await.unwrap();

    // Three tries of 0.2 s, not of 5 s, and waits of 0.1 s at most in between.
    to_be_refunded(&fleet, 100..101, "sandbox:succeed,refund=time_out").await;
    let asked = Instant::now();
    fleet.until_at_least("select max(attempts)::bigint from payments.effects", 4).await.unwrap();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Commits whose events the broker has not acknowledged are 64 at most: see `publish.rs`.
#[tokio::test]
async fn a_worker_commits_only_so_much_ahead_of_a_broker_that_stands_still() {
    let settings = [("HOLDFAST_CONSUMER_BATCH_MAX", "1"), ("HOLDFAST_BROKER_PUBLISH_TIMEOUT_MS", "15000")];
    let fleet = TestFleet::with(1, &settings).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let lock = waiting_at_a_lock(&fleet, 150).await;
    handed_out(&fleet, COMMANDS, 150, 0).await;
    let meanwhile = Order::new(1).line("MUG", 1).pays("sandbox:never").expires_after(Duration::from_secs(5));
    fleet.place(&meanwhile).await.unwrap();
    fleet.processes().await.nats.pause().unwrap();
    drop(lock);
    fleet.until_at_least("select received from inventory.stock", 1_064).await.unwrap();
    // Time goes by: another worker does what its timer says.
    fleet.until_status(&meanwhile, "expired").await.unwrap();
    let ahead = fleet.number("select received - 1000 from inventory.stock").await.unwrap();
    assert!((64..=66).contains(&ahead), "{ahead} commits ahead of the broker");
    fleet.processes().await.nats.resume().unwrap();
    fleet.settle_and_verify().await.unwrap();
    fleet.until("select received from inventory.stock", 1_150).await.unwrap();
}

/// The quarantine looks at 64 messages at a time: see `quarantine.rs`.
#[tokio::test]
async fn more_unreadable_messages_than_are_looked_at_in_one_go_are_all_set_aside() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    for _ in 0..150 {
        wire::publish(&fleet, b"cmd.orders.PlaceOrder", Some(b"NATS/1.0\r\nno colon\r\n\r\n"), b"{}").await;
    }
    let orders: Vec<Order> = (0..20).map(|number| Order::new(number).line("MUG", 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select count(*) from orders.dead_letters where code = 'MALFORMED_FRAME'", 150).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 20);
}
