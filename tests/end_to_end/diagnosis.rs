//! What is wrong with a fleet, wherever it is said: by the command, by the gateway on request, in its metrics and behind its probe, and to a
//! role that may do nothing else.

use std::{process::Stdio, time::Duration};

use audit::diagnosis::{self, Code};
use holdfast_tests::{
    TestFleet, code, eventually,
    gateway::{Gateway, READER},
    holdfast, is_accepted,
};
use platform::config::Config;
use proto::inventory::v1::{ReceiveStock, RegisterProduct};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

const PATH: &str = "/v1/admin/diagnosis";

/// A dead letter, by a defect that is made on purpose.
async fn letter(fleet: &TestFleet) {
    let (sku, actor) = ("POISON".to_owned(), String::new());
    let register = RegisterProduct { sku: sku.clone(), name: sku.clone(), actor: actor.clone() };
    assert!(is_accepted(&fleet.send_new(&register).await.unwrap()));
    let plant = "alter table inventory.stock add constraint planted check (received = 0) not valid";
    fleet.database().await.unwrap().execute(plant).await.unwrap();
    let receive = ReceiveStock { sku, quantity: 1, reference: String::new(), actor };
    assert_eq!(code(&fleet.send_new(&receive).await.unwrap()), "NOT_HANDLED");
}

/// The findings without the times that go on.
fn findings(diagnosis: &Value) -> Vec<Value> {
    let mut findings = diagnosis["findings"].as_array().unwrap().clone();
    findings.iter_mut().for_each(|finding| {
        finding.as_object_mut().unwrap().remove("for_ms");
    });
    findings
}

#[tokio::test]
async fn the_gateway_says_the_same_as_the_command_and_has_it_in_its_metrics_and_behind_its_probe() {
    let fleet = TestFleet::start().await.unwrap();
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let healthy = gateway.get(PATH).await.unwrap();
    assert_eq!(healthy.status, 200, "{}", healthy.text);
    let said = healthy.json;
    assert_eq!((findings(&said), &said["unknown"]), (vec![], &Value::Array(vec![])), "{said:#}");
    let reader = gateway.request("GET", PATH, &[("authorization", &format!("Bearer {READER}"))], "").await.unwrap();
    assert_eq!(reader.status, 403, "{}", reader.text);

    letter(&fleet).await;
    let said = gateway.until(PATH, "the letter is found", |said| !findings(said).is_empty()).await.unwrap();
    let (exit, told) = fleet.command(&["diagnose"]).await.unwrap();
    assert_eq!((exit, findings(&told)), (Some(1), findings(&said)), "{said:#}");
    assert_eq!(said["findings"][0]["code"], "DEAD_LETTERS");
    // The document has every field, and no other.
    let document = gateway.get("/openapi.json").await.unwrap().json;
    for (schema, value) in [("Diagnosis", &said), ("Finding", &said["findings"][0])] {
        let described = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        let mut described: Vec<&String> = described.keys().filter(|name| *name != "items").collect();
        let mut served: Vec<&String> = value.as_object().unwrap().keys().collect();
        described.sort_unstable();
        served.sort_unstable();
        assert_eq!(described, served, "{schema}");
    }

    let line = r#"holdfast_findings{code="DEAD_LETTERS",severity="delay"} 1"#;
    let none = r#"holdfast_findings{code="RELAY_LAGS",severity="delay"} 0"#;
    eventually("its metrics say so", || async {
        let metrics = gateway.probe(&fleet, "/metrics").await?;
        Ok([line, none, "holdfast_findings_unknown 0"].iter().all(|line| metrics.contains(line)))
    })
    .await
    .unwrap();
    let ready = gateway.probe(&fleet, "/readyz").await.unwrap();
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("ready\nDEAD_LETTERS delay inventory NOT_HANDLED\n"),
        "{ready}"
    );
}

fn url_of(fleet: &TestFleet, role: &str) -> String {
    let (scheme, rest) = fleet.address.database_url.split_once("://").unwrap();
    format!("{scheme}://{role}@{}", rest.split_once('@').unwrap().1)
}

#[tokio::test]
async fn a_role_that_diagnoses_sees_all_that_is_found_and_no_message_and_no_query() {
    let fleet = TestFleet::start().await.unwrap();
    letter(&fleet).await;
    fleet
        .database()
        .await
        .unwrap()
        .execute("create role watcher login; grant holdfast_diagnose to watcher")
        .await
        .unwrap();
    let mut holder = fleet.database().await.unwrap();
    let open = "begin; select nextval('log.events_position_seq'), pg_current_xact_id()";
    sqlx::raw_sql(open).execute(&mut holder).await.unwrap();
    let broker = platform::config::Broker {
        url: fleet.address.broker_url.clone(),
        ..Config::read(&std::collections::BTreeMap::new()).unwrap().broker
    };
    for role in ["watcher", "holdfast_gateway"] {
        let found = diagnosis::look(&url_of(&fleet, role), &broker, Duration::ZERO).await;
        assert!(found.unknown.is_empty(), "{role}: {found:#?}");
        for code in [Code::HorizonHeld, Code::DeadLetters] {
            assert!(found.findings.iter().any(|finding| finding.code == code), "{role}: {found:#?}");
        }
        let mut connection = PgConnection::connect(&url_of(&fleet, role)).await.unwrap();
        for statement in [
            "select payload from inventory.dead_letters",
            "select headers from inventory.dead_letters",
            "select data from payments.effects",
            "update inventory.dead_letters set settled_at = now()",
            "delete from log.pauses",
            "insert into log.acts (log_ended, verb, target, reason, said) values (0, 'x', 'x', 'x', '{}')",
            "select * from orders.contacts",
        ] {
            let error = connection.execute(statement).await.unwrap_err();
            assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{role}: {statement}");
        }
        let queries =
            "select count(*) from pg_stat_activity where usename = 'holdfast_orders' and query like 'select%'";
        let seen: i64 = sqlx::query_scalar(queries).fetch_one(&mut connection).await.unwrap();
        assert_eq!(seen, 0, "{role}");
    }
    // Nobody else is told.
    let mut orders = PgConnection::connect(&url_of(&fleet, "holdfast_orders")).await.unwrap();
    let error = orders.execute("select * from log.open_transactions(0, 10)").await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"));
}

#[tokio::test]
async fn whoever_watches_hears_what_begins_and_what_is_over() {
    let fleet = TestFleet::start().await.unwrap();
    let mut command = Command::new(holdfast());
    command.args(["diagnose", "--watch", "--json", "--database-url", &fleet.address.database_url]);
    command.args(["--broker-url", &fleet.address.broker_url]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watching = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut heard = async |is_found: bool| loop {
        let line = lines.next_line().await.unwrap().unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        if findings(&said).is_empty() != is_found {
            return;
        }
    };
    heard(false).await;
    letter(&fleet).await;
    heard(true).await;
    let aside = ["set-aside", "--code", "NOT_HANDLED", "--reason", "planted"];
    assert_eq!(fleet.command(&aside).await.unwrap().0, Some(0));
    heard(false).await;
}
