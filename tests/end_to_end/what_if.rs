//! `holdfast what-if` as an auditor uses it: the commands of the guide on a shop where money came late, and what is no question.

use std::{fs, time::Duration};

use holdfast_tests::{Order, TestFleet, is_accepted, repo_root};
use serde_json::{Value, json};

use crate::replay::command;

/// A shop in which one order was paid at once, and the money of another came when its time was over.
async fn shop() -> TestFleet {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let paid = Order::new(1).line("MUG", 1);
    let late = Order::new(2).line("MUG", 2).pays("sandbox:late,after=200ms").expires_after(Duration::from_secs(5));
    for order in [&paid, &late] {
        assert!(is_accepted(&fleet.place(order).await.unwrap()));
    }
    fleet.until_status(&paid, "paid").await.unwrap();
    let given_back = "select count(*) from log.events where type = 'holdfast.payments.v1.PaymentRefunded'";
    fleet.until(given_back, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    fleet
}

#[tokio::test]
async fn an_auditor_is_told_what_another_policy_would_have_changed_and_what_nobody_can_know() {
    let fleet = shop().await;
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## What if\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let mut ran = 0;
    for line in rest.split_once("```").unwrap().0.lines() {
        let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let words = words.replace("$POSITION", "1");
        let (name, args) = words.split_once(' ').unwrap();
        let said = command(name, Some(&fleet), &args.split_whitespace().collect::<Vec<_>>()).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}: {}", said.out);
        ran += 1;
    }
    assert_eq!(ran, 3, "{rest}");

    let ask = async |args: &[&str]| {
        let said = command("what-if", Some(&fleet), &[args, &["--json"]].concat()).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
        serde_json::from_str::<Value>(&said.out).unwrap()
    };
    let told = |answer: &Value| {
        let row = &answer["rows"][0];
        (answer["rows"].as_array().unwrap().len(), row["recorded"].clone(), row["would_be"].clone())
    };
    let held_again = ask(&["--policy", "late_payment=rehold"]).await;
    assert_eq!(told(&held_again), (1, json!("given_back"), json!("held_again")), "{held_again}");
    let as_it_was = ask(&["--policy", "late_payment=refund"]).await;
    assert_eq!(as_it_was["rows"], json!([]));
    let compared = &as_it_was["evidence"]["what_if"];
    assert_eq!((&compared["orders"], &compared["recorded"]), (&json!(2), &json!({ "given_back": 1, "paid": 1 })));
    assert_eq!(compared["not_known"].as_array().unwrap().len(), 3);
    let in_time = ask(&["--time-to-pay", "30m"]).await;
    assert_eq!(told(&in_time), (1, json!("given_back"), json!("paid")), "{in_time}");
    let end = fleet.number("select max(position) from log.events").await.unwrap().to_string();
    let said = command("what-if", Some(&fleet), &["--time-to-pay", "30m", "--from", &end]).await;
    assert_eq!((said.code, said.err.contains("no order can be placed behind")), (Some(3), true), "{}", said.err);
}

#[tokio::test]
async fn what_is_no_other_policy_is_refused_in_words() {
    for (args, words) in [
        (&[][..], "--policy"),
        (&["--policy", "rehold"], "late_payment=rehold"),
        (&["--time-to-pay", "4s"], "is no time from 5s to 7d"),
        (&["--time-to-pay", "20m", "--from", "2026-12-31"], "a date alone is no moment"),
    ] {
        let said = command("what-if", None, args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    let fleet = TestFleet::start().await.unwrap();
    let said = command("what-if", Some(&fleet), &["--time-to-pay", "20m"]).await;
    assert_eq!((said.code, said.err.contains("the log is empty")), (Some(3), true), "{}", said.err);
}
