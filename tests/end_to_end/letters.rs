//! Dead letters as an operator decides about them: each kind is handled again by the way that it came, or set aside; who did it is told.

use std::{fs, process::Stdio, time::Duration};

use holdfast_tests::{Order, TestFleet, code, events, eventually, holdfast, is_accepted, repo_root};
use proto::inventory::v1::{AdjustStock, ReceiveStock, RegisterProduct};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tokio::process::Command;

pub(crate) async fn does(fleet: &TestFleet, statement: &'static str) {
    fleet.database().await.unwrap().execute(statement).await.unwrap();
}

fn delivery(sku: &str) -> ReceiveStock {
    ReceiveStock { sku: sku.to_owned(), quantity: 1, reference: String::new(), actor: String::new() }
}

/// What the deciders let through and the database does not: a defect, made on purpose.
const PLANT: &str = "alter table inventory.stock add constraint planted check (sku <> 'POISON' or received = 0)";
pub(crate) const MEND: &str = "alter table inventory.stock drop constraint planted";

/// A delivery that is a dead letter, and what happened to its product since.
pub(crate) async fn poisoned() -> TestFleet {
    let fleet = TestFleet::start().await.unwrap();
    let (sku, actor) = ("POISON".to_owned(), String::new());
    let register = RegisterProduct { sku: sku.clone(), name: sku.clone(), actor: actor.clone() };
    assert!(is_accepted(&fleet.send("register", &register).await.unwrap()));
    does(&fleet, PLANT).await;
    assert_eq!(code(&fleet.send("delivery", &delivery("POISON")).await.unwrap()), "NOT_HANDLED");
    let adjust = AdjustStock { sku, delta: 7, actor: "ann".to_owned(), reason: "count".to_owned() };
    assert!(is_accepted(&fleet.send("adjust", &adjust).await.unwrap()));
    fleet
}

/// What a command says of its first letter.
async fn first(fleet: &TestFleet, exit: i32, args: &[&str]) -> Value {
    let (ended, said) = fleet.command(args).await.unwrap();
    assert_eq!(ended, Some(exit), "{args:?}: {said:#}");
    said.pointer("/letters/0").unwrap().clone()
}

/// The letters that `verify` says wait for an operator, and those that are settled.
async fn letters_of_verify(fleet: &TestFleet) -> (u64, u64) {
    let (_, report) = fleet.command(&["verify"]).await.unwrap();
    let count = |field: &str| report.get(field).and_then(Value::as_u64).unwrap();
    (count("dead_letters"), count("dead_letters_settled"))
}

async fn is_found(fleet: &TestFleet) -> bool {
    let (_, diagnosis) = fleet.command(&["diagnose"]).await.unwrap();
    let findings = diagnosis.get("findings").and_then(Value::as_array).unwrap();
    findings.iter().any(|finding| finding.get("code").is_some_and(|code| code == "DEAD_LETTERS"))
}

const OPEN: &str = "select count(*) from inventory.dead_letters where settled_at is null";

