//! `holdfast timeline` as an auditor uses it: the commands of the guide, what is about what, the page, and what is no question.

use std::{collections::BTreeMap, fs};

use holdfast_tests::{Order, TestFleet, is_accepted, python, repo_root};
use proto::orders::v1::{CancelOrder, RequestRefund};
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;

use crate::replay::{Said, command, shop};

const REFUND: Uuid = Uuid::from_u128(0x0199_0c3e_5b7a_7000_8000_0000_0000_0077);

async fn ask(fleet: &TestFleet, args: &[&str]) -> Said {
    command("timeline", Some(fleet), args).await
}

/// The events of an answer, without their packages.
async fn events(fleet: &TestFleet, args: &[&str]) -> Vec<String> {
    let said = ask(fleet, &[args, &["--json"]].concat()).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{args:?}: {}", said.out);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let rows = answer.get("rows").and_then(Value::as_array).unwrap();
    assert_eq!(answer.pointer("/evidence/rows"), Some(&rows.len().into()));
    assert!(rows.is_sorted_by_key(|row| row["position"].as_i64()), "{args:?}");
    rows.iter().map(|row| row["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
}

/// The shop, whose one order is refunded: and the keys of the guide.
async fn refunded() -> (TestFleet, BTreeMap<&'static str, String>) {
    let (fleet, _, time) = shop().await;
    let mut connection = fleet.database().await.unwrap();
    let query = "select order_id, payment_id, (select round_id from rounds.rounds) from payments.payments";
    let (order, payment, round): (Uuid, Uuid, Uuid) = sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
    let refund = RequestRefund {
        order_id: order.to_string(),
        refund_id: REFUND.to_string(),
        actor: "mira".to_owned(),
        note: "wrong size".to_owned(),
        ..RequestRefund::default()
    };
    assert!(is_accepted(&fleet.send("refund", &refund).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    let ids = [("$ORDER", order), ("$PAYMENT", payment), ("$ROUND", round), ("$REFUND", REFUND)];
    let mut keys: BTreeMap<_, _> = ids.into_iter().map(|(name, id)| (name, id.to_string())).collect();
    keys.insert("$TIME", time);
    (fleet, keys)
}

async fn every_command_of_the_guide_works(fleet: &TestFleet, keys: &BTreeMap<&str, String>) {
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## Everything about one thing\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("page.html");
    let mut ran = 0;
    for line in rest.split_once("```").unwrap().0.lines() {
        let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let mut words = words.replace("$FILE", file.to_str().unwrap());
        for (name, key) in keys {
            words = words.replace(name, key);
        }
        let (name, args) = words.split_once(' ').unwrap();
        let said = command(name, Some(fleet), &args.split_whitespace().collect::<Vec<_>>()).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}: {}", said.out);
        let answered = said.out.contains("asked") || said.out.contains("\"command\"") || file.exists();
        assert!(answered, "{line}: {}", said.out);
        ran += 1;
    }
    assert_eq!(ran, 6, "{rest}");
}

#[tokio::test]
async fn an_auditor_is_told_all_that_is_about_one_thing_and_nothing_else() {
    let (fleet, keys) = refunded().await;
    every_command_of_the_guide_works(&fleet, &keys).await;
    let has = |events: &[String], name: &str| events.iter().any(|event| event == name);

    let order = events(&fleet, &["order", &keys["$ORDER"]]).await;
    for name in ["OrderPlaced", "StockHeld", "SharesHeld", "CouponHeld", "FundsHeld", "OrderPaid", "OrderRefunded"] {
        assert!(has(&order, name), "{name}: {order:?}");
    }
    let first = fleet.number("select min(position) from log.events where type like '%.OrderPlaced'").await.unwrap();
    assert_eq!(events(&fleet, &["order", &keys["$ORDER"], "--at", &first.to_string()]).await, ["OrderPlaced"]);
    let refund = events(&fleet, &["refund", &keys["$REFUND"]]).await;
    for name in
        ["RefundRequested", "RefundSubmitted", "WalletCredited", "PaymentRefunded", "StockReturned", "SharesReturned"]
    {
        assert!(has(&refund, name), "{name}: {refund:?}");
    }
    assert!(!has(&refund, "OrderPlaced") && !has(&refund, "OrderPaid"), "{refund:?}");
    let payment = events(&fleet, &["payment", &keys["$PAYMENT"]]).await;
    for name in ["PaymentRequested", "FundsHeld", "OrderPaid", "StockCommitted", "PaymentRefunded"] {
        assert!(has(&payment, name), "{name}: {payment:?}");
    }
    assert!(!has(&payment, "StockHeld"), "{payment:?}");
    let product = events(&fleet, &["product", "MUG-01"]).await;
    let wanted = ["ProductRegistered", "StockReceived", "OrderPlaced", "StockHeld", "StockCommitted"];
    assert_eq!(product.iter().filter(|name| wanted.contains(&name.as_str())).collect::<Vec<_>>(), wanted);
    assert!(has(&product, "StockReturned") && !has(&product, "WalletToppedUp"), "{product:?}");
    assert_eq!(events(&fleet, &["product", "MUG-01", "--at", &keys["$TIME"]]).await, &wanted[..2]);
    let round = events(&fleet, &["round", &keys["$ROUND"]]).await;
    assert!(has(&round, "RoundOpened") && has(&round, "SharesSold") && !has(&round, "StockHeld"), "{round:?}");
    // The last of them, and that there are more.
    assert_eq!(events(&fleet, &["product", "MUG-01", "--limit", "1"]).await, &product[product.len() - 1..]);
    let said = ask(&fleet, &["product", "MUG-01", "--limit", "1"]).await;
    assert!(said.out.contains(&format!("# rows          1, the last of {}\n", product.len())), "{}", said.out);
    // A product of which the name is a part of another's is not that.
    fleet.stock("MUG", 1).await.unwrap();
    assert_eq!(events(&fleet, &["product", "MUG"]).await, &wanted[..2]);

    let told = ask(&fleet, &["order", &keys["$ORDER"]]).await;
    for words in [" for its holds", " EUR\"", "\"actor\":\"mira\""] {
        assert!(told.out.contains(words), "{words}: {}", told.out);
    }
}

#[tokio::test]
async fn the_page_of_a_timeline_needs_nothing_and_says_hostile_names_as_text() {
    let (fleet, _, _) = shop().await;
    let order = Order::new(2).line("MUG-01", 1).by("<script>alert(1)</script>");
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    let (actor, note) = ("\"><img src=x onerror=alert(2)>".to_owned(), "]]></svg><script>".to_owned());
    let cancel = CancelOrder { order_id: order.id.to_string(), actor, note, expected_version: 0 };
    assert!(is_accepted(&fleet.send("cancel", &cancel).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("order.html");
    let said = ask(&fleet, &["order", &order.id.to_string(), "--html", file.to_str().unwrap()]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    let page = fs::read_to_string(&file).unwrap();
    for part in ["<script", "<img", " href", "http://", "https://", "@import"] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    for part in ["&lt;script&gt;", "# asked", "OrderCancelled", "role=\"img\"", "inventory", "default-src 'none'"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    // The picture is well-formed XML, whatever names say.
    let program = "import sys, xml.dom.minidom as x; t = open(sys.argv[1]).read(); \
        s = x.parseString(t[t.index('<svg'):t.index('</svg>') + 6]); print(len(s.getElementsByTagName('circle')))";
    let output = Command::new(python()).args(["-c", program, file.to_str().unwrap()]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let marks: usize = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert_eq!(marks, events(&fleet, &["order", &order.id.to_string()]).await.len());
}

#[tokio::test]
async fn what_has_no_timeline_is_refused_in_words() {
    for (args, words) in [
        (&["orders", "1"][..], "possible values: order, refund, payment, product, round"),
        (&["refund", "7"], "must be a UUID"),
        (&["payment", "7"], "must be a UUID"),
        (&["product", ""], "sku must be 1 to 128 characters"),
        (&["order", ""], "an order has an id, or a number"),
        (&["order", "R-1", "--at", "2026-12-31T23:59:59"], "has no zone"),
        (&["order", "R-1", "--limit", "0"], "--limit"),
        (&["order", "R-1", "--html", "page.html", "--json"], "cannot be used with"),
    ] {
        let said = command("timeline", None, args).await;
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{args:?}: {}", said.err);
    }
    let fleet = TestFleet::start().await.unwrap();
    let said = ask(&fleet, &["product", "MUG"]).await;
    assert_eq!((said.code, said.err.contains("the log is empty")), (Some(3), true), "{}", said.err);
    fleet.stock("MUG", 1).await.unwrap();
    let said = ask(&fleet, &["product", "MUG", "--at", "1000000"]).await;
    assert_eq!((said.code, said.err.contains("is beyond the log")), (Some(3), true), "{}", said.err);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("none.html");
    for (subject, key) in [("product", "CUP"), ("order", "R-1"), ("refund", &REFUND.to_string())] {
        let said = ask(&fleet, &[subject, key, "--html", file.to_str().unwrap()]).await;
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{subject}: {}", said.err);
        assert!(said.err.contains(&format!("is about the {subject} \"{key}\"")), "{}", said.err);
        assert!(!file.exists());
    }
}
