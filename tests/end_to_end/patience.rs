//! Patience over HTTP: clients that never end, that read nothing, or that go away, and how long a request may take.

use holdfast_tests::{
    TestFleet, eventually,
    gateway::{Gateway, TOKEN},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

fn order() -> Value {
    json!({
        "customer_id": "customer-42",
        "lines": [{ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
        "payment_method": "sandbox:succeed",
    })
}

async fn shop(settings: &[(&str, &str)]) -> (TestFleet, Gateway) {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 100).await.unwrap();
    let gateway = Gateway::start(&fleet, settings).await.unwrap();
    (fleet, gateway)
}

/// A request that places an order, under this key.
fn placing(key: &str, headers: &str) -> String {
    format!(
        "POST /v1/orders HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         idempotency-key: {key}\r\n{headers}\r\n"
    )
}

async fn send(gateway: &Gateway, bytes: &str) -> TcpStream {
    let mut socket = TcpStream::connect(&gateway.address).await.unwrap();
    socket.write_all(bytes.as_bytes()).await.unwrap();
    socket
}

async fn orders(fleet: &TestFleet) -> i64 {
    fleet.number("select count(*) from orders.orders").await.unwrap()
}

/// Commands that wait for orders.
async fn waiting(fleet: &TestFleet) -> anyhow::Result<u64> {
    let jetstream = async_nats::jetstream::new(fleet.client.client().clone());
    Ok(jetstream.get_stream("COMMANDS_ORDERS").await?.cached_info().state.messages)
}

#[tokio::test]
async fn a_request_that_takes_longer_than_any_may_is_answered_and_done_once() {
    let (fleet, gateway) = shop(&[("HOLDFAST_GATEWAY_REQUEST_MS", "500")]).await;
    fleet.processes().await.stop_worker("orders", 0).await.unwrap();
    let late = gateway.post_with("/v1/orders", "late", &[("prefer", "wait=20")], &order()).await.unwrap();
    let seen = (late.status, late.code(), late.header("content-type"), late.header("retry-after"));
    assert_eq!(seen, (504, "TIMED_OUT", "application/problem+json", "1"), "{late:?}");
    assert_eq!(late.json["retryable"], true);
    fleet.processes().await.start_worker("orders", 0).unwrap();
    fleet.until("select count(*) from orders.orders", 1).await.unwrap();
    // Then the first answer is out, too, and has found nobody: who asked again before it would hear that one.
    fleet.settle_and_verify().await.unwrap();
    let again = gateway.post("/v1/orders", "late", &order()).await.unwrap();
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"), "{again:?}");
    assert_eq!(orders(&fleet).await, 1);
    fleet.settle_and_verify().await.unwrap();
}

/// The command is on its way when its client goes away: it is done once, and the same key hears what came of it, also at once.
#[tokio::test]
async fn a_client_that_hangs_up_during_a_post_finds_it_done_once() {
    let (fleet, gateway) = shop(&[]).await;
    fleet.processes().await.stop_worker("orders", 0).await.unwrap();
    let body = order().to_string();
    let request = placing("gone", &format!("content-length: {}\r\n", body.len())) + &body;
    for gone in 1..=3 {
        let socket = send(&gateway, &request).await;
        eventually("it is on its way", || async { Ok(waiting(&fleet).await? >= 2 * gone - 1) }).await.unwrap();
        drop(socket);
        // Nobody waits any more, so nobody is told that another does.
        eventually("the gateway has noticed", || async {
            let prefer = [("prefer", "respond-async")];
            Ok(gateway.post_with("/v1/orders", "gone", &prefer, &order()).await?.status == 202)
        })
        .await
        .unwrap();
    }
    fleet.processes().await.start_worker("orders", 0).unwrap();
    let again = gateway.post("/v1/orders", "gone", &order()).await.unwrap();
    assert_eq!(again.status, 201, "{again:?}");
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(orders(&fleet).await, 1);
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_off_by_its_size_or_by_its_time() {
    let (fleet, gateway) = shop(&[("HOLDFAST_GATEWAY_READ_MS", "500")]).await;
    let head = placing("endless", "transfer-encoding: chunked\r\n");
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    // As fast as it goes: it is over once it is larger than a body may be, however much more would come.
    let mut socket = send(&gateway, &head).await;
    let (mut reads, mut writes) = socket.split();
    let sending = async { while writes.write_all(chunk.as_bytes()).await.is_ok() {} };
    let mut answer = vec![0; 12];
    let hearing = reads.read_exact(&mut answer);
    let (heard, ()) = tokio::join!(hearing, sending);
    assert!(heard.is_ok() && answer.starts_with(b"HTTP/1.1 413"), "{:?}", String::from_utf8_lossy(&answer));
    // A byte now and then: it is over when its time is.
    let mut socket = send(&gateway, &head).await;
    let (mut reads, mut writes) = socket.split();
    let mut answer = vec![0; 12];
    let dripping = async {
        while writes.write_all(b"1\r\n \r\n").await.is_ok() {
            platform::clock::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        heard = reads.read_exact(&mut answer) => assert!(heard.is_ok()),
        () = dripping => {}
    }
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&answer));
    assert_eq!(orders(&fleet).await, 0);
}

/// There is room for one connection, and whoever has it asks for more than any buffer holds, and reads nothing of it.
#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off_and_makes_room() {
    let settings = [("HOLDFAST_GATEWAY_CONNECTIONS_MAX", "1"), ("HOLDFAST_GATEWAY_WRITE_MS", "500")];
    let (_fleet, gateway) = shop(&settings).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut deaf = socket.connect(gateway.address.parse().unwrap()).await.unwrap();
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: gateway\r\n\r\n".repeat(1_000);
    // It is cut off while it still asks, or after.
    let asked = deaf.write_all(requests.as_bytes());
    let (_asked, answer) = tokio::join!(asked, gateway.get("/v1/products/MUG"));
    assert_eq!(answer.unwrap().status, 200);
}
