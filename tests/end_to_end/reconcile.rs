//! `holdfast reconcile stripe` as an auditor uses it: a real shop, the report of the fake of Stripe that it was paid through, and differences
//! that are planted in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdfast_tests::{TestFleet, repo_root, stripe::StripeShop};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::replay::{Said, command};

/// A shop with four payments of 25.00 EUR, a refund, a refund of the dashboard and a dispute; and the report.
async fn paid() -> (StripeShop, TempDir, PathBuf) {
    let shop = StripeShop::open(1, 1_000, &[]).await.unwrap();
    let mut intents = Vec::new();
    for key in ["one", "two", "three", "four"] {
        let order = shop.place(key, 2).await.unwrap();
        let page = shop.page(&order).await.unwrap();
        intents.push(shop.stripe.pay(&page).unwrap().unwrap());
        shop.until(&order, "paid").await.unwrap();
        if key == "one" {
            let refund =
                shop.gateway.post(&format!("{order}/refunds"), "back", &json!({ "note": "broken" })).await.unwrap();
            assert_eq!(refund.status, 201, "{refund:?}");
            shop.until(&order, "refunded").await.unwrap();
        }
    }
    shop.stripe.refund_in_dashboard(intents.get(1).unwrap(), 500).unwrap();
    shop.fleet.until("select count(*) from log.events where type like '%.PaymentRefundedElsewhere'", 1).await.unwrap();
    shop.stripe.dispute(intents.get(2).unwrap(), 2_500).unwrap();
    shop.fleet.until("select count(*) from log.events where type like '%.DisputeFundsWithdrawn'", 1).await.unwrap();
    shop.fleet.settle().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("payout.csv");
    fs::write(&path, shop.stripe.payout_report()).unwrap();
    (shop, dir, path)
}

async fn reconcile(fleet: &TestFleet, path: &Path, args: &[&str]) -> Said {
    command("reconcile", Some(fleet), &[&["stripe", path.to_str().unwrap()], args].concat()).await
}

fn answer(said: &Said, code: i32) -> Value {
    assert_eq!((said.code, said.err.as_str()), (Some(code), ""), "{}", said.out);
    serde_json::from_str(&said.out).unwrap()
}

/// Rows by outcome and category.
fn told(answer: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let rows = answer["rows"].as_array().unwrap().iter();
    let mut told: Vec<_> = rows.map(|row| (text(row, "outcome"), text(row, "category"))).collect();
    told.sort();
    told
}

/// A line of the report with one field changed: of the first line of this category.
fn changed(report: &str, category: &str, change: impl Fn(&mut Vec<String>)) -> String {
    let mut is_done = false;
    let line = |line: &str| {
        let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
        if !is_done && fields.get(11).is_some_and(|field| field == category) {
            is_done = true;
            change(&mut fields);
        }
        fields.join(",") + "\n"
    };
    report.lines().map(line).collect()
}

#[tokio::test]
async fn the_report_of_a_real_shop_agrees_with_the_log_and_the_guide_says_how() {
    let (shop, _dir, path) = paid().await;
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## The provider's payouts\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let mut ran = 0;
    for line in rest.split_once("```").unwrap().0.lines() {
        let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let words = words.replace("$PAYOUT", path.to_str().unwrap());
        let (name, args) = words.split_once(' ').unwrap();
        let said = command(name, Some(&shop.fleet), &args.split_whitespace().collect::<Vec<_>>()).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}: {}", said.out);
        ran += 1;
    }
    assert_eq!(ran, 3, "{rest}");

    let answered = answer(&reconcile(&shop.fleet, &path, &["--json"]).await, 0);
    assert_eq!(answered["rows"], json!([]));
    assert_eq!(answered["evidence"]["payouts"]["outcomes"], json!({ "matched": 7 }));
    let all = answer(&reconcile(&shop.fleet, &path, &["--all", "--json"]).await, 0);
    let wanted = ["charge", "charge", "charge", "charge", "dispute", "refund", "refund"];
    assert_eq!(told(&all).iter().map(|(_, category)| category.as_str()).collect::<Vec<_>>(), wanted);
    // The dispute is of as much.
    let is_it = |row: &&Value| row["category"] == "refund" && row["ours_minor"] == -2_500;
    let refund = all["rows"].as_array().unwrap().iter().find(is_it).unwrap();
    assert!(refund["order_id"].is_string() && refund["refund_id"].is_string(), "{refund}");
    let text = reconcile(&shop.fleet, &path, &[]).await;
    for words in ["charge: 4 lines, gross 100.00 EUR", "refund: 2 lines, gross -30.00 EUR, fee 0.00 EUR", "7 matched"] {
        assert!(text.out.contains(words), "{words}: {}", text.out);
    }
    shop.close().await.unwrap();
}

