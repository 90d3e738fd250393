//! The broker's users: each does its work, and nothing else.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use async_nats::{Client, Event, jetstream};
use futures::StreamExt;
use holdfast_tests::{
    Order, TestFleet, eventually,
    gateway::Gateway,
    holdfast, is_accepted, repo_root,
    smtp::SmtpServer,
    users::{KEYS, connected, make_keys, reload, write_settings},
};
use platform::{
    broker::{
        self, EVENTS, EVENTS_JSON,
        permissions::{inbox_prefix, users},
    },
    client::CommandClient,
    config::Config,
};
use proto::inventory::v1::{ReceiveStock, RegisterProduct};
use serde_json::json;
use testbed::{
    fleet::as_user,
    servers::{NatsServer, scratch_dir},
};
use tokio::{process::Command, sync::mpsc};
use uuid::Uuid;

const RELAYS: [&str; 2] = ["orders", "all-in-one"];

/// What somebody might try, whether by publishing or by listening, and who may. All others must be refused.
const TRIES: [(&str, &str, &[&str]); 50] = [
    ("publish", "evt.orders.OrderPaid", &RELAYS),
    ("publish", "evt.inventory.StockHeld", &["orders", "all-in-one", "inventory"]),
    ("publish", "evt.rounds.SharesHeld", &["orders", "all-in-one", "rounds"]),
    ("publish", "evt.payments.PaymentSucceeded", &["orders", "all-in-one", "payments"]),
    ("publish", "evt.payments.PaymentSucceeded.handled", &["orders", "all-in-one", "payments"]),
    ("publish", "json.payments.PaymentSucceeded", &["orders", "all-in-one", "payments"]),
    ("publish", "cmd.orders.PlaceOrder", &["gateway", "operator", "orders-publisher", "shop"]),
    ("publish", "cmd.orders.urgent.RequestRefund", &[]),
    ("publish", "cmd.inventory.ReceiveStock", &["gateway", "operator", "inventory-publisher"]),
    ("publish", "cmd.rounds.OpenRound", &["gateway", "operator", "rounds-publisher"]),
    (
        "publish",
        "cmd.payments.RecordProviderEvent",
        &["gateway", "operator", "payments-publisher", "payments", "all-in-one"],
    ),
    ("publish", "holdfast.log.published", &["orders", "all-in-one", "inventory", "rounds", "payments"]),
    ("publish", "_INBOX.gateway.x.y", &["orders", "all-in-one", "inventory", "rounds", "payments"]),
    ("publish", "$JS.API.STREAM.CREATE.MINE", &[]),
    ("publish", "$JS.API.STREAM.UPDATE.EVENTS", &RELAYS),
    ("publish", "$JS.API.STREAM.DELETE.EVENTS", &RELAYS),
    ("publish", "$JS.API.STREAM.DELETE.COMMANDS_PAYMENTS", &[]),
    ("publish", "$JS.API.STREAM.PURGE.EVENTS", &RELAYS),
    ("publish", "$JS.API.STREAM.PURGE.COMMANDS_PAYMENTS", &[]),
    ("publish", "$JS.API.STREAM.SNAPSHOT.EVENTS", &[]),
    ("publish", "$JS.API.STREAM.RESTORE.EVENTS", &[]),
    ("publish", "$JS.API.STREAM.MSG.DELETE.COMMANDS_PAYMENTS", &["payments", "all-in-one"]),
    ("publish", "$JS.API.STREAM.MSG.GET.COMMANDS_PAYMENTS", &["payments", "all-in-one", "gateway", "operator"]),
    ("publish", "$JS.API.DIRECT.GET.COMMANDS_PAYMENTS", &["gateway"]),
    ("publish", "$JS.API.DIRECT.GET.EVENTS", &[]),
    ("publish", "$JS.API.CONSUMER.CREATE.EVENTS.payments-events", &["payments", "all-in-one"]),
    ("publish", "$JS.API.CONSUMER.CREATE.COMMANDS_PAYMENTS.mine", &[]),
    ("publish", "$JS.API.CONSUMER.CREATE.EVENTS_JSON.shop", &[]),
    ("publish", "$JS.API.CONSUMER.CREATE.EVENTS_JSON.shop.json.orders.*", &["shop"]),
    ("publish", "$JS.API.CONSUMER.CREATE.EVENTS_JSON.shop.json.payments.*", &[]),
    ("publish", "$JS.API.CONSUMER.DELETE.EVENTS.payments-events", &["payments", "orders", "all-in-one"]),
    ("publish", "$JS.API.CONSUMER.DELETE.COMMANDS_PAYMENTS.payments-commands", &["payments", "all-in-one"]),
    ("publish", "$JS.API.CONSUMER.MSG.NEXT.COMMANDS_PAYMENTS.payments-commands", &["payments", "all-in-one"]),
    ("publish", "$JS.API.CONSUMER.MSG.NEXT.EVENTS.mail-events", &["mail", "operator"]),
    ("publish", "$JS.ACK.COMMANDS_PAYMENTS.payments-commands.1.2.3.4.0", &["payments", "all-in-one"]),
    ("publish", "$JS.ACK._.account.COMMANDS_PAYMENTS.payments-commands.1.2.3.4.0", &["payments", "all-in-one"]),
    ("publish", "$JS.ACK._.account.EVENTS.subscriber.1.2.3.4.0", &["subscriber"]),
    ("publish", "$SYS.REQ.SERVER.PING", &[]),
    ("listen", ">", &[]),
    ("listen", "_INBOX.>", &[]),
    ("listen", "_INBOX.gateway.>", &["gateway"]),
    ("listen", "_INBOX.orders-publisher.x", &["orders-publisher"]),
    ("listen", "cmd.orders.*", &[]),
    ("listen", "evt.>", &[]),
    ("listen", "evt.payments.*", &["subscriber"]),
    ("listen", "json.payments.*", &["json-subscriber"]),
    ("listen", "json.orders.*", &["json-subscriber", "shop"]),
    ("listen", "holdfast.log.published", &RELAYS),
    ("listen", "$JS.ACK.>", &[]),
    ("listen", "$JS.API.>", &[]),
];