#[tokio::test]
async fn a_command_that_was_given_up_is_done_once_it_can_be_and_never_twice() {
    let fleet = poisoned().await;
    let due = first(&fleet, 0, &["redrive", "--key", "product-POISON", "--dry-run"]).await;
    assert_eq!((&due["letter"], &due["outcome"]), (&"inventory-1".into(), &"due".into()));
    let would = &due["would"]["write"][0];
    assert_eq!((&would["event"], &would["version"]), (&"StockReceived".into(), &3.into()), "{due:#}");
    // What came after it is what somebody may have done in its place.
    assert_eq!((&due["later"], &due["later_events"][0]["event"]), (&1.into(), &"StockAdjusted".into()), "{due:#}");
    assert_eq!(fleet.number("select count(*) from log.acts").await.unwrap(), 0);
    assert_eq!(fleet.number(OPEN).await.unwrap(), 1);
    assert_eq!(letters_of_verify(&fleet).await, (1, 0));

    // Not mended yet: it is another letter.
    let failed = first(&fleet, 1, &["redrive", "inventory-1", "--reason", "perhaps"]).await;
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    assert!(is_found(&fleet).await);
    does(&fleet, MEND).await;
    let done = ["redrive", "--service", "inventory", "--code", "NOT_HANDLED", "--count", "1", "--actor", "mira"];
    let done = first(&fleet, 0, &[&done[..], &["--reason", "mended in 0.9.3"]].concat()).await;
    assert_eq!((&done["letter"], &done["outcome"]), (&"inventory-2".into(), &"redriven".into()), "{done:#}");
    assert_eq!(done["says"], "StockReceived");
    assert_eq!(fleet.number("select received from inventory.stock").await.unwrap(), 1);
    // Whoever sent it hears what has come of it, and sends it in vain.
    assert_eq!(events(&fleet.send("delivery", &delivery("POISON")).await.unwrap()), ["StockReceived"]);
    assert!(!is_found(&fleet).await);

    let again = first(&fleet, 1, &["redrive", "inventory-2", "--reason", "to be sure"]).await;
    assert!(again["says"].as_str().unwrap().contains("it was settled at"), "{again:#}");
    // A letter whose command was handled in another way.
    let copy = "insert into inventory.dead_letters (subject, headers, payload, code, reason, received_at)
        select subject, headers, payload, code, reason, received_at from inventory.dead_letters where id = 2";
    does(&fleet, copy).await;
    let handled = first(&fleet, 1, &["redrive", "inventory-3", "--reason", "to be sure"]).await;
    assert!(handled["says"].as_str().unwrap().contains("it was handled since: StockReceived"), "{handled:#}");
    let aside = first(&fleet, 0, &["set-aside", "inventory-3", "--reason", "its sender knows"]).await;
    assert_eq!(aside["outcome"], "set_aside");
    assert_eq!(first(&fleet, 1, &["set-aside", "inventory-3", "--reason", "again"]).await["outcome"], "refused");
    assert_eq!(fleet.number("select received from inventory.stock").await.unwrap(), 1);
    assert!(!is_found(&fleet).await);
    assert_eq!(letters_of_verify(&fleet).await, (0, 3));

    let (_, actions) = fleet.command(&["actions"]).await.unwrap();
    let told: Vec<(&str, &str, &str)> = actions["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| {
            let text = |field: &str| action[field].as_str().unwrap_or_default();
            (text("what"), text("actor"), text("reason"))
        })
        .filter(|(what, ..)| ["Redrive", "SetAside"].contains(what))
        .collect();
    let expected = [
        ("Redrive", "database role holdfast", "perhaps"),
        ("Redrive", "mira", "mended in 0.9.3"),
        ("SetAside", "database role holdfast", "its sender knows"),
    ];
    assert_eq!(told, expected);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn an_event_that_was_given_up_comes_again_out_of_the_log_and_no_other_does() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    does(&fleet, "alter table inventory.holds add constraint planted check (status <> 'released')").await;
    let order = Order::new(1).line("MUG", 1).pays("sandbox:never");
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    fleet.until_status(&order, "reserved").await.unwrap();
    assert!(is_accepted(&fleet.send_new(&order.cancel()).await.unwrap()));
    fleet.until(OPEN, 1).await.unwrap();
    let key = format!("order-{}", order.id);
    let forged = "insert into inventory.dead_letters (subject, headers, payload, code, reason, received_at)
        select subject, jsonb_set(headers, '{ce-position}', '\"1\"'), payload, code, reason, received_at from inventory.dead_letters";
    does(&fleet, forged).await;
    let (exit, said) = fleet.command(&["redrive", "--key", &key, "--dry-run"]).await.unwrap();
    let outcomes: Vec<&str> =
        said["letters"].as_array().unwrap().iter().map(|letter| letter["outcome"].as_str().unwrap()).collect();
    assert_eq!((exit, outcomes), (Some(1), vec!["due", "refused"]), "{said:#}");
    assert_eq!(said["letters"][0]["would"]["write"][0]["event"], "StockReleased", "{said:#}");

    does(&fleet, "alter table inventory.holds drop constraint planted").await;
    let done = first(&fleet, 0, &["redrive", "inventory-1", "--reason", "mended"]).await;
    assert_eq!(done["outcome"], "redriven", "{done:#}");
    fleet.until("select count(*) from inventory.holds where status = 'released'", 1).await.unwrap();
    fleet.until("select count(*) from log.asked_again", 0).await.unwrap();
    first(&fleet, 0, &["set-aside", "inventory-2", "--reason", "no worker has sent it"]).await;
    assert!(!is_found(&fleet).await);
    fleet.settle_and_verify().await.unwrap();
}

