//! Mail to buyers: told once, to whom it should be, in the right words, and the address nowhere else.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio, time::Duration};

use async_nats::jetstream;
use holdfast_tests::{
    Order, TestFleet, change_consumer, code, eventually,
    gateway::Gateway,
    holdfast, is_accepted, reason, repo_root,
    smtp::{Manner, Phase, Received, SmtpServer},
};
use platform::broker::{EVENTS, events_consumer};
use proto::common::v1::Money;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use testbed::{
    fleet::{Address, worker_binary},
    servers::{Process, Signal, scratch_dir},
};

/// A fleet that sends mail.
pub(crate) struct MailingShop {
    pub(crate) fleet: TestFleet,
    pub(crate) smtp: SmtpServer,
    settings: BTreeMap<String, String>,
}

impl MailingShop {
    /// With so many replicas of what sends mail, and these settings of it.
    pub(crate) async fn open(replicas: usize, smtp: SmtpServer, settings: &[(&str, &str)]) -> Self {
        let fleet = TestFleet::start().await.unwrap();
        fleet.stock("MUG", 1_000).await.unwrap();
        let port = smtp.port.to_string();
        let own = [
            ("SERVER", "127.0.0.1"),
            ("PORT", port.as_str()),
            ("TLS", "none"),
            ("FROM", "Shop <orders@shop.example>"),
            ("ZONE", "Europe/Berlin"),
            ("BACKOFF_MS", "10"),
            ("BACKOFF_MAX_MS", "50"),
            ("ONCE_MORE_MS", "100"),
            ("POLL_MS", "20"),
        ];
        let settings = own.iter().chain(settings);
        let settings = settings.map(|(name, value)| (format!("HOLDFAST_MAIL_{name}"), (*value).to_owned())).collect();
        let shop = Self { fleet, smtp, settings };
        for replica in 0..replicas {
            shop.start(replica).await;
        }
        // What happened before sends none.
        if replicas > 0 {
            shop.until_begun().await;
        }
        shop
    }

    async fn until_begun(&self) {
        self.fleet.until("select count(*) from mail.began", 1).await.unwrap();
    }

    pub(crate) async fn start(&self, replica: usize) {
        self.fleet.processes().await.start_worker_with("mail", replica, &self.settings).unwrap();
    }

    pub(crate) async fn kill(&self, replica: usize) {
        self.fleet.processes().await.kill_worker("mail", replica).await.unwrap();
    }

    /// Places an order that is paid at once, of a buyer who gets mail there.
    pub(crate) async fn sell(&self, number: u64, email: &str) -> Order {
        let order = Order::new(number).line("MUG", 2).referenced(&format!("R-{number}")).mailed_to(email);
        assert!(is_accepted(&self.fleet.place(&order).await.unwrap()));
        order
    }

    /// Waits until the server has so many mails.
    pub(crate) async fn until_received(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} mails"), || async { Ok(self.smtp.received().len() >= count) }).await.unwrap();
        self.smtp.received()
    }

    /// The mails that stand so, as an operator sees them.
    pub(crate) async fn list(&self, state: &str) -> Vec<Value> {
        let (exit, listed) = self.fleet.command(&["mail", "list", "--state", state]).await.unwrap();
        assert_eq!(exit, Some(0), "{listed}");
        listed.get("mails").unwrap().as_array().unwrap().clone()
    }
}

/// What a mail says, without what is for the way.
fn plain(mail: &Received) -> String {
    mail.text.replace("=\r\n", "")
}

