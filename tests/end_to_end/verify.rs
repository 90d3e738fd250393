//! `holdfast verify` with books: it takes in only what came since, says what it does not see, and ends as one of the whole log does.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Stdio};

use holdfast_tests::{Order, TestFleet, eventually, holdfast, is_accepted, repo_root};
use proto::rounds::v1::CancelRound;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Orders of one round of work.
const ORDERS: u64 = 12;

/// Directory of a fleet's books.
fn books(fleet: &TestFleet) -> PathBuf {
    fleet.dir().join("books")
}

async fn verify(fleet: &TestFleet, more: &[&str]) -> (Option<i32>, Value) {
    let books = books(fleet);
    fleet.command(&[&["verify", "--books", books.to_str().unwrap()], more].concat()).await.unwrap()
}

/// What both kinds of audit say of the same log.
fn said(report: &Value) -> Vec<Value> {
    let keys = ["ok", "events", "streams", "rows", "position", "findings"];
    let checked = report["checks"].as_array().unwrap().iter().filter(|check| check["check"] != "log");
    keys.iter().map(|key| report[*key].clone()).chain(checked.cloned()).collect()
}

async fn work(fleet: &TestFleet, first: u64) {
    let orders: Vec<Order> = (first..first + ORDERS)
        .map(|number| {
            let order = Order::new(number).line("MUG", 1);
            // One in four is paid too late or never, so it is open for longer than others.
            if number % 4 == 0 { order.pays("sandbox:abandon") } else { order }
        })
        .collect();
    fleet.place_all(&orders).await.unwrap();
}

/// How nice each thread of a process is.
fn priorities(pid: &str) -> BTreeSet<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nice = threads.map(|thread| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        // Behind the name, which may hold anything, the 19th field is the 17th.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(16).unwrap().to_owned()
    });
    nice.collect()
}

async fn do_sql(database: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(database).await.unwrap();
}

#[tokio::test]
async fn one_that_goes_on_ends_as_one_of_the_whole_log_does() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let mut read = 0;
    for part in 0..5 {
        // While it is at work: what is under way is in order, too.
        let (_, (code, report)) = tokio::join!(work(&fleet, part * ORDERS), verify(&fleet, &["--grace-seconds", "60"]));
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(report["since"].is_null(), part == 0, "{report}");
        read += report["read"].as_u64().unwrap();
        assert_eq!(report["events"].as_u64(), Some(read), "{report}");
    }
    fleet.settle().await.unwrap();
    let (code, since) = verify(&fleet, &[]).await;
    assert_eq!(code, Some(0), "{since}");
    let (code, whole) = fleet.command(&["verify"]).await.unwrap();
    assert_eq!(code, Some(0), "{whole}");
    assert_eq!(said(&since), said(&whole));
    assert!(since["read"].as_u64() < whole["read"].as_u64(), "{since}");
    // With nothing new, too.
    let (_, again) = verify(&fleet, &[]).await;
    assert_eq!((again["read"].as_u64(), said(&again)), (Some(0), said(&whole)));
}

/// That its round has named a buyer stands in none of the order's own streams, which is what one that goes on reads again.
#[tokio::test]
async fn one_that_goes_on_knows_whom_a_failed_round_has_named() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    let round = fleet.round("bicycle", 10).await.unwrap();
    let buyers: Vec<Order> = (0..3).map(|number| Order::new(number).shares(round, 2)).collect();
    fleet.place_all(&buyers).await.unwrap();
    fleet.settle().await.unwrap();
    assert_eq!(verify(&fleet, &[]).await.0, Some(0));
    let cancel = CancelRound { round_id: round.to_string(), actor: "ops".to_owned(), note: "prize broken".to_owned() };
    assert!(is_accepted(&fleet.send("cancel", &cancel).await.unwrap()));
    for first in [100, 200] {
        fleet.settle().await.unwrap();
        let (code, since) = verify(&fleet, &["--grace-seconds", "0"]).await;
        assert_eq!((code, since["since"].is_null()), (Some(0), false), "{since}");
        let (code, whole) = fleet.command(&["verify", "--grace-seconds", "0"]).await.unwrap();
        assert_eq!(code, Some(0), "{whole}");
        assert_eq!(said(&since), said(&whole));
        work(&fleet, first).await;
    }
}