/// What is owed comes again by itself, a timer after a minute and a call after ten: an operator does not wait for that.
#[tokio::test]
async fn what_is_owed_is_done_at_once_when_an_operator_says_so() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let refunded = fleet.paid(Order::new(1).line("MUG", 1).pays("sandbox:succeed,refund=succeed")).await.unwrap();
    does(&fleet, "alter table payments.refunds add constraint planted check (status <> 'refunded') not valid").await;
    assert!(is_accepted(&fleet.send_new(&refunded.refund()).await.unwrap()));
    fleet.until("select count(*) from payments.dead_letters where subject like 'effect.%'", 1).await.unwrap();
    // What is set aside and fails once more is a letter again, once another has shown that it is not the place's fault.
    first(&fleet, 0, &["set-aside", "--service", "payments", "--reason", "it comes by itself"]).await;
    fleet.paid(Order::new(3).line("MUG", 1)).await.unwrap();
    does(&fleet, "update payments.effects set due_at = now()").await;
    fleet.until("select count(*) from payments.dead_letters where settled_at is null", 1).await.unwrap();
    does(&fleet, "alter table orders.orders add constraint planted check (status <> 'expired') not valid").await;
    let expiring = Order::new(2).line("MUG", 1).pays("sandbox:never").expires_after(Duration::from_secs(5));
    assert!(is_accepted(&fleet.place(&expiring).await.unwrap()));
    fleet.until("select count(*) from orders.dead_letters where subject like 'timer.%'", 1).await.unwrap();
    does(
        &fleet,
        "update orders.timers set due_at = now() + interval '1 hour' where due_at < now() + interval '2 minutes'",
    )
    .await;
    does(&fleet, "alter table payments.refunds drop constraint planted").await;
    does(&fleet, "alter table orders.orders drop constraint planted").await;
    let call = first(&fleet, 0, &["redrive", "--service", "payments", "--reason", "mended"]).await;
    assert_eq!((&call["would"]["be"], &call["outcome"]), (&"call".into(), &"redriven".into()), "{call:#}");
    let timer = first(&fleet, 0, &["redrive", "--service", "orders", "--reason", "mended"]).await;
    assert_eq!(timer["would"]["write"][0]["event"], "OrderExpired", "{timer:#}");
    fleet.until_status(&refunded, "refunded").await.unwrap();
    fleet.until_status(&expiring, "expired").await.unwrap();
    fleet.settle_and_verify().await.unwrap();

    // What is over is owed no more.
    let copy = "insert into payments.dead_letters (subject, headers, payload, code, reason, received_at)
        select subject, headers, payload, code, reason, received_at from payments.dead_letters where id = 1";
    does(&fleet, copy).await;
    let over = first(&fleet, 1, &["redrive", "--service", "payments", "--reason", "to be sure"]).await;
    assert!(over["says"].as_str().unwrap().contains("what was owed is done"), "{over:#}");
    assert_eq!(fleet.number("select count(*) from log.acts").await.unwrap(), 3);
}

#[tokio::test]
async fn what_never_can_be_handled_is_only_set_aside() {
    let fleet = TestFleet::start().await.unwrap();
    // A timer of nothing, and a command that nobody can be told of.
    does(&fleet, "insert into inventory.timers values ('nothing-1', now())").await;
    fleet.client.client().publish("cmd.inventory.ReceiveStock", "{}".into()).await.unwrap();
    fleet.until(OPEN, 2).await.unwrap();
    for (code, words) in [
        ("UNKNOWN_TIMER", "it would be given up again: UNKNOWN_TIMER"),
        ("MISSING_ID", "it can only be set aside: MISSING_ID"),
    ] {
        let refused = first(&fleet, 1, &["redrive", "--code", code, "--reason", "x"]).await;
        assert!(refused["says"].as_str().unwrap().contains(words), "{refused:#}");
    }
    for (args, words) in [
        (&["redrive", "--service", "inventory", "--count", "3", "--reason", "x"][..], "it is 2 letters now, and not 3"),
        (&["redrive", "inventory-99", "--reason", "x"], "there is no letter inventory-99"),
        (&["redrive", "shop-1", "--reason", "x"], "is no letter"),
        (&["redrive", "inventory-1"], "--reason"),
        (&["redrive", "inventory-1", "--reason", ""], "--reason"),
        (&["redrive", "--reason", "x"], "--service"),
        (&["set-aside", "inventory-1", "--code", "X", "--reason", "x"], "cannot be used with"),
    ] {
        let mut command = Command::new(holdfast());
        command.args(args).args(["--database-url", &fleet.address.database_url]).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(words), "{args:?}: {told}");
    }
    let (exit, said) = fleet.command(&["set-aside", "--service", "inventory", "--reason", "tests"]).await.unwrap();
    assert_eq!((exit, &said["set_aside"]), (Some(0), &2.into()), "{said:#}");
    assert!(!is_found(&fleet).await);
    // A newer release may have set it, so it is owed still.
    assert_eq!(
        fleet.number("delete from inventory.timers where stream = 'nothing-1' returning 1::int8").await.unwrap(),
        1
    );
    fleet.settle_and_verify().await.unwrap();
}