#[tokio::test]
async fn every_planted_difference_is_named() {
    let (shop, dir, path) = paid().await;
    let report = fs::read_to_string(&path).unwrap();
    let refunds =
        |report: &str| report.lines().filter(|line| line.contains(",refund,")).map(str::to_owned).collect::<Vec<_>>();
    let net = |fields: &mut Vec<String>| fields[10] = "1.00".to_owned();
    let gross =
        |fields: &mut Vec<String>| (fields[8], fields[9], fields[10]) = ("25.01".into(), "0.00".into(), "25.01".into());
    let nobodys = |fields: &mut Vec<String>| fields[17] = "pi_nobodys".to_owned();
    let without_refund: String =
        report.lines().filter(|line| **line != refunds(&report)[0]).map(|line| format!("{line}\n")).collect();
    let again = format!("{report}{}\n", report.lines().find(|line| line.contains(",charge,")).unwrap());
    let fee = format!("{report}po_1,,txn_fee,2026-11-29 12:00:00,,,,eur,-0.77,0.00,-0.77,fee,,Radar,,,,\n");
    for (name, text, wanted) in [
        ("net", changed(&report, "charge", net), &[("net_differs", "charge")][..]),
        ("gross", changed(&report, "charge", gross), &[("amount_differs", "charge")]),
        ("nobody", changed(&report, "charge", nobodys), &[("only_here", "charge"), ("only_there", "charge")]),
        ("gone", without_refund, &[("only_here", "refund")]),
        ("twice", again, &[("twice", "charge")]),
        ("fee", fee, &[]),
    ] {
        let path = dir.path().join(format!("{name}.csv"));
        fs::write(&path, text).unwrap();
        let answered = answer(&reconcile(&shop.fleet, &path, &["--json"]).await, i32::from(!wanted.is_empty()));
        let wanted: Vec<_> =
            wanted.iter().map(|(outcome, category)| ((*outcome).to_owned(), (*category).to_owned())).collect();
        assert_eq!(told(&answered), wanted, "{name}: {answered}");
    }
    // Before any of it was paid, the log knows nothing of it.
    let first = shop.fleet.number("select min(position) from log.events").await.unwrap().to_string();
    let said = reconcile(&shop.fleet, &path, &["--at", &first]).await;
    assert_eq!(
        (said.code, said.err.contains("none of the 7 charges, refunds and disputes")),
        (Some(3), true),
        "{}",
        said.err
    );
    shop.close().await.unwrap();
}

#[tokio::test]
async fn what_is_no_report_of_this_shop_is_refused_in_words() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let heading =
        "balance_transaction_id,created_utc,currency,gross,fee,net,reporting_category,source_id,payment_intent_id";
    let line = "txn_1,2026-11-29 12:00:00,eur,12.50,0.45,12.05,charge,ch_1,pi_1";
    for (text, words) in [
        (String::new(), "has no column balance_transaction_id"),
        ("id;amount\n1;2\n".to_owned(), "it is not Stripe's itemised payout reconciliation report"),
        (format!("{heading}\n"), "no line is below the heading"),
        (format!("{heading}\n{line}\n"), "it is the report of another account, or of another shop on this one"),
        (format!("{heading}\n{}\n", line.replace("12.50", "12.505")), "gross: \"12.505\" is no amount in EUR"),
        (format!("{heading}\n{}\n", line.replace("2026-11-29 12:00:00", "yesterday")), "which is no time such as"),
    ] {
        let path = dir.path().join("payout.csv");
        fs::write(&path, text).unwrap();
        let said = reconcile(&fleet, &path, &[]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(3), ""), "{words}: {}", said.err);
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let said = reconcile(&fleet, &dir.path().join("none.csv"), &[]).await;
    assert_eq!((said.code, said.err.contains("none.csv")), (Some(3), true), "{}", said.err);
    for args in [&["stripe"][..], &["adyen", "x.csv"], &["stripe", "x.csv", "--at", "yesterday"]] {
        let said = command("reconcile", None, args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
    }
    let empty = TestFleet::start().await.unwrap();
    fs::write(dir.path().join("one.csv"), format!("{heading}\n{line}\n")).unwrap();
    let said = reconcile(&empty, &dir.path().join("one.csv"), &[]).await;
    assert_eq!((said.code, said.err.contains("the log is empty")), (Some(3), true), "{}", said.err);
}
