//! Sessions that hold the log up and consumers that are to stand still, as an operator deals with them: who did it is told.

use std::fs;

use async_nats::jetstream::{self, stream::Stream};
use holdfast_tests::{Order, TestFleet, eventually, is_accepted, repo_root};
use platform::broker::EVENTS;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::letters::words;

async fn events(fleet: &TestFleet) -> Stream {
    jetstream::new(fleet.client.client().clone()).get_stream(EVENTS).await.unwrap()
}

pub(crate) async fn until_paused(fleet: &TestFleet, is_paused: bool) {
    let stream = events(fleet).await;
    let what = format!("the consumer is paused: {is_paused}");
    let look = || async { Ok(stream.consumer_info("inventory-events").await?.paused == is_paused) };
    eventually(&what, look).await.unwrap();
}

/// A session that has written, and keeps its transaction open.
async fn holder(fleet: &TestFleet) -> (PgConnection, i32) {
    let mut holder = fleet.database().await.unwrap();
    let open = "begin; select nextval('log.events_position_seq'), pg_current_xact_id()";
    sqlx::raw_sql(open).execute(&mut holder).await.unwrap();
    let pid = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
    (holder, pid)
}

async fn unblock(fleet: &TestFleet, pid: i32, args: &[&str]) -> (Option<i32>, Value) {
    fleet.command(&[&["unblock", &pid.to_string()], args].concat()).await.unwrap()
}

fn told(actions: &Value) -> Vec<(&str, &str)> {
    let rows = actions["rows"].as_array().unwrap().iter();
    rows.map(|action| (action["what"].as_str().unwrap(), action["reason"].as_str().unwrap_or_default())).collect()
}

#[tokio::test]
async fn a_session_that_holds_the_log_up_is_ended_and_no_other_is() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let (mut holder, pid) = holder(&fleet).await;
    let (exit, due) = unblock(&fleet, pid, &["--dry-run"]).await;
    assert_eq!((exit, &due["outcome"]), (Some(0), &"due".into()), "{due:#}");
    assert!(due["whose"].as_str().unwrap().contains("user holdfast"), "{due:#}");

    let mut reader = fleet.database().await.unwrap();
    sqlx::raw_sql("begin; select count(*) from log.events").execute(&mut reader).await.unwrap();
    let reads: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut reader).await.unwrap();
    let worker = "select pid from pg_stat_activity where usename = 'holdfast_inventory' limit 1";
    let works: i32 = sqlx::query_scalar(worker).fetch_one(&mut fleet.database().await.unwrap()).await.unwrap();
    for (pid, words) in
        [(reads, "it has written nothing"), (works, "it is Holdfast's own"), (i32::MAX, "no such session")]
    {
        let (exit, refused) = unblock(&fleet, pid, &["--reason", "x"]).await;
        assert_eq!((exit, &refused["outcome"]), (Some(1), &"refused".into()), "{refused:#}");
        assert!(refused["says"].as_str().unwrap().contains(words), "{refused:#}");
    }
    assert_eq!(fleet.number("select count(*) from log.acts").await.unwrap(), 0);
    sqlx::raw_sql("commit").execute(&mut reader).await.unwrap();

    let (exit, ended) = unblock(&fleet, pid, &["--reason", "left open"]).await;
    assert_eq!((exit, &ended["outcome"]), (Some(0), &"ended".into()), "{ended:#}");
    assert!(holder.ping().await.is_err());
    let (_, actions) = fleet.command(&["actions"]).await.unwrap();
    assert_eq!(told(&actions), [("Unblock", "left open")]);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn a_consumer_stands_still_for_as_long_as_an_operator_says() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let pause = ["pause", "inventory-events", "--minutes", "10", "--reason", "a new index"];
    let (exit, due) = fleet.command(&[&pause[..], &["--dry-run"]].concat()).await.unwrap();
    assert_eq!((exit, &due["outcome"]), (Some(0), &"due".into()), "{due:#}");
    let (exit, paused) = fleet.command(&pause).await.unwrap();
    assert_eq!((exit, &paused["outcome"]), (Some(0), &"paused".into()), "{paused:#}");
    until_paused(&fleet, true).await;
    let (exit, again) = fleet.command(&pause).await.unwrap();
    assert_eq!((exit, &again["outcome"]), (Some(1), &"refused".into()), "{again:#}");
    let order = Order::new(1).line("MUG", 1);
    assert!(is_accepted(&fleet.place(&order).await.unwrap()));
    let (_, diagnosis) = fleet.command(&["diagnose"]).await.unwrap();
    let finding = &diagnosis["findings"][0];
    assert!(
        finding["code"] == "CONSUMER_PAUSED" && finding["cause"].as_str().unwrap().contains("a new index"),
        "{diagnosis:#}"
    );

    let (exit, resumed) = fleet.command(&["resume", "inventory-events", "--reason", "it is there"]).await.unwrap();
    assert_eq!((exit, &resumed["outcome"]), (Some(0), &"resumed".into()), "{resumed:#}");
    until_paused(&fleet, false).await;
    fleet.until_status(&order, "paid").await.unwrap();
    let (exit, again) = fleet.command(&["resume", "inventory-events", "--reason", "x"]).await.unwrap();
    assert_eq!((exit, &again["outcome"]), (Some(1), &"refused".into()), "{again:#}");
    let (_, actions) = fleet.command(&["actions"]).await.unwrap();
    assert_eq!(told(&actions), [("Pause", "a new index"), ("Resume", "it is there")]);
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn every_command_of_the_operators_page_about_sessions_and_consumers_works() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let (_holder, pid) = holder(&fleet).await;
    let page = fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    let (_, section) = page.split_once("\n## Sessions and consumers\n").unwrap();
    let (_, commands) = section.split_once("```sh\n").unwrap();
    let mut ran = 0;
    for line in commands.split_once("```").unwrap().0.lines() {
        let command = line.split(" #").next().unwrap().trim().strip_prefix("./justw holdfast ").unwrap();
        let command = command.replace("$SESSION", &pid.to_string());
        let (exit, said) = fleet.command(&words(&command)).await.unwrap();
        assert_eq!(exit, Some(0), "{line}: {said:#}");
        ran += 1;
    }
    assert_eq!(ran, 4, "{section}");
}
