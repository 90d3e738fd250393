//! `holdfast diagnose` on one fleet: nothing is found while it is healthy and busy, and of each thing that goes wrong exactly that is, until it
//! is mended.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the steps of one test, each a function: what is not there fails it"
)]

use std::{
    fs,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use holdfast_tests::{
    Order, QUICK_CALLS, TestFleet, change_consumer, code, eventually, guide::is_in_the_guide, holdfast, repo_root,
    report, resolution,
};
use platform::{broker::EVENTS, clock};
use proto::{
    common::v1::DisputeStanding,
    inventory::v1::{ReceiveStock, RegisterProduct},
    payments::v1::{ProviderEventKind as Kind, RecordProviderEvent, RefundResolution, ReportedDispute},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testbed::fleet::DATABASE;
use time::OffsetDateTime;
use tokio::{process::Command, sync::Mutex};

/// A healthy fleet under load is never so late, on any machine.
const NEVER: &str = "10";

fn words<'a>(diagnosis: &'a Value, list: &str) -> Vec<&'a str> {
    diagnosis[list].as_array().unwrap().iter().filter_map(|finding| finding["code"].as_str()).collect()
}

/// Waits until exactly these are found, and nothing is unknown; then each must be shown again by its evidence. What was found.
async fn found(fleet: &TestFleet, codes: &[&str]) -> Vec<Value> {
    found_so(fleet, codes, |_| true).await
}

async fn found_so(fleet: &TestFleet, codes: &[&str], is_so: impl Fn(&Value) -> bool) -> Vec<Value> {
    let last = Mutex::new(Value::Null);
    let looked = eventually("exactly these are found", || async {
        let (exit, diagnosis) = fleet.command(&["diagnose", "--late-seconds", "1"]).await?;
        let all = diagnosis["unknown"].as_array().is_some_and(Vec::is_empty);
        let is_found = all && words(&diagnosis, "findings") == codes && is_so(&diagnosis["findings"][0]);
        assert!(!all || (exit == Some(0)) == words(&diagnosis, "findings").is_empty(), "{exit:?}: {diagnosis}");
        *last.lock().await = diagnosis;
        Ok(is_found)
    });
    if let Err(error) = looked.await {
        panic!("{codes:?}: {error:#}: {:#}", last.lock().await);
    }
    let found = last.into_inner()["findings"].as_array().unwrap().clone();
    for finding in &found {
        shown_again(fleet, finding).await;
    }
    found
}

/// The evidence is a query with rows or a command that runs, or belongs to a tool of others.
async fn shown_again(fleet: &TestFleet, finding: &Value) {
    let evidence = finding["evidence"].as_str().unwrap();
    if evidence.starts_with("select ") {
        let mut database = fleet.database().await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(evidence.to_owned())).fetch_all(&mut database).await;
        assert!(rows.is_ok_and(|rows| !rows.is_empty()), "{finding:#}");
    }
    for command in [evidence, finding["do"].as_str().unwrap()] {
        let command = command.split("    (").next().unwrap();
        if let Some(args) = command.strip_prefix("holdfast ").filter(|args| !args.contains("send ")) {
            let args: Vec<&str> = args.split_whitespace().collect();
            fleet.command(&args).await.unwrap();
        }
    }
}

/// The same of one, which the guide shows with what was done.
async fn found_by(fleet: &TestFleet, done: &str, codes: &[&str]) -> Value {
    let first = found(fleet, codes).await.swap_remove(0);
    is_in_the_guide(done, &first).unwrap();
    first
}

async fn nothing(fleet: &TestFleet) {
    found(fleet, &[]).await;
}

async fn execute(fleet: &TestFleet, statement: &'static str) {
    let mut database = fleet.database().await.unwrap();
    let done = sqlx::query(statement).execute(&mut database).await.unwrap();
    assert!(done.rows_affected() > 0 || statement.starts_with("alter"), "it changes nothing: {statement}");
}

async fn stop(fleet: &TestFleet, service: &str) {
    fleet.processes().await.stop_worker(service, 0).await.unwrap();
}

async fn start(fleet: &TestFleet, service: &str) {
    fleet.processes().await.start_worker(service, 0).unwrap();
}