/// The order is placed after the answers of its service were read, and before the moment in which the audit ends.
#[tokio::test]
async fn what_is_answered_while_an_audit_reads_is_known_to_it() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut database = fleet.database().await.unwrap();
    do_sql(&mut database, "begin; lock table rounds.inbox in access exclusive mode").await;
    let waits = "select count(*) from pg_locks where not granted and relation = 'rounds.inbox'::regclass";
    let placed = async {
        eventually("the audit waits", || async { Ok(fleet.number(waits).await? > 0) }).await.unwrap();
        fleet.paid(Order::new(1).line("MUG", 1)).await.unwrap();
        // So that no event comes behind the moment in which the audit ends.
        fleet.settle().await.unwrap();
        do_sql(&mut database, "rollback").await;
    };
    let (audited, ()) = tokio::join!(fleet.command(&["verify"]), placed);
    let (code, report) = audited.unwrap();
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["events"].as_i64(), Some(fleet.number("select count(*) from log.events").await.unwrap()));
}

async fn every_command_of_the_guide_works(fleet: &TestFleet) {
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## Whether the log proves the rows, and what came since\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let dir = fleet.dir().join("books-of-the-guide");
    for line in rest.split_once("```").unwrap().0.lines() {
        let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let words = words.replace("$DIR", dir.to_str().unwrap());
        let (code, report) = fleet.command(&words.split_whitespace().collect::<Vec<_>>()).await.unwrap();
        assert_eq!(code, Some(0), "{line}: {report}");
    }
}

#[tokio::test]
async fn one_that_goes_on_sees_what_is_new_and_the_whole_one_all() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    every_command_of_the_guide_works(&fleet).await;
    let (old, new) = (Order::new(1).line("MUG", 1), Order::new(2).line("MUG", 2));
    fleet.paid(old.clone()).await.unwrap();
    fleet.settle().await.unwrap();
    assert_eq!(verify(&fleet, &[]).await.0, Some(0));
    fleet.paid(new.clone()).await.unwrap();
    fleet.settle().await.unwrap();
    let mut database = fleet.database().await.unwrap();

    // In the new part: found, and found again until it is mended.
    let spoil = "update orders.orders set note = 'spoiled' where order_id = $1";
    sqlx::query(spoil).bind(new.id).execute(&mut database).await.unwrap();
    for _again in 0..2 {
        let (code, report) = verify(&fleet, &[]).await;
        assert_eq!(code, Some(1), "{report}");
        assert!(report["findings"].to_string().contains("spoiled"), "{report}");
    }
    sqlx::query("update orders.orders set note = '' where order_id = $1")
        .bind(new.id)
        .execute(&mut database)
        .await
        .unwrap();
    let (code, report) = verify(&fleet, &[]).await;
    assert_eq!((code, report["since"].is_null()), (Some(0), false), "{report}");

    // In the old part, which a later event has not touched: only the whole one looks.
    sqlx::query(spoil).bind(old.id).execute(&mut database).await.unwrap();
    // Whatever was touched lately is looked at, so the books have to be of another time.
    let (code, report) = verify(&fleet, &["--whole"]).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(report["findings"].to_string().contains("spoiled"), "{report}");
    assert_eq!(report["anew"], "it was asked to");

    // A row that is gone, or that nobody made, shows by the count of its table.
    do_sql(&mut database, "update orders.orders set note = ''; insert into inventory.holds values (gen_random_uuid(), 1, 'released', '{}', '{}', 1)").await;
    let (code, report) = verify(&fleet, &[]).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(report["findings"].to_string().contains("no event made it"), "{report}");
}

