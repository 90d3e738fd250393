//! `holdfast archive`: the beginning of the log goes into files and comes back, while the fleet is at work and whoever does it is killed, and
//! all who read the log see one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use audit::{Settings, audit_telling};
use holdfast_tests::{Order, TestFleet, eventually, gateway::Gateway, holdfast, is_accepted, repo_root};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::replay::{Said, command};

/// Every column of every event up to a position, in one word.
const DIGEST: &str = "select coalesce(md5(string_agg(event::text, '|' order by position)), '') from log.events as event where position <= ";

const KINDS: [&str; 6] = ["stock", "shares", "orders", "payments", "coupons", "wallets"];

/// A fleet whose log has several partitions, all of whose orders are over, and an early order.
async fn fleet() -> (TestFleet, Order) {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 100_000).await.unwrap();
    fleet.place_all(&orders(1..320)).await.unwrap();
    fleet.settle().await.unwrap();
    for order in orders(20..30) {
        assert!(is_accepted(&fleet.send_new(&order.refund()).await.unwrap()));
    }
    fleet.settle_and_verify().await.unwrap();
    (fleet, Order::new(1).line("MUG", 1))
}

fn orders(numbers: std::ops::Range<u64>) -> Vec<Order> {
    numbers.map(|number| Order::new(number).line("MUG", 1)).collect()
}

async fn last(fleet: &TestFleet) -> i64 {
    fleet.number("select max(position) from log.events").await.unwrap()
}

async fn digest(connection: &mut PgConnection, up_to: i64) -> String {
    sqlx::query_scalar(AssertSqlSafe(format!("{DIGEST}{up_to}"))).fetch_one(connection).await.unwrap()
}

async fn archive(fleet: &TestFleet, args: &[&str]) -> Said {
    command("archive", Some(fleet), args).await
}

fn well(said: &Said) -> &str {
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    &said.out
}

/// What a command answers in JSON, but for when it was asked.
async fn answer(fleet: &TestFleet, name: &str, args: &[&str]) -> Value {
    let said = command(name, Some(fleet), &[args, &["--json"]].concat()).await;
    let mut told: Value = serde_json::from_str(well(&said)).unwrap();
    let database = told.pointer_mut("/evidence/database").and_then(Value::as_object_mut).unwrap();
    database.remove("at");
    let evidence = told.get_mut("evidence").and_then(Value::as_object_mut).unwrap();
    evidence.retain(|name, _| !["answer_sha256", "cut", "skew"].contains(&name.as_str()));
    told
}

/// What all readers say of the log up to a position.
async fn all_answers(fleet: &TestFleet, up_to: i64, order: &Order, with: &[&str]) -> Vec<Value> {
    let mut answers = Vec::new();
    for position in [7, 300, 1_000, 1_001, up_to] {
        let at = position.to_string();
        for kind in KINDS {
            answers.push(answer(fleet, "replay", &[&[kind, "--at", &at, "--movements"], with].concat()).await);
        }
    }
    let (at, order_id) = (up_to.to_string(), order.id.to_string());
    answers.push(answer(fleet, "timeline", &[&["order", &order_id, "--at", &at], with].concat()).await);
    answers
        .push(answer(fleet, "timeline", &[&["product", "MUG", "--at", &at, "--limit", "9999"], with].concat()).await);
    answers.push(answer(fleet, "actions", &[&["--to", &at], with].concat()).await);
    answers.push(answer(fleet, "cutoff", &[&["--at", "900"], with].concat()).await);
    answers
}

/// The files of an export up to a position, by name and hash.
async fn exported(fleet: &TestFleet, up_to: i64, with: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let (path, to) = (dir.path().to_str().unwrap(), up_to.to_string());
    well(&command("export", Some(fleet), &[&[path, "--to", &to, "--block", "400"], with].concat()).await);
    let manifest: Value = serde_json::from_slice(&fs::read(dir.path().join("manifest.json")).unwrap()).unwrap();
    Value::from(vec![manifest.get("events").unwrap().clone(), manifest.get("postings").unwrap().clone()])
}