fn url_of(fleet: &TestFleet, role: &str) -> String {
    let (scheme, rest) = fleet.address.database_url.split_once("://").unwrap();
    format!("{scheme}://{role}@{}", rest.split_once('@').unwrap().1)
}

#[tokio::test]
async fn an_operators_role_may_act_and_no_more() {
    let fleet = poisoned().await;
    does(&fleet, MEND).await;
    does(
        &fleet,
        "create role mira login in role holdfast_operator; create role other login in role holdfast_inventory",
    )
    .await;
    let as_role = async |role: &str, args: &[&str]| {
        let mut command = Command::new(holdfast());
        command.args(args).args(["--json", "--database-url", &url_of(&fleet, role)]);
        command.args(["--broker-url", &fleet.address.broker_url]).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (exit, _, told) = as_role("other", &["redrive", "inventory-1", "--reason", "x"]).await;
    assert!(exit == Some(3) && told.contains("a login that was granted holdfast_operator"), "{told}");
    let (exit, said, told) = as_role("mira", &["redrive", "inventory-1", "--reason", "x"]).await;
    assert_eq!(exit, Some(0), "{said}{told}");
    assert_eq!(fleet.number("select count(*) from log.acts where done_by = 'mira'").await.unwrap(), 1);
    assert_eq!(fleet.number("select received from inventory.stock").await.unwrap(), 1);
    let mut mira = PgConnection::connect(&url_of(&fleet, "mira")).await.unwrap();
    for statement in [
        "delete from inventory.dead_letters",
        "update inventory.dead_letters set reason = 'x'",
        "update inventory.stock set received = 2",
        "update payments.effects set data = ''",
        "delete from log.asked_again",
        "insert into log.acts (log_ended, verb, target, reason, said, done_by) values (0, 'x', 'x', 'x', '{}', 'other')",
        "select * from orders.contacts",
    ] {
        let error = mira.execute(statement).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
    }
    let error = fleet.database().await.unwrap().execute("delete from log.acts").await.unwrap_err().to_string();
    assert!(error.contains("append-only"), "{error}");
}

/// The words of a line of shell: what is between single quotes is one.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(number, part)| if number % 2 == 1 { vec![part] } else { part.split_whitespace().collect() })
        .collect()
}

#[tokio::test]
async fn every_command_of_the_operators_page_about_letters_works() {
    let fleet = poisoned().await;
    assert_eq!(code(&fleet.send("another", &delivery("POISON")).await.unwrap()), "NOT_HANDLED");
    does(&fleet, MEND).await;
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    let (_, section) = page.split_once("\n## Dead letters\n").unwrap();
    let (_, commands) = section.split_once("```sh\n").unwrap();
    let mut ran = 0;
    for line in commands.split_once("```").unwrap().0.lines() {
        let command = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let (exit, said) = fleet.command(&words(command)).await.unwrap();
        assert_eq!(exit, Some(0), "{line}: {said:#}");
        ran += 1;
    }
    assert_eq!(ran, 5, "{section}");
    eventually("both letters are settled", || async { Ok(fleet.number(OPEN).await? == 0) }).await.unwrap();
    assert_eq!(fleet.number("select received from inventory.stock").await.unwrap(), 1);
}