#[tokio::test]
async fn a_buyer_is_told_once_that_the_order_is_paid_and_once_of_its_refund_whatever_comes_twice() {
    let shop = MailingShop::open(2, SmtpServer::start().await.unwrap(), &[]).await;
    let order = shop.sell(1, "ann@mail.example").await;
    let silent = Order::new(2).line("MUG", 1);
    shop.fleet.place(&silent).await.unwrap();
    shop.fleet.until_status(&silent, "paid").await.unwrap();
    let received = shop.until_received(1).await;
    let mail = received.first().unwrap();
    assert_eq!(
        (mail.from.as_str(), mail.to.as_str()),
        ("MAIL FROM:<orders@shop.example>", "RCPT TO:<ann@mail.example>")
    );
    let text = plain(mail);
    for words in [
        "Subject: Your order R-1 is paid",
        "From: Shop <orders@shop.example>",
        "Auto-Submitted: auto-generated",
        "2 x MUG, 10.00 EUR each: 20.00 EUR",
        "Paid: 20.00 EUR",
        &format!("Message-ID: <paid.{}@shop.example>", order.id),
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }

    assert!(is_accepted(&shop.fleet.send_new(&order.refund()).await.unwrap()));
    shop.fleet.until("select count(*) from mail.mails where state = 'sent'", 2).await.unwrap();
    // All events come again, and each of them is handled again before the consumer has nothing left.
    let jetstream = async_nats::jetstream::new(shop.fleet.client.client().clone());
    let events = jetstream.get_stream(EVENTS).await.unwrap();
    events.delete_consumer(&events_consumer("mail")).await.unwrap();
    eventually("all was handled again", || async {
        let info = events.consumer_info(&events_consumer("mail")).await?;
        Ok(info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.consumer_sequence >= 3)
    })
    .await
    .unwrap();
    let last = shop.sell(3, "bob@mail.example").await;
    shop.fleet.until_status(&last, "paid").await.unwrap();
    let received = shop.until_received(3).await;
    let ids: Vec<&str> =
        received.iter().flat_map(|mail| mail.text.lines()).filter(|line| line.starts_with("Message-ID")).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.iter().any(|id| id.contains(&format!("refunded.{}", order.id))), "{ids:?}");
    assert!(ids.iter().any(|id| id.contains(&format!("paid.{}", last.id))), "{ids:?}");
    assert_eq!(shop.fleet.number("select count(*) from mail.mails").await.unwrap(), 3, "none of who has no address");
    assert_eq!(shop.fleet.number("select max(attempt)::int8 from mail.mails").await.unwrap(), 1);
    shop.fleet.settle_and_verify().await.unwrap();
    let (_, status) = shop.fleet.command(&["status"]).await.unwrap();
    assert_eq!(status["mails"], json!({ "sent": 3 }));
    let metrics = shop.fleet.get("mail-0", "/metrics").await.unwrap();
    assert!(metrics.contains("holdfast_mails{state=\"unknown\"} 0"), "{metrics}");
}

/// Every text that the database keeps for good, but for where addresses are.
const KEPT: &str = "select count(*) from (
        select encode(data, 'escape') as words from log.events
        union all select encode(reply, 'escape') from orders.inbox
        union all select orders::text from orders.orders
        union all select mails::text from mail.mails where state = 'sent'
    ) as kept where words ilike '%secret%'";

#[tokio::test]
async fn an_address_is_in_no_event_in_no_refusal_and_in_no_line_of_a_log() {
    let smtp = SmtpServer::start().await.unwrap();
    smtp.behave([Manner::Says(Phase::To, 421), Manner::Closes(Phase::Text)]);
    let shop = MailingShop::open(1, smtp, &[]).await;
    shop.sell(1, "secret@mail.example").await;
    shop.fleet.until("select count(*) from mail.mails where state = 'sent'", 1).await.unwrap();
    let gateway = Gateway::start(&shop.fleet, &[]).await.unwrap();
    for (number, wrong) in (10..).zip(["secret", "secret@a@b.example", "secret@mail.example\r\nBcc: x@y.example"]) {
        let order = Order::new(number).line("MUG", 1).mailed_to(wrong);
        let refused = shop.fleet.place(&order).await.unwrap();
        assert_eq!(code(&refused), "INVALID_CONTACT_EMAIL", "{wrong:?}");
        assert!(!reason(&refused).contains("secret"), "{refused:?}");
        let line = json!({ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 5, "currency": "EUR" } });
        let body =
            json!({ "customer_id": "c", "payment_method": "sandbox:succeed", "lines": [line], "contact_email": wrong });
        let answer = gateway.post("/v1/orders", &format!("key-{number}"), &body).await.unwrap();
        assert_eq!((answer.status, answer.code()), (400, "INVALID_CONTACT_EMAIL"), "{answer:?}");
        assert!(!answer.text.contains("secret"), "{answer:?}");
    }
    let line = json!({ "sku": "MUG", "quantity": 1, "unit_price": { "minor_units": 500, "currency": "EUR" } });
    let body = json!({ "customer_id": "c", "payment_method": "sandbox:succeed", "lines": [line], "contact_email": "secret@mail.example" });
    let answer = gateway.post("/v1/orders", "good", &body).await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(!answer.text.contains("secret"), "{answer:?}");
    shop.fleet.until("select count(*) from mail.mails where state = 'sent'", 2).await.unwrap();
    assert_eq!(
        shop.fleet.number("select count(*) from orders.contacts where email ilike '%secret%'").await.unwrap(),
        2
    );
    assert_eq!(shop.fleet.number(KEPT).await.unwrap(), 0);
    // The same way of looking finds what is there.
    let found = "select count(*) from log.events where encode(data, 'escape') ilike '%MUG%'";
    assert!(shop.fleet.number(found).await.unwrap() > 0);
    for entry in fs::read_dir(shop.fleet.dir().join("log")).unwrap() {
        let path = entry.unwrap().path();
        let log = fs::read_to_string(&path).unwrap();
        assert!(!log.to_lowercase().contains("secret"), "{}: {log}", path.display());
    }
}