fn mug(number: u64, script: &str) -> Order {
    Order::new(number).line("A", 1).pays(script)
}

#[tokio::test]
async fn of_what_is_wrong_exactly_that_is_found_and_of_a_healthy_fleet_under_load_nothing() {
    let fleet = TestFleet::with(1, &QUICK_CALLS).await.unwrap();
    is_healthy_under_load(&fleet).await;
    nothing(&fleet).await;
    money(&fleet).await;
    rows(&fleet).await;
    horizon(&fleet).await;
    late(&fleet).await;
    consumers(&fleet).await;
    everything_is_stopped(&fleet).await;
    nothing(&fleet).await;
    every_command_of_the_guide_works(&fleet).await;
    unknown(&fleet).await;
}

async fn is_healthy_under_load(fleet: &TestFleet) {
    // The partitions of a test are so small that a burst runs through several: here they are as large as they should be.
    execute(fleet, "update log.partitioning set positions = 1000000").await;
    execute(fleet, "select log.make_partitions()").await;
    let orders = super::stock_up(fleet, 500).await;
    let load = async {
        fleet.place_all(&orders).await.unwrap();
        fleet.settle().await.unwrap();
    };
    let looks = AtomicU32::new(0);
    let watch = async {
        loop {
            let (exit, diagnosis) = fleet.command(&["diagnose", "--late-seconds", NEVER]).await.unwrap();
            assert_eq!((exit, words(&diagnosis, "findings")), (Some(0), vec![]), "{diagnosis:#}");
            looks.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = load => {}
        () = watch => {}
    }
    assert!(looks.into_inner() > 3);
    fleet.settle_and_verify().await.unwrap();
}

async fn money(fleet: &TestFleet) {
    let order = fleet.asked(mug(10_001, "sandbox:never")).await.unwrap();
    let charge = |name: &str, cents| RecordProviderEvent {
        provider_reference: name.to_owned(),
        ..report(Kind::PaymentSucceeded, &order, name, cents)
    };
    fleet.accepts(&charge("ch_1", 1_000)).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.accepts(&charge("ch_2", 999)).await.unwrap();
    let unmatched =
        &found_by(fleet, "a buyer charged twice, and another amount the second time", &["MONEY_UNMATCHED"]).await;
    assert_eq!((&unmatched["severity"], &unmatched["numbers"]["count"]), (&"money".into(), &1.into()));
    assert!(unmatched["at_stake"].as_str().unwrap().starts_with("9.99 EUR: "), "{unmatched}");
    let act = unmatched["do"].as_str().unwrap();
    decided(fleet, act).await;
    nothing(fleet).await;

    let dispute = |kind, status: &str, standing: DisputeStanding| RecordProviderEvent {
        provider_reference: "ch_1".to_owned(),
        dispute: Some(ReportedDispute {
            dispute_id: "du_1".to_owned(),
            status: status.to_owned(),
            standing: standing.into(),
            reason: "fraudulent".to_owned(),
            amount: Some(holdfast_tests::money(1_000)),
            due_by: None,
            refundable: false,
        }),
        ..report(kind, &order, status, 1_000)
    };
    fleet.accepts(&dispute(Kind::PaymentDisputed, "needs_response", DisputeStanding::Open)).await.unwrap();
    found_by(fleet, "a payment disputed by the buyer's bank", &["DISPUTE_OPEN"]).await;
    fleet.accepts(&dispute(Kind::DisputeClosed, "won", DisputeStanding::Won)).await.unwrap();
    nothing(fleet).await;

    let order = fleet.paid(mug(10_002, "sandbox:succeed,refund=time_out")).await.unwrap();
    fleet.accepts(&order.refund_as("all")).await.unwrap();
    fleet.until_refund(&order, "all", "refunding").await.unwrap();
    fleet.end_calls(&order).await.unwrap();
    fleet.until_refund(&order, "all", "unknown").await.unwrap();
    let unknown = &found_by(fleet, "no answer to a refund from the provider", &["REFUND_UNKNOWN"]).await;
    decided(fleet, unknown["do"].as_str().unwrap()).await;
    nothing(fleet).await;

    let order = fleet.paid(mug(10_003, "sandbox:succeed,refund=fail_later,refund_after=50ms")).await.unwrap();
    fleet.accepts(&order.refund_as("all")).await.unwrap();
    fleet.until_refund(&order, "all", "reversed").await.unwrap();
    found_by(fleet, "a refund paid, and reported as failed later", &["REFUND_UNDECIDED"]).await;
    fleet.accepts(&resolution(&order, "all", RefundResolution::Retry)).await.unwrap();
    nothing(fleet).await;

    let order = fleet.paid(mug(10_004, "sandbox:succeed,refund=decline")).await.unwrap();
    fleet.accepts(&order.cancel()).await.unwrap();
    fleet.until_stands(&order, "paid, cancelled, 0 back, 1000 owed").await.unwrap();
    found_by(fleet, "the refund of a cancelled order declined by the provider", &["MONEY_OWED"]).await;
    fleet.settle_and_verify().await.unwrap();
    execute(fleet, "update orders.orders set owed_minor = 0 where owed_minor > 0").await;
    nothing(fleet).await;
}

/// The command of a finding says what it would do; with a reason it does that.
async fn decided(fleet: &TestFleet, act: &str) {
    let dry = act.split("    (").next().unwrap().strip_prefix("holdfast ").unwrap();
    let (exit, said) = fleet.command(&dry.split_whitespace().collect::<Vec<_>>()).await.unwrap();
    assert!(exit == Some(0) && !said["would"]["write"].as_array().unwrap().is_empty(), "{act}: {said:#}");
    let done = dry.replace("--dry-run", "--actor ops --reason asked");
    let (exit, said) = fleet.command(&done.split_whitespace().collect::<Vec<_>>()).await.unwrap();
    assert!(exit == Some(0) && said["accepted"].is_object(), "{act}: {said:#}");
}

/// What a worker writes when it says something, and what no worker should ever write.
async fn rows(fleet: &TestFleet) {
    for (topic, code) in [
        ("refused", "BROKER_REFUSES"),
        ("copies", "COPIES_BEHIND"),
        ("settings", "SETTINGS_DIFFER"),
        ("clock", "CLOCK_SKEW"),
        ("webhooks", "WEBHOOKS_SILENT"),
        ("of a later release", "WORKER_SAYS"),
    ] {
        let mut database = fleet.database().await.unwrap();
        let note = "insert into log.notices values ($1, 'a worker', 'what it says', now(), now() + interval '1 hour')";
        sqlx::query(note).bind(topic).execute(&mut database).await.unwrap();
        let said = &found(fleet, &[code]).await[0];
        let verb = if topic == "webhooks" { "brings no reports" } else { "says" };
        assert_eq!(
            (&said["subject"], &said["cause"]),
            (&"a worker".into(), &format!("a worker {verb}: what it says").into())
        );
        execute(fleet, "delete from log.notices where said_by = 'a worker'").await;
    }
    nothing(fleet).await;

    execute(
        fleet,
        "update inventory.holds set status = 'held' where order_id =
            (select order_id from orders.orders where status = 'expired' and stock_hold = 'released' order by order_id limit 1)",
    )
    .await;
    let orphan = &found_by(fleet, "a hold of an expired order set back to `held`", &["HOLD_ORPHANED"]).await;
    assert!(orphan["cause"].as_str().unwrap().contains("is expired"), "{orphan}");
    execute(
        fleet,
        "update inventory.holds h set status = 'released' from orders.orders o
            where o.order_id = h.order_id and o.status = 'expired' and h.status = 'held'",
    )
    .await;
    nothing(fleet).await;

    // What the deciders let through and the database does not: a defect, made on purpose.
    let (sku, actor) = ("POISON".to_owned(), String::new());
    fleet.accepts(&RegisterProduct { sku: sku.clone(), name: sku.clone(), actor: actor.clone() }).await.unwrap();
    execute(fleet, "alter table inventory.stock add constraint planted check (sku <> 'POISON' or received = 0)").await;
    let receive = ReceiveStock { sku, quantity: 1, reference: String::new(), actor };
    assert_eq!(code(&fleet.send_new(&receive).await.unwrap()), "NOT_HANDLED");
    let dead = &found_by(fleet, "a constraint added that refuses what a command writes", &["DEAD_LETTERS"]).await;
    assert_eq!(dead["subject"], "inventory NOT_HANDLED");
    let act = dead["do"].as_str().unwrap();
    assert!(act.starts_with("holdfast redrive --service inventory --code NOT_HANDLED --dry-run "), "{act}");
    execute(fleet, "alter table inventory.stock drop constraint planted").await;
    let (exit, said) = fleet.command(&["set-aside", "--code", "NOT_HANDLED", "--reason", "planted"]).await.unwrap();
    assert_eq!((exit, &said["set_aside"]), (Some(0), &1.into()), "{said:#}");
    nothing(fleet).await;
}

/// Somebody draws a position, and leaves the transaction open.
async fn horizon(fleet: &TestFleet) {
    // Who only reads holds up neither relay nor replay, however long.
    let mut reader = fleet.database().await.unwrap();
    let mut reads = reader.begin().await.unwrap();
    sqlx::query("select count(*) from log.events").execute(&mut *reads).await.unwrap();
    let mut holder = fleet.database().await.unwrap();
    let mut open = holder.begin().await.unwrap();
    let draw = "select pg_backend_pid(), nextval('log.events_position_seq'), pg_current_xact_id()::text";
    let (pid, position, _): (i32, i64, String) = sqlx::query_as(draw).fetch_one(&mut *open).await.unwrap();
    // Without anybody behind it, it holds nobody up yet, and is told of all the same.
    found_by(fleet, "a transaction left open that has drawn a position", &["HORIZON_HELD"]).await;
    fleet.paid(mug(10_010, "sandbox:succeed")).await.unwrap();
    // The relay is late because of that: it is no finding of its own.
    let waits = |held: &Value| held["numbers"]["seconds"].as_i64().is_some_and(|seconds| seconds > 1);
    let held = &found_so(fleet, &["HORIZON_HELD"], waits).await[0];
    assert_eq!((&held["subject"], &held["numbers"]["gap_at"]), (&format!("session {pid}").into(), &position.into()));
    the_picture_of_the_guide(fleet).await;
    assert!(held["do"].as_str().unwrap().starts_with(&format!("holdfast unblock {pid} --dry-run ")), "{held}");
    let (exit, said) = fleet.command(&["unblock", &pid.to_string(), "--reason", "left open"]).await.unwrap();
    assert_eq!((exit, &said["outcome"]), (Some(0), &"ended".into()), "{said:#}");
    nothing(fleet).await;
    assert!(open.commit().await.is_err());
}

/// What operators are shown is what they get.
async fn the_picture_of_the_guide(fleet: &TestFleet) {
    let guide = guide();
    let (_, picture) = guide.split_once("\n\n```\n").unwrap();
    let (picture, _) = picture.split_once("\n```\n").unwrap();
    let (_, said) = say(fleet, &["diagnose", "--late-seconds", "1"]).await;
    assert_eq!(picture.lines().count(), 6, "{picture}");
    for shown in picture.lines() {
        let begins = shown.split(|letter: char| letter.is_ascii_digit()).next().unwrap();
        assert!(said.lines().any(|line| line.starts_with(begins)), "{begins:?} is not in {said}");
    }
}

fn guide() -> String {
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    page.split_once("## What `diagnose` finds\n").unwrap().1.to_owned()
}

/// What the command says to people, and its exit code.
async fn say(fleet: &TestFleet, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(holdfast());
    command.args(args).args(["--database-url", &fleet.address.database_url]);
    command.args(["--broker-url", &fleet.address.broker_url]).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

async fn every_command_of_the_guide_works(fleet: &TestFleet) {
    let guide = guide();
    let (_, commands) = guide.split_once("```sh\n").unwrap();
    let (commands, _) = commands.split_once("```").unwrap();
    let mut ran = 0;
    // The one that never ends has a test of its own.
    for line in commands.lines().filter(|line| !line.contains("--watch")) {
        let command = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let (exit, said) = say(fleet, &command.split_whitespace().collect::<Vec<_>>()).await;
        assert!(exit == Some(0) && said.lines().count() > 0, "{line}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 5, "{commands}");
    for (word, exit, part) in [
        ("OUT_OF_STOCK", 0, "OUT_OF_STOCK  rejection\n  means     fewer pieces are free"),
        ("relay_lags", 0, "RELAY_LAGS  finding, delay is at stake\n  means     "),
        ("NO_SUCH", 2, ""),
    ] {
        let (ended, said) = say(fleet, &["explain", word]).await;
        assert!(ended == Some(exit) && said.starts_with(part), "{word}: {said}");
    }
}

/// Work whose worker is stopped.
async fn late(fleet: &TestFleet) {
    let order = fleet.asked(mug(10_011, "sandbox:never")).await.unwrap();
    nothing(fleet).await;
    stop(fleet, "orders").await;
    execute(fleet, "update orders.timers set due_at = now() - interval '1 minute'").await;
    let overdue = &found_by(fleet, "the worker of orders stopped while an order is due", &["ORDERS_OVERDUE"]).await;
    assert!(overdue["severity"] == "stock" && overdue["numbers"]["seconds"].as_i64() >= Some(60), "{overdue}");
    start(fleet, "orders").await;
    // Its buyer has time left all the same: the timer was only told to be early.
    nothing(fleet).await;
    fleet.accepts(&order.cancel()).await.unwrap();
    nothing(fleet).await;

    let round = fleet.round("boat", 10).await.unwrap();
    nothing(fleet).await;
    stop(fleet, "rounds").await;
    let mut database = fleet.database().await.unwrap();
    sqlx::query("update rounds.timers set due_at = now() - interval '1 minute' where stream = 'round-' || $1")
        .bind(round)
        .execute(&mut database)
        .await
        .unwrap();
    let done = "the worker of rounds stopped while a round is due";
    assert_eq!(found_by(fleet, done, &["WORK_OVERDUE"]).await["subject"], "timers of rounds");
    start(fleet, "rounds").await;
    nothing(fleet).await;
}

async fn consumers(fleet: &TestFleet) {
    let stream = jetstream::new(fleet.client.client().clone()).get_stream(EVENTS).await.unwrap();
    let is_done = async || {
        let info = stream.consumer_info("inventory-events").await?;
        Ok(info.num_pending == 0 && info.num_ack_pending == 0)
    };
    eventually("inventory has acknowledged all before", is_done).await.unwrap();
    // Behind what inventory has handled are older events of others: what waits for it is no older than what it is owed.
    stop(fleet, "inventory").await;
    let order = mug(10_020, "sandbox:succeed");
    let begun = Instant::now();
    fleet.place(&order).await.unwrap();
    let lags = &found_by(fleet, "the worker of inventory stopped while an order is placed", &["CONSUMER_LAGS"]).await;
    // Twice if the relay was quicker than the worker's word that it is published.
    let messages = lags["numbers"]["messages"].as_i64().unwrap();
    assert!(lags["subject"] == "inventory-events" && (1..=2).contains(&messages), "{lags}");
    assert!(Duration::from_millis(lags["for_ms"].as_u64().unwrap()) <= begun.elapsed(), "{lags}");
    let until = OffsetDateTime::from(clock::now()) + Duration::from_secs(3_600);
    assert!(stream.pause_consumer("inventory-events", until).await.unwrap().paused);
    let done = "a consumer paused at the broker";
    assert_eq!(found_by(fleet, done, &["CONSUMER_PAUSED"]).await["subject"], "inventory-events");
    start(fleet, "inventory").await;
    fleet.until_status(&order, "paid").await.unwrap();
    nothing(fleet).await;

    stop(fleet, "rounds").await;
    change_consumer(&stream, "rounds-events", |config| {
        config.filter_subjects = vec!["evt.orders.OrderPaid".to_owned()];
    })
    .await
    .unwrap();
    let done = "a consumer changed so that it passes over messages";
    assert_eq!(found_by(fleet, done, &["CONSUMER_EDITED"]).await["subject"], "rounds-events");
    start(fleet, "rounds").await;
    nothing(fleet).await;
}

/// What workers repair by themselves is only to be seen without them.
async fn everything_is_stopped(fleet: &TestFleet) {
    for service in proto::SERVICES {
        stop(fleet, service).await;
    }
    nothing(fleet).await;
    execute(
        fleet,
        "create table log.kept as select * from log.partitions where first > (select max(position) from log.events)",
    )
    .await;
    execute(fleet, "delete from log.partitions where number in (select number from log.kept)").await;
    let done = "the empty partitions of the log taken away";
    assert_eq!(found_by(fleet, done, &["PARTITIONS_RUN_OUT"]).await["numbers"]["empty"], 0);
    execute(fleet, "insert into log.partitions select * from log.kept").await;
    nothing(fleet).await;

    execute(fleet, "create table log.known as select id from log.installation").await;
    execute(fleet, "update log.installation set id = gen_random_uuid()").await;
    found_by(fleet, "the database made that of another installation", &["WRONG_BROKER"]).await;
    execute(fleet, "update log.installation set id = (select id from log.known)").await;
    nothing(fleet).await;

    execute(fleet, "update log.relay set published = published - 10, handled = least(handled, published - 10)").await;
    let lags = &found_by(fleet, "all workers stopped, with events that are not published", &["RELAY_LAGS"]).await;
    assert!(lags["numbers"]["events"].as_i64().is_some_and(|events| (1..=10).contains(&events)), "{lags}");
    execute(fleet, "update log.relay set published = published + 10").await;
    nothing(fleet).await;

    let context = jetstream::new(fleet.client.client().clone());
    context.get_stream(EVENTS).await.unwrap().delete_consumer("rounds-events").await.unwrap();
    let done = "a consumer deleted";
    assert_eq!(found_by(fleet, done, &["CONSUMER_MISSING"]).await["subject"], "rounds-events");
    context.delete_stream("COMMANDS_ROUNDS").await.unwrap();
    // The consumers of the stream are gone with it, and that is no finding of its own.
    let (done, both) = ("a stream of commands deleted", ["STREAM_MISSING", "CONSUMER_MISSING"]);
    assert_eq!(found_by(fleet, done, &both).await["subject"], "COMMANDS_ROUNDS");
    fleet.processes().await.start_workers().unwrap();
    fleet.processes().await.ready().await.unwrap();
}

/// What cannot be looked at is named, and the rest is told.
async fn unknown(fleet: &TestFleet) {
    let diagnose = |database: String, broker: String| async move {
        let mut command = Command::new(holdfast());
        command.args(["diagnose", "--json", "--database-url", &database, "--broker-url", &broker]).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let diagnosis: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), words(&diagnosis, "findings")), (Some(3), vec![]), "{diagnosis:#}");
        diagnosis["unknown"].as_array().unwrap().clone()
    };
    let (database, broker) = (fleet.address.database_url.clone(), fleet.address.broker_url.clone());
    let nowhere = "nats://127.0.0.1:1".to_owned();
    let known = |unknown: &[Value], word: &str| {
        !unknown.iter().any(|of| of["codes"].as_array().unwrap().contains(&word.into()))
    };
    let without = diagnose(database.clone(), nowhere.clone()).await;
    assert!(without[0]["why"].as_str().unwrap().contains("NATS"), "{without:?}");
    for (word, is_known) in [("CONSUMER_LAGS", false), ("DATABASE_BEHIND_BROKER", false), ("REFUND_UNKNOWN", true)] {
        assert_eq!(known(&without, word), is_known, "{word}: {without:?}");
    }
    let without = diagnose("postgres://127.0.0.1:1/none".to_owned(), broker.clone()).await;
    for (word, is_known) in [("CONSUMER_PAUSED", true), ("DATABASE_BEHIND_BROKER", false), ("REFUND_UNKNOWN", false)] {
        assert_eq!(known(&without, word), is_known, "{word}: {without:?}");
    }
    // A role that does not see others' sessions cannot say that none of them holds the horizon.
    let mut admin = PgConnection::connect(&database).await.unwrap();
    let reader = "create role reader login; grant pg_read_all_data to reader";
    sqlx::raw_sql(reader).execute(&mut admin).await.unwrap();
    let url = fleet.processes().await.postgres.url("reader", DATABASE);
    let blind = diagnose(url, broker).await;
    assert_eq!(blind.len(), 1, "{blind:?}");
    assert_eq!(blind[0]["codes"], serde_json::json!(["HORIZON_HELD"]));
    assert!(blind[0]["why"].as_str().unwrap().contains("pg_read_all_stats"), "{blind:?}");
}
