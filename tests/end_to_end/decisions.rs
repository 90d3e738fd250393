//! What people decide about orders and their money, from the command line: a dry run says what is then written.

use std::{fs, time::Duration};

use holdfast_tests::{Order, TestFleet, is_accepted, repo_root, report};
use proto::payments::v1::{ProviderEventKind, RecordProviderEvent};
use serde_json::Value;

use crate::letters::words;

/// The names of the events that a dry run says, and those that are then written.
fn would(said: &Value) -> Vec<String> {
    let text = |event: &Value| event["event"].as_str().unwrap().to_owned();
    said.pointer("/would/write").and_then(Value::as_array).unwrap().iter().map(text).collect()
}

fn written(said: &Value) -> Vec<String> {
    let text = |event: &Value| proto::short_name(event.as_str().unwrap()).to_owned();
    said.pointer("/accepted/events").and_then(Value::as_array).unwrap().iter().map(text).collect()
}

/// A paid order, and a second charge of it that fits nothing.
async fn charged_twice(fleet: &TestFleet, number: u64) -> Order {
    let order = fleet.asked(Order::new(number).line("MUG-01", 1).pays("sandbox:never")).await.unwrap();
    let charge = |name: &str, cents| RecordProviderEvent {
        provider_reference: name.to_owned(),
        ..report(ProviderEventKind::PaymentSucceeded, &order, name, cents)
    };
    fleet.accepts(&charge("ch_1", 1_000)).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
    fleet.accepts(&charge("ch_2", 999)).await.unwrap();
    order
}

/// An order whose refund has an outcome that nobody knows.
async fn unknown_refund(fleet: &TestFleet, number: u64) -> Order {
    let order = fleet.paid(Order::new(number).line("MUG-01", 1).pays("sandbox:succeed,refund=time_out")).await.unwrap();
    fleet.accepts(&order.refund_as("all")).await.unwrap();
    fleet.until_refund(&order, "all", "refunding").await.unwrap();
    fleet.end_calls(&order).await.unwrap();
    fleet.until_refund(&order, "all", "unknown").await.unwrap();
    order
}

async fn expired(fleet: &TestFleet, number: u64) -> Order {
    let order = Order::new(number).line("MUG-01", 1).pays("sandbox:never").expires_after(Duration::from_secs(5));
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.until_status(&order, "expired").await.unwrap();
    let released = "select count(*) from orders.orders where order_id = $1 and released";
    fleet.until_of(released, order.id, 1).await.unwrap();
    order
}

#[tokio::test]
async fn what_a_dry_run_says_is_what_is_written_and_a_decision_bears_a_name() {
    let fleet = TestFleet::with(1, &holdfast_tests::QUICK_CALLS).await.unwrap();
    fleet.stock("MUG-01", 10).await.unwrap();
    let refund = unknown_refund(&fleet, 1).await;
    let charge = charged_twice(&fleet, 2).await;
    let order = expired(&fleet, 3).await;
    let before = fleet.number("select count(*) from log.events").await.unwrap();
    let (payment, refund_id) = (refund.payment_id().to_string(), refund.refund_id("all").to_string());
    let (charged, order_id) = (charge.payment_id().to_string(), order.id.to_string());
    let decisions = [
        vec!["resolve", "refund", &payment, &refund_id, "refunded"],
        vec!["resolve", "report", &charged, "ch_2", "accepted"],
        vec!["reinstate", &order_id, "--minutes", "60"],
    ];
    let mut foreseen = Vec::new();
    for decision in &decisions {
        let (exit, said) = fleet.command(&[&decision[..], &["--dry-run"]].concat()).await.unwrap();
        assert_eq!(exit, Some(0), "{decision:?}: {said:#}");
        foreseen.push(would(&said));
    }
    assert_eq!(fleet.number("select count(*) from log.events").await.unwrap(), before);
    for (decision, foreseen) in decisions.iter().zip(foreseen) {
        let (exit, said) =
            fleet.command(&[&decision[..], &["--actor", "mira", "--reason", "asked them"]].concat()).await.unwrap();
        assert_eq!((exit, written(&said)), (Some(0), foreseen), "{decision:?}: {said:#}");
    }
    // What is done is refused, or found done, in a dry run too.
    let (exit, said) = fleet.command(&[&decisions[2][..], &["--dry-run"]].concat()).await.unwrap();
    let refused = said["would"]["be_refused"].as_str().unwrap_or_default();
    assert!(exit == Some(1) && !refused.is_empty(), "{said:#}");
    let (_, actions) = fleet.command(&["actions", "--actor", "mira"]).await.unwrap();
    assert_eq!(actions["rows"].as_array().unwrap().len(), 3, "{actions:#}");
    fleet.accepts(&order.cancel()).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn every_command_of_the_operators_page_about_orders_and_money_works() {
    let fleet = TestFleet::with(1, &holdfast_tests::QUICK_CALLS).await.unwrap();
    fleet.stock("MUG-01", 10).await.unwrap();
    let refund = unknown_refund(&fleet, 1).await;
    let charge = charged_twice(&fleet, 2).await;
    let order = expired(&fleet, 3).await;
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    let (_, section) = page.split_once("\n## Orders and money\n").unwrap();
    let (_, commands) = section.split_once("```sh\n").unwrap();
    let mut ran = 0;
    for line in commands.split_once("```").unwrap().0.lines() {
        let command = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let payment = if command.contains("report") { charge.payment_id() } else { refund.payment_id() };
        let command = command
            .replace("$ORDER", &order.id.to_string())
            .replace("$PAYMENT", &payment.to_string())
            .replace("$REFUND", &refund.refund_id("all").to_string())
            .replace("$REPORT", "ch_2");
        let (exit, said) = fleet.command(&words(&command)).await.unwrap();
        assert_eq!(exit, Some(0), "{line}: {said:#}");
        ran += 1;
    }
    assert_eq!(ran, 6, "{section}");
}