#[tokio::test]
async fn books_of_another_log_are_refused_and_those_that_do_not_fit_begin_anew() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    assert_eq!(verify(&fleet, &[]).await.0, Some(0));
    let file = books(&fleet).join("books.json");
    let kept = fs::read_to_string(&file).unwrap();
    let change = |path: &[&str], to: Value| {
        let mut changed: Value = serde_json::from_str(&kept).unwrap();
        *path.iter().fold(&mut changed, |value, key| value.get_mut(key).unwrap()) = to;
        fs::write(&file, changed.to_string()).unwrap();
    };
    for (path, to, why) in [
        (["of", "epoch"].as_slice(), 7.into(), "another epoch"),
        (&["of", "program"], "f00".into(), "another program"),
        (&["last"], "11111111-1111-4111-8111-111111111111".into(), "not there any more"),
        (&["books"], Value::Null, "cannot be read"),
    ] {
        change(path, to);
        let (code, report) = verify(&fleet, &[]).await;
        assert_eq!(code, Some(0), "{report}");
        assert!(report["anew"].as_str().unwrap().contains(why), "{report}");
    }
    change(&["of", "installation"], "11111111-1111-4111-8111-111111111111".into());
    let dir = books(&fleet);
    let args = ["verify", "--books", dir.to_str().unwrap(), "--database-url", &fleet.address.database_url];
    let output = Command::new(holdfast()).args(args).output().await.unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("give each its own directory"));
}

/// Starts one that cannot go on, for another has locked the log.
async fn held_up(fleet: &TestFleet) -> (Child, PgConnection) {
    let mut database = fleet.database().await.unwrap();
    do_sql(&mut database, "begin; lock table payments.inbox in access exclusive mode").await;
    let dir = books(fleet);
    let args = ["verify", "--books", dir.to_str().unwrap(), "--database-url", &fleet.address.database_url];
    let child = Command::new(holdfast()).args(args).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let waits = "select count(*) from pg_locks where not granted and relation = 'payments.inbox'::regclass";
    eventually("the audit waits", || async { Ok(fleet.number(waits).await? > 0) }).await.unwrap();
    (child, database)
}

#[tokio::test]
async fn one_that_is_killed_leaves_the_former_books_and_two_do_not_write_the_same() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    assert_eq!(verify(&fleet, &[]).await.0, Some(0));
    fleet.paid(Order::new(1).line("MUG", 1)).await.unwrap();
    fleet.settle().await.unwrap();

    let (mut child, database) = held_up(&fleet).await;
    let dir = books(&fleet);
    let args = ["verify", "--books", dir.to_str().unwrap(), "--database-url", &fleet.address.database_url];
    let second = Command::new(holdfast()).args(args).output().await.unwrap();
    assert_eq!(second.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&second.stderr).contains("wait until it has ended"));
    child.kill().await.unwrap();
    database.close().await.unwrap();
    fs::write(books(&fleet).join("books.json.new"), "half of it").unwrap();

    let (code, report) = verify(&fleet, &[]).await;
    assert_eq!((code, report["since"].is_null()), (Some(0), false), "{report}");
    assert!(report["read"].as_u64().unwrap() > 0, "{report}");
}

#[tokio::test]
async fn a_watch_tells_each_time_remembers_what_it_has_found_and_gives_way_to_the_fleet() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let args = ["verify", "--watch", "--every", "1", "--json", "--database-url", &fleet.address.database_url];
    let mut child = Command::new(holdfast()).args(args).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || serde_json::from_str::<Value>(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let first = next().await;
    assert_eq!((first["ok"].as_bool(), first["since"].is_null()), (Some(true), true), "{first}");
    let then = next().await;
    assert_eq!((then["ok"].as_bool(), then["since"].is_null()), (Some(true), false), "{then}");
    let mut database = fleet.database().await.unwrap();
    do_sql(&mut database, "update inventory.stock set received = received + 1").await;
    while next().await["ok"] == true {}
    do_sql(&mut database, "update inventory.stock set received = received - 1").await;
    while next().await["ok"] == false {}
    let pid = child.id().unwrap().to_string();
    assert_eq!(priorities(&pid), BTreeSet::from(["19".to_owned()]), "as low as it gets, all threads");
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
}
