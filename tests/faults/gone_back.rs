//! A database that goes back in time: a copy of a minute ago in the place of the right one, as after a restore or the promotion of a standby
//! that did not have all. Two databases on one broker, and a copy of another installation's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use async_nats::jetstream;
use futures::{StreamExt, future::join_all};
use holdfast_tests::{Order, TestFleet, eventually, guide::is_in_the_guide, is_accepted, smtp::SmtpServer};
use platform::broker::EVENTS;
use sqlx::Executor;

/// `cp` or `mv`, also to another file system.
fn run(command: &str, from: &Path, to: &Path) {
    let arguments: &[&str] = if command == "cp" { &["-a"] } else { &[] };
    assert!(Command::new(command).args(arguments).arg(from).arg(to).status().unwrap().success(), "{command}");
}

/// Stops Postgres, has something done to its data, and starts it again.
async fn meanwhile(fleet: &TestFleet, harm: impl FnOnce(&Path)) {
    let mut processes = fleet.processes().await;
    processes.postgres.stop().await.unwrap();
    harm(processes.postgres.dir());
    processes.postgres.start_again().await.unwrap();
}

async fn stop_workers(fleet: &TestFleet) {
    let mut processes = fleet.processes().await;
    for service in proto::SERVICES {
        processes.stop_worker(service, 0).await.unwrap();
    }
}

const WORKERS: [&str; 4] = ["orders-0", "inventory-0", "rounds-0", "payments-0"];

async fn all_refuse(fleet: &TestFleet, words: &[&str]) {
    for worker in WORKERS {
        fleet.until_unready(worker, words).await.unwrap();
    }
}

async fn all_are_ready(fleet: &TestFleet) {
    for worker in WORKERS {
        fleet.until_ready(worker).await.unwrap();
    }
}

async fn have_status(fleet: &TestFleet, orders: &[Order], status: &str) {
    let statuses = join_all(orders.iter().map(|order| fleet.status(order))).await;
    assert!(statuses.iter().all(|found| found.as_ref().unwrap() == status), "{statuses:?}");
}

/// A fleet whose database has lost what happened since a backup, and what its callers know of.
struct Restored {
    fleet: TestFleet,
    /// In the backup they wait to be paid. Then they were.
    paid_since: Vec<Order>,
    /// Of these one was refunded since.
    refunded_since: Order,
    /// The backup does not have them. They were paid.
    placed_since: Vec<Order>,
    /// The same, and nobody pays them.
    unpaid: Vec<Order>,
    /// Refused since, and why.
    refused: Order,
    events: i64,
}

impl Restored {
    /// A backup, and what happened since; then the backup. Inventory does not run.
    async fn new() -> Self {
        let fleet = TestFleet::start().await.unwrap();
        fleet.stock("MUG", 1_000).await.unwrap();
        let refunded_since = fleet.paid(Order::new(999).line("MUG", 1)).await.unwrap();
        let orders = |first: u64, pays: &str| -> Vec<Order> {
            (first..first + 10).map(|number| Order::new(number).line("MUG", 1).pays(pays)).collect()
        };
        let paid_since = orders(0, "sandbox:succeed,after=4s");
        fleet.place_all(&paid_since).await.unwrap();
        fleet.until("select count(*) from payments.payments where status = 'requested'", 10).await.unwrap();
        let backup = fleet.dir().join("backup");
        meanwhile(&fleet, |dir| run("cp", dir, &backup)).await;
        for order in &paid_since {
            fleet.until_status(order, "paid").await.unwrap();
        }
        let placed_since = orders(100, "sandbox:succeed");
        let unpaid = orders(200, "sandbox:never");
        fleet.place_all(&placed_since).await.unwrap();
        let refused = Order::new(300).line("CUP", 1);
        fleet.place(&refused).await.unwrap();
        assert!(is_accepted(&fleet.send("refund", &refunded_since.refund()).await.unwrap()));
        fleet.until_status(&refunded_since, "refunded").await.unwrap();
        for order in &placed_since {
            fleet.until_status(order, "paid").await.unwrap();
        }
        fleet.until_status(&refused, "rejected").await.unwrap();
        // Of some, not all have heard by then.
        let (heard_of, unheard_of) = unpaid.split_at(5);
        fleet.place_all(heard_of).await.unwrap();
        fleet.until("select count(*) from payments.payments where status = 'requested'", 5).await.unwrap();
        fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
        fleet.place_all(unheard_of).await.unwrap();
        fleet.until("select max(position) - (select published from log.relay) from log.events", 0).await.unwrap();
        let events = fleet.number("select count(*) from log.events").await.unwrap();
        meanwhile(&fleet, |dir| {
            std::fs::remove_dir_all(dir).unwrap();
            run("mv", &backup, dir);
        })
        .await;
        Self { fleet, paid_since, refunded_since, placed_since, unpaid, refused, events }
    }

