//! The `holdfast` command as people run it: what it prints, and with which exit code it ends.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Output, Stdio},
};

use holdfast_tests::{Order, TestFleet, holdfast, house, python};
use tokio::process::Command;

async fn run(program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().await.unwrap()
}

/// Runs `holdfast` against this fleet; its exit code, and the object that it prints.
async fn json(fleet: &TestFleet, args: &[&str]) -> (Option<i32>, serde_json::Value) {
    let surroundings = [
        "--json",
        "--database-url",
        fleet.address.database_url.as_str(),
        "--broker-url",
        fleet.address.broker_url.as_str(),
    ];
    let output = run(holdfast(), &[args, surroundings.as_slice()].concat()).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{args:?}: {error}: {said}{complained}"));
    (output.status.code(), value)
}

#[tokio::test]
async fn verify_finds_a_row_changed_by_hand_and_names_the_product() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    fleet.stock("CUP", 10).await.unwrap();
    let orders: Vec<Order> = (0..10).map(|number| Order::new(number).line("MUG", 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle().await.unwrap();
    let mut database = fleet.database().await.unwrap();
    assert_eq!(json(&fleet, &["verify"]).await.0, Some(0));

    let change = "update inventory.stock set received = received + 1 where sku = 'MUG'";
    sqlx::query(change).execute(&mut database).await.unwrap();
    let (code, report) = json(&fleet, &["verify"]).await;
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["ok"], false);
    let findings = report["findings"].to_string();
    assert!(findings.contains("MUG") && !findings.contains("CUP"), "{findings}");

    let restore = "update inventory.stock set received = received - 1 where sku = 'MUG'";
    sqlx::query(restore).execute(&mut database).await.unwrap();
    let (code, report) = json(&fleet, &["verify"]).await;
    assert_eq!(code, Some(0), "{report}");
}

#[tokio::test]
async fn a_dirty_trace_is_loaded_row_by_row_and_its_closing_stock_can_be_computed_by_others() {
    let fleet = TestFleet::start().await.unwrap();
    let trace = house().join("tests/trace/dirty.csv");
    let (stock, refused) = (fleet.dir().join("stock.csv"), fleet.dir().join("refused.csv"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (trace, stock, refused) = (text(&trace), text(&stock), text(&refused));
    let (code, report) =
        json(&fleet, &["load", "--trace", &trace, "--stock-out", &stock, "--refused-out", &refused]).await;
    assert_eq!(code, Some(0), "{report}");

    // Rows in = rows accepted + rows refused, and each refused one is named with its reason.
    let rows = std::fs::read(&trace).unwrap().split(|byte| *byte == b'\n').count() - 1;
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"));
    assert_eq!(number("rows_in"), u64::try_from(rows).unwrap());
    assert_eq!(number("rows_in"), number("rows_accepted") + number("rows_refused"));
    let named = std::fs::read_to_string(&refused).unwrap().lines().count() - 1;
    assert_eq!(number("rows_refused"), u64::try_from(named).unwrap());

    let script = text(&house().join("tests/trace/closing_stock.py"));
    let compared = run(python(), &["-B", &script, &trace, &stock]).await;
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn wrong_usage_and_a_fleet_that_is_not_there_have_exit_codes_of_their_own() {
    let code = async |args: &[&str]| run(holdfast(), args).await.status.code();
    assert_eq!(code(&["explode"]).await, Some(2));
    assert_eq!(code(&["load", "--orders", "0"]).await, Some(2));
    assert_eq!(code(&["verify", "--dir", "/nowhere/at/all"]).await, Some(3));
    assert_eq!(code(&["verify", "--database-url", "postgres://127.0.0.1:1/none"]).await, Some(3));
}

#[tokio::test]
async fn a_worker_with_wrong_settings_names_them_whatever_else_is_in_its_environment() {
    let output = Command::new(holdfast().with_file_name("holdfast-orders"))
        .env("HOLDFAST_CONSUMER_BATCH_MAX", "0")
        .env(OsStr::from_bytes(b"ODD\xff"), OsStr::from_bytes(b"\xff"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complained}");
    assert!(complained.contains("consumer.batch_max"), "{complained}");
}