#[tokio::test]
async fn what_is_archived_under_load_is_read_with_the_table_as_one_log_and_comes_back_as_it_was() {
    let (fleet, order) = fleet().await;
    let mut connection = fleet.database().await.unwrap();
    let up_to = last(&fleet).await;
    assert!(up_to > 2_000, "{up_to}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let before = all_answers(&fleet, up_to, &order, &[]).await;
    let (export, digest_before) = (exported(&fleet, up_to, &[]).await, digest(&mut connection, up_to).await);

    let told = archive(&fleet, &[path, "--before", "1501", "--dry-run"]).await;
    assert!(well(&told).contains("block 1, positions 1 to 1000: would go to"), "{}", told.out);
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    // The fleet is at work meanwhile, and nobody notices.
    let more = orders(1_000..1_150);
    let args = [path, "--before", "1501", "--reason", "the year is closed"];
    let (placed, told) = tokio::join!(fleet.place_all(&more), archive(&fleet, &args));
    placed.unwrap();
    assert!(well(&told).contains("block 2, positions 1001 to 1500"), "{}", told.out);
    assert!(told.out.contains("positions 1501 to 2000 stay: it is not wholly before 1501"), "{}", told.out);
    fleet.settle().await.unwrap();
    let first = fleet.number("select min(position) from log.events").await.unwrap();
    assert!(first > 1_500, "{first}");
    let steps =
        "select count(*) from log.archives where step in ('copied', 'detached') and reason = 'the year is closed'";
    assert_eq!(fleet.number(steps).await.unwrap(), 4);

    refuse_without(&fleet, path).await;
    the_gateway_says_so(&fleet, &order).await;
    let with = ["--archive", path];
    assert_eq!(all_answers(&fleet, up_to, &order, &with).await, before);
    assert_eq!(exported(&fleet, up_to, &with).await, export);
    // An order whose events are archived is refunded by its row.
    assert!(is_accepted(&fleet.send_new(&order.refund()).await.unwrap()));
    fleet.until_status(&order, "refunded").await.unwrap();
    fleet.settle().await.unwrap();
    verify(&fleet, &with).await;
    let checked = command("check", None, &[path]).await;
    assert!(well(&checked).contains("check: ok: "), "{}", checked.out);

    // Dropped, and made anew of the files.
    well(&archive(&fleet, &[path, "--drop", "--reason", "two copies are in the vault"]).await);
    assert_eq!(fleet.number("select count(*) from pg_tables where schemaname = 'archived'").await.unwrap(), 0);
    verify(&fleet, &with).await;
    let said = archive(&fleet, &["restore", path, "1", "--reason", "the auditor asks"]).await;
    assert_eq!(said.code, Some(3));
    assert!(said.err.contains("block 1 is not the last that was archived: that is 2"), "{}", said.err);
    for block in ["2", "1"] {
        well(&archive(&fleet, &["restore", path, block, "--reason", "the auditor asks"]).await);
    }
    assert_eq!(digest(&mut connection, up_to).await, digest_before);
    assert_eq!(all_answers(&fleet, up_to, &order, &[]).await, before);
    assert_eq!(exported(&fleet, up_to, &[]).await, export);
    is_as_every_partition(&mut connection).await;
    fleet.place_all(&orders(2_000..2_020)).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// Whoever needs what is archived says where it is; who does not, goes on.
async fn refuse_without(fleet: &TestFleet, path: &str) {
    let order_id = Order::new(1).id.to_string();
    let empty = tempfile::tempdir().unwrap();
    let export = empty.path().join("export");
    for (name, args) in [
        ("verify", vec![]),
        ("replay", vec!["stock"]),
        ("rebuild", vec!["stock"]),
        ("export", vec![export.to_str().unwrap()]),
        ("timeline", vec!["order", order_id.as_str()]),
        ("actions", vec![]),
        ("what-if", vec!["--time-to-pay", "20m"]),
    ] {
        let said = command(name, Some(fleet), &args).await;
        assert_eq!(said.code, Some(3), "{name}: {}{}", said.out, said.err);
        let words = format!("positions 1 to 1500 of the log were archived to {path}, the last of them at ");
        assert!(said.err.contains(&words) && said.err.contains("--archive DIR"), "{name}: {}", said.err);
    }
    let late = Order::new(1_100).id.to_string();
    well(&command("timeline", Some(fleet), &["order", &late]).await);
    well(&command("actions", Some(fleet), &["--after", "1600"]).await);
    let elsewhere = command("verify", Some(fleet), &["--archive", empty.path().to_str().unwrap()]).await;
    assert!(elsewhere.err.contains("has no files of positions 1 to 1000; it was archived to"), "{}", elsewhere.err);
}

/// Whose events are archived is told so; all else of an order is in its row, and later orders have their events.
async fn the_gateway_says_so(fleet: &TestFleet, order: &Order) {
    let gateway = Gateway::start(fleet, &[]).await.unwrap();
    let gone = gateway.get(&format!("/v1/orders/{}/events", order.id)).await.unwrap();
    assert_eq!((gone.status, gone.code()), (410, "EVENTS_ARCHIVED"));
    for list in ["/v1/events", "/v1/events?after=1499"] {
        let gone = gateway.get(list).await.unwrap();
        assert_eq!((gone.status, gone.code()), (410, "EVENTS_ARCHIVED"), "{list}");
    }
    assert_eq!(gateway.get("/v1/events?after=1500&limit=1").await.unwrap().status, 200);
    let row = gateway.get(&format!("/v1/orders/{}", order.id)).await.unwrap().json;
    assert_eq!(row.get("status").unwrap(), "paid");
    let unknown = gateway.get(&format!("/v1/orders/{}/events", Order::new(77_777).id)).await.unwrap();
    assert_eq!(unknown.code(), "UNKNOWN_ORDER");
    assert_eq!(gateway.get(&format!("/v1/orders/{}/events", Order::new(1_100).id)).await.unwrap().status, 200);
}

#[tokio::test]
async fn every_command_of_the_guide_works() {
    let (fleet, _) = fleet().await;
    let dir = tempfile::tempdir().unwrap();
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## The beginning of the log in files\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let (commands, _) = rest.split_once("```").unwrap();
    let mut ran = 0;
    for line in commands.lines() {
        let line = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let line = line.replace("$DIR", dir.path().to_str().unwrap()).replace("$POSITION", "1001");
        let parts = line.split('\'').enumerate();
        let words: Vec<&str> = parts
            .flat_map(|(number, part)| if number % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
            .collect();
        let (name, args) = words.split_first().unwrap();
        well(&command(name, Some(&fleet).filter(|_| *name != "check"), args).await);
        ran += 1;
    }
    assert_eq!(ran, 7, "{commands}");
    fleet.settle_and_verify().await.unwrap();
}

/// All is well, from the beginning and with books.
async fn verify(fleet: &TestFleet, with: &[&str]) {
    let books = tempfile::tempdir().unwrap();
    let books = books.path().to_str().unwrap();
    for args in [&[][..], &["--books", books], &["--books", books], &["--books", books, "--whole"]] {
        let said = command("verify", Some(fleet), &[args, with].concat()).await;
        assert!(well(&said).contains("verify: ok"), "{args:?}: {}", said.out);
    }
    // Let go at once, and brought back with all that belongs to it.
    let archive = with.iter().skip(1).map(PathBuf::from).collect();
    let settings = Settings { lately: 0, archive, ..Settings::default() };
    let report = audit_telling(&fleet.address.database_url, &settings, |_progress| ()).await.unwrap();
    assert!(report.ok, "{:?}", report.findings);
}

/// It refuses changes, and workers may read it and not write to it.
async fn is_as_every_partition(connection: &mut PgConnection) {
    let query =
        "select string_agg(contype::text || ' ' || pg_get_constraintdef(oid), ', ' order by pg_get_constraintdef(oid))
        from pg_constraint where conrelid = $1::regclass and conname not like '%_positions'";
    let mut constraints = Vec::new();
    for table in ["log.events_1", "log.events_2", "log.events_3"] {
        let error = connection.execute(AssertSqlSafe(format!("delete from {table}"))).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{table}: {error}");
        let grants = "select array_agg(privilege_type::text) from information_schema.role_table_grants
            where grantee = 'holdfast_worker' and table_schema || '.' || table_name = $1";
        let grants: Vec<String> = sqlx::query_scalar(grants).bind(table).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(grants, ["SELECT"], "{table}");
        constraints.push(sqlx::query_scalar::<_, String>(query).bind(table).fetch_one(&mut *connection).await.unwrap());
    }
    constraints.dedup();
    assert_eq!(constraints.len(), 1, "{constraints:?}");
}

/// What is settled is read in no snapshot, so it may leave meanwhile.
#[tokio::test]
async fn an_audit_during_which_a_part_of_the_log_is_archived_has_no_answer() {
    let (fleet, _) = fleet().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let mut other = fleet.database().await.unwrap();
    other.execute("begin; lock table rounds.inbox in access exclusive mode").await.unwrap();
    let waits = "select count(*) from pg_locks where not granted and relation = 'rounds.inbox'::regclass";
    let archived = async {
        eventually("the audit waits", async || Ok(fleet.number(waits).await? > 0)).await.unwrap();
        well(&archive(&fleet, &[path, "--before", "1001", "--reason", "an audit reads"]).await);
        other.execute("rollback").await.unwrap();
    };
    let (said, ()) = tokio::join!(command("verify", Some(&fleet), &[]), archived);
    assert_eq!(said.code, Some(3), "{}", said.out);
    assert!(said.err.contains("was archived, or brought back, while it was read"), "{}", said.err);
    verify(&fleet, &["--archive", path]).await;
}

/// Starts a command and waits until it waits for somebody, in a statement that begins with these words.
async fn stopped(fleet: &TestFleet, args: &[&str], statement: &str) -> Child {
    let child = Command::new(holdfast())
        .arg("archive")
        .args(args)
        .args(["--database-url", &fleet.address.database_url])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let waits = format!(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '{}%'",
        statement.replace('\'', "''")
    );
    eventually(&format!("it waits in {statement}"), async || {
        let mut connection = fleet.database().await?;
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(waits.clone())).fetch_one(&mut connection).await?;
        Ok(count > 0)
    })
    .await
    .unwrap();
    child
}

/// Kills it, and its session as Postgres does once it notices.
async fn kill(fleet: &TestFleet, mut child: Child) {
    child.kill().await.unwrap();
    let end = "select pg_terminate_backend(pid, 10000) from pg_stat_activity
        where pid in (select pid from pg_locks where locktype = 'advisory' and objsubid = 1
            and (classid::bigint << 32) + objid::bigint = hashtextextended('holdfast archive', 0))";
    fleet.database().await.unwrap().execute(end).await.unwrap();
}

/// Where events up to a position are: in the table, or in files that all who read take with it. Never in neither.
async fn is_whole(fleet: &TestFleet, path: &str) {
    let said = command("verify", Some(fleet), &["--archive", path]).await;
    assert!(well(&said).contains("verify: ok"), "{}", said.out);
}

#[tokio::test]
async fn whoever_archives_may_be_killed_at_any_step_and_the_next_try_goes_on() {
    let (fleet, _) = fleet().await;
    let mut connection = fleet.database().await.unwrap();
    let up_to = last(&fleet).await;
    let digest_before = digest(&mut connection, up_to).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let args = [path, "--before", "1001", "--reason", "killed"];
    let mut other = fleet.database().await.unwrap();

    // While the files are written: what is left of them is nothing.
    let left = dir.path().join(".events_1.new");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("events-000000000001-000001000000.jsonl"), "{\"half").unwrap();
    // The files are there, and not noted.
    other.execute("begin; lock table log.archives in exclusive mode").await.unwrap();
    let child = stopped(&fleet, &args, "insert into log.archives").await;
    let second = archive(&fleet, &args).await;
    assert!(second.err.contains("another session archives or restores"), "{}", second.err);
    kill(&fleet, child).await;
    other.execute("rollback").await.unwrap();
    is_whole(&fleet, path).await;
    assert_eq!(fleet.number("select min(position) from log.events").await.unwrap(), 1);
    assert!(!left.exists() && dir.path().join("events_1").exists());

    // Half detached: a reader that has begun before keeps it from the other half.
    other.execute("begin; select count(*) from log.events").await.unwrap();
    let child = stopped(&fleet, &args, "alter table log.events detach partition log.events_1 concurrently").await;
    kill(&fleet, child).await;
    assert_eq!(fleet.number("select count(*) from pg_inherits where inhdetachpending").await.unwrap(), 1);
    other.execute("rollback").await.unwrap();
    is_whole(&fleet, path).await;
    fleet.place_all(&orders(500..520)).await.unwrap();
    fleet.settle().await.unwrap();

    // Detached, and nobody has noted it.
    other.execute("alter table log.events detach partition log.events_1 finalize").await.unwrap();
    is_whole(&fleet, path).await;
    other.execute("begin; select count(*) from log.events_1").await.unwrap();
    let child = stopped(&fleet, &args, "alter table log.events_1 set schema archived").await;
    kill(&fleet, child).await;
    other.execute("rollback").await.unwrap();
    is_whole(&fleet, path).await;
    well(&archive(&fleet, &args).await);
    is_whole(&fleet, path).await;
    assert_eq!(archive(&fleet, &args).await.code, Some(1), "all that may go is gone");

    killed_while_it_drops_and_restores(&fleet, path, &mut other).await;
    assert_eq!(digest(&mut connection, up_to).await, digest_before);
    fleet.settle_and_verify().await.unwrap();
}

async fn killed_while_it_drops_and_restores(fleet: &TestFleet, path: &str, other: &mut PgConnection) {
    let there = "select count(*) from pg_tables where schemaname = 'archived'";
    let (drop, restore) = ([path, "--drop", "--reason", "killed"], ["restore", path, "1", "--reason", "killed"]);
    other.execute("begin; lock table log.archives in exclusive mode").await.unwrap();
    let child = stopped(fleet, &drop, "insert into log.archives").await;
    kill(fleet, child).await;
    other.execute("rollback").await.unwrap();
    assert_eq!(fleet.number(there).await.unwrap(), 1);
    is_whole(fleet, path).await;
    // Back from the table that was set aside.
    other.execute("begin; lock table log.archives in exclusive mode").await.unwrap();
    let child = stopped(fleet, &restore, "insert into log.archives").await;
    kill(fleet, child).await;
    other.execute("rollback").await.unwrap();
    is_whole(fleet, path).await;
    // Back from files: the table is there, and not in the log.
    well(&archive(fleet, &drop).await);
    other.execute("begin; lock table log.archives in exclusive mode").await.unwrap();
    let child = stopped(fleet, &restore, "insert into log.archives").await;
    kill(fleet, child).await;
    other.execute("rollback").await.unwrap();
    assert_eq!(fleet.number(there).await.unwrap(), 1);
    is_whole(fleet, path).await;
    well(&archive(fleet, &restore).await);
}

/// The first line of the files that has these words, with others in their place.
fn change(path: &Path, words: &str, others: &str) {
    let file = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let file: PathBuf = file.into_iter().find(|path| path.extension().is_some_and(|it| it == "jsonl")).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(words));
    fs::write(file, text.replacen(words, others, 1)).unwrap();
}