    async fn is_untouched(&self) {
        let count = self.fleet.number("select count(*) from log.events").await.unwrap();
        assert!(count < self.events, "{count} of {}", self.events);
        have_status(&self.fleet, &self.placed_since, "unknown").await;
    }
}

/// Orders were paid, then the database of before came up: they were open again, expired, their stock was given back, and the audit was
/// content. Now nobody touches it, and with the right one all goes on.
#[tokio::test]
async fn workers_do_not_write_to_a_database_that_has_gone_back() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let aside = fleet.dir().join("of-before");
    let orders: Vec<Order> =
        (0..10).map(|number| Order::new(number).line("MUG", 1).pays("sandbox:succeed,after=4s")).collect();
    fleet.place_all(&orders).await.unwrap();
    meanwhile(&fleet, |dir| run("cp", dir, &aside)).await;
    for order in &orders {
        fleet.until_status(order, "paid").await.unwrap();
    }
    fleet.settle().await.unwrap();
    let right = fleet.dir().join("right");
    meanwhile(&fleet, |dir| {
        run("mv", dir, &right);
        run("cp", &aside, dir);
    })
    .await;
    all_refuse(&fleet, &["DATABASE_BEHIND_BROKER", "the log has gone back"]).await;
    let before = fleet.number("select max(position) from log.events").await.unwrap();
    let late = Order::new(100).line("MUG", 1);
    let mending = async {
        eventually("a command waits", || async {
            let jetstream = jetstream::new(fleet.client.client().clone());
            Ok(jetstream.get_stream("COMMANDS_ORDERS").await?.cached_info().state.messages > 0)
        })
        .await
        .unwrap();
        assert_eq!(fleet.number("select max(position) from log.events").await.unwrap(), before, "nobody wrote to it");
        meanwhile(&fleet, |dir| {
            std::fs::remove_dir_all(dir).unwrap();
            run("mv", &right, dir);
        })
        .await;
    };
    let (placed, ()) = tokio::join!(fleet.place(&late), mending);
    assert!(is_accepted(&placed.unwrap()));
    have_status(&fleet, &orders, "paid").await;
    fleet.settle_and_verify().await.unwrap();
}