/// Nobody may: when it is refused, so is all before it that is to be.
const LAST: &str = "nobody.may";

fn settings_of(user: &str, broker: &Path, url: &str) -> platform::config::Broker {
    let mut settings = Config::read(&std::collections::BTreeMap::new()).unwrap().broker;
    url.clone_into(&mut settings.url);
    settings.credentials = broker.join(KEYS).join(format!("{user}.nk")).to_string_lossy().into_owned();
    settings.inbox_prefix = inbox_prefix(user);
    settings
}

/// What a user is refused of all tries.
async fn refused(user: &str, broker: &Path, url: &str) -> BTreeSet<(&'static str, &'static str)> {
    let (said, mut refusals) = mpsc::channel(256);
    let options = broker::options(&settings_of(user, broker, url)).unwrap().event_callback(move |event| {
        let said = said.clone();
        async move {
            if let Event::ServerError(error) = event {
                said.send(error.to_string()).await.unwrap();
            }
        }
    });
    let client: Client = options.connect(url).await.unwrap();
    let mut listening = Vec::new();
    for (how, subject, _) in TRIES {
        match how {
            "publish" => client.publish(subject, "?".into()).await.unwrap(),
            _ => listening.push(client.subscribe(subject).await.unwrap()),
        }
    }
    client.publish(LAST, "".into()).await.unwrap();
    let mut refused = BTreeSet::new();
    loop {
        let refusal = tokio::time::timeout(Duration::from_secs(30), refusals.recv()).await.unwrap().unwrap();
        let text = refusal.to_lowercase();
        assert!(text.contains("permissions violation"), "{user}: {refusal}");
        let how = if text.contains("violation for publish") { "publish" } else { "listen" };
        let subject = refusal.split('"').nth(1).unwrap();
        if subject == LAST {
            return refused;
        }
        let (how, subject, _) = TRIES.iter().find(|(tried, to, _)| (*tried, *to) == (how, subject)).unwrap();
        refused.insert((*how, *subject));
    }
}

