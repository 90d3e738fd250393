//! Other systems: programs that import nothing of ours, and good commands beside rubbish.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use holdfast_tests::{
    Order, TestFleet, eventually,
    gateway::{Gateway, TOKEN},
    holdfast, python, repo_root,
    rubbish::{self, Options},
    users::KEYS,
};
use tokio::process::Command;

/// The commands of the clients' page, as they stand there, under the key of a broker's user that may do no more than a shop needs. Those
/// for Node are run by `./justw check-clients`.
#[tokio::test]
async fn a_plain_python_script_places_an_order_and_sees_it_paid() {
    let fleet = TestFleet::with_users(false).await.unwrap();
    fleet.stock("MUG-01", 10).await.unwrap();
    let page = std::fs::read_to_string(repo_root().join("tests/clients/README.md")).unwrap();
    let (_, rest) = page.split_once("In Python:\n\n```sh\n").unwrap();
    let (commands, _) = rest.split_once("```").unwrap();
    // The page says python3; the tests' own has what the scripts import.
    let python = python();
    let programs = Path::new(&python).parent().unwrap().to_string_lossy();
    let broker = fleet.dir().join("nats");
    let output = Command::new("bash")
        .args(["-eu", "-c", commands])
        .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()))
        .env("NATS", &fleet.address.broker_url)
        .env("KEY", broker.join(KEYS).join("shop.nk"))
        .current_dir(repo_root())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for words in ["placed: ", "\"accepted\"", "given before", "INVALID_QUANTITY", "REMEDY_NEW_ID", "OrderPaid"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    let placed = "select count(*) from log.events where type = 'holdfast.orders.v1.OrderPlaced'";
    assert_eq!(fleet.number(placed).await.unwrap(), 1, "the same command again is done once");
    let log = std::fs::read_to_string(broker.join("nats-server.log")).unwrap();
    assert!(!log.to_lowercase().contains("violation"), "{log}");
    fleet.settle_and_verify().await.unwrap();
}

/// What a shell makes of commands for this gateway.
async fn in_shell(commands: &str, gateway: &Gateway) -> Output {
    Command::new("bash")
        .args(["-eu", "-c", commands])
        .env("HOLDFAST", format!("http://{}", gateway.address))
        .env("TOKEN", TOKEN)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

/// The commands of the gateway's page, as they stand there, in a shell.
#[tokio::test]
async fn the_orders_of_the_gateways_page_are_placed_watched_and_refunded_with_curl() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let page = std::fs::read_to_string(repo_root().join("services/gateway/README.md")).unwrap();
    let (_, rest) = page.split_once("In the other terminal:\n\n```sh\n").unwrap();
    let (commands, _) = rest.split_once("```").unwrap();
    let output = in_shell(commands, &gateway).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && complained.is_empty(), "{said}\n{complained}");
    for words in ["event: OrderPaid", "\"status\":\"paid\"", "event: PaymentRefunded", "\"status\":\"refunded\""] {
        assert!(said.contains(words), "{words} is not in {said}\n{complained}");
    }
    fleet.settle_and_verify().await.unwrap();
}

/// What a demo says that ends well.
async fn demo(args: &[&str]) -> String {
    let args = [&["demo", "--orders", "40"], args].concat();
    let demo = Command::new(holdfast()).args(args).stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&demo.stdout).into_owned();
    let well = demo.status.success() && said.contains("  ok      verify");
    assert!(well, "{said}\n{}", String::from_utf8_lossy(&demo.stderr));
    said
}

#[tokio::test]
async fn the_demo_without_stripe_ends_well() {
    let said = demo(&["--provider", "sandbox"]).await;
    assert!(said.contains("SIGKILL") && !said.contains("Stripe"), "{said}");
}

/// A demo that lies alone says what it wants, and how to do without.
#[tokio::test]
async fn the_demo_says_that_it_misses_the_fake_of_stripe() {
    let holdfast = holdfast();
    let dir = tempfile::tempdir_in(holdfast.parent().unwrap()).unwrap();
    let (lonely, alone) = (dir.path().join("lonely"), dir.path().join("lonely/holdfast"));
    std::fs::create_dir(&lonely).unwrap();
    std::fs::hard_link(&holdfast, &alone).unwrap();
    let demo = Command::new(alone).arg("demo").stdin(Stdio::null()).output().await.unwrap();
    let said = String::from_utf8_lossy(&demo.stderr).into_owned();
    assert_eq!(demo.status.code(), Some(3), "{said}");
    for words in ["there is no fake-stripe beside", "cargo build --workspace --bins", "--provider sandbox"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
}

/// The demo ends with what to do next, and that works.
#[tokio::test]
async fn the_demo_ends_well_and_its_last_command_works() {
    let said = demo(&[]).await;
    assert!(
        said.contains("SIGKILL") && said.contains("  ok      Stripe's books and Holdfast's say the same"),
        "{said}"
    );
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let command = said.lines().find(|line| line.starts_with("  curl ")).unwrap();
    let output = in_shell(command, &gateway).await;
    assert!(output.status.success(), "{output:?}");
    let registered = "select count(*) from log.events where type = 'holdfast.inventory.v1.ProductRegistered'";
    assert_eq!(fleet.number(registered).await.unwrap(), 1, "{output:?}");
}

#[tokio::test]
async fn events_come_in_json_too_for_those_who_ask_for_it() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_EVENTS_JSON", "true")]).await.unwrap();
    fleet.stock("MUG", 2).await.unwrap();
    let order = Order::new(1).line("MUG", 2);
    fleet.place(&order).await.unwrap();
    fleet.settle_and_verify().await.unwrap();

    let jetstream = async_nats::jetstream::new(fleet.client.client().clone());
    eventually("every event has its copy", || async {
        let copies = jetstream.get_stream("EVENTS_JSON").await?.cached_info().state.messages;
        Ok(i64::try_from(copies)? >= fleet.number("select count(*) from log.events").await?)
    })
    .await
    .unwrap();
    let stream = jetstream.get_stream("EVENTS_JSON").await.unwrap();
    let paid = stream.get_last_raw_message_by_subject("json.orders.OrderPaid").await.unwrap();
    assert_eq!(paid.headers.get("content-type").unwrap().as_str(), "application/json");
    let paid: serde_json::Value = serde_json::from_slice(&paid.payload).unwrap();
    assert_eq!(paid["orderId"], order.id.to_string());
}

/// A few seconds of what `just rubbish` does for a minute.
#[tokio::test]
async fn good_commands_are_answered_beside_rubbish_of_every_kind() {
    let fleet = TestFleet::start().await.unwrap();
    let options = Options {
        seconds: 4,
        rate: 200,
        good_rate: 5,
        without: Vec::new(),
        seed: 1,
        patience: Duration::from_secs(90),
    };
    let report = rubbish::run(&fleet, &options).await.unwrap();
    println!("{}", report.text());
    assert!(report.faults().is_empty(), "{:#?}", report.faults());
    assert!(report.sent >= 500 && report.answered > 0, "{report:?}");
    assert!(report.dead_letters > 0, "{report:?}");
}
