//! Draws: a winner for every round that is sold out, whom anybody can compute, and nobody can choose.

use std::{fs, time::Duration};

use holdfast_tests::{Order, TestFleet, eventually, gateway::Gateway, is_accepted, repo_root};
use proto::rounds::v1::CancelRound;
use serde_json::Value;
use testbed::fleet::draws;
use tokio::process::Command;
use uuid::Uuid;

/// A fleet that draws winners, at least so long after the tickets of a round are listed.
async fn drawing(delay_ms: u64) -> (TestFleet, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = draws::settings(dir.path(), Duration::from_millis(delay_ms)).unwrap();
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    (TestFleet::with(1, &settings).await.unwrap(), dir)
}

/// A round whose six shares are sold to three orders.
async fn sold_out(fleet: &TestFleet) -> (Uuid, [Order; 3]) {
    let round = fleet.round("espresso machine", 6).await.unwrap();
    let orders = [1, 2, 3].map(|number| Order::new(number).shares(round, i64::try_from(number).unwrap()));
    fleet.place_all(&orders).await.unwrap();
    fleet.until("select count(*) from rounds.rounds where draw ->> 'listed' is not null", 1).await.unwrap();
    (round, orders)
}

const DRAWN: &str = "select count(*) from rounds.rounds where draw ->> 'drawn' is not null";
const DRAWN_EVENTS: &str = "select count(*) from log.events where type like '%.RoundDrawn'";

async fn verify_draw(fleet: &TestFleet, round: Uuid) -> (Option<i32>, Value) {
    fleet.command(&["verify-draw", &round.to_string()]).await.unwrap()
}

