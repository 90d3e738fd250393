//! Other systems: a plain nats-py script, and the trace against an independent recomputation.

use std::process::Stdio;

use holdfast_tests::{TestFleet, house, python};
use tokio::process::Command;

#[tokio::test]
async fn a_plain_python_script_places_an_order_and_sees_it_paid() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG-01", 10).await.unwrap();
    let output = Command::new(python())
        .arg(house().join("tests/outside/place_order.py"))
        .arg(&fleet.address.broker_url)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("accepted") && said.contains("OrderPaid"), "{said}");
    fleet.settle_and_verify().await.unwrap();
}