#[tokio::test]
async fn amounts_have_the_digits_of_their_currency_and_an_old_server_gets_no_address_that_it_cannot_read() {
    let shop = MailingShop::open(1, SmtpServer::of_old().await.unwrap(), &[]).await;
    for (number, currency) in [(1, "JPY"), (2, "KWD")] {
        let mut order = Order::new(number).line("MUG", 3).mailed_to("ann@mail.example");
        order.place.lines[0].unit_price = Some(Money { minor_units: 1_250, currency: currency.to_owned() });
        assert!(is_accepted(&shop.fleet.place(&order).await.unwrap()));
    }
    let received = shop.until_received(2).await;
    let all: String = received.iter().map(plain).collect();
    assert!(all.contains("Paid: 3,750 JPY") && all.contains("Paid: 3.750 KWD"), "{all}");
    shop.sell(3, "änn@mail.example").await;
    shop.fleet.until("select count(*) from mail.mails where state = 'refused'", 1).await.unwrap();
    let refused = shop.list("refused").await;
    assert!(refused[0]["reply"].as_str().unwrap().contains("SMTPUTF8"), "{refused:?}");
    assert_eq!(shop.smtp.received().len(), 2);
}

#[tokio::test]
async fn an_address_of_other_letters_goes_to_a_server_that_reads_them() {
    let shop = MailingShop::open(1, SmtpServer::start().await.unwrap(), &[]).await;
    shop.sell(1, "änn@käse.example").await;
    let received = shop.until_received(1).await;
    assert_eq!(received[0].to, "RCPT TO:<änn@käse.example>");
    assert_eq!(shop.smtp.parameters(), ["SMTPUTF8"]);
}

#[tokio::test]
async fn of_money_that_came_too_late_a_buyer_is_told_only_if_the_shop_wants_it() {
    for (wanted, mails) in [("false", 0), ("true", 1)] {
        let settings = [("LATE_PAYMENTS", wanted)];
        let shop = MailingShop::open(1, SmtpServer::start().await.unwrap(), &settings).await;
        let late = Order::new(1).line("MUG", 1).pays("sandbox:late,after=200ms").mailed_to("ann@mail.example");
        let late = late.expires_after(Duration::from_secs(5));
        shop.fleet.place(&late).await.unwrap();
        shop.fleet.until("select count(*) from payments.refunds where status = 'refunded'", 1).await.unwrap();
        // Events come in their order: once the mail of a later order is there, the earlier one has been looked at.
        shop.fleet.settle().await.unwrap();
        shop.sell(2, "bob@mail.example").await;
        shop.until_received(1 + mails).await;
        let told = "select count(*) from mail.mails where kind = 'refunded'";
        assert_eq!(shop.fleet.number(told).await.unwrap(), i64::try_from(mails).unwrap());
    }
}

#[tokio::test]
async fn of_what_happened_before_mail_was_switched_on_nobody_is_told() {
    let shop = MailingShop::open(0, SmtpServer::start().await.unwrap(), &[]).await;
    let before = shop.sell(1, "ann@mail.example").await;
    shop.fleet.until_status(&before, "paid").await.unwrap();
    shop.start(0).await;
    shop.until_begun().await;
    // Events come in their order: once the mail of a later order is there, the earlier one has been looked at.
    shop.sell(2, "bob@mail.example").await;
    let received = shop.until_received(1).await;
    assert_eq!(received[0].to, "RCPT TO:<bob@mail.example>");
    assert_eq!(shop.fleet.number("select count(*) from mail.mails").await.unwrap(), 1);
    // Of the earlier order a buyer is told what happens from now on.
    assert!(is_accepted(&shop.fleet.send_new(&before.refund()).await.unwrap()));
    assert!(plain(&shop.until_received(2).await[1]).contains("Subject: Your refund for order R-1"));
}

