//! What operators do through the gateway: with a token and no login of the database, noted with who it was, and once however often it is asked for.

use holdfast_tests::{
    TestFleet,
    gateway::{Answer, Gateway, READER, TOKEN},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    contexts::Person,
    letters::{MEND, does, poisoned},
    sessions::until_paused,
};

/// A gateway that was given a login for operators.
async fn gateway(fleet: &TestFleet) -> Gateway {
    let login = fleet.processes().await.operator_login().await.unwrap();
    Gateway::start(fleet, &[("HOLDFAST_GATEWAY_OPERATOR_URL", &login)]).await.unwrap()
}

/// A session of somebody else's that has written, and keeps its transaction open.
async fn holder(fleet: &TestFleet) -> (PgConnection, i32) {
    does(fleet, "create role reporter login").await;
    let url = fleet.processes().await.postgres.url("reporter", "holdfast");
    let mut holder = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("begin; select pg_current_xact_id()").execute(&mut holder).await.unwrap();
    let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    (holder, pid)
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == "true"
}

#[tokio::test]
async fn an_operator_with_a_token_does_what_one_with_a_login_of_the_database_does() {
    let fleet = poisoned().await;
    let gateway = gateway(&fleet).await;
    let person = Person::new();
    let url = format!("http://{}", gateway.address);
    assert_eq!(person.adds("shop", &url, TOKEN, &["--production"]).await.code, Some(0));
    let found = person.says(&["diagnose"]).await;
    assert!(
        found.code == Some(1) && found.out.contains("DEAD_LETTERS  ") && found.out.contains("  at stake  "),
        "{found:?}"
    );
    person.says(&["diagnose", "--late-seconds", "5"]).await.refused(2, &["--late-seconds needs --database-url"]);

    let due = person.says(&["redrive", "--key", "product-POISON", "--dry-run", "--json"]).await.json();
    assert_eq!(due["letters"][0]["would"]["write"][0]["event"], "StockReceived", "{due:#}");
    let shown = person.says(&["redrive", "inventory-1", "--dry-run"]).await;
    assert!(
        shown.code == Some(0) && shown.out.contains("would    write StockReceived v3 of product-POISON"),
        "{shown:?}"
    );
    // Nobody is asked here, so nothing is done without --yes; and who he is his token says.
    let redrive = ["redrive", "inventory-1", "--count", "1", "--reason", "mended"];
    person.says(&redrive).await.refused(2, &["context shop is production", "--yes"]);
    person.says(&[&redrive[..], &["--actor", "ann"]].concat()).await.refused(2, &["leave --actor out"]);
    let wrong = person.says(&["redrive", "--key", "product-POISON", "--count", "2", "--dry-run"]).await;
    wrong.refused(2, &["it is 1 letters now, and not 2"]);
    assert_eq!(fleet.number("select count(*) from log.acts").await.unwrap(), 0);
    does(&fleet, MEND).await;
    let done = person.says(&[&redrive[..], &["--yes"]].concat()).await;
    assert!(done.code == Some(0) && done.out.ends_with("1 redriven, 0 refused, 0 failed\n"), "{done:?}");
    assert_eq!(fleet.number("select received from inventory.stock").await.unwrap(), 1);
    let settled = person.says(&["set-aside", "inventory-1", "--reason", "x", "--yes"]).await;
    assert!(settled.code == Some(1) && settled.out.contains("is settled already"), "{settled:?}");

    let (mut holder, pid) = holder(&fleet).await;
    let unblock = ["unblock", &pid.to_string(), "--reason", "left open", "--yes", "--json"];
    assert_eq!(person.says(&unblock).await.json()["outcome"], "ended");
    assert!(holder.ping().await.is_err());
    let pause = person.says(&["pause", "inventory-events", "--minutes", "10", "--reason", "an index", "--yes"]).await;
    assert!(pause.code == Some(0) && pause.out.starts_with("inventory-events is paused until 20"), "{pause:?}");
    until_paused(&fleet, true).await;
    assert_eq!(person.says(&["resume", "inventory-events", "--reason", "it is there", "--yes"]).await.code, Some(0));
    until_paused(&fleet, false).await;

    let (_, actions) = fleet.command(&["actions"]).await.unwrap();
    let told: Vec<(&str, &str)> = actions["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|action| action["actor"] == "token:shop")
        .map(|action| (action["what"].as_str().unwrap(), action["reason"].as_str().unwrap()))
        .collect();
    let expected = [("Redrive", "mended"), ("Unblock", "left open"), ("Pause", "an index"), ("Resume", "it is there")];
    assert_eq!(told, expected, "{actions:#}");
    let by = "select count(*) from log.acts where done_by = 'holdfast_gateway_operator'";
    assert_eq!(fleet.number(by).await.unwrap(), 4);
    fleet.settle_and_verify().await.unwrap();
}

/// Whoever hears no answer asks again under the same key: what he asked for is done once, whatever happened in between.
#[tokio::test]
async fn what_is_asked_for_again_under_its_key_is_done_once() {
    let fleet = poisoned().await;
    let gateway = gateway(&fleet).await;
    let post = async |path: &str, key: &str, body: Value| gateway.post(path, key, &body).await.unwrap();
    let pause = "/v1/admin/consumers/inventory-events/pause";
    let asked = json!({ "minutes": 10, "reason": "an index" });
    let first = post(pause, "p", asked.clone()).await;
    assert_eq!(
        (first.status, &first.json["outcome"], is_replayed(&first)),
        (200, &"paused".into(), false),
        "{first:?}"
    );
    let again = post(pause, "p", asked.clone()).await;
    assert!(is_replayed(&again) && again.json == first.json, "{again:?}");
    let other = post(pause, "p", json!({ "minutes": 20, "reason": "an index" })).await;
    assert_eq!((other.status, &other.json["code"]), (422, &"IDEMPOTENCY_KEY_REUSED".into()));
    let another = post(pause, "q", asked.clone()).await;
    assert_eq!((another.status, &another.json["outcome"]), (200, &"refused".into()), "{another:?}");
    let resume = "/v1/admin/consumers/inventory-events/resume";
    for is_second in [false, true] {
        let resumed = post(resume, "r", json!({ "reason": "it is there" })).await;
        assert_eq!((&resumed.json["outcome"], is_replayed(&resumed)), (&"resumed".into(), is_second), "{resumed:?}");
    }
    let late = post(pause, "p", asked).await;
    assert_eq!((&late.json["outcome"], &late.json["until"]), (&"paused".into(), &Value::Null), "{late:?}");
    assert_eq!(fleet.number("select count(*) from log.pauses").await.unwrap(), 0);

    let (_holder, pid) = holder(&fleet).await;
    let unblock = format!("/v1/admin/sessions/{pid}/unblock");
    for is_second in [false, true] {
        let ended = post(&unblock, "u", json!({ "reason": "left open" })).await;
        assert_eq!((&ended.json["outcome"], is_replayed(&ended)), (&"ended".into(), is_second), "{ended:?}");
    }
    does(&fleet, MEND).await;
    let all = json!({ "code": "NOT_HANDLED", "reason": "mended" });
    let done = post("/v1/admin/letters/redrive", "m", all.clone()).await;
    let told = (&done.json["redriven"], &done.json["letters"][0]["says"]);
    assert_eq!(told, (&1.into(), &"StockReceived".into()), "{done:?}");
    let copy = "insert into inventory.dead_letters (subject, headers, payload, code, reason, received_at)
        select subject, headers, payload, code, reason, received_at from inventory.dead_letters where id = 1";
    does(&fleet, copy).await;
    // Another letter is open by now, which was not meant.
    let again = post("/v1/admin/letters/redrive", "m", all).await;
    let told = (&again.json["count"], &again.json["letters"][0]["letter"], &again.json["letters"][0]["outcome"]);
    assert_eq!(told, (&1.into(), &"inventory-1".into(), &"redriven".into()), "{again:?}");
    assert!(is_replayed(&again));
    for (path, word, done) in [("redrive", "redriven", false), ("set-aside", "set_aside", true)] {
        let one = json!({ "letters": ["inventory-2"], "reason": "mended" });
        let path = format!("/v1/admin/letters/{path}");
        let first = post(&path, word, one.clone()).await;
        let again = post(&path, word, one).await;
        let outcome = if done { word } else { "refused" };
        assert_eq!((&first.json["letters"][0]["outcome"], is_replayed(&first)), (&outcome.into(), false), "{first:?}");
        assert_eq!((&again.json["letters"][0]["outcome"], is_replayed(&again)), (&outcome.into(), done), "{again:?}");
    }
    let one = json!({ "letters": ["inventory-1"], "reason": "mended" });
    let settled = post("/v1/admin/letters/redrive", "s", one).await;
    assert_eq!(settled.json["letters"][0]["outcome"], "refused", "{settled:?}");
    assert_eq!(fleet.number("select received from inventory.stock").await.unwrap(), 1);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn what_no_operator_may_or_can_ask_for_is_refused_before_anything_is_done() {
    let fleet = poisoned().await;
    let gateway = gateway(&fleet).await;
    let why = || json!({ "reason": "x" });
    let long = "x".repeat(513);
    let redrive = "/v1/admin/letters/redrive";
    let pause = "/v1/admin/consumers/inventory-events/pause";
    for (path, body, code, words) in [
        (redrive, why(), "INVALID_BODY", "name either letters, or at least one of service"),
        (redrive, json!({ "letters": ["orders-1"], "code": "X", "reason": "x" }), "INVALID_BODY", "name either"),
        (redrive, json!({ "letters": ["orders-1"], "reason": "x" }), "INVALID_BODY", "there is no letter orders-1"),
        (redrive, json!({ "letters": ["mug"], "reason": "x" }), "INVALID_BODY", "is no letter"),
        (redrive, json!({ "service": "shop", "reason": "x" }), "INVALID_BODY", "there is no service"),
        (redrive, json!({ "code": "X", "limit": 1_001, "reason": "x" }), "INVALID_BODY", "limit must be 1 to 1000"),
        (redrive, json!({ "code": "X" }), "INVALID_BODY", "reason is missing"),
        (redrive, json!({ "code": "X", "reason": " " }), "INVALID_BODY", "reason is missing"),
        (redrive, json!({ "code": "X", "reason": long }), "INVALID_BODY", "reason"),
        (redrive, json!({ "code": "X", "reason": "x", "actor": "ann" }), "INVALID_BODY", "unknown field"),
        (pause, json!({ "minutes": 0, "reason": "x" }), "INVALID_BODY", "minutes must be 1 to 1440"),
        ("/v1/admin/consumers/mugs/resume", why(), "INVALID_PARAMETER", "is no consumer of the fleet"),
        ("/v1/admin/sessions/0/unblock", why(), "INVALID_PARAMETER", "is no process id"),
    ] {
        let answer = gateway.post(path, "k", &body).await.unwrap();
        assert_eq!((answer.status, answer.json["code"].as_str()), (400, Some(code)), "{body}: {answer:?}");
        assert!(answer.json["detail"].as_str().unwrap().contains(words), "{body}: {answer:?}");
    }
    let reader = [("authorization", format!("Bearer {READER}")), ("idempotency-key", "k".to_owned())];
    let reader = reader.each_ref().map(|(name, value)| (*name, value.as_str()));
    let forbidden = gateway.request("POST", redrive, &reader, "{}").await.unwrap();
    assert_eq!((forbidden.status, &forbidden.json["code"]), (403, &"FORBIDDEN".into()), "{forbidden:?}");
    // Whoever does not say who he is hears that, whatever else is wrong.
    let nobody = gateway.request("POST", "/v1/admin/sessions/0/unblock", &[], "{}").await.unwrap();
    assert_eq!((nobody.status, &nobody.json["code"]), (401, &"UNAUTHENTICATED".into()), "{nobody:?}");

    // A login that may not, and none at all.
    let may_not = fleet.processes().await.postgres.url("holdfast_gateway", "holdfast");
    for (setting, words) in [(may_not.as_str(), "grant it holdfast_operator"), ("", "has no login of the database")] {
        fleet.processes().await.kill_worker("gateway", 0).await.unwrap();
        let gateway = Gateway::start(&fleet, &[("HOLDFAST_GATEWAY_OPERATOR_URL", setting)]).await.unwrap();
        let answer = gateway.post(pause, "k", &why()).await.unwrap();
        assert_eq!((answer.status, &answer.json["code"]), (404, &"NO_OPERATOR_LOGIN".into()), "{answer:?}");
        assert!(answer.json["detail"].as_str().unwrap().contains(words), "{answer:?}");
    }
    assert_eq!(fleet.number("select count(*) from log.acts").await.unwrap(), 0);
    fleet.settle_and_verify().await.unwrap();
}
