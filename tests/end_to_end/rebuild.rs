//! `holdfast rebuild` as an operator uses it: the commands of the guide, who may, and what it makes of tables that are empty.

use std::{fs, process::Stdio, time::Duration};

use holdfast_tests::{Order, TestFleet, holdfast, is_accepted, repo_root};
use proto::inventory::v1::ReceiveStock;
use runtime::log::rebuild::begin_alone;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::{Child, Command};

use crate::replay::{Said, command, shop};

const TABLES: &str = "inventory.stock, inventory.holds, rounds.rounds, rounds.holds, orders.orders, payments.payments, payments.refunds,
    payments.reports, payments.coupons, payments.coupon_uses, payments.coupon_customers, payments.wallets, payments.funds";

async fn rebuild(fleet: &TestFleet, args: &[&str]) -> Said {
    command("rebuild", Some(fleet), args).await
}

/// The words of a line of shell: what is between single quotes is one.
fn words(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(number, part)| if number % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .collect()
}

#[tokio::test]
async fn every_command_of_the_auditors_guide_works_and_its_output_is_as_shown() {
    let (fleet, _, _) = shop().await;
    let mut connection = fleet.database().await.unwrap();
    connection.execute("update inventory.stock set received = received + 5").await.unwrap();
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, section) = page.split_once("## Rows that are not what the log says\n").unwrap();
    let (_, rest) = section.split_once("```sh\n").unwrap();
    let (commands, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once("```\n").unwrap();
    let (output, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once("```sql\n").unwrap();
    let (query, _) = rest.split_once("```").unwrap();
    let mut said = Vec::new();
    for line in commands.lines() {
        let command = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast rebuild ").unwrap();
        let told = rebuild(&fleet, &words(command)).await;
        let wanted = if command.contains("--reason") || command.starts_with("payments") { 0 } else { 1 };
        assert_eq!((told.code, told.err.as_str()), (Some(wanted), ""), "{line}: {}", told.out);
        said.push(told.out);
    }
    assert_eq!(said.len(), 3, "{commands}");
    // All but the first line, which has an installation of its own.
    let rows = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rows(&said[0]), rows(output));
    assert!(said[2].contains("1 row put right, as rebuild 1"), "{}", said[2]);
    let (name, reason): (String, String) =
        sqlx::query_as(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&mut connection).await.unwrap();
    assert_eq!((name.as_str(), reason.as_str()), ("product-MUG-01", "incident 4711"));
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn tables_that_are_empty_are_filled_from_the_log() {
    let (fleet, _, _) = shop().await;
    let refunded = Order::new(2).line("MUG-01", 3);
    let late = Order::new(3).line("MUG-01", 1).coupon("TEN").by("bob").pays("sandbox:never");
    let late = late.expires_after(Duration::from_secs(5));
    for order in [&refunded, &late] {
        assert!(is_accepted(&fleet.place(order).await.unwrap()));
    }
    fleet.until_status(&refunded, "paid").await.unwrap();
    assert!(is_accepted(&fleet.send_new(&refunded.refund()).await.unwrap()));
    fleet.until_status(&refunded, "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let mut connection = fleet.database().await.unwrap();
    let contents = async |fleet: &TestFleet| {
        let mut connection = fleet.database().await.unwrap();
        let mut all = Vec::new();
        for table in TABLES.split(',').map(str::trim) {
            let query = format!(
                "select coalesce(jsonb_agg(to_jsonb(it) order by to_jsonb(it)::text), '[]') from {table} as it"
            );
            let rows: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&mut connection).await.unwrap();
            all.push((table.to_owned(), rows));
        }
        all
    };
    let before = contents(&fleet).await;
    // The refund is left, and hangs on no payment.
    let delete =
        TABLES.split(',').filter(|table| !table.contains("refunds")).map(|table| format!("delete from {table};"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(delete.collect::<String>())).execute(&mut connection).await.unwrap();
    for kind in ["stock", "shares", "orders", "payments", "coupons", "wallets"] {
        let said = rebuild(&fleet, &[kind, "--reason", "all was lost", "--json"]).await;
        assert_eq!(said.code, Some(0), "{kind}: {}", said.err);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(report["rebuilt"]["rows"], report["differences"].as_array().unwrap().len(), "{report}");
    }
    assert_eq!(contents(&fleet).await, before, "every column is what it was");
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn whoever_may_not_or_is_not_alone_or_has_nothing_to_go_by_is_told_so() {
    let fleet = TestFleet::start().await.unwrap();
    let said = rebuild(&fleet, &["stock", "--reason", "x"]).await;
    assert_eq!(said.code, Some(3));
    assert!(said.err.contains("the log is empty"), "{}", said.err);
    for (args, words) in [
        (&["socks"][..], "possible values: stock, shares, orders, payments, coupons, wallets"),
        (&["stock", "--reason", ""], "--reason"),
        (&["stock", "--max-rate", "0"], "--max-rate"),
    ] {
        let said = rebuild(&fleet, args).await;
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    fleet.stock("MUG", 10).await.unwrap();
    let mut connection = fleet.database().await.unwrap();
    connection.execute("update inventory.stock set received = 9").await.unwrap();

    let other = &mut fleet.database().await.unwrap();
    assert!(begin_alone(other).await.unwrap());
    let said = rebuild(&fleet, &["stock", "--reason", "x"]).await;
    assert_eq!(said.code, Some(3));
    assert!(said.err.contains("another rebuild is at work (session "), "{}", said.err);
    // Who only looks is in nobody's way.
    assert_eq!(rebuild(&fleet, &["stock"]).await.code, Some(1));
    other.execute("select pg_advisory_unlock_all()").await.unwrap();

    connection
        .execute("create role holdfast_ops login in role holdfast_rebuild; create role holdfast_other login in role holdfast_inventory")
        .await
        .unwrap();
    let url_of = |role: &str| {
        let (scheme, rest) = fleet.address.database_url.split_once("://").unwrap();
        format!("{scheme}://{role}@{}", rest.split_once('@').unwrap().1)
    };
    let as_role = async |role: &str| {
        let url = url_of(role);
        Command::new(holdfast())
            .args(["rebuild", "stock", "--reason", "x", "--json", "--database-url", &url])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap()
    };
    let refused = as_role("holdfast_other").await;
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert!(told.contains("a login that was granted holdfast_rebuild"), "{told}");
    assert_eq!(fleet.number("select received from inventory.stock").await.unwrap(), 9);
    let done = as_role("holdfast_ops").await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fleet.number("select count(*) from log.rebuilds where done_by = 'holdfast_ops'").await.unwrap(), 1);
    fleet.settle_and_verify().await.unwrap();
    // And no more than that.
    let mut ops = PgConnection::connect(&url_of("holdfast_ops")).await.unwrap();
    for statement in [
        "delete from log.rebuilds",
        "update log.rebuilt_rows set before = null",
        "delete from orders.inbox",
        "select * from orders.contacts",
    ] {
        let error = ops.execute(statement).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
    }
    let error = connection.execute("delete from log.rebuilt_rows").await.unwrap_err().to_string();
    assert!(error.contains("append-only"), "{error}");
}

/// How many wait for the lock.
const WAITS: &str =
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'lock table inventory%'";

fn start(fleet: &TestFleet) -> Child {
    Command::new(holdfast())
        .args(["rebuild", "stock", "--reason", "x", "--database-url", &fleet.address.database_url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The lock of another lets neither a worker nor the rebuild write. The worker has come first.
#[tokio::test]
async fn what_is_written_while_it_waits_is_folded_too() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut connection = fleet.database().await.unwrap();
    connection.execute("update inventory.stock set adjusted = 9").await.unwrap();
    let mut other = fleet.database().await.unwrap();
    other.execute("begin; lock table inventory.stock in share mode").await.unwrap();
    let (reference, actor) = (String::new(), String::new());
    let delivery = ReceiveStock { sku: "MUG".to_owned(), quantity: 5, reference, actor };
    let rebuilt = async {
        let waits =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and usename like 'holdfast_%'";
        fleet.until(waits, 1).await.unwrap();
        let child = start(&fleet);
        fleet.until(WAITS, 1).await.unwrap();
        other.execute("rollback").await.unwrap();
        child.wait_with_output().await.unwrap()
    };
    let (answer, rebuilt) = tokio::join!(fleet.send_new(&delivery), rebuilt);
    assert!(is_accepted(&answer.unwrap()));
    assert_eq!(rebuilt.status.code(), Some(0), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    assert_eq!(fleet.number("select on_hand from inventory.stock").await.unwrap(), 15);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_rebuild_that_is_broken_off_or_held_up_has_changed_nothing() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let mut connection = fleet.database().await.unwrap();
    connection.execute("update inventory.stock set received = 9").await.unwrap();
    let mut other = fleet.database().await.unwrap();
    other.execute("begin; lock table inventory.stock in share mode").await.unwrap();
    let child = start(&fleet);
    fleet.until(WAITS, 1).await.unwrap();
    let interrupted = Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status().await.unwrap();
    assert!(interrupted.success());
    let ended = child.wait_with_output().await.unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), told.as_str()), (Some(3), "holdfast: it was broken off: no row was changed\n"));
    let nothing = json!([9, 0]);
    let now = async || {
        json!([
            fleet.number("select received from inventory.stock").await.unwrap(),
            fleet.number("select count(*) from log.rebuilds").await.unwrap()
        ])
    };
    assert_eq!(now().await, nothing);
    other.execute("rollback").await.unwrap();
    let done = rebuild(&fleet, &["stock", "--reason", "x"]).await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(now().await, json!([10, 1]));
    fleet.settle_and_verify().await.unwrap();
}
