//! Orders over HTTP: what a shop that knows no broker sends, and what it is answered.

use std::{collections::BTreeSet, fs};

use futures::future::join_all;
use holdfast_tests::{
    TestFleet, eventually,
    gateway::{Answer, Gateway, READER, TOKEN},
};
use platform::{client::Outgoing, clock};
use proto::{Message, Name, inventory::v1::RegisterProduct, orders::v1::CancelOrder};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use testbed::servers::Signal;
use tokio::{net::TcpStream, sync::watch};
use uuid::Uuid;

async fn shop() -> (TestFleet, Gateway) {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let registered = gateway.post("/v1/products", "mug", &json!({ "sku": "MUG", "name": "Mug" })).await.unwrap();
    assert_eq!(registered.status, 200, "{registered:?}");
    let received = gateway.post("/v1/products/MUG/receive", "mugs", &json!({ "quantity": "100" })).await.unwrap();
    assert_eq!(received.status, 200, "{received:?}");
    (fleet, gateway)
}

fn mugs(quantity: u32, script: &str) -> Value {
    json!({
        "customer_id": "customer-42",
        "lines": [{ "sku": "MUG", "quantity": quantity, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
        "payment_method": script,
    })
}

fn problem(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let problem = &answer.json;
    assert_eq!(problem["status"], answer.status, "{answer:?}");
    assert_eq!(problem["request_id"], answer.header("request-id"), "{answer:?}");
    let code = problem["code"].as_str().unwrap();
    assert_eq!(problem["type"], format!("/problems/{code}"));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{answer:?}");
    (answer.status, code)
}

#[tokio::test]
async fn an_order_is_placed_paid_read_and_refunded_over_http() {
    let (fleet, gateway) = shop().await;
    let placed = gateway.post("/v1/orders", "order-1", &mugs(2, "sandbox:succeed")).await.unwrap();
    assert_eq!((placed.status, placed.header("idempotent-replayed")), (201, ""), "{placed:?}");
    let path = placed.header("location").to_owned();
    assert_eq!(path, format!("/v1/orders/{}", placed.json["order_id"].as_str().unwrap()));
    assert_eq!(placed.json["events"], json!(["holdfast.orders.v1.OrderPlaced"]));

    let order = gateway.until(&path, "it is paid", |order| order["status"] == "paid").await.unwrap();
    assert_eq!(order["total"], json!({ "minor_units": "2500", "currency": "EUR" }));
    assert_eq!(order["money"]["captured"]["minor_units"], "2500");
    let order = gateway.until(&path, "its stock is committed", |order| order["holds"]["stock"] == "committed");
    assert_eq!(order.await.unwrap()["payments"][0]["provider"], "sandbox");

    let refund =
        gateway.post(&format!("{path}/refunds"), "refund-1", &json!({ "note": "changed his mind" })).await.unwrap();
    assert_eq!(refund.status, 201, "{refund:?}");
    let refund = refund.header("location").to_owned();
    let refund = gateway.until(&refund, "the money is back", |refund| refund["step"] == "refunded").await.unwrap();
    assert_eq!((&refund["reason"], &refund["times_sent"]), (&json!("REFUND_REASON_REQUESTED"), &json!(1)));
    let story: Vec<&str> =
        refund["events"].as_array().unwrap().iter().filter_map(|event| event["type"].as_str()).collect();
    let told = ["orders.v1.RefundRequested", "payments.v1.RefundSubmitted", "payments.v1.PaymentRefunded"];
    assert!(told.iter().all(|told| story.contains(&format!("holdfast.{told}").as_str())), "{story:?}");
    assert_eq!(refund["call"], Value::Null);
    let sent = refund["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["type"] == "holdfast.payments.v1.RefundSubmitted");
    assert_eq!(sent.unwrap()["data"]["idempotency_key"], refund["idempotency_key"]);
    let order = gateway.until(&path, "it is refunded", |order| order["status"] == "refunded").await.unwrap();
    assert_eq!(order["money"]["gone_back"]["minor_units"], "2500");
    gateway.until("/v1/products/MUG", "the mugs are back", |product| product["available"] == "100").await.unwrap();

    // Who asked is the caller, and every event of it bears the request's id.
    let events = gateway.get(&format!("{path}/events")).await.unwrap().json;
    let asked =
        events["data"].as_array().unwrap().iter().find(|event| event["type"] == "holdfast.orders.v1.RefundRequested");
    assert_eq!(asked.unwrap()["data"]["actor"], "token:shop");
    assert_eq!(events["data"][0]["correlation_id"], placed.header("request-id"));
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_key_names_one_request_for_ever() {
    let (fleet, gateway) = shop().await;
    let first = gateway.post("/v1/orders", "key", &mugs(1, "sandbox:succeed")).await.unwrap();
    let quoted = gateway.post("/v1/orders", "\"key\"", &mugs(1, "sandbox:succeed")).await.unwrap();
    assert_eq!((quoted.status, &quoted.json), (201, &first.json));
    assert_eq!((first.header("idempotent-replayed"), quoted.header("idempotent-replayed")), ("", "true"));
    let other = gateway.post("/v1/orders", "key", &mugs(2, "sandbox:succeed")).await.unwrap();
    assert_eq!(problem(&other), (422, "IDEMPOTENCY_KEY_REUSED"));
    // Of another path it is another.
    let order = first.header("location").to_owned();
    let cancelled = gateway.post(&format!("{order}/cancel"), "key", &json!({})).await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");

    let order = mugs(1, "sandbox:succeed");
    let at_once = join_all((0..20).map(|_| gateway.post("/v1/orders", "twenty", &order))).await;
    let mut orders = BTreeSet::new();
    for answer in at_once.into_iter().map(Result::unwrap) {
        match answer.status {
            201 => orders.extend(answer.json["order_id"].as_str().map(str::to_owned)),
            _ => assert_eq!(problem(&answer), (409, "REQUEST_UNDER_WAY")),
        }
    }
    assert_eq!(orders.len(), 1);
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 2);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn who_may_not_is_told_so_and_nothing_is_done() {
    let (fleet, gateway) = shop().await;
    let body = mugs(1, "sandbox:succeed").to_string();
    let post = |authorization: &'static str| {
        let headers =
            [("authorization", authorization), ("content-type", "application/json"), ("idempotency-key", "k")];
        let (gateway, body) = (gateway.clone(), body.clone());
        async move { gateway.request("POST", "/v1/orders", &headers, &body).await.unwrap() }
    };
    for wrong in ["", "Bearer", "Bearer nobody", "Basic c2hvcDp4"] {
        let answer = post(wrong).await;
        assert_eq!(problem(&answer), (401, "UNAUTHENTICATED"), "{wrong:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let reader: &'static str = Box::leak(format!("Bearer {READER}").into_boxed_str());
    assert_eq!(problem(&post(reader).await), (403, "FORBIDDEN"));
    let nobody = gateway.request("GET", "/v1/products/MUG", &[], "").await.unwrap();
    assert_eq!(problem(&nobody), (401, "UNAUTHENTICATED"));
    let read = gateway.request("GET", "/v1/products/MUG", &[("authorization", reader)], "").await.unwrap();
    assert_eq!((read.status, &read.json["available"]), (200, &json!("100")));
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 0);
}

#[tokio::test]
async fn a_token_that_is_taken_out_of_the_file_is_good_no_more() {
    let (fleet, gateway) = shop().await;
    let tokens = fleet.dir().join("tokens.toml");
    // What cannot be read changes nothing.
    std::fs::write(&tokens, "[[token").unwrap();
    let log = fleet.dir().join("log/gateway-0.log");
    holdfast_tests::eventually("it is said", || async {
        assert_eq!(gateway.get("/v1/products/MUG").await?.status, 200);
        Ok(std::fs::read_to_string(&log)?.contains("what it said before stays good"))
    })
    .await
    .unwrap();
    std::fs::write(&tokens, "").unwrap();
    holdfast_tests::eventually("it is refused", || async { Ok(gateway.get("/v1/products/MUG").await?.status == 401) })
        .await
        .unwrap();
}

#[tokio::test]
async fn whatever_cannot_be_done_is_one_problem_with_a_reason() {
    let (fleet, gateway) = shop().await;
    let bearer = format!("Bearer {TOKEN}");
    let placed = async |number: usize, body: &str| {
        let key = format!("order-{number}");
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", &key)];
        gateway.request("POST", "/v1/orders", &headers, body).await.unwrap()
    };
    let deep = "[".repeat(100_000);
    let refused = [
        ("{", 400, "INVALID_BODY"),
        ("\u{feff}{}", 400, "INVALID_BODY"),
        (r#"{"customer_id": NaN}"#, 400, "INVALID_BODY"),
        (r#"{"customer_id": "a", "customerId": "a"}"#, 400, "INVALID_BODY"),
        (r#"{"customer": "a"}"#, 400, "INVALID_BODY"),
        (&deep, 400, "INVALID_BODY"),
        (r#"{"customer_id": "a", "order_id": "7"}"#, 400, "INVALID_ID"),
        (r#"{"customer_id": "a"}"#, 422, "EMPTY_ORDER"),
        (&" ".repeat(300_000), 413, "MESSAGE_TOO_LARGE"),
    ];
    for (number, (body, status, code)) in refused.into_iter().enumerate() {
        assert_eq!(
            problem(&placed(number, body).await),
            (status, code),
            "{}",
            body.chars().take(40).collect::<String>()
        );
    }
    let nothing = fleet.number("select count(*) from orders.orders").await.unwrap();
    assert_eq!(nothing, 0);
    let order = "00000000-0000-4000-8000-000000000007";
    for (path, status, code) in [
        ("/", 404, "NOT_FOUND"),
        ("/v1/orders/7", 400, "INVALID_PARAMETER"),
        (&format!("/v1/orders/{order}"), 404, "UNKNOWN_ORDER"),
        (&format!("/v1/orders/{order}/events"), 404, "UNKNOWN_ORDER"),
        (&format!("/v1/commands/{order}"), 404, "UNKNOWN_ANSWER"),
        ("/v1/products/M%2fG", 404, "UNKNOWN_PRODUCT"),
        ("/v1/products/%ff", 400, "INVALID_PARAMETER"),
        ("/v1/admin/expire", 405, "METHOD_NOT_ALLOWED"),
        ("/problems/SUCH_A_CODE", 404, "NOT_FOUND"),
    ] {
        assert_eq!(problem(&gateway.get(path).await.unwrap()), (status, code), "{path}");
    }
    let page = gateway.get("/problems/UNKNOWN_ORDER").await.unwrap();
    assert!(page.status == 200 && page.text.contains("no such order is known"), "{page:?}");
    let docs = gateway.get("/docs").await.unwrap();
    assert_eq!((docs.status, docs.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(docs.header("content-security-policy").starts_with("default-src 'none'; script-src 'sha256-"), "{docs:?}");
    assert!(docs.text.contains("fetch(\"/openapi.json\")") && !docs.text.contains("://"), "{}", docs.text);
    let form = gateway.post_with("/v1/orders", "form", &[("content-type", "text/plain")], &json!({})).await.unwrap();
    assert_eq!(problem(&form), (400, "INVALID_PARAMETER"));
    let cancel = gateway.post(&format!("/v1/orders/{order}/cancel"), "c", &json!({})).await.unwrap();
    assert_eq!(problem(&cancel), (404, "UNKNOWN_ORDER"));
    let named = gateway.post(&format!("/v1/orders/{order}/cancel"), "d", &json!({ "actor": "root" })).await.unwrap();
    assert_eq!((problem(&named), &named.json["param"]), ((400, "INVALID_BODY"), &json!("actor")));
}

#[tokio::test]
async fn a_customers_orders_are_listed_the_newest_first_page_by_page() {
    let (_fleet, gateway) = shop().await;
    let mut placed = Vec::new();
    for number in 0..5 {
        let answer = gateway.post("/v1/orders", &format!("order-{number}"), &mugs(1, "sandbox:succeed")).await.unwrap();
        placed.insert(0, answer.json["order_id"].clone());
    }
    let mut others = mugs(1, "sandbox:succeed");
    others["customer_id"] = json!("customer-43");
    gateway.post("/v1/orders", "others", &others).await.unwrap();
    let list = async |query: String| {
        let answer = gateway.get(&format!("/v1/orders?customer_id=customer-42{query}")).await.unwrap().json;
        let ids = answer["data"].as_array().unwrap().iter().map(|order| order["order_id"].clone());
        (ids.collect::<Vec<_>>(), answer["has_more"].as_bool().unwrap())
    };
    let id = |place: usize| placed[place].as_str().unwrap().to_owned();
    assert_eq!(list(String::new()).await, (placed.clone(), false));
    assert_eq!(list("&limit=2".to_owned()).await, (placed[..2].to_vec(), true));
    assert_eq!(list(format!("&limit=2&starting_after={}", id(1))).await, (placed[2..4].to_vec(), true));
    assert_eq!(list(format!("&limit=2&starting_after={}", id(3))).await, (placed[4..].to_vec(), false));
    assert_eq!(list(format!("&limit=2&ending_before={}", id(3))).await, (placed[1..3].to_vec(), true));
    // Of all, and of a time: from then on, and before then.
    let of_all = async |query: &str| {
        let answer = gateway.get(&format!("/v1/orders{query}")).await.unwrap().json;
        let orders = answer["data"].as_array().unwrap().iter();
        let orders: Vec<(Value, String)> = orders
            .map(|order| (order["order_id"].clone(), order["placed_at"].as_str().unwrap().replace('+', "%2B")))
            .collect();
        orders
    };
    let all = of_all("").await;
    assert_eq!((all.len(), all[1..].iter().map(|(id, _)| id.clone()).collect::<Vec<_>>()), (6, placed.clone()));
    let (third, second) = (&all[3].1, &all[4].1);
    assert_eq!(of_all(&format!("?placed_from={third}")).await, all[..4]);
    assert_eq!(of_all(&format!("?placed_before={third}")).await, all[4..]);
    assert_eq!(of_all(&format!("?placed_from={second}&placed_before={third}&limit=100")).await, all[4..5]);
    let rest = format!("?placed_from={second}&starting_after={}", all[2].0.as_str().unwrap());
    assert_eq!(of_all(&rest).await, all[3..5]);
    let in_time = list(format!("&placed_from={second}&placed_before={third}")).await;
    assert_eq!(in_time, (vec![all[4].0.clone()], false));
    let unknown = gateway.get("/v1/orders?starting_after=6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81").await.unwrap();
    assert_eq!(problem(&unknown), (404, "UNKNOWN_ORDER"));
    let nobody = gateway.get("/v1/orders?customer_id=nobody").await.unwrap();
    assert_eq!(nobody.json, json!({ "data": [], "has_more": false }));
    for wrong in [
        "?customer_id=",
        "?customer_id=a&limit=101",
        "?customer_id=a&page=2",
        "?customer_id=a&starting_after=7",
        "?placed_from=yesterday",
        "?placed_before=2026-11-29",
        "?reference=R&placed_from=2026-11-29T08:00:00Z",
    ] {
        assert_eq!(
            problem(&gateway.get(&format!("/v1/orders{wrong}")).await.unwrap()),
            (400, "INVALID_PARAMETER"),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn whoever_does_not_wait_finds_the_answer_later() {
    let (_fleet, gateway) = shop().await;
    let prefer = [("prefer", "respond-async")];
    let placed = gateway.post_with("/v1/orders", "later", &prefer, &mugs(1, "sandbox:succeed")).await.unwrap();
    assert_eq!(
        (placed.status, placed.header("retry-after"), placed.header("preference-applied")),
        (202, "1", "respond-async")
    );
    let path = placed.header("location").to_owned();
    let answer = gateway.until(&path, "it is answered", |answer| answer["outcome"] == "accepted").await.unwrap();
    let order = answer["stream"].as_str().unwrap().strip_prefix("order-").unwrap().to_owned();
    assert_eq!(gateway.get(&format!("/v1/orders/{order}")).await.unwrap().status, 200);
    // The same request that waits hears the same.
    let waited = gateway.post("/v1/orders", "later", &mugs(1, "sandbox:succeed")).await.unwrap();
    assert_eq!((waited.status, waited.json["order_id"].as_str()), (201, Some(order.as_str())));
}

#[tokio::test]
async fn a_worker_that_is_away_is_waited_for_and_then_answered_for_with_202() {
    let (fleet, gateway) = shop().await;
    fleet.processes().await.stop_worker("orders", 0).await.unwrap();
    let prefer = [("prefer", "wait=1")];
    let placed = gateway.post_with("/v1/orders", "away", &prefer, &mugs(1, "sandbox:succeed")).await.unwrap();
    assert_eq!((placed.status, &placed.json["outcome"]), (202, &json!("pending")), "{placed:?}");
    // Whoever asks meanwhile is told that it is under way, by any gateway, whoever sent it; and of what was never sent, that nobody knows it.
    let sent = Uuid::from_u128(7);
    let (order_id, actor) = (Uuid::from_u128(8).to_string(), "ann".to_owned());
    let cancel = CancelOrder { order_id, actor, ..CancelOrder::default() };
    let data = cancel.encode_to_vec().into();
    let command =
        Outgoing { id: sent, message_type: &CancelOrder::full_name(), data, correlation_id: None, traceparent: None };
    assert!(fleet.client.deliver(&command).await);
    let other = gateway.kill_and_start(&fleet).await.unwrap();
    for path in [placed.header("location").to_owned(), format!("/v1/commands/{sent}")] {
        let answer = other.get(&path).await.unwrap();
        let seen = (answer.status, answer.header("retry-after"), answer.header("location"));
        assert_eq!(seen, (202, "1", path.as_str()), "{answer:?}");
        assert_eq!(answer.json["outcome"], "pending");
    }
    let never = other.get(&format!("/v1/commands/{}", Uuid::from_u128(9))).await.unwrap();
    assert_eq!(problem(&never), (404, "UNKNOWN_ANSWER"));
    let gateway = other;
    fleet.processes().await.start_worker("orders", 0).unwrap();
    let answer = gateway.until(placed.header("location"), "it is done", |answer| answer["outcome"] == "accepted");
    answer.await.unwrap();
    let sent = format!("/v1/commands/{sent}");
    gateway.until(&sent, "it is refused", |answer| answer["code"] == "UNKNOWN_ORDER").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_listener_hears_every_event_of_an_order_once_also_if_he_comes_again() {
    let (fleet, gateway) = shop().await;
    let placed = gateway.post("/v1/orders", "heard", &mugs(1, "sandbox:succeed,after=1s")).await.unwrap();
    let path = format!("{}/events", placed.header("location"));
    let first = gateway.listen(&path, &[], "event: OrderReserved").await.unwrap();
    let id = |heard: &str| heard.rsplit("id: ").next().unwrap().split('\n').next().unwrap().trim().to_owned();
    let last = id(&first);
    let rest = gateway.listen(&path, &[("last-event-id", &last)], "event: StockCommitted").await.unwrap();
    assert!(!rest.contains("event: OrderPlaced") && rest.contains("event: PaymentSucceeded"), "{rest}");
    fleet.settle().await.unwrap();
    let whole = gateway.listen(&path, &[], "event: StockCommitted").await.unwrap();
    let all = gateway.get(&path).await.unwrap().json["data"].as_array().unwrap().len();
    assert_eq!(whole.matches("\nid: ").count(), all, "{whole}");
    let wrong = gateway.get(&format!("{path}?after=x")).await.unwrap();
    assert_eq!(problem(&wrong), (400, "INVALID_PARAMETER"));
}

#[tokio::test]
async fn no_more_listen_than_there_is_room_for_and_one_who_goes_makes_room() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[("HOLDFAST_GATEWAY_LISTENERS_MAX", "1")]).await.unwrap();
    fleet.stock("MUG", 1).await.unwrap();
    let placed = gateway.post("/v1/orders", "heard", &mugs(1, "sandbox:never")).await.unwrap();
    let path = format!("{}/events", placed.header("location"));
    let listener = gateway.open(&path).await.unwrap();
    let full = gateway.listen(&path, &[], "OVERLOADED").await.unwrap();
    assert!(full.starts_with("HTTP/1.1 503"), "{full}");
    assert_eq!(gateway.get(&path).await.unwrap().status, 200);
    drop(listener);
    holdfast_tests::eventually("there is room", || async {
        Ok(gateway.listen(&path, &[], "\r\n\r\n").await?.starts_with("HTTP/1.1 200"))
    })
    .await
    .unwrap();
}

/// What a client begins and does not finish must not hold up others, nor be half done.
#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let fleet = TestFleet::start().await.unwrap();
    let settings = [("HOLDFAST_GATEWAY_READ_MS", "200"), ("HOLDFAST_GATEWAY_REQUESTS_MAX", "4")];
    let gateway = Gateway::start(&fleet, &settings).await.unwrap();
    // No end of the head: the connection is closed without a word.
    let cut = gateway.raw(b"POST /v1/orders HTTP/1.1\r\nhost: gateway\r\n").await;
    assert!(cut.is_err(), "{cut:?}");
    let slow = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         idempotency-key: slow\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{{"
    );
    assert_eq!(problem(&gateway.raw(slow.as_bytes()).await.unwrap()), (408, "BODY_TOO_SLOW"));
    // More at once than there is room for: each is answered, and those that find none are told so.
    let slow = || gateway.raw(slow.as_bytes());
    let answers = join_all((0..12).map(|_| slow())).await;
    let answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
    let codes: BTreeSet<(u16, &str)> = answers.iter().map(problem).collect();
    assert_eq!(codes, BTreeSet::from([(408, "BODY_TOO_SLOW"), (503, "OVERLOADED")]));
    let full = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!((full.header("retry-after"), &full.json["retryable"]), ("1", &json!(true)));
}

/// How many connections wait to be taken in at this address.
fn waiting_at(address: &str) -> usize {
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let waiting = table.lines().filter_map(|line| {
        let row: Vec<&str> = line.split_whitespace().collect();
        // Of one that listens (0A) what waits to be read are connections.
        let [_, local, _, "0A", queues, ..] = row.as_slice() else { return None };
        let (_, to_read) = queues.split_once(':').filter(|_| local.ends_with(&format!(":{port:04X}")))?;
        usize::from_str_radix(to_read, 16).ok()
    });
    waiting.sum()
}

/// Of 4,000 clients who came at once to a queue of 1,024 some had their connection reset.
#[tokio::test]
async fn many_may_come_at_once() {
    const CLIENTS: usize = 1_500;
    let (fleet, gateway) = shop().await;
    fleet.processes().await.worker("gateway", 0).unwrap().signal(Signal::STOP).unwrap();
    let clients = tokio::spawn(join_all((0..CLIENTS).map(|_| TcpStream::connect(gateway.address.clone()))));
    eventually("all of them wait", || async { Ok(waiting_at(&gateway.address) == CLIENTS) }).await.unwrap();
    fleet.processes().await.worker("gateway", 0).unwrap().signal(Signal::CONT).unwrap();
    assert!(clients.await.unwrap().iter().all(Result::is_ok));
    assert_eq!(gateway.get("/v1/products/MUG").await.unwrap().status, 200);
}

/// Whoever gets no answer sends the same request again, under the same key, to whichever gateway is there.
#[tokio::test]
async fn a_gateway_that_is_killed_loses_no_order_and_doubles_none() {
    const ORDERS: usize = 60;
    let (fleet, gateway) = shop().await;
    let (tell, served) = watch::channel(gateway.clone());
    let placing = join_all((0..ORDERS).map(|number| {
        let mut served = served.clone();
        async move {
            let (key, order) = (format!("order-{number}"), mugs(1, "sandbox:succeed"));
            loop {
                let gateway = served.borrow_and_update().clone();
                match gateway.post("/v1/orders", &key, &order).await {
                    Ok(answer) if answer.status == 201 => return answer.json["order_id"].as_str().unwrap().to_owned(),
                    Ok(answer) => assert!(answer.json["retryable"] == true || answer.status == 202, "{answer:?}"),
                    Err(_nobody_there) => served.changed().await.unwrap(),
                }
            }
        }
    }));
    let killing = async {
        for done in [10, 25, 40] {
            fleet.until_at_least("select count(*) from orders.orders", done).await.unwrap();
            let gateway = served.borrow().clone();
            tell.send_replace(gateway.kill_and_start(&fleet).await.unwrap());
        }
    };
    let (placed, ()) = futures::join!(placing, killing);
    assert_eq!(placed.into_iter().collect::<BTreeSet<_>>().len(), ORDERS);
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 60);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn the_role_of_the_gateway_may_read_what_it_shows_and_change_nothing() {
    let (fleet, _gateway) = shop().await;
    let url = fleet.processes().await.postgres.url("holdfast_gateway", "holdfast");
    let mut role = PgConnection::connect(&url).await.unwrap();
    for (change, why) in [
        ("update inventory.stock set received = received + 1", "permission denied"),
        ("delete from orders.inbox", "permission denied"),
        ("insert into log.notices values ('a', 'b', 'c', now(), now())", "permission denied"),
        ("select * from payments.effects", "permission denied"),
        ("select log.make_partitions()", "permission denied"),
    ] {
        let error = sqlx::query(change).execute(&mut role).await.unwrap_err().to_string();
        assert!(error.contains(why), "{change}: {error}");
    }
}

/// What is due is expired at once by whoever asks, and what a filter names before its time.
#[tokio::test]
async fn orders_are_expired_by_hand() {
    let (fleet, gateway) = shop().await;
    let place = |key: &str, customer: &str, script: &str| {
        let mut order = mugs(1, script);
        order["customer_id"] = json!(customer);
        order["reference"] = json!(format!("R-{key}"));
        let (gateway, key) = (gateway.clone(), key.to_owned());
        async move { gateway.post("/v1/orders", &key, &order).await.unwrap().json["order_id"].as_str().unwrap().to_owned() }
    };
    let (one, other) = (place("1", "ann", "sandbox:never").await, place("2", "bob", "sandbox:never").await);
    let paid = place("3", "ann", "sandbox:succeed").await;
    gateway.until(&format!("/v1/orders/{paid}"), "it is paid", |order| order["status"] == "paid").await.unwrap();
    let expire = |key: &'static str, body: Value| {
        let gateway = gateway.clone();
        async move { gateway.post("/v1/admin/expire", key, &body).await.unwrap() }
    };
    let dry = expire("a", json!({ "customer_id": "ann", "note": "the sale is over", "dry_run": true })).await;
    assert_eq!(
        (dry.status, &dry.json["orders"]),
        (200, &json!([{ "order_id": one, "reference": "R-1", "outcome": "due" }])),
        "{dry:?}"
    );
    let counts = |answer: &Answer| ["released", "skipped", "failed"].map(|word| answer.json[word].as_u64().unwrap());
    let nothing_due = expire("b", json!({ "note": "the sale is over" })).await;
    assert_eq!(counts(&nothing_due), [0, 0, 0], "{nothing_due:?}");
    let of_ann = expire("c", json!({ "customer_id": "ann", "note": "the sale is over" })).await;
    assert_eq!(counts(&of_ann), [1, 0, 0], "{of_ann:?}");
    assert_eq!(of_ann.json["orders"][0]["reference"], "R-1");
    // Under the same key nothing more is done: what has come since was never asked for. And no other request has this key.
    let later = place("4", "ann", "sandbox:never").await;
    let again = expire("c", json!({ "customer_id": "ann", "note": "the sale is over" })).await;
    assert_eq!((counts(&again), again.header("idempotent-replayed")), ([0, 0, 0], "true"), "{again:?}");
    for other in
        [json!({ "customer_id": "ann", "note": "now" }), json!({ "customer_id": "bob", "note": "the sale is over" })]
    {
        assert_eq!(problem(&expire("c", other).await), (422, "IDEMPOTENCY_KEY_REUSED"));
    }
    gateway
        .until(&format!("/v1/orders/{later}"), "it is reserved", |order| order["status"] == "reserved")
        .await
        .unwrap();
    assert_eq!(gateway.post(&format!("/v1/orders/{later}/cancel"), "no", &json!({})).await.unwrap().status, 200);
    let named =
        json!({ "order_ids": [one, other, paid, "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81"], "note": "the sale is over" });
    let by_name = expire("d", named.clone()).await;
    assert_eq!(counts(&by_name), [1, 1, 2], "{by_name:?}");
    let again = expire("d", named).await;
    assert_eq!((&again.json["orders"], again.header("idempotent-replayed")), (&by_name.json["orders"], "true"));
    // Named twice is named once: in the order in which they were named first, and nobody waits for a second answer.
    let twice = expire("f", json!({ "order_ids": [other, one, other, other], "note": "the sale is over" })).await;
    assert_eq!((counts(&twice), twice.json["orders"].as_array().unwrap().len()), ([0, 2, 0], 2), "{twice:?}");
    assert!(twice.json["milliseconds"].as_u64().unwrap() < 4_000, "{twice:?}");
    assert_eq!(twice.json["orders"][0]["order_id"], json!(other));
    let codes: Vec<&str> =
        by_name.json["orders"].as_array().unwrap().iter().filter_map(|order| order["code"].as_str()).collect();
    assert_eq!(codes, ["WRONG_STATE", "UNKNOWN_ORDER"]);
    for wrong in [
        json!({}),
        json!({ "note": " " }),
        json!({ "note": "x".repeat(513) }),
        json!({ "note": "x", "customer_id": "" }),
        json!({ "note": "x", "limit": 0 }),
        json!({ "note": "x", "limt": 1 }),
    ] {
        assert_eq!(problem(&expire("e", wrong).await), (400, "INVALID_BODY"));
    }
    gateway.until("/v1/products/MUG", "what they held is free", |product| product["held"] == "0").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// Who asks is the caller, in every event that a command of his causes.
#[tokio::test]
async fn whoever_sells_orders_or_opens_something_is_named_in_the_log() {
    let (fleet, gateway) = shop().await;
    let price = json!({ "minor_units": 100, "currency": "EUR" });
    let closes_at = (clock::now() + std::time::Duration::from_secs(3_600)).to_string();
    let round = json!({ "prize": "A car", "total_shares": 10, "share_price": price, "closes_at": closes_at });
    let coupon = json!({ "coupon_code": "SPRING", "offer": { "basis_points": 1000, "currency": "EUR" } });
    for (path, body) in [("/v1/rounds", round), ("/v1/coupons", coupon)] {
        let answer = gateway.post(path, "key", &body).await.unwrap();
        assert!(answer.status < 300, "{answer:?}");
    }
    let placed = gateway.post("/v1/orders", "key", &mugs(1, "sandbox:never,checkout=call")).await.unwrap();
    let has_page = |order: &Value| order.pointer("/payments/0/checkout_url").is_some_and(Value::is_string);
    let order = gateway.until(placed.header("location"), "there is a page to pay on", has_page).await.unwrap();
    let another = format!("/v1/payments/{}/checkout", order["payments"][0]["payment_id"].as_str().unwrap());
    let answer = gateway.post(&another, "key", &json!({ "anew": true })).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    fleet
        .until("select count(*) from log.events where type = 'holdfast.payments.v1.CheckoutRequested'", 1)
        .await
        .unwrap();

    let query = "select type, data from log.events order by position";
    let mut database = fleet.database().await.unwrap();
    let events: Vec<(String, Vec<u8>)> = sqlx::query_as(query).fetch_all(&mut database).await.unwrap();
    let actor = |(event, data): &(String, Vec<u8>)| {
        let actor =
            proto::to_json(event, data).unwrap()["actor"].as_str().filter(|actor| !actor.is_empty())?.to_owned();
        Some((event.strip_prefix("holdfast.").unwrap().to_owned(), actor))
    };
    let named: BTreeSet<(String, String)> = events.iter().filter_map(actor).collect();
    let all = [
        "inventory.v1.ProductRegistered",
        "inventory.v1.StockReceived",
        "rounds.v1.RoundOpened",
        "payments.v1.CouponOpened",
        "orders.v1.OrderPlaced",
        "payments.v1.CheckoutAbandoned",
    ];
    assert_eq!(named, all.map(|event| (event.to_owned(), "token:shop".to_owned())).into());

    let cancel = format!("{}/cancel", placed.header("location"));
    assert_eq!(gateway.post(&cancel, "key", &json!({})).await.unwrap().status, 200);
    fleet.settle_and_verify().await.unwrap();
}

/// A key is good for ever, also one from before some commands said who asks.
#[tokio::test]
async fn a_key_from_before_commands_had_an_actor_is_answered_as_ever() {
    let (fleet, gateway) = shop().await;
    let namespace = Uuid::from_u128(0x6d0c_9c1e_54b1_4f0e_9b6b_7f3a_2f50_11d4);
    let name = json!(["shop", "POST", "/v1/products", [], "old"]).to_string();
    let id = Uuid::new_v5(&namespace, name.as_bytes());
    let cup = RegisterProduct { sku: "CUP".to_owned(), name: "Cup".to_owned(), ..RegisterProduct::default() };
    assert!(holdfast_tests::is_accepted(&fleet.client.send(id, &cup).await.unwrap()));
    let again = gateway.post("/v1/products", "old", &json!({ "sku": "CUP", "name": "Cup" })).await.unwrap();
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"), "{again:?}");
    let other = gateway.post("/v1/products", "old", &json!({ "sku": "CUP", "name": "Mug" })).await.unwrap();
    assert_eq!(problem(&other), (422, "IDEMPOTENCY_KEY_REUSED"));
}

#[tokio::test]
async fn the_log_and_what_is_on_sale_are_read_page_by_page() {
    let (fleet, gateway) = shop().await;
    let cup = gateway.post("/v1/products", "cup", &json!({ "sku": "CUP", "name": "Cup" })).await.unwrap();
    assert_eq!(cup.status, 200, "{cup:?}");
    gateway.post("/v1/orders", "order", &mugs(1, "sandbox:succeed")).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let (mut told, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = gateway.get(&format!("/v1/events?limit=3&after={after}")).await.unwrap().json;
        let positions =
            page["data"].as_array().unwrap().iter().map(|event| event["position"].as_str().unwrap().to_owned());
        told.extend(positions);
        after = told.last().unwrap().clone();
        if page["has_more"] == false {
            break;
        }
    }
    let mut database = fleet.database().await.unwrap();
    let logged: Vec<String> = sqlx::query_scalar("select e.position::text from log.events e order by e.position")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert_eq!(told, logged);

    let page = gateway.get("/v1/products?limit=1").await.unwrap().json;
    assert_eq!((&page["data"][0]["sku"], &page["has_more"]), (&json!("CUP"), &json!(true)));
    let page = gateway.get("/v1/products?limit=1&starting_after=CUP").await.unwrap().json;
    assert_eq!((&page["data"][0]["sku"], &page["has_more"]), (&json!("MUG"), &json!(false)));
    let long = format!("/v1/search?text={}", "x".repeat(129));
    for wrong in [
        "/v1/events?limit=0",
        "/v1/events?limit=501",
        "/v1/events?after=x",
        "/v1/products?limit=101",
        "/v1/products?sku=MUG",
        "/v1/rounds?starting_after=MUG",
        "/v1/search",
        "/v1/search?text=%20",
        &long,
    ] {
        assert_eq!(problem(&gateway.get(wrong).await.unwrap()), (400, "INVALID_PARAMETER"), "{wrong}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let endless = gateway.request("GET", "/v1/events?limit=1", &headers, "").await.unwrap();
    assert_eq!(problem(&endless), (400, "INVALID_PARAMETER"));
}