/// What makes somebody read an event of the first partition, what ends that, and what is said of it.
fn who_reads(order_id: Uuid) -> [(String, String, &'static str); 5] {
    [
        (
            "update log.relay set published = 999, handled = 999".to_owned(),
            "update log.relay set (published, handled) = (select max(position), max(position) from log.events)"
                .to_owned(),
            "the relay has published up to position ",
        ),
        (
            format!("update orders.orders set status = 'refunding' where order_id = '{order_id}'"),
            format!("update orders.orders set status = 'paid' where order_id = '{order_id}'"),
            "an order is not over that has events in it: order ",
        ),
        (
            "insert into rounds.dead_letters (subject, headers, payload, code, reason, received_at)
                values ('evt.x', '{\"ce-position\": \"1000\"}', '', 'X', 'x', now())"
                .to_owned(),
            "update rounds.dead_letters set settled_at = now()".to_owned(),
            "a dead letter is not settled that is about an event in it: letter rounds-",
        ),
        (
            "insert into log.acts (log_ended, verb, target, reason, said) values (1, 'X', 'x', 'x', '{}');
             insert into log.asked_again select 1000, id from log.acts"
                .to_owned(),
            "delete from log.asked_again".to_owned(),
            "the relay is to publish an event of it again: position 1000",
        ),
        (
            format!(
                "insert into mail.mails (mail_id, order_id, kind, position, happened_at, state, give_up_at)
                values (gen_random_uuid(), '{order_id}', 'paid', 9999999, now(), 'queued', now())"
            ),
            "delete from mail.mails".to_owned(),
            "a mail is not sent that tells of an event in it: mail ",
        ),
    ]
}

#[tokio::test]
async fn what_somebody_still_reads_stays_and_files_that_were_changed_are_no_archive() {
    let (fleet, _) = fleet().await;
    let mut connection = fleet.database().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let dry = [path, "--before", "1001", "--dry-run"];
    let stays = async |words: &str| {
        let said = archive(&fleet, &dry).await;
        assert_eq!(said.code, Some(1), "{words}: {}{}", said.out, said.err);
        assert!(
            said.out.starts_with("positions 1 to 1000 stay: ") && said.out.contains(words),
            "{words}: {}",
            said.out
        );
    };
    let mut processes = fleet.processes().await;
    for worker in processes.workers() {
        processes.kill_worker(worker, 0).await.unwrap();
    }
    drop(processes);
    for (plant, mend, words) in who_reads(Order::new(1).id) {
        connection.execute(AssertSqlSafe(plant)).await.unwrap();
        stays(words).await;
        connection.execute(AssertSqlSafe(mend)).await.unwrap();
    }
    let ends = last(&fleet).await.to_string();
    let all = archive(&fleet, &[path, "--before", "9999999", "--dry-run"]).await;
    assert!(well(&all).contains(" stay: the last event of the log is in it, or before it"), "{ends}: {}", all.out);
    let young = archive(&fleet, &[path, "--dry-run"]).await;
    assert!(young.code == Some(1) && young.out.contains("it is not wholly before 20"), "{}", young.out);

    well(&archive(&fleet, &[path, "--before", "1001", "--reason", "x"]).await);
    forged(&fleet, dir.path()).await;

    // Workers that start compare the log with what the broker has last, of which much is archived now.
    well(&archive(&fleet, &[path, "--before", "9999999", "--reason", "x"]).await);
    let left = fleet.number("select count(*) from log.events").await.unwrap();
    assert!(left < 500, "{left}");
    fleet.processes().await.start_workers().unwrap();
    fleet.place_all(&orders(3_000..3_005)).await.unwrap();
}

/// No reader, no drop and no restore takes files that were changed.
async fn forged(fleet: &TestFleet, dir: &Path) {
    let (path, block) = (dir.to_str().unwrap(), dir.join("events_1"));
    let drop = [path, "--drop", "--reason", "x"];
    let restore = ["restore", path, "1", "--reason", "x"];
    change(&block, "\"version\":1,", "\"version\":2,");
    let readers: [(&str, Vec<&str>, &str); 5] = [
        ("archive", drop.to_vec(), "another event"),
        ("archive", restore.to_vec(), "another event"),
        ("replay", vec!["stock", "--archive", path], "was changed"),
        ("verify", vec!["--archive", path], "was changed"),
        ("export", vec!["never", "--archive", path], "was changed"),
    ];
    for (name, args, _) in &readers {
        let said = command(name, Some(fleet), args).await;
        assert_eq!(said.code, Some(3), "{name} {args:?}: {}", said.out);
    }
    fs::remove_dir_all("never").unwrap_or_default();
    assert_eq!(command("check", None, &[path]).await.code, Some(1));
    change(&block, "\"version\":2,", "\"version\":1,");
    well(&command("check", None, &[path]).await);
    // With its hash changed too it is another manifest than the noted one.
    let manifest = block.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text} ")).unwrap();
    for args in [&drop[..], &restore] {
        let said = archive(fleet, args).await;
        assert!(said.code == Some(3) && said.err.contains("is not the manifest that was noted"), "{}", said.err);
    }
    fs::write(&manifest, text).unwrap();
    well(&archive(fleet, &drop).await);
}