/// The commands of the page about mail, as they stand there, with the ids of a mail and of an order.
#[tokio::test]
async fn an_operator_lists_mail_sends_it_again_and_forgets_where_buyers_are_reached() {
    let smtp = SmtpServer::start().await.unwrap();
    smtp.behave([Manner::Says(Phase::To, 550)]);
    let shop = MailingShop::open(1, smtp, &[]).await;
    let order = shop.sell(1, "ann@mail.example").await;
    shop.fleet.until("select count(*) from mail.mails where state = 'refused'", 1).await.unwrap();
    let refused = shop.list("refused").await;
    assert_eq!(refused[0]["order_id"], order.id.to_string());
    assert!(refused[0]["reply"].as_str().unwrap().contains("550"), "{refused:?}");

    let page = fs::read_to_string(repo_root().join("services/mail/README.md")).unwrap();
    let (_, rest) = page.split_once("## What operators do\n").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let (commands, _) = rest.split_once("```").unwrap();
    let mail = refused[0]["mail_id"].as_str().unwrap().to_owned();
    let mut ran = 0;
    for line in commands.lines() {
        let command = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let command = command.replace("$MAIL", &mail).replace("$ORDER", &order.id.to_string());
        let args = words(&command);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if args.starts_with(&["contact"]) {
            shop.fleet.until("select count(*) from mail.mails where state = 'sent'", 1).await.unwrap();
        }
        let (exit, said) = shop.fleet.command(&args).await.unwrap();
        assert_eq!(exit, Some(0), "{line}: {said}");
        ran += 1;
    }
    assert_eq!(ran, 5, "{commands}");
    assert_eq!(shop.smtp.received().len(), 1, "it was sent again");
    assert_eq!(shop.fleet.number("select count(*) from mail.resent").await.unwrap(), 1);
    assert_eq!(shop.fleet.number("select count(*) from orders.contacts").await.unwrap(), 0);

    // What was not sent by then is not sent any more.
    shop.smtp.behave((0..1_000).map(|_| Manner::Says(Phase::Greeting, 421)));
    let next = shop.sell(2, "bob@mail.example").await;
    shop.fleet.until("select count(*) from mail.mails where state = 'queued' and attempt > 0", 1).await.unwrap();
    let (exit, said) = shop.fleet.command(&["contact", "forget", "--order", &next.id.to_string()]).await.unwrap();
    assert_eq!((exit, said["forgotten"].as_u64()), (Some(0), Some(1)), "{said}");
    shop.fleet.until("select count(*) from mail.mails where state = 'forgotten' and message is null", 1).await.unwrap();
    let command = ["mail", "resend", &mail, "--reason", "asked for it"];
    assert_eq!(shop.fleet.command(&command).await.unwrap().0, Some(0));
    shop.fleet.until("select count(*) from mail.mails where state = 'forgotten' and message is null", 2).await.unwrap();
    assert!(shop.fleet.command(&command).await.is_err(), "what is forgotten cannot be sent again");
}

/// Words of a command, those in quotes as one.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    let words = parts.flat_map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// What it says when it is started so, and how it ends.
async fn started(settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(worker_binary("mail").unwrap())
        .envs(settings.iter().map(|(name, value)| (format!("HOLDFAST_MAIL_{name}"), *value)))
        .output()
        .await
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn what_is_wrong_with_settings_and_templates_is_said_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    fs::write(dir.path().join("paid.txt"), "Thank you\n{{ order.nubmer }}\n").unwrap();
    let (templates, good) = (text(dir.path()), ("SERVER", "127.0.0.1"));
    let from = ("FROM", "orders@shop.example");
    let cases = [
        (vec![], 1, "mail is off: setting mail.server is empty"),
        (vec![good], 2, "setting mail.from"),
        (vec![good, ("FROM", "orders")], 1, "setting mail.from"),
        (vec![good, from, ("TEMPLATES", &templates)], 1, "paid.txt:2"),
        (vec![good, from, ("ZONE", "Mars/Olympus")], 1, "Mars/Olympus"),
        (vec![good, from, ("UNKNOWN", "twice")], 2, "once_more, leave"),
    ];
    for (settings, exit, words) in cases {
        let (ended, said) = started(&settings).await;
        assert_eq!(ended, Some(exit), "{settings:?}: {said}");
        assert!(said.contains(words), "{settings:?}: {said}");
    }
}