/// Prints who may do what, and finds it as it is listed.
async fn each_may_do_what_is_listed(acknowledges_anew: bool) {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let broker = dir.path().join("nats");
    fs::create_dir_all(&broker).unwrap();
    write_settings(&broker, acknowledges_anew).await.unwrap();
    let server = NatsServer::start(&broker).await.unwrap();
    let mut wrong = Vec::new();
    for user in users() {
        let refused = refused(&user.name, &broker, &server.url()).await;
        for (how, subject, allowed) in TRIES {
            let (may, is_refused) = (allowed.contains(&user.name.as_str()), refused.contains(&(how, subject)));
            println!("{:<20} {} {how} {subject}", user.name, if is_refused { "may not" } else { "may    " });
            if may == is_refused {
                wrong.push(format!("{} {how} {subject}: refused: {is_refused}", user.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn no_user_of_the_broker_may_do_what_is_not_its_work() {
    each_may_do_what_is_listed(false).await;
}

#[tokio::test]
async fn no_user_of_the_broker_may_do_more_where_acknowledgements_have_their_new_form() {
    each_may_do_what_is_listed(true).await;
}

/// nats-server lets a shop ask for a consumer of events of orders, and compares what it then asks for.
#[tokio::test]
async fn a_shop_has_no_consumer_of_other_events() {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let broker = dir.path().join("nats");
    fs::create_dir_all(&broker).unwrap();
    write_settings(&broker, false).await.unwrap();
    let server = NatsServer::start(&broker).await.unwrap();
    let subjects = vec!["json.orders.*".to_owned(), "json.payments.*".to_owned()];
    let stream = jetstream::stream::Config { name: EVENTS_JSON.to_owned(), subjects, ..Default::default() };
    let test = async_nats::connect(server.url()).await.unwrap();
    jetstream::new(test).create_stream(stream).await.unwrap();
    let settings = settings_of("shop", &broker, &server.url());
    let shop = broker::options(&settings).unwrap().connect(&settings.url).await.unwrap();
    let asked = |filter: serde_json::Value| {
        let mut config =
            json!({ "name": "shop", "durable_name": "shop", "ack_policy": "explicit", "deliver_policy": "all" });
        config.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        let request = json!({ "stream_name": EVENTS_JSON, "config": config, "action": "" }).to_string();
        shop.request("$JS.API.CONSUMER.CREATE.EVENTS_JSON.shop.json.orders.*", request.into())
    };
    for filter in [
        json!({ "filter_subject": "json.payments.*" }),
        json!({ "filter_subject": "json.>" }),
        json!({ "filter_subjects": ["json.orders.*", "json.payments.*"] }),
        json!({}),
    ] {
        let answer = asked(filter.clone()).await.unwrap();
        assert!(String::from_utf8_lossy(&answer.payload).contains("\"error\""), "{filter}: {answer:?}");
    }
    let answer = asked(json!({ "filter_subject": "json.orders.*" })).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer.payload).contains("\"error\""), "{answer:?}");
}

/// The example is what operators copy: nats-server itself says whether it is well formed.
#[tokio::test]
async fn the_accounts_are_made_from_the_code() {
    let path = repo_root().join("deploy/nats/accounts.conf");
    let accounts = platform::broker::permissions::accounts();
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        fs::write(&path, &accounts).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == accounts, "make it again with HOLDFAST_BLESS=1");
}

/// `holdfast`, run by an operator who has a key for the broker.
async fn operate(fleet: &TestFleet, keys: &Path, args: &[&str]) -> String {
    let output = Command::new(holdfast())
        .args(args)
        .args(["--database-url", &fleet.address.database_url, "--broker-url", &fleet.address.broker_url])
        .envs(as_user("operator", keys))
        .current_dir(fleet.dir())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// As a job in Kubernetes verifies: what it connects with is in a file, and it reaches no broker.
async fn verify_by_settings(fleet: &TestFleet) {
    let settings = fleet.dir().join("auditor.toml");
    fs::write(&settings, format!("[database]\nurl = \"{}\"\n", fleet.address.database_url)).unwrap();
    let mut command = Command::new(holdfast());
    let output = command.args(["verify", "--json"]).env("HOLDFAST_CONFIG", &settings).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(r#""ok":true"#), "{said}");
}

async fn sender(user: &str, fleet: &TestFleet) -> CommandClient {
    let settings = settings_of(user, &fleet.dir().join("nats"), &fleet.address.broker_url);
    CommandClient::connect_as(&settings, Duration::from_secs(60)).await.unwrap()
}

/// Whoever reads events by a consumer that has its user's name: the type of the first, and on what it is acknowledged.
async fn first_event(user: &str, stream: &str, fleet: &TestFleet) -> (String, String) {
    let settings = settings_of(user, &fleet.dir().join("nats"), &fleet.address.broker_url);
    let client = broker::options(&settings).unwrap().connect(&settings.url).await.unwrap();
    let stream = jetstream::new(client).get_stream(stream).await.unwrap();
    let config = jetstream::consumer::pull::Config { durable_name: Some(user.to_owned()), ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let message = messages.next().await.unwrap().unwrap();
    message.double_ack().await.unwrap();
    let named = message.headers.as_ref().unwrap().get("ce-type").unwrap().to_string();
    (named, message.reply.clone().unwrap().to_string())
}

fn refusals_in_the_log(fleet: &TestFleet) -> Vec<String> {
    let log = fs::read_to_string(fleet.dir().join("nats/nats-server.log")).unwrap();
    log.lines().filter(|line| line.to_lowercase().contains("violation")).map(str::to_owned).collect()
}

/// Each process of a fleet, with mail and gateway, does its work as the user that it is.
async fn a_fleet_works(acknowledges_anew: bool) {
    let fleet = TestFleet::with_users(acknowledges_anew).await.unwrap();
    let (broker, smtp) = (fleet.dir().join("nats"), SmtpServer::start().await.unwrap());
    let keys = broker.join(KEYS);
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let port = smtp.port.to_string();
    let mail = [("SERVER", "127.0.0.1"), ("PORT", port.as_str()), ("TLS", "none"), ("FROM", "orders@shop.example")];
    let mail = mail.map(|(name, value)| (format!("HOLDFAST_MAIL_{name}"), value.to_owned())).into();
    fleet.processes().await.start_worker_with("mail", 0, &mail).unwrap();
    fleet.until("select count(*) from mail.began", 1).await.unwrap();

    let (catalog, shop) = (sender("inventory-publisher", &fleet).await, sender("orders-publisher", &fleet).await);
    let register = RegisterProduct { sku: "MUG".to_owned(), name: "Mug".to_owned(), ..Default::default() };
    assert!(is_accepted(&catalog.send(Uuid::from_u128(1), &register).await.unwrap()));
    let receive = ReceiveStock { sku: "MUG".to_owned(), quantity: 100, ..Default::default() };
    assert!(is_accepted(&catalog.send(Uuid::from_u128(2), &receive).await.unwrap()));
    let order = Order::new(1).line("MUG", 2).mailed_to("ada@mail.example");
    assert!(is_accepted(&shop.send(Uuid::from_u128(3), &order.place).await.unwrap()));
    fleet.until_status(&order, "paid").await.unwrap();
    assert!(is_accepted(&shop.send(Uuid::from_u128(4), &order.refund()).await.unwrap()));
    fleet.until_status(&order, "refunded").await.unwrap();
    eventually("two mails", || async { Ok(smtp.received().len() == 2) }).await.unwrap();

    let id = Uuid::from_u128(5);
    let line = json!({ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 100, "currency": "EUR" } });
    let body = json!({ "order_id": id, "customer_id": "c", "payment_method": "sandbox:succeed", "lines": [line] });
    assert_eq!(gateway.post("/v1/orders", "5", &body).await.unwrap().status, 201);
    gateway.until(&format!("/v1/orders/{id}"), "it is paid", |order| order["status"] == "paid").await.unwrap();

    let sent = operate(&fleet, &keys, &["send", "RegisterProduct", r#"{"sku": "CUP", "name": "Cup"}"#]).await;
    assert!(sent.contains("accepted"), "{sent}");
    operate(&fleet, &keys, &["recover", "--dry-run"]).await;
    assert!(!operate(&fleet, &keys, &["status"]).await.contains("does not go on"));

    verify_by_settings(&fleet).await;
    let (named, acknowledged_on) = first_event("subscriber", EVENTS, &fleet).await;
    assert!(named.starts_with("holdfast."), "{named}");
    assert_eq!(acknowledged_on.starts_with("$JS.ACK._."), acknowledges_anew, "{acknowledged_on}");

    fleet.settle_and_verify().await.unwrap();
    let jetstream = jetstream::new(fleet.client.client().clone());
    eventually("all is acknowledged", || async {
        let info = jetstream.get_stream(EVENTS).await?.consumer_info("inventory-events").await?;
        Ok(info.num_pending == 0 && info.num_ack_pending == 0)
    })
    .await
    .unwrap();
    is_connected_as_itself(&broker).await;
    let stand_by = "select count(*) from pg_stat_activity where application_name = 'holdfast-relay'";
    fleet.until(stand_by, 1).await.unwrap();
    assert_eq!(refusals_in_the_log(&fleet), Vec::<String>::new());
}

/// Else the test would prove nothing: the one user who may do everything needs no key.
async fn is_connected_as_itself(broker: &Path) {
    let connected = connected(broker).await.unwrap();
    for (connection, key) in [
        ("holdfast-orders", "KEY_ORDERS"),
        ("holdfast-orders-consumer", "KEY_ORDERS"),
        ("holdfast-inventory-consumer", "KEY_INVENTORY"),
        ("holdfast-rounds-consumer", "KEY_ROUNDS"),
        ("holdfast-payments-consumer", "KEY_PAYMENTS"),
        ("holdfast-payments-sandbox", "KEY_PAYMENTS"),
        ("holdfast-gateway", "KEY_GATEWAY"),
        ("holdfast-mail", "KEY_MAIL"),
    ] {
        assert!(connected.contains(&(connection.to_owned(), key.to_owned())), "{connection}: {connected:?}");
        let others = connected.iter().filter(|(name, whose)| name == connection && whose != key).count();
        assert_eq!(others, 0, "{connection}: {connected:?}");
    }
}

#[tokio::test]
async fn a_fleet_works_where_each_user_may_do_no_more_than_it_needs() {
    a_fleet_works(false).await;
}

#[tokio::test]
async fn a_fleet_works_as_such_users_where_acknowledgements_have_their_new_form() {
    a_fleet_works(true).await;
}

#[tokio::test]
async fn another_key_is_taken_without_a_restart() {
    let fleet = TestFleet::with_users(false).await.unwrap();
    let broker = fleet.dir().join("nats");
    fleet.stock("MUG", 100).await.unwrap();
    let before = fs::read_to_string(broker.join("keys.conf")).unwrap();
    for user in proto::SERVICES {
        fs::remove_file(broker.join(KEYS).join(format!("{user}.nk"))).unwrap();
    }
    make_keys(&broker).await.unwrap();
    reload(&fleet.processes().await.nats).await.unwrap();
    assert_ne!(fs::read_to_string(broker.join("keys.conf")).unwrap(), before);
    eventually("all connect with another key", || async {
        let log = fs::read_to_string(broker.join("nats-server.log"))?;
        let connected = connected(&broker).await?;
        let is_known = |service: &str| {
            connected.contains(&(format!("holdfast-{service}-consumer"), format!("KEY_{}", service.to_uppercase())))
        };
        if log.contains("Reloaded server configuration") && proto::SERVICES.into_iter().all(is_known) {
            return Ok(true);
        }
        let said: Vec<&str> = log.lines().filter(|line| line.contains("eload")).collect();
        Err(anyhow::anyhow!("{said:?} {connected:?}"))
    })
    .await
    .unwrap();
    let orders: Vec<Order> = (0..20).map(|number| Order::new(number).line("MUG", 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 20);
    assert!(fleet.processes().await.ended_workers().is_empty());
}