/// Workers that start after the restore know nothing of what was, and consumed it: stock was held for orders that were not there, and paid
/// orders were gone without a word.
#[tokio::test]
async fn what_a_restored_database_has_lost_is_taken_back() {
    let restored = Restored::new().await;
    let fleet = &restored.fleet;
    stop_workers(fleet).await;
    fleet.processes().await.start_workers().unwrap();
    all_refuse(fleet, &["DATABASE_BEHIND_BROKER", "holdfast recover --dry-run"]).await;
    restored.is_untouched().await;
    let (exit, status) = fleet.command(&["status"]).await.unwrap();
    assert!(exit == Some(1) && status["stands"].to_string().contains("DATABASE_BEHIND_BROKER"), "{status}");
    // All that is late is late because of that.
    let (exit, diagnosis) = fleet.command(&["diagnose", "--late-seconds", "1"]).await.unwrap();
    let finding = &diagnosis["findings"][0];
    assert_eq!((exit, diagnosis["findings"].as_array().map(Vec::len)), (Some(1), Some(1)), "{diagnosis:#}");
    assert_eq!((&finding["code"], &finding["severity"]), (&"DATABASE_BEHIND_BROKER".into(), &"money".into()));
    is_in_the_guide("the database restored from a backup, under a broker that went on", finding).unwrap();

    let (exit, report) = fleet.command(&["recover", "--dry-run"]).await.unwrap();
    assert_eq!((exit, &report["done"]), (Some(1), &"nothing".into()), "{report}");
    assert_eq!(report["adoptable"], report["lost"], "{report}");
    assert_eq!((&report["money"][0]["payments"], &report["money"][0]["refunds"]), (&20.into(), &1.into()), "{report}");
    restored.is_untouched().await;

    let (exit, report) = fleet.command(&["recover", "--adopt"]).await.unwrap();
    assert_eq!((exit, &report["done"], &report["epoch"]), (Some(0), &"adopted".into(), &1.into()), "{report}");
    assert!(fleet.number("select count(*) from log.events").await.unwrap() >= restored.events);
    all_are_ready(fleet).await;
    have_status(fleet, &restored.paid_since, "paid").await;
    have_status(fleet, &restored.placed_since, "paid").await;
    have_status(fleet, std::slice::from_ref(&restored.refunded_since), "refunded").await;
    // Whoever sends a command again hears what was answered, and nothing happens twice.
    let repeated = fleet.place(&restored.placed_since[0]).await.unwrap();
    assert!(is_accepted(&repeated), "{repeated:?}");
    for order in &restored.unpaid {
        fleet.until_status(order, "reserved").await.unwrap();
        fleet.send_new(&order.cancel()).await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 0);
    assert_eq!(fleet.paid_out(&restored.refunded_since).await.unwrap(), 1_000);
    let (exit, report) = fleet.command(&["recover", "--dry-run"]).await.unwrap();
    assert_eq!((exit, &report["lost"]), (Some(0), &0.into()), "{report}");
}

/// The ledger of mail went back too: what it lost is sent once more, as it was.
#[tokio::test]
async fn a_mail_that_a_restored_database_does_not_know_of_is_sent_again_if_it_still_knows_where_to() {
    let smtp = SmtpServer::start().await.unwrap();
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let port = smtp.port.to_string();
    let settings = [("SERVER", "127.0.0.1"), ("PORT", &port), ("TLS", "none"), ("FROM", "orders@shop.example")];
    let settings = settings.map(|(name, value)| (format!("HOLDFAST_MAIL_{name}"), value.to_owned())).into();
    fleet.processes().await.start_worker_with("mail", 0, &settings).unwrap();
    fleet.until("select count(*) from mail.began", 1).await.unwrap();
    let order = Order::new(1).line("MUG", 1).pays("sandbox:succeed,after=4s").mailed_to("ann@mail.example");
    fleet.place_all(std::slice::from_ref(&order)).await.unwrap();
    fleet.until("select count(*) from payments.payments where status = 'requested'", 1).await.unwrap();
    let backup = fleet.dir().join("backup");
    meanwhile(&fleet, |dir| run("cp", dir, &backup)).await;
    // Its address is in the database that is lost, and nowhere else.
    let since = Order::new(2).line("MUG", 1).mailed_to("bob@mail.example");
    fleet.place_all(std::slice::from_ref(&since)).await.unwrap();
    fleet.until("select count(*) from mail.mails where state = 'sent'", 2).await.unwrap();
    fleet.settle().await.unwrap();
    meanwhile(&fleet, |dir| {
        std::fs::remove_dir_all(dir).unwrap();
        run("mv", &backup, dir);
    })
    .await;
    all_refuse(&fleet, &["DATABASE_BEHIND_BROKER"]).await;
    fleet.until_unready("mail-0", &["DATABASE_BEHIND_BROKER"]).await.unwrap();
    let (exit, report) = fleet.command(&["recover", "--adopt"]).await.unwrap();
    assert_eq!((exit, &report["done"]), (Some(0), &"adopted".into()), "{report}");
    fleet.until("select count(*) from mail.mails where state = 'sent'", 1).await.unwrap();
    have_status(&fleet, &[order, since], "paid").await;
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from mail.mails").await.unwrap(), 1);
    let received = smtp.received();
    let to_ann: Vec<_> = received.iter().filter(|mail| mail.to.contains("ann@")).collect();
    assert_eq!((received.len(), to_ann.len()), (3, 2));
    assert_eq!(to_ann.first(), to_ann.last());
}

