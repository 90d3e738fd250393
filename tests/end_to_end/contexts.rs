//! The command through the gateway: contexts and tokens, reading, listening, verbs, and what is said when there is no good answer.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use holdfast_tests::{
    TestFleet, eventually,
    gateway::{Gateway, READER, TOKEN},
    holdfast, python, repo_root,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
};

/// How it ended, what it said, and what it complained about.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        assert!(words.iter().all(|word| self.err.contains(word)), "{words:?}: {}", self.err);
        assert!(!self.err.contains(TOKEN) && !self.err.contains(READER), "{}", self.err);
    }
}

/// A person with a home of his own, who knows no password of a database.
pub(crate) struct Person(TempDir);

impl Person {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("holdfast/contexts.toml")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(holdfast());
        command.args(args).current_dir(self.0.path()).env("XDG_CONFIG_HOME", self.0.path()).kill_on_drop(true);
        for name in ["HOLDFAST_CONTEXT", "HOLDFAST_ADMIN_DATABASE_URL", "HOLDFAST_BROKER_URL"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) async fn says(&self, args: &[&str]) -> Said {
        ended(self.command(args)).await
    }

    /// Notes a context whose token comes from standard input.
    pub(crate) async fn adds(&self, name: &str, url: &str, token: &str, more: &[&str]) -> Said {
        let mut command = self.command(&[&["context", "add", name, "--url", url], more].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).await.unwrap();
        of(child.wait_with_output().await.unwrap())
    }
}

async fn ended(mut command: Command) -> Said {
    of(command.output().await.unwrap())
}

