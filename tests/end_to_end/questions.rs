//! `holdfast actions`, `holdfast cutoff` and samples, as an auditor uses them: the commands of the guide on a shop in which something has happened.

use std::fs;

use holdfast_tests::{Order, TestFleet, code, is_accepted, repo_root};
use proto::orders::v1::{CancelOrder, ExpireOrder};
use serde_json::Value;
use sqlx::Executor;
use uuid::Uuid;

use crate::replay::{Said, command, shop};

fn rows(said: &Said) -> Vec<Value> {
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    serde_json::from_str::<Value>(&said.out).unwrap().get("rows").unwrap().as_array().unwrap().clone()
}

async fn every_command_of_the_guide_works(fleet: &TestFleet, position: i64, time: &str) {
    let page = fs::read_to_string(repo_root().join("services/audit/README.md")).unwrap();
    let (_, rest) = page.split_once("## Who did what, what lies around a moment, and a sample\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let mut ran = 0;
    for line in rest.split_once("```").unwrap().0.lines() {
        let words = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let (name, args) = words.split_once(' ').unwrap_or((words, ""));
        let args = args.replace("$TIME", time).replace("$POSITION", &position.to_string());
        let said = command(name, Some(fleet), &args.split_whitespace().collect::<Vec<_>>()).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}: {}", said.out);
        assert!(said.out.contains("asked") || said.out.contains("\"command\""), "{line}: {}", said.out);
        ran += 1;
    }
    assert_eq!(ran, 7, "{rest}");
}

#[tokio::test]
async fn an_auditor_is_told_who_did_what_what_lies_around_a_moment_and_a_sample_that_nobody_chose() {
    let (fleet, position, time) = shop().await;
    let order = Order::new(2).line("MUG-01", 1).by("bob").pays("sandbox:abandon");
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    let (actor, note) = ("till".to_owned(), "he is \"sure\"".to_owned());
    let cancel = CancelOrder { order_id: order.id.to_string(), actor, note, expected_version: 0 };
    assert!(is_accepted(&fleet.send("cancel", &cancel).await.unwrap()));
    let unknown = ExpireOrder {
        order_id: Uuid::from_u128(404).to_string(),
        actor: "till".to_owned(),
        note: "by mistake".to_owned(),
        expected_version: 0,
    };
    assert_eq!(code(&fleet.send("expire", &unknown).await.unwrap()), "UNKNOWN_ORDER");
    fleet.settle_and_verify().await.unwrap();

    every_command_of_the_guide_works(&fleet, position, &time).await;
    let ask = async |name: &str, args: &[&str]| {
        let said = command(name, Some(&fleet), &[args, &["--json"]].concat()).await;
        rows(&said)
    };
    let done = ask("actions", &[]).await;
    let told: Vec<(&str, &str, &str)> = done
        .iter()
        .map(|action| {
            let text = |field: &str| action.get(field).and_then(Value::as_str).unwrap_or_default();
            (text("actor"), text("what"), text("reason"))
        })
        .collect();
    let expected =
        [("till", "WalletToppedUp", ""), ("till", "OrderCancelled", "he is \"sure\""), ("", "ExpireOrder", "")];
    assert_eq!(told, expected);
    assert_eq!(done[2]["refused"], "UNKNOWN_ORDER");
    assert_eq!(ask("actions", &["--actor", "till"]).await.len(), 2);
    assert_eq!(ask("actions", &["--to", &position.to_string()]).await.len(), 0);
    let first = done[0]["position"].to_string();
    assert_eq!(ask("actions", &["--after", &first]).await.len(), 2);

    // A rebuild is one, too: it has a reason, and who did it.
    let mut connection = fleet.database().await.unwrap();
    connection.execute("update inventory.stock set received = received + 5").await.unwrap();
    let said = command("rebuild", Some(&fleet), &["stock", "--reason", "incident 4711"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    let done = ask("actions", &[]).await;
    assert_eq!((&done[3]["what"], &done[3]["reason"]), (&"Rebuild".into(), &"incident 4711".into()), "{done:?}");
    assert!(done[3]["actor"].as_str().unwrap().starts_with("database role "), "{done:?}");

    // The mugs of the one paid order left behind that moment, and their delivery came before.
    let around = ask("cutoff", &["--at", &time, "--event", "StockReceived", "--event", "StockCommitted"]).await;
    let told: Vec<(&str, &str)> =
        around.iter().map(|entry| (entry["side"].as_str().unwrap(), entry["event"].as_str().unwrap())).collect();
    assert_eq!(told, [("before", "StockReceived"), ("after", "StockCommitted")]);
    assert!(around[0].get("order_id").is_none(), "{around:?}");
    let (placed, paid) = (around[1]["placed_at"].as_str().unwrap(), around[1]["paid_at"].as_str().unwrap());
    assert!(placed < paid && paid <= around[1]["recorded_at"].as_str().unwrap(), "{around:?}");
    let said = command("cutoff", Some(&fleet), &["--at", &time, "--event", "StockSold"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(3), ""));
    assert!(said.err.contains("there is no event StockSold"), "{}", said.err);

    let said = command("replay", Some(&fleet), &["orders", "--sample", "1", "--seed", "2027-03-01", "--json"]).await;
    let sample = rows(&said);
    let evidence = &serde_json::from_str::<Value>(&said.out).unwrap()["evidence"];
    assert_eq!((&evidence["chosen"]["population"], sample.len()), (&2.into(), 1));
    assert_eq!(evidence["chosen"]["statuses"], serde_json::json!({ "cancelled": 1, "paid": 1 }));
    let paid = rows(&command("replay", Some(&fleet), &["orders", "--status", "paid", "--json"]).await);
    assert_eq!((paid.len(), &paid[0]["status"]), (1, &"paid".into()));
    let said = command("replay", Some(&fleet), &["orders", "--status", "payed"]).await;
    assert_eq!(said.code, Some(1), "{}", said.out);
    let words = "of the orders none has the status \"payed\"; there are: 1 cancelled, 1 paid";
    assert!(said.err.contains(words), "{}", said.err);
}