/// A fleet of `holdfast up`, as somebody has it who tries mail out.
#[tokio::test]
async fn up_starts_what_sends_mail_where_it_is_said_where_mail_goes() {
    let smtp = SmtpServer::start().await.unwrap();
    let dir = scratch_dir("holdfast-up-").unwrap();
    let mut up = Process::command(holdfast(), Signal::TERM);
    up.args(["up", "--dir"]).arg(dir.path()).stdout(Stdio::null());
    up.env("HOLDFAST_MAIL_SERVER", "127.0.0.1").env("HOLDFAST_MAIL_PORT", smtp.port.to_string());
    up.env("HOLDFAST_MAIL_TLS", "none").env("HOLDFAST_MAIL_FROM", "orders@shop.example");
    let up = Process::spawn("holdfast up", up, Signal::TERM).unwrap();
    let note = dir.path().join("fleet.json");
    eventually("mail has begun", || async {
        let address: Address = serde_json::from_str(&fs::read_to_string(&note)?)?;
        let mut database = PgConnection::connect(&address.database_url).await?;
        let began: i64 = sqlx::query_scalar("select count(*) from mail.began").fetch_one(&mut database).await?;
        Ok(began == 1)
    })
    .await
    .unwrap();
    let place = json!({
        "orderId": uuid::Uuid::from_u128(7).to_string(), "customerId": "c", "paymentMethod": "sandbox:succeed", "contactEmail": "ann@mail.example",
        "lines": [{ "sku": "MUG", "quantity": 1, "unitPrice": { "minorUnits": 500, "currency": "EUR" } }],
    });
    for (command, content) in [
        ("RegisterProduct", json!({ "sku": "MUG", "name": "Mug" })),
        ("ReceiveStock", json!({ "sku": "MUG", "quantity": 1 })),
        ("PlaceOrder", place),
    ] {
        let mut send = tokio::process::Command::new(holdfast());
        send.args(["send", command, &content.to_string(), "--dir"]).arg(dir.path()).stdin(Stdio::null());
        let sent = send.output().await.unwrap();
        assert!(sent.status.success(), "{command}: {sent:?}");
    }
    eventually("a mail", || async { Ok(!smtp.received().is_empty()) }).await.unwrap();
    assert!(smtp.received().iter().all(|mail| mail.to.contains("ann@mail.example")));
    up.signal(Signal::TERM).unwrap();
    assert_eq!(up.ended(Duration::from_secs(60)).await.unwrap().code(), Some(0));
}

/// The sender of mail reads what it must, and writes nothing but its own.
#[tokio::test]
async fn who_sends_mail_may_change_nothing_else() {
    let shop = MailingShop::open(1, SmtpServer::start().await.unwrap(), &[]).await;
    let url = shop.fleet.address.database_url.clone();
    let role = {
        let (scheme, rest) = url.split_once("://").unwrap();
        let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
        format!("{scheme}://holdfast_mail@{rest}")
    };
    let mut mail = PgConnection::connect(&role).await.unwrap();
    let refused = [
        "select * from orders.orders",
        "insert into orders.contacts values (gen_random_uuid(), 'a@b.example')",
        "delete from orders.contacts",
        "delete from mail.mails",
        "select * from mail.resent",
        "insert into log.events (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
         values ('order-x', 1, gen_random_uuid(), 'orders', 'x', '', gen_random_uuid(), gen_random_uuid(), now())",
        "update log.installation set name = 'x'",
    ];
    for statement in refused {
        let error = sqlx::query(statement).execute(&mut mail).await.unwrap_err();
        assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
}

/// A newer release of mail tells buyers of more, and shares its consumer with this one.
#[tokio::test]
async fn an_event_of_which_only_a_newer_release_tells_buyers_keeps_no_other_mail_back() {
    let shop = MailingShop::open(1, SmtpServer::start().await.unwrap(), &[]).await;
    let stream = jetstream::new(shop.fleet.client.client().clone()).get_stream(EVENTS).await.unwrap();
    let mail = events_consumer("mail");
    eventually("mail hears of events", || async { Ok(stream.consumer_info(&mail).await.is_ok()) }).await.unwrap();
    change_consumer(&stream, &mail, |config| {
        config.filter_subjects.push("evt.orders.OrderPlaced".to_owned());
        let asked_for = config.filter_subjects.join(" ");
        config.metadata.insert("holdfast-subjects".to_owned(), asked_for);
        config.metadata.insert("holdfast-release".to_owned(), "99.0.0".to_owned());
    })
    .await
    .unwrap();
    for number in 1..=3 {
        shop.sell(number, "ann@mail.example").await;
    }
    shop.until_received(3).await;
    let left = || async { Ok(stream.consumer_info(&mail).await?.num_ack_pending == 3) };
    eventually("the others are left to it", left).await.unwrap();
}
