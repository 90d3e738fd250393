//! `holdfast replay` as an auditor uses it: the commands of the guide, each format, and what is no question.

use std::{fs, process::Stdio};

use holdfast_tests::{Order, TestFleet, holdfast, is_accepted, money, repo_root};
use proto::payments::v1::{CouponOffer, TopUpWallet};
use serde_json::Value;
use tokio::process::Command;

/// How it ended, what it said, and what it complained about.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

async fn replay(fleet: Option<&TestFleet>, args: &[&str]) -> Said {
    command("replay", fleet, args).await
}

/// Runs a command that reads the log.
pub(crate) async fn command(name: &str, fleet: Option<&TestFleet>, args: &[&str]) -> Said {
    let url = fleet.map_or("postgres://127.0.0.1:1/none", |fleet| fleet.address.database_url.as_str());
    let output = Command::new(holdfast())
        .arg(name)
        .args(args)
        .args(["--database-url", url])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// What it says of a question that it answers.
async fn answer(fleet: &TestFleet, args: &[&str]) -> String {
    let said = replay(Some(fleet), args).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}: {}", said.out);
    said.out
}

/// A shop in which something of every kind has happened. Position and time are of the delivery of mugs, before all else.
pub(crate) async fn shop() -> (TestFleet, i64, String) {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG-01", 100).await.unwrap();
    let mut connection = fleet.database().await.unwrap();
    let query = r#"select max(position), to_char(max(recorded_at) at time zone '+01', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '-01:00' from log.events"#;
    let (position, time) = sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
    let round = fleet.round("bicycle, \"red\"", 10).await.unwrap();
    fleet.coupon("TEN", CouponOffer { basis_points: 1_000, ..CouponOffer::default() }).await.unwrap();
    let (customer_id, actor, note) = ("ada".to_owned(), "till".to_owned(), String::new());
    let top_up = TopUpWallet { customer_id, amount: Some(money(5_000)), actor, note };
    assert!(is_accepted(&fleet.send("ada", &top_up).await.unwrap()));
    let order = Order::new(1).line("MUG-01", 2).shares(round, 1).by("ada").pays("wallet").coupon("TEN");
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    (fleet, position, time)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Lines of comma-separated values below the comments.
fn table(csv: &str) -> Vec<&str> {
    csv.lines().skip_while(|line| line.starts_with("# ")).collect()
}

#[tokio::test]
async fn every_command_of_the_auditors_guide_works_and_each_format_says_the_same() {
    let (fleet, position, time) = shop().await;
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## As it was then\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let (commands, _) = rest.split_once("```").unwrap();
    let mut ran = 0;
    for line in commands.lines() {
        let command = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast replay ").unwrap();
        let command = command.replace("$TIME", &time).replace("$POSITION", &position.to_string());
        let said = answer(&fleet, &command.split_whitespace().collect::<Vec<_>>()).await;
        assert!(said.contains("asked") && (command.contains("--json") || said.lines().count() > 1), "{line}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 9, "{commands}");

    // The picture of the guide: its events, and what they changed.
    let told = answer(&fleet, &["stock", "--key", "MUG-01", "--movements"]).await;
    for words in [
        "MUG-01  ProductRegistered",
        "on_hand +100 = 100, available +100 = 100, received +100 = 100",
        "available -2 = 98, held +2 = 2",
        "on_hand -2 = 98, held -2 = 0, committed +2 = 2",
    ] {
        assert!(told.contains(words) && page.contains(words), "{words:?} is not in {told}");
    }
    let wallets = answer(&fleet, &["wallets", "--movements"]).await;
    assert!(wallets.contains("available +50.00 EUR = 50.00 EUR"), "{wallets}");

    let then = json(&answer(&fleet, &["stock", "--at", &time, "--json"]).await);
    let rows = answer(&fleet, &["stock", "--at", &time, "--format", "csv"]).await;
    assert_eq!(
        table(&rows),
        [
            "sku,name,on_hand,available,held,received,adjusted,committed,returned,version",
            "MUG-01,Product MUG-01,100,100,0,100,0,0,0,2",
        ]
    );
    assert_eq!(then["rows"][0]["on_hand"], 100);
    let evidence = &then["evidence"];
    assert_eq!(
        (&evidence["cut"]["position"], &evidence["events_read"], &evidence["rows"]),
        (&position.into(), &2.into(), &1.into())
    );
    assert!(evidence["asked"]["time"].as_str().unwrap().ends_with('Z'), "{evidence}");
    let lines = answer(&fleet, &["shares", "--movements", "--format", "jsonl"]).await;
    let lines: Vec<Value> = lines.lines().map(json).collect();
    let kinds: Vec<&String> = lines.iter().map(|line| line.as_object().unwrap().keys().next().unwrap()).collect();
    assert_eq!(kinds, ["evidence", "movement", "movement", "movement", "row"]);
    assert_eq!(lines[4]["row"]["sold"], 1);
    let rounds = answer(&fleet, &["shares", "--format", "csv"]).await;
    assert!(table(&rounds)[1].contains(r#","bicycle, ""red""",open,10,9,0,1,0,500,EUR,"#), "{rounds}");
    let moved = answer(&fleet, &["shares", "--movements", "--format", "csv"]).await;
    let heading = "position,recorded_at,round_id,event,event_id,order_id,payment_id,status,available_delta,available,held_delta,held,\
        sold_delta,sold,refunding_delta,refunding";
    assert_eq!(table(&moved)[0], heading);
    assert!(table(&moved)[3].ends_with(",open,0,9,-1,0,1,1,0,0"), "{moved}");
}

#[tokio::test]
async fn what_is_no_question_is_refused_in_words_and_what_has_no_answer_has_none() {
    // Whatever the database is: it is not asked.
    for (args, words) in [
        (&["socks"][..], "possible values: stock, shares, orders, payments, coupons, wallets"),
        (&["stock", "--at", "-5"], "positions begin at 1"),
        (&["stock", "--at", "0"], "positions begin at 1"),
        (&["stock", "--at", "2026-12-31T23:59:59"], "has no zone: write 2026-12-31T23:59:59Z"),
        (&["stock", "--at", "2026-12-31"], "a date alone is no moment"),
        (&["stock", "--at", "yesterday"], "neither a position nor an RFC 3339 time"),
        (&["stock", "--max-rate", "0"], "--max-rate"),
        (&["orders", "--key", "7"], "must be a UUID"),
        (&["stock", "--key", ""], "sku must be 1 to 128 characters"),
        (&["stock", "--format", "xlsx"], "possible values: table, csv, json, jsonl, parquet"),
        (&["stock", "--format", "parquet", "--json"], "--json is --format json"),
        (&["stock", "--format", "csv", "--json"], "--json is --format json"),
    ] {
        let said = replay(None, args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    let said = replay(None, &["stock"]).await;
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("connecting to Postgres"), "{}", said.err);

    let fleet = TestFleet::start().await.unwrap();
    let said = replay(Some(&fleet), &["stock"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(3), ""), "{}", said.err);
    assert!(said.err.contains("the log is empty"), "{}", said.err);
    fleet.stock("MUG", 1).await.unwrap();
    for (at, words) in [
        ("1000000", "position 1000000 is beyond the log, which ends at position "),
        ("2020-01-01T00:00:00Z", "that is before the first event, which is at position "),
        ("2999-01-01T00:00:00Z", "is not over yet"),
    ] {
        let said = replay(Some(&fleet), &["stock", "--at", at]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(3), ""), "{at}: {}", said.err);
        assert!(said.err.contains(words), "{at}: {}", said.err);
    }
    // Of two keys one is known: it is told, and the other is named.
    let said = replay(Some(&fleet), &["stock", "--key", "MUG", "--key", "JUG", "--json"]).await;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.starts_with("holdfast: there is no sku JUG up to position "), "{}", said.err);
    assert_eq!(json(&said.out)["rows"].as_array().unwrap().len(), 1);
}
