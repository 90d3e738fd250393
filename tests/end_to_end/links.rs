//! Links for browsers to the events of an order.

use std::{fs, process::Stdio};

use holdfast_tests::{
    TestFleet,
    gateway::{Answer, Gateway, READER},
    holdfast,
};
use serde_json::json;
use tokio::process::Command;

async fn bare(gateway: &Gateway, path: &str) -> Answer {
    gateway.request("GET", path, &[], "").await.unwrap()
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.status, answer.code())
}

#[tokio::test]
async fn a_browser_listens_by_a_link_to_one_order_for_a_while() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let secret = fleet.dir().join("link_secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let settings = [("HOLDFAST_GATEWAY_LINK_SECRET", secret.to_str().unwrap())];
    let gateway = Gateway::start(&fleet, &settings).await.unwrap();
    let place = async |key: &str| {
        let body = json!({
            "customer_id": "customer-42", "payment_method": "sandbox:succeed,after=1s",
            "lines": [{ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
        });
        gateway.post("/v1/orders", key, &body).await.unwrap().header("location").to_owned()
    };
    let (order, other) = (place("1").await, place("2").await);
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        gateway.request("POST", &format!("{order}/events/link"), &headers, "").await.unwrap()
    };
    assert_eq!(refused(&ask("nobody").await), (401, "UNAUTHENTICATED"));
    let link = ask(READER).await;
    assert_eq!(link.status, 200, "{link:?}");
    let url = link.json["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("{order}/events?expires=")), "{url}");

    // As a browser listens: the stream, without a header of ours, until there is no more to hear; and again behind what was heard.
    let heard = gateway.listen_bare(&url, "event: StockCommitted").await.unwrap();
    assert!(heard.contains("event: OrderPlaced"), "{heard}");
    let list = bare(&gateway, &format!("{url}&after=0")).await;
    assert_eq!((list.status, list.json["data"][0]["type"].as_str()), (200, Some("holdfast.orders.v1.OrderPlaced")));
    assert_eq!(list.header("access-control-allow-origin"), "*", "a page of the shop may listen");

    let (_, proof) = url.split_once('?').unwrap();
    let changed = proof.replacen("expires=", "expires=1", 1);
    let last = if proof.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &proof[..proof.len() - 1]);
    let past = proof.split('&').nth(1).map(|signature| format!("expires=1790000000&{signature}")).unwrap();
    for wrong in [
        format!("{other}/events?{proof}"),
        format!("{order}/events?{changed}"),
        format!("{order}/events?{forged}"),
        format!("{order}/events?{past}"),
        format!("{order}/events?expires=&signature="),
    ] {
        assert_eq!(refused(&bare(&gateway, &wrong).await), (403, "LINK_INVALID"), "{wrong}");
    }
    for half in [format!("{order}/events"), format!("{order}/events?{}", proof.split('&').next().unwrap())] {
        assert_eq!(refused(&bare(&gateway, &half).await), (401, "UNAUTHENTICATED"), "{half}");
    }
    // It opens nothing else.
    assert_eq!(refused(&bare(&gateway, &format!("{order}?{proof}")).await), (401, "UNAUTHENTICATED"));
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn without_a_secret_there_are_no_links_and_with_one_that_can_be_guessed_there_is_no_gateway() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let path = "/v1/orders/6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81/events";
    let link = gateway.post(&format!("{path}/link"), "1", &json!({})).await.unwrap();
    assert_eq!(refused(&link), (404, "NOT_FOUND"));
    assert!(link.json["detail"].as_str().unwrap().contains("gateway.link_secret"), "{link:?}");
    let by_link = bare(&gateway, &format!("{path}?expires=9999999999&signature={}", "0".repeat(64))).await;
    assert_eq!(refused(&by_link), (404, "NOT_FOUND"));
    for secret in ["", " \n", "too short"] {
        let file = fleet.dir().join("secret");
        fs::write(&file, secret).unwrap();
        let output = Command::new(holdfast().with_file_name("holdfast-gateway"))
            .env("HOLDFAST_GATEWAY_LINK_SECRET", &file)
            .env("HOLDFAST_GATEWAY_ADDRESS", "127.0.0.1:0")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && said.contains("gateway.link_secret"), "{secret:?}: {said}");
        assert!(secret.trim().is_empty() || !said.contains(secret), "{said}");
    }
}