/// What does not hold of what was looked at.
fn wrong(checked: &Value) -> Vec<&str> {
    let steps = checked["steps"].as_array().unwrap();
    assert!(steps.len() >= 4, "{checked}");
    steps.iter().filter(|step| step["is_so"] != true).map(|step| step["claim"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_round_that_is_sold_out_draws_a_winner_whom_anybody_can_compute() {
    let (fleet, _dir) = drawing(1_000).await;
    let (round, orders) = sold_out(&fleet).await;
    fleet.until(DRAWN, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let stream = fleet.stream(&format!("round-{round}")).await.unwrap();
    assert_eq!(stream, ["RoundOpened", "RoundSoldOut", "RoundTicketsListed", "RoundDrawn"]);
    let (code, checked) = verify_draw(&fleet, round).await;
    assert_eq!((code, wrong(&checked)), (Some(0), vec![]), "{checked}");
    let winner = checked["order"].as_str().unwrap();
    assert!(orders.iter().any(|order| winner == format!("{}.1", order.id)), "{winner}");
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let shown = gateway.get(&format!("/v1/rounds/{round}")).await.unwrap().json;
    assert_eq!(shown["draw"]["status"], "drawn", "{shown}");
    assert_eq!(format!("{}.1", shown["draw"]["order_id"].as_str().unwrap()), winner);
}

#[tokio::test]
async fn everybody_can_check_a_draw_by_what_its_page_has_and_nothing_else() {
    let (fleet, dir) = drawing(1_000).await;
    let gateway = Gateway::start(&fleet, &[("HOLDFAST_GATEWAY_PUBLIC_ROUNDS", "true")]).await.unwrap();
    let (round, orders) = sold_out(&fleet).await;
    fleet.until(DRAWN, 1).await.unwrap();
    let get = async |name: &str, headers: &[(&str, &str)]| {
        gateway.request("GET", &format!("/rounds/{round}{name}"), headers, "").await.unwrap()
    };
    let page = get("", &[]).await;
    assert!(page.status == 200 && page.text.contains("has won"), "{page:?}");
    assert!(page.text.contains("anybody can foretell"), "{page:?}");
    assert_eq!(page.header("set-cookie"), "", "{page:?}");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"), "{page:?}");
    let (record, tickets) = (get("/draw.json", &[]).await, get("/tickets.txt", &[]).await);
    assert!(orders.iter().all(|order| !tickets.text.contains(&order.id.to_string())), "{}", tickets.text);
    for answer in [&page, &record, &tickets] {
        assert!(answer.header("cache-control").starts_with("public, max-age="), "{answer:?}");
    }
    let known = get("/tickets.txt", &[("if-none-match", tickets.header("etag"))]).await;
    assert_eq!((known.status, known.text.as_str()), (304, ""));
    let files = [("draw.json", &record.text), ("tickets.txt", &tickets.text)];
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let (code, told) = of_files(&fleet, dir.path()).await;
    assert_eq!((code, wrong(&told)), (Some(0), vec![]), "{told}");
    as_the_guide_says(dir.path(), &record.text).await;
    // Another winner, or another list, is told apart.
    let mut other: Value = serde_json::from_str(&record.text).unwrap();
    other["winning_ticket"] = (other["winning_ticket"].as_i64().unwrap() % 6 + 1).into();
    fs::write(dir.path().join("draw.json"), other.to_string()).unwrap();
    let (code, told) = of_files(&fleet, dir.path()).await;
    assert_eq!(code, Some(1));
    assert!(wrong(&told).contains(&"the ticket follows from the seed, the value and the list"), "{told}");
}

async fn of_files(fleet: &TestFleet, dir: &std::path::Path) -> (Option<i32>, Value) {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (record, tickets) = (path("draw.json"), path("tickets.txt"));
    fleet.command(&["verify-draw", "--record", &record, "--tickets", &tickets]).await.unwrap()
}

/// The program of the guide finds the same ticket.
async fn as_the_guide_says(dir: &std::path::Path, record: &str) {
    let guide = fs::read_to_string(repo_root().join("services/rounds/README.md")).unwrap();
    let program = guide.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let ran = Command::new("python3").args(["-c", program]).current_dir(dir).output().await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let record: Value = serde_json::from_str(record).unwrap();
    assert_eq!(
        said.trim(),
        format!(
            "{} {}",
            record.pointer("/winning_ticket").unwrap(),
            record.pointer("/winning_code").unwrap().as_str().unwrap()
        ),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_share_that_comes_back_once_the_tickets_are_listed_stays_in_the_draw() {
    let (fleet, _dir) = drawing(4_000).await;
    let (round, [first, ..]) = sold_out(&fleet).await;
    assert!(is_accepted(&fleet.send("back", &first.refund()).await.unwrap()));
    fleet.until("select count(*) from rounds.holds where keeps_ticket", 1).await.unwrap();
    fleet.until(DRAWN, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    let stream = fleet.stream(&format!("round-{round}")).await.unwrap();
    assert_eq!(stream, ["RoundOpened", "RoundSoldOut", "RoundTicketsListed", "RoundDrawn"]);
    let (code, checked) = verify_draw(&fleet, round).await;
    assert_eq!((code, wrong(&checked), &checked["tickets"]), (Some(0), vec![], &6.into()), "{checked}");
    // What is made anew of its events has its ticket, too.
    let kept = "select count(*) from rounds.holds where keeps_ticket";
    let mut database = fleet.database().await.unwrap();
    sqlx::query("update rounds.holds set keeps_ticket = false").execute(&mut database).await.unwrap();
    let (code, rebuilt) = fleet.command(&["rebuild", "shares", "--reason", "the ticket is gone"]).await.unwrap();
    assert_eq!((code, fleet.number(kept).await.unwrap()), (Some(0), 1), "{rebuilt}");
    fleet.settle_and_verify().await.unwrap();
    let late = Order::new(9).shares(round, 1);
    fleet.place(&late).await.unwrap();
    fleet.until_status(&late, "rejected").await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_killed_before_the_draw_draws_once_when_it_is_back() {
    let (fleet, _dir) = drawing(3_000).await;
    let (round, _) = sold_out(&fleet).await;
    fleet.processes().await.kill_worker("rounds", 0).await.unwrap();
    fleet.until_at_least("select count(*) from rounds.effects where due_at < now()", 1).await.unwrap();
    fleet.processes().await.start_again("rounds", 0).unwrap();
    fleet.until(DRAWN, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number(DRAWN_EVENTS).await.unwrap(), 1);
    assert_eq!(verify_draw(&fleet, round).await.0, Some(0));
}

#[tokio::test]
async fn a_round_that_is_called_off_before_the_draw_has_no_winner_and_refunds_all() {
    let (fleet, _dir) = drawing(4_000).await;
    let (round, _) = sold_out(&fleet).await;
    let cancel = CancelRound { round_id: round.to_string(), actor: "ops".to_owned(), note: "it is broken".to_owned() };
    assert!(is_accepted(&fleet.send("cancel", &cancel).await.unwrap()));
    fleet.until("select count(*) from orders.orders where status = 'refunded'", 3).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number(DRAWN_EVENTS).await.unwrap(), 0);
    let (code, checked) = verify_draw(&fleet, round).await;
    assert_eq!((code, wrong(&checked)), (Some(0), vec![]), "{checked}");
}

#[tokio::test]
async fn a_draw_whose_secret_is_gone_stops_says_so_and_goes_on_with_it() {
    let (fleet, dir) = drawing(1_000).await;
    let file = dir.path().join("draw-secrets");
    let secret = fs::read_to_string(&file).unwrap();
    let other = "another-secret-of-more-than-32-characters";
    let round = fleet.round("espresso machine", 1).await.unwrap();
    fs::write(&file, other).unwrap();
    fleet.place(&Order::new(1).shares(round, 1)).await.unwrap();
    let stopped = "select count(*) from rounds.effects where stopped_by = 'rounds.draw_secrets'";
    fleet.until(stopped, 1).await.unwrap();
    let (code, diagnosis) = fleet.command(&["diagnose"]).await.unwrap();
    let found: Vec<&Value> = diagnosis["findings"].as_array().unwrap().iter().map(|finding| &finding["code"]).collect();
    assert_eq!((code, found), (Some(1), vec![&Value::from("DRAW_STUCK")]), "{diagnosis}");
    // The new one is first, and the old one is still good for what was opened with it.
    fs::write(&file, format!("{other}\n{secret}")).unwrap();
    let again = async || {
        let mut database = fleet.database().await?;
        sqlx::query("update rounds.effects set due_at = now()").execute(&mut database).await?;
        Ok(fleet.number(DRAWN).await? == 1)
    };
    eventually("it is drawn", again).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(verify_draw(&fleet, round).await.0, Some(0));
}

#[tokio::test]
async fn a_draw_that_was_changed_in_the_log_is_found() {
    let (fleet, _dir) = drawing(1_000).await;
    let (round, orders) = sold_out(&fleet).await;
    fleet.until(DRAWN, 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    // A share more, which nobody bought, is in the log behind the back of all.
    let mut database = fleet.database().await.unwrap();
    let forged = "alter table log.events disable trigger user;
        delete from log.events where type like '%.SharesSold' and stream = (select min(stream) from log.events where type like '%.SharesSold');
        alter table log.events enable trigger user;";
    sqlx::raw_sql(forged).execute(&mut database).await.unwrap();
    let (code, checked) = verify_draw(&fleet, round).await;
    assert_eq!(code, Some(1), "{checked} {orders:?}");
    assert!(wrong(&checked).contains(&"the list is of the shares that the log says are sold"), "{checked}");
}

#[tokio::test]
async fn a_round_of_a_fleet_that_draws_nothing_has_no_draw() {
    let fleet = TestFleet::start().await.unwrap();
    let round = fleet.round("espresso machine", 1).await.unwrap();
    fleet.place(&Order::new(1).shares(round, 1)).await.unwrap();
    fleet.until("select count(*) from rounds.rounds where status = 'sold_out'", 1).await.unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.stream(&format!("round-{round}")).await.unwrap(), ["RoundOpened", "RoundSoldOut"]);
    let url = fleet.processes().await.address().database_url;
    let ran = Command::new(holdfast_tests::holdfast())
        .args(["verify-draw", &round.to_string(), "--database-url", &url])
        .output()
        .await
        .unwrap();
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("without a draw"), "{ran:?}");
    let gateway = Gateway::start(&fleet, &[]).await.unwrap();
    let shown = gateway.get(&format!("/v1/rounds/{round}")).await.unwrap().json;
    assert_eq!(shown["draw"], Value::Null);
    assert_eq!(gateway.request("GET", &format!("/rounds/{round}"), &[], "").await.unwrap().status, 404);
}