fn of(output: std::process::Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A shop with a gateway, mugs, and an order of customer-42 that is paid.
async fn shop() -> (TestFleet, Gateway, String) {
    let fleet = TestFleet::start().await.unwrap();
    let login = fleet.processes().await.operator_login().await.unwrap();
    let gateway = Gateway::start(&fleet, &[("HOLDFAST_GATEWAY_OPERATOR_URL", &login)]).await.unwrap();
    fleet.stock("MUG-01", 1_000).await.unwrap();
    fleet.stock("MUG-02", 100).await.unwrap();
    let order = place(&gateway, "R-1001", "sandbox:succeed").await;
    let path = format!("/v1/orders/{order}");
    let is_committed = |order: &Value| order.pointer("/holds/stock") == Some(&json!("committed"));
    gateway.until(&path, "its stock is committed", is_committed).await.unwrap();
    let url = format!("http://{}", gateway.address);
    (fleet, gateway, url)
}

async fn place(gateway: &Gateway, reference: &str, script: &str) -> String {
    let body = json!({
        "reference": reference, "customer_id": "customer-42", "payment_method": script,
        "lines": [{ "sku": "MUG-01", "quantity": 2, "unit_price": { "minor_units": 1250, "currency": "EUR" } }],
    });
    let placed = gateway.post("/v1/orders", reference, &body).await.unwrap();
    assert_eq!(placed.status, 201, "{placed:?}");
    placed.json.get("order_id").and_then(Value::as_str).unwrap().to_owned()
}

#[tokio::test]
async fn a_context_is_noted_used_and_forgotten_and_its_token_is_shown_nowhere() {
    let person = Person::new();
    person.says(&["list", "orders"]).await.refused(2, &["which gateway?", "holdfast context add"]);
    person.says(&["context", "show"]).await.refused(2, &["no context is in use"]);
    let url = "http://127.0.0.1:1";
    assert_eq!(person.adds("one", url, "secret-1\n", &[]).await.code, Some(0));
    let token = person.0.path().join("token.txt");
    fs::write(&token, "secret-2\n").unwrap();
    let file = token.to_str().unwrap();
    let two = ["context", "add", "two", "--url", "https://shop.example/", "--token-file", file, "--production"];
    assert_eq!(person.says(&two).await.code, Some(0));
    assert_eq!(fs::metadata(person.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let noted = fs::read_to_string(person.file()).unwrap();
    assert!(noted.contains("secret-1") && noted.contains("secret-2"), "{noted}");

    let listed = person.says(&["context", "list"]).await;
    assert_eq!(listed.out, "  *  one  http://127.0.0.1:1\n     two  https://shop.example  production\n");
    assert_eq!(person.says(&["context", "list", "-o", "name"]).await.out, "one\ntwo\n");
    assert_eq!(person.says(&["context", "use", "two"]).await.code, Some(0));
    let shown = person.says(&["context", "show", "--json"]).await;
    let expected = json!({ "context": "two", "url": "https://shop.example", "production": true, "in_use": true });
    assert_eq!(shown.json(), expected);
    let mut named = person.command(&["context", "show"]);
    named.env("HOLDFAST_CONTEXT", "one");
    assert_eq!(ended(named).await.out, "one: http://127.0.0.1:1\n");
    for said in [&listed, &shown] {
        assert!(!said.out.contains("secret") && !said.err.contains("secret"), "{said:?}");
    }

    person.adds("one", url, "other", &[]).await.refused(2, &["there is a context one already", "--replace"]);
    assert_eq!(person.adds("one", url, "other", &["--replace"]).await.code, Some(0));
    person.adds("a b", url, "x", &[]).await.refused(2, &["a name has"]);
    person.adds("bad", "shop.example", "x", &[]).await.refused(2, &["is no address"]);
    person.adds("bad", "https://ann:pass@shop.example", "x", &[]).await.refused(2, &["no password in it"]);
    person.adds("bad", url, "  \n", &[]).await.refused(2, &["the token is empty"]);
    let missing = person.says(&["context", "add", "bad", "--url", url, "--token-file", "nowhere"]).await;
    missing.refused(3, &["the token's file nowhere"]);
    let readable = person.adds("far", "http://shop.example", "x", &[]).await;
    assert!(readable.code == Some(0) && readable.err.contains("can read the token"), "{readable:?}");
    person.says(&["context", "use", "three"]).await.refused(2, &["\"three\"", "there are far, one, two"]);
    person.says(&["get", "order", "R-1", "--context", "three"]).await.refused(2, &["there are far, one, two"]);
    assert_eq!(person.says(&["context", "remove", "two"]).await.code, Some(0));
    person.says(&["context", "show"]).await.refused(2, &["no context is in use"]);
    assert!(!fs::read_to_string(person.file()).unwrap().contains("secret-2"));
}

#[tokio::test]
async fn whoever_gives_no_good_answer_is_named_and_each_reason_has_its_exit_code() {
    let person = Person::new();
    assert_eq!(person.adds("away", "http://127.0.0.1:1", "x", &[]).await.code, Some(0));
    let away = person.says(&["list", "orders"]).await;
    away.refused(3, &["no gateway can be reached at http://127.0.0.1:1 (context away)", "Connection refused"]);
    person.says(&["tail"]).await.refused(3, &["no gateway can be reached"]);
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n{",
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 302 Found\r\nlocation: http://elsewhere\r\ncontent-length: 0\r\n\r\n",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = [0; 4_096];
                let _read = socket.read(&mut request).await.unwrap();
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert_eq!(person.adds("other", &url, "x", &["--replace"]).await.code, Some(0));
        let said = person.says(&["list", "orders", "--context", "other"]).await;
        said.refused(3, &[&url, "is no gateway of Holdfast"]);
        served.abort();
    }
    fs::set_permissions(person.file(), fs::Permissions::from_mode(0o644)).unwrap();
    person.says(&["list", "orders"]).await.refused(3, &["others may read it (mode 644)", "chmod 600"]);
    fs::set_permissions(person.file(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(person.file(), "token = \"secret").unwrap();
    let broken = person.says(&["context", "list"]).await;
    broken.refused(3, &["contexts.toml cannot be read: line 1"]);
    assert!(!broken.err.contains("secret"), "{broken:?}");
}

#[tokio::test]
async fn support_reads_and_finds_what_there_is_with_a_token_and_no_database() {
    let (fleet, gateway, url) = shop().await;
    let order = gateway.get("/v1/orders?reference=R-1001").await.unwrap().json["data"][0]["order_id"].clone();
    let order = order.as_str().unwrap();
    let person = Person::new();
    assert_eq!(person.adds("shop", &url, READER, &[]).await.code, Some(0));
    let read = async |args: &[&str]| person.says(args).await;

    for named in [order, "R-1001", &order[..8], &order[..13]] {
        assert_eq!(read(&["get", "order", named, "--json"]).await.json()["order_id"], order);
    }
    let shown = read(&["get", "order", "R-1001", "--utc"]).await;
    assert!(shown.out.contains("25.00 EUR") && shown.out.contains(" +00:00\n"), "{}", shown.out);
    assert_eq!(read(&["get", "product", "MUG-01", "-o", "name"]).await.out, "MUG-01\n");
    read(&["get", "product", "MUG-03"])
        .await
        .refused(1, &["there is no product \"MUG-03\"; near:", "MUG-01", "MUG-02"]);
    read(&["get", "order", "R-1002"]).await.refused(1, &["there is no order \"R-1002\""]);
    let other = format!("{}-0000-4000-8000-000000000000", &order[..8]);
    read(&["get", "order", &other]).await.refused(1, &["near:", order]);
    read(&["get", "command", "7"]).await.refused(2, &["command is a UUID in full"]);
    read(&["get", "refund", &other]).await.refused(2, &["--order"]);
    read(&["get", "refund", &other, "--order", "R-1001"]).await.refused(1, &["there is no refund"]);

    // More than a page: cursors are followed.
    let mut all = vec![order.to_owned()];
    for number in 2..=120 {
        all.push(place(&gateway, &format!("R-{number}"), "sandbox:succeed").await);
    }
    all.reverse();
    let listed = read(&["list", "orders", "--customer", "customer-42", "--limit", "200", "-o", "name"]).await;
    assert_eq!(listed.out.lines().collect::<Vec<_>>(), all);
    let some = read(&["list", "orders", "--limit", "101", "--json"]).await;
    assert!(some.err.contains("there are more"), "{}", some.err);
    let some = some.json();
    assert_eq!((some["data"].as_array().unwrap().len(), &some["has_more"]), (101, &json!(true)));
    assert_eq!(read(&["list", "orders", "--until", "2026-01-01T00:00:00Z"]).await.out, "there are none\n");
    read(&["list", "orders", "--since", "yesterday"]).await.refused(2, &["INVALID_PARAMETER", "placed_from"]);
    read(&["list", "products", "--customer", "x"]).await.refused(2, &["of orders only"]);
    assert_eq!(read(&["list", "products", "--limit", "1", "-o", "name"]).await.out, "MUG-01\n");
    let lines = read(&["list", "products", "-o", "jsonl"]).await;
    let skus: Vec<Value> =
        lines.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["sku"].clone()).collect();
    assert_eq!(skus, ["MUG-01", "MUG-02"]);
    assert_eq!(read(&["list", "rounds"]).await.out, "there are none\n");

    let kinds = async |text: &str| {
        let found = read(&["search", text, "--json"]).await.json();
        let hits = found["hits"].as_array().unwrap().clone();
        hits.iter().map(|hit| hit["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let payment = gateway.get(&format!("/v1/orders/{order}")).await.unwrap().json["payments"][0]["payment_id"].clone();
    assert_eq!(kinds(payment.as_str().unwrap()).await, ["payment"]);
    assert_eq!(kinds("MUG").await, ["product", "product"]);
    assert_eq!(kinds("customer-42").await, ["order"; 20]);
    assert_eq!(kinds("R-1001").await, ["order"]);
    let nothing = read(&["search", "nobody"]).await;
    nothing.refused(1, &["nothing is called \"nobody\"", "ids of orders, from 8 digits on"]);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_good_for_it_has_its_exit_code_and_the_scope_is_named() {
    let (fleet, _gateway, url) = shop().await;
    let person = Person::new();
    assert_eq!(person.adds("reader", &url, READER, &[]).await.code, Some(0));
    assert_eq!(person.adds("nobody", &url, "nobody-has-this", &[]).await.code, Some(0));
    let nobody = person.says(&["get", "order", "R-1001", "--context", "nobody"]).await;
    nobody.refused(4, &["does not take the token of context nobody", "UNAUTHENTICATED"]);
    assert!(!nobody.err.contains("nobody-has-this"), "{nobody:?}");
    person.says(&["tail"]).await.refused(4, &["has no scope audit:read"]);
    for (args, scope) in [
        (vec!["cancel", "R-1001", "--reason", "x"], "orders:write"),
        (vec!["refund", "R-1001", "--reason", "x"], "orders:write"),
        (vec!["expire", "--reason", "x"], "operate"),
        (vec!["reinstate", "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81", "--reason", "x"], "operate"),
    ] {
        person.says(&args).await.refused(4, &[&format!("has no scope {scope}")]);
    }
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn what_is_decided_through_the_gateway_is_done_by_whose_token_it_is() {
    let (fleet, gateway, url) = shop().await;
    let person = Person::new();
    assert_eq!(person.adds("shop", &url, TOKEN, &["--production"]).await.code, Some(0));
    let decide = async |args: &[&str]| person.says(&[args, &["--reason", "he has called", "--yes"]].concat()).await;

    // Nobody is asked here, so nothing is done without --yes.
    let refused = person.says(&["refund", "R-1001", "--reason", "x"]).await;
    refused.refused(2, &["context shop is production", "--yes"]);
    let part = decide(&["refund", "R-1001", "--minor-units", "500", "--currency", "EUR", "--json"]).await.json();
    assert_eq!(part["accepted"]["events"], json!(["holdfast.orders.v1.RefundRequested"]), "{part}");
    let command = part["commandId"].as_str().unwrap();
    assert_eq!(person.says(&["get", "command", command, "--json"]).await.json()["outcome"], "accepted");
    let too_much = decide(&["refund", "R-1001", "--minor-units", "999999", "--currency", "EUR"]).await;
    assert!(too_much.code == Some(5) && too_much.out.contains("REFUND_EXCEEDS_PAYMENT"), "{too_much:?}");
    let actors = "select count(*) from log.events where type like '%.RefundRequested' and position('token:shop' in encode(data, 'escape')) > 0";
    assert_eq!(fleet.number(actors).await.unwrap(), 1);

    let waiting = place(&gateway, "R-1002", "sandbox:never").await;
    let due = decide(&["expire", &waiting, "--dry-run", "--json"]).await.json();
    assert_eq!(due["orders"][0], json!({ "order_id": waiting, "outcome": "due" }));
    let expired = decide(&["expire", "--customer", "customer-42"]).await;
    assert_eq!(
        (expired.code, expired.out.as_str()),
        (Some(0), format!("{waiting} released\n1 released, 0 skipped, 0 failed\n").as_str())
    );
    let unknown = decide(&["expire", "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81"]).await;
    assert!(unknown.code == Some(1) && unknown.out.contains("failed: no order"), "{unknown:?}");
    fleet.settle().await.unwrap();
    assert_eq!(decide(&["reinstate", &waiting, "--minutes", "60"]).await.code, Some(0));
    let twice = decide(&["reinstate", &waiting]).await;
    assert!(twice.code == Some(5) && twice.out.contains("rejected"), "{twice:?}");
    assert_eq!(decide(&["cancel", "R-1002"]).await.code, Some(0));
    let unknown = decide(&["resolve", "refund", &waiting, &waiting, "retry"]).await;
    assert!(unknown.code == Some(1) && unknown.out.contains("UNKNOWN_"), "{unknown:?}");

    for (args, words) in [
        (vec!["cancel", "R-1002", "--actor", "mira"], "leave --actor out"),
        (vec!["expire", "--actor", "mira"], "leave --actor out"),
        (vec!["cancel", "R-1002", "--dry-run"], "--dry-run needs --database-url"),
        (
            vec!["cancel", "R-1002", "--context", "shop", "--database-url", "postgres://127.0.0.1:1/x"],
            "which of them is meant?",
        ),
    ] {
        decide(&args).await.refused(2, &[words]);
    }
    // Servers that are named are meant, whatever context is in use.
    let (code, reply) = fleet.command(&["cancel", &waiting, "--actor", "mira", "--reason", "again"]).await.unwrap();
    assert_eq!(code, Some(0), "{reply}");
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn events_are_told_as_they_come_and_a_lost_connection_loses_none() {
    let (fleet, gateway, url) = shop().await;
    let person = Person::new();
    assert_eq!(person.adds("shop", &url, TOKEN, &[]).await.code, Some(0));
    let told = person.says(&["tail", "order", "R-1001", "--until", "StockCommitted", "-o", "jsonl"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let events: Vec<Value> = told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() > 3 && events[0]["type"] == "holdfast.orders.v1.OrderPlaced", "{events:?}");
    let first = events[0]["position"].as_str().unwrap();
    let second = person.says(&["tail", "order", "R-1001", "--since", first, "--count", "1", "--json"]).await.json();
    assert_eq!(second["position"], events[1]["position"]);
    let paid = person.says(&["tail", "--since", first, "--event", "OrderPaid", "--count", "1"]).await;
    assert!(paid.code == Some(0) && paid.out.contains("OrderPaid") && paid.out.lines().count() == 1, "{paid:?}");
    person.says(&["tail", "--event", "OrderPayed"]).await.refused(2, &["there is no event OrderPayed"]);
    person.says(&["tail", "--since", "2026-01-01T00:00:00Z"]).await.refused(2, &["is a position"]);
    person.says(&["tail", "order", "R-7"]).await.refused(1, &["there is no order \"R-7\""]);
    fleet.settle_and_verify().await.unwrap();

    // All that comes is told once and in order, though the gateway is killed in between and comes back elsewhere: a way that stays leads to it.
    let way = Way::to(&gateway.address).await;
    assert_eq!(person.adds("way", &way.url, TOKEN, &[]).await.code, Some(0));
    let all = fleet.number("select max(position) from log.events").await.unwrap();
    let mut listens = person.command(&["tail", "--context", "way", "-o", "jsonl", "--until", "OrderCancelled"]);
    let mut child = listens.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it listens", || async { Ok(way.is_told.load(Ordering::Relaxed)) }).await.unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let order = place(&gateway, "R-2", "sandbox:never").await;
    let heard = lines.next_line().await.unwrap().unwrap();
    assert!(heard.contains("OrderPlaced"), "{heard}");
    let gateway = gateway.kill_and_start(&fleet).await.unwrap();
    let paid = format!("/v1/orders/{}", place(&gateway, "R-3", "sandbox:succeed").await);
    gateway.until(&paid, "its stock is committed", |order| order["holds"]["stock"] == "committed").await.unwrap();
    way.leads_to(&gateway.address);
    let cancelled = gateway.post(&format!("/v1/orders/{order}/cancel"), "cancel", &json!({})).await.unwrap();
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let mut positions = vec![serde_json::from_str::<Value>(&heard).unwrap()["position"].clone()];
    while let Some(line) = lines.next_line().await.unwrap() {
        positions.push(serde_json::from_str::<Value>(&line).unwrap()["position"].clone());
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let mut database = fleet.database().await.unwrap();
    let query = "select e.position::text from log.events e where e.position > $1 and e.position <=
        (select max(position) from log.events where type = 'holdfast.orders.v1.OrderCancelled') order by e.position";
    let logged: Vec<String> = sqlx::query_scalar(query).bind(all).fetch_all(&mut database).await.unwrap();
    assert_eq!(positions, logged.into_iter().map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_command_of_the_page_works_as_it_stands() {
    let (fleet, gateway, url) = shop().await;
    fs::write(fleet.dir().join("token.txt"), TOKEN).unwrap();
    let person = Person::new();
    fs::write(person.0.path().join("token.txt"), TOKEN).unwrap();
    let page = fs::read_to_string(repo_root().join("services/cli/README.md")).unwrap();
    let (_, rest) = page.split_once("\n## Through the gateway\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let mut ran = 0;
    for line in rest.split_once("```").unwrap().0.lines() {
        let words = line.split(" #").next().unwrap().strip_prefix("./justw holdfast ").unwrap();
        let script = format!("{} {words}", holdfast().display());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("HOLDFAST", &url).env("XDG_CONFIG_HOME", person.0.path());
        command
            .current_dir(person.0.path())
            .env_remove("HOLDFAST_ADMIN_DATABASE_URL")
            .env_remove("HOLDFAST_BROKER_URL");
        let said = ended(command).await;
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{line}: {}", said.out);
        ran += 1;
    }
    assert_eq!(ran, 18);
    let order = gateway.get("/v1/orders?reference=R-1001").await.unwrap().json["data"][0]["order_id"].clone();
    let path = format!("/v1/orders/{}", order.as_str().unwrap());
    gateway.until(&path, "its money is back", |order| order["status"] == "refunded").await.unwrap();
    fleet.settle_and_verify().await.unwrap();
}

/// A way to a gateway that stays where it is when the gateway goes elsewhere.
struct Way {
    url: String,
    to: Arc<Mutex<String>>,
    /// Whether somebody listens who was told where he begins.
    is_told: Arc<AtomicBool>,
}

impl Way {
    async fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let way = Self { url, to: Arc::new(Mutex::new(address.to_owned())), is_told: Arc::default() };
        let (to, is_told) = (Arc::clone(&way.to), Arc::clone(&way.is_told));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (to, is_told) = (to.lock().unwrap().clone(), Arc::clone(&is_told));
                tokio::spawn(async move {
                    // Where nobody is, whoever came is let go.
                    let Ok(server) = TcpStream::connect(to).await else { return };
                    let ((mut asks, mut hears), (mut says, mut takes)) = (client.into_split(), server.into_split());
                    tokio::spawn(async move { tokio::io::copy(&mut asks, &mut takes).await.ok() });
                    let mut part = [0; 4_096];
                    while let Ok(count @ 1..) = says.read(&mut part).await {
                        let said = part.get(..count).unwrap_or_default();
                        is_told.fetch_or(String::from_utf8_lossy(said).contains("id: "), Ordering::Relaxed);
                        if hears.write_all(said).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        way
    }

    fn leads_to(&self, address: &str) {
        address.clone_into(&mut self.to.lock().unwrap());
    }
}

/// A terminal of Python's, so that the command believes it has one.
async fn on_a_terminal(person: &Person, args: &[&str], variables: &[(&str, &str)]) -> String {
    const SCRIPT: &str = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = Command::new(python());
    command.args(["-B", "-c", SCRIPT]).arg(holdfast()).args(args).stdin(Stdio::null());
    command.env("XDG_CONFIG_HOME", person.0.path()).env_remove("NO_COLOR").env_remove("PAGER").env("TERM", "xterm");
    command.envs(variables.iter().copied());
    ended(command).await.out
}

#[tokio::test]
async fn a_terminal_gets_colours_and_a_pager_and_a_pipe_gets_neither() {
    let person = Person::new();
    assert_eq!(person.adds("shop", "http://127.0.0.1:1", "x", &["--production"]).await.code, Some(0));
    let list = ["context", "list"];
    assert!(on_a_terminal(&person, &list, &[]).await.contains("\u{1b}[31mproduction"));
    for plain in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        assert!(!on_a_terminal(&person, &list, &plain).await.contains('\u{1b}'), "{plain:?}");
    }
    let mut forced = person.command(&list);
    forced.env("CLICOLOR_FORCE", "1");
    assert!(ended(forced).await.out.contains("\u{1b}[31mproduction"));

    let explain = ["explain", "RELAY_LAGS"];
    let pager = [("HOLDFAST_PAGER", "sed 's/^/paged: /'")];
    assert!(on_a_terminal(&person, &explain, &pager).await.contains("paged: RELAY_LAGS"));
    for none in [("TERM", "dumb"), ("HOLDFAST_PAGER", "")] {
        let told = on_a_terminal(&person, &explain, &[("PAGER", "sed 's/^/paged: /'"), none]).await;
        assert!(told.contains("RELAY_LAGS") && !told.contains("paged"), "{told}");
    }
    let missing = on_a_terminal(&person, &explain, &[("HOLDFAST_PAGER", "no-such-pager-here")]).await;
    assert!(missing.contains("cannot be run"), "{missing}");
    let mut piped = person.command(&explain);
    piped.envs(pager);
    assert!(ended(piped).await.out.starts_with("RELAY_LAGS"));
    // Which context is in use is said there, and only there.
    let said = on_a_terminal(&person, &["list", "orders"], &[]).await;
    assert!(said.contains("context shop (production): http://127.0.0.1:1"), "{said}");
    person.says(&["explain", "-o", "name"]).await.refused(2, &["this command has no -o name: it knows table, json"]);
    person.says(&["explain", "--json", "-o", "table"]).await.refused(2, &["say one of them"]);
}