/// What is given up is kept in a file, its orders can be placed again, and no message of it has any effect; workers that run find it out as
/// well as those that start.
#[tokio::test]
async fn what_a_restored_database_has_lost_is_given_up() {
    let restored = Restored::new().await;
    let fleet = &restored.fleet;
    fleet.processes().await.start_workers().unwrap();
    all_refuse(fleet, &["DATABASE_BEHIND_BROKER"]).await;
    restored.is_untouched().await;
    let lost = ["recover", "--give-up", "--reason", "of a drill", "--file", "lost.ndjson"];
    let (exit, report) = fleet.command(&lost).await.unwrap();
    assert_eq!((exit, &report["done"], &report["epoch"]), (Some(0), &"given_up".into(), &2.into()), "{report}");
    let kept = std::fs::read_to_string(fleet.dir().join("lost.ndjson")).unwrap();
    assert_eq!(Some(u64::try_from(kept.lines().count()).unwrap()), report["lost"].as_u64());
    let drawn = fleet.number("select last_value from log.events_position_seq").await.unwrap();
    assert!(Some(drawn) >= report["span"]["last_position"].as_i64(), "{drawn} {report}");
    all_are_ready(fleet).await;
    have_status(fleet, &restored.placed_since, "unknown").await;
    have_status(fleet, std::slice::from_ref(&restored.refused), "unknown").await;
    // The provider reports once more what it is asked for once more.
    for order in &restored.paid_since {
        fleet.until_status(order, "paid").await.unwrap();
    }
    fleet.place_all(&restored.placed_since).await.unwrap();
    for order in &restored.placed_since {
        fleet.until_status(order, "paid").await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select held from inventory.stock").await.unwrap(), 0);
    assert_eq!(fleet.number("select count(*) from orders.dead_letters").await.unwrap(), 0);
    assert_eq!(
        fleet.number("select given_up from log.recoveries where reason = 'of a drill'").await.unwrap(),
        i64::try_from(kept.lines().count()).unwrap()
    );
    // Epoch and position name one event each, although all of them are in the stream.
    let mut stream = jetstream::new(fleet.client.client().clone()).get_stream(EVENTS).await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut names = BTreeSet::new();
    let mut messages = futures::stream::iter(1..=last).map(|sequence| stream.get_raw_message(sequence)).buffered(64);
    while let Some(message) = messages.next().await {
        let headers = message.unwrap().headers;
        let [epoch, position, id] =
            ["ce-epoch", "ce-position", "ce-id"].map(|name| headers.get(name).unwrap().to_string());
        names.insert((epoch, position, id));
    }
    let places: BTreeSet<_> = names.iter().map(|(epoch, position, _)| (epoch, position)).collect();
    assert_eq!(names.len(), places.len());
    assert!(places.iter().any(|(epoch, _)| *epoch == "2"));
}

/// A worker had handled an event, and what it made of that was in the database only: after the promotion of a standby that did not have it
/// nobody was to hear of the event again.
#[tokio::test]
async fn what_was_handled_and_not_published_is_handled_again_after_a_promotion() {
    // Time for the harm before the relay notices anything.
    let fleet = TestFleet::with(1, &[("HOLDFAST_RELAY_SWEEP_AFTER_MS", "15000")]).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    fleet.paid(Order::new(999).line("MUG", 1)).await.unwrap();
    fleet.settle().await.unwrap();
    // The relay has noted by then that all was handled.
    fleet.until("select max(position) - (select handled from log.relay) from log.events", 0).await.unwrap();
    fleet.processes().await.stop_worker("inventory", 0).await.unwrap();
    let orders: Vec<Order> = (0..10).map(|number| Order::new(number).line("MUG", 1).pays("sandbox:never")).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select max(position) - (select published from log.relay) from log.events", 0).await.unwrap();
    let copy = fleet.dir().join("standby");
    let standby = {
        let processes = fleet.processes().await;
        processes.postgres.backup(&copy).await.unwrap();
        let standby = processes.postgres.standby(&copy).await.unwrap();
        standby.falls_behind().await.unwrap();
        standby
    };
    let mut operator = fleet.database().await.unwrap();
    operator.execute("begin; lock table inventory.holds in exclusive mode").await.unwrap();
    fleet.processes().await.start_worker("inventory", 0).unwrap();
    let waiting = "select count(*) from pg_stat_activity where application_name = 'holdfast-inventory' and wait_event_type = 'Lock'";
    fleet.until_at_least(waiting, 1).await.unwrap();
    // The broker takes in no events from now on, as when its disk is full, and has handed out what it has.
    let jetstream = jetstream::new(fleet.client.client().clone());
    let stream = jetstream.get_stream(EVENTS).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_messages = i64::try_from(stream.cached_info().state.messages).unwrap();
    jetstream.update_stream(&config).await.unwrap();
    operator.execute("commit").await.unwrap();
    eventually("inventory has held and acknowledged", || async {
        let held = fleet.number("select count(*) from inventory.holds where status = 'held'").await?;
        let info = stream.consumer_info("inventory-events").await?;
        Ok(held == 10 && info.num_ack_pending == 0 && info.num_pending == 0)
    })
    .await
    .unwrap();
    {
        let mut processes = fleet.processes().await;
        processes.postgres.kill().await.unwrap();
        let promoted = standby.promote().await.unwrap();
        processes.postgres.restore(&promoted).await.unwrap();
        processes.postgres.start_again().await.unwrap();
    }
    config.max_messages = -1;
    jetstream.update_stream(&config).await.unwrap();
    for order in &orders {
        fleet.until_status(order, "reserved").await.unwrap();
        fleet.send_new(&order.cancel()).await.unwrap();
    }
    fleet.settle_and_verify().await.unwrap();
}

/// Half of the events of each went to the other, and nobody noticed.
#[tokio::test]
async fn a_broker_of_another_database_is_not_used() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    stop_workers(&fleet).await;
    let mut database = fleet.database().await.unwrap();
    sqlx::query("update log.installation set id = gen_random_uuid()").execute(&mut database).await.unwrap();
    fleet.processes().await.start_workers().unwrap();
    all_refuse(&fleet, &["WRONG_BROKER", "broker.url"]).await;
}

/// A copy of production is not taken for staging before somebody says so; and where no outside calls are made, they wait.
#[tokio::test]
async fn a_copy_of_another_installation_is_not_used() {
    let name = "HOLDFAST_DATABASE_INSTALLATION";
    let fleet = TestFleet::with(1, &[(name, "production"), ("HOLDFAST_EFFECTS_CALLS", "false")]).await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    let order = fleet.paid(Order::new(1).line("MUG", 1)).await.unwrap();
    assert!(is_accepted(&fleet.send("refund", &order.refund()).await.unwrap()));
    fleet.until("select count(*) from payments.effects where due_at < now()", 1).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        processes.stop_worker("payments", 0).await.unwrap();
        let settings = BTreeMap::from([(name.to_owned(), "staging".to_owned())]);
        processes.start_worker_with("payments", 0, &settings).unwrap();
    }
    fleet.until_unready("payments-0", &["WRONG_INSTALLATION", "\"production\"", "--rename staging"]).await.unwrap();
    assert_eq!(fleet.number("select count(*) from payments.effects").await.unwrap(), 1);
    assert_eq!(fleet.status(&order).await.unwrap(), "refunding");
}
