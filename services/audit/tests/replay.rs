//! Replays of logs that were written by hand, on a real Postgres: where a time cuts, what stops a replay, what it waits for.

use std::num::{NonZeroU32, NonZeroUsize};

use anyhow::Result;
use audit::{
    questions::{self, Entry, Side, cutoff},
    replay::{Answer, At, Kind, Movement, Progress, Question, replay},
};
use domain::{GlobalPosition, Timestamp};
use platform::migrations;
use proto::{
    Message, Name,
    common::v1::ProductQuantity,
    inventory::v1::{ProductRegistered, StockCommitted, StockHeld, StockReceived},
};
use serde_json::{Map, Value};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use testbed::servers::{Postgres, SUPERUSER, scratch_dir};
use time::OffsetDateTime;
use uuid::Uuid;

const DATABASE: &str = "holdfast";

/// A database with a log, and nobody at work.
struct Archive {
    connection: PgConnection,
    url: String,
    servers: Option<(Postgres, TempDir)>,
}

/// Noon of a day, and so many seconds.
fn noon(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_790_000_000 + seconds) * 1_000_000)
}

impl Archive {
    async fn start() -> Result<Self> {
        let dir = scratch_dir("holdfast-replay-")?;
        let postgres = Postgres::start(dir.path()).await?;
        let url = postgres.url(SUPERUSER, DATABASE);
        migrations::migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await?;
        let connection = PgConnection::connect(&url).await?;
        Ok(Self { connection, url, servers: Some((postgres, dir)) })
    }

    /// Another session of the same database.
    async fn beside(&self) -> Result<Self> {
        Ok(Self { connection: PgConnection::connect(&self.url).await?, url: self.url.clone(), servers: None })
    }

    /// Appends an event as it is, and gives its position.
    async fn append(&mut self, stream: &str, version: i64, kind: &str, data: Vec<u8>, at: Timestamp) -> Result<i64> {
        let query = "insert into log.events
                (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
            values ($1, $2, gen_random_uuid(), 'inventory', $3, $4, $5, $5, $6) returning position";
        let position = sqlx::query_scalar(query)
            .bind(stream)
            .bind(version)
            .bind(kind)
            .bind(data)
            .bind(Uuid::NAMESPACE_URL)
            .bind(OffsetDateTime::from(at))
            .fetch_one(&mut self.connection)
            .await?;
        Ok(position)
    }

    async fn write<M: Message + Name>(&mut self, stream: &str, version: i64, event: &M, at: Timestamp) -> Result<i64> {
        self.append(stream, version, &M::full_name(), event.encode_to_vec(), at).await
    }

    async fn register(&mut self, sku: &str, at: Timestamp) -> Result<i64> {
        let registered = ProductRegistered { sku: sku.to_owned(), name: sku.to_uppercase(), actor: String::new() };
        self.write(&format!("product-{sku}"), 1, &registered, at).await
    }

    async fn receive(&mut self, sku: &str, version: i64, quantity: i64, at: Timestamp) -> Result<i64> {
        let (reference, actor) = (String::new(), String::new());
        let received = StockReceived { sku: sku.to_owned(), quantity, reference, actor };
        self.write(&format!("product-{sku}"), version, &received, at).await
    }

    async fn stock(&self, at: Option<At>, keys: &[&str]) -> Result<Answer<Vec<Movement>>> {
        self.ask(Question { movements: true, ..question(at, keys) }).await
    }

    async fn ask(&self, question: Question) -> Result<Answer<Vec<Movement>>> {
        replay(&self.url, &question, Vec::new(), |_progress| ()).await
    }

    /// Why there is no answer.
    async fn refusal(&self, at: Option<At>) -> Result<String> {
        match self.stock(at, &[]).await {
            Ok(answer) => anyhow::bail!("it answers: {:?}", answer.evidence),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}

fn question(at: Option<At>, keys: &[&str]) -> Question {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Question { kind: Kind::Stock, at, keys, movements: false, choice: None, shard: None, max_rate: None }
}

fn rows(answer: &Answer<Vec<Movement>>) -> Result<Vec<Map<String, Value>>> {
    let mut rows = Vec::new();
    answer.rows.each(&mut |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

fn received(answer: &Answer<Vec<Movement>>) -> Result<Vec<i64>> {
    Ok(rows(answer)?.iter().filter_map(|row| row.get("received")?.as_i64()).collect())
}

fn at(position: i64) -> Option<At> {
    Some(At::Position(GlobalPosition::new(position)))
}

#[tokio::test]
async fn a_time_cuts_at_the_last_event_recorded_by_then_and_what_clocks_disagree_about_is_counted() -> Result<()> {
    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    // The second writer's clock is a minute ahead, and the third's is behind by ten seconds.
    let first = log.receive("mug", 2, 1, noon(10)).await?;
    let ahead = log.receive("mug", 3, 10, noon(80)).await?;
    let fair = log.receive("mug", 4, 100, noon(20)).await?;
    let late = log.receive("mug", 5, 1_000, noon(30)).await?;
    let behind = log.receive("mug", 6, 10_000, noon(21)).await?;
    let cases = [
        // Before anyone's clock is wrong.
        (noon(10), first, 1, (0, None, 0)),
        (noon(19), first, 1, (0, None, 0)),
        // The event that says it comes later is before one that says it is in time.
        (noon(20), fair, 111, (1, Some(ahead), 0)),
        // What says it is in time stands last: all before it belongs to the prefix, its own writer's clock or not.
        (noon(25), behind, 11_111, (2, Some(ahead), 0)),
        (noon(80), behind, 11_111, (0, None, 0)),
    ];
    for (time, position, pieces, (later, first_later, earlier)) in cases {
        let answer = log.stock(Some(At::Time(time)), &[]).await?;
        let evidence = &answer.evidence;
        assert_eq!((evidence.cut.position.get(), received(&answer)?), (position, vec![pieces]), "{time}");
        let skew = evidence.skew;
        let told = (skew.later_before_the_cut, skew.first_later.map(GlobalPosition::get), skew.earlier_behind_the_cut);
        assert_eq!((skew.time, told), (time, (later, first_later, earlier)));
        assert_eq!(evidence.asked.time, Some(time));
    }
    // Of a position the time is that of its event.
    let answer = log.stock(at(late), &[]).await?;
    let skew = answer.evidence.skew;
    assert_eq!(
        (skew.time, skew.later_before_the_cut, skew.first_later),
        (noon(30), 1, Some(GlobalPosition::new(ahead)))
    );
    assert_eq!((skew.earlier_behind_the_cut, skew.looked_at_behind), (1, 1));
    assert_eq!(answer.evidence.cut.log_ended.get(), behind);

    let early = log.refusal(Some(At::Time(noon(-1)))).await?;
    assert!(early.contains("before the first event") && early.contains("position 1,"), "{early}");
    let future = Timestamp::from_micros(4_000_000_000_000_000);
    assert!(log.refusal(Some(At::Time(future))).await?.contains("is not over yet"));
    Ok(())
}

#[tokio::test]
async fn a_log_that_is_empty_and_positions_that_it_has_not_are_named() -> Result<()> {
    let mut log = Archive::start().await?;
    assert!(log.refusal(None).await?.contains("the log is empty"));
    assert!(log.refusal(at(1)).await?.contains("the log is empty"));
    // Positions of transactions that were rolled back are gaps.
    for _gap in 0..3 {
        sqlx::query("select nextval('log.events_position_seq')").execute(&mut log.connection).await?;
    }
    assert!(log.refusal(None).await?.contains("the log is empty"), "a log of gaps only");
    let first = log.register("mug", noon(0)).await?;
    assert_eq!(first, 4);
    sqlx::query("select nextval('log.events_position_seq')").execute(&mut log.connection).await?;
    log.receive("mug", 2, 5, noon(1)).await?;
    let before = log.refusal(at(3)).await?;
    assert!(before.contains("before the first event, which is at position 4"), "{before}");
    // A gap is as the event before it.
    let gap = log.stock(at(5), &[]).await?;
    assert_eq!((gap.evidence.cut.position.get(), gap.evidence.events_read, received(&gap)?), (4, 1, vec![0]));
    let beyond = log.refusal(at(7)).await?;
    assert!(beyond.contains("position 7 is beyond the log, which ends at position 6"), "{beyond}");
    Ok(())
}

#[tokio::test]
async fn an_event_that_cannot_be_read_or_is_of_a_later_release_or_is_missing_stops_it_by_name() -> Result<()> {
    let stopped = |said: String, position: i64, words: &[&str]| {
        let named = said.contains(&format!("stopped at position {position},"));
        assert!(named && words.iter().all(|word| said.contains(word)), "{said}");
    };
    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    log.receive("mug", 2, 5, noon(1)).await?;
    let later = log.append("product-mug", 3, "holdfast.inventory.v1.StockPainted", vec![], noon(2)).await?;
    let words = ["StockPainted", "version 3 of product-mug", "does not know events of this type"];
    stopped(log.refusal(None).await?, later, &words);
    // What is before it can be told.
    assert_eq!(received(&log.stock(at(later - 1), &[]).await?)?, [5]);

    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    let broken = log.append("product-mug", 2, &StockReceived::full_name(), vec![0xff], noon(1)).await?;
    stopped(log.refusal(None).await?, broken, &["StockReceived", "version 2 of product-mug", "cannot be read"]);
    // Whoever wants to know of another product is told no less.
    log.register("cup", noon(2)).await?;
    assert!(log.stock(None, &["cup"]).await.is_err());

    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    let third = log.receive("mug", 3, 5, noon(1)).await?;
    stopped(log.refusal(None).await?, third, &["version 3 of product-mug", "the log lacks an event of it"]);
    Ok(())
}

#[tokio::test]
async fn of_a_key_only_its_rows_are_kept_and_every_movement_has_its_order_and_its_balance() -> Result<()> {
    let mut log = Archive::start().await?;
    for sku in ["cup", "mug"] {
        log.register(sku, noon(0)).await?;
        log.receive(sku, 2, 5, noon(1)).await?;
    }
    let order = Uuid::from_u128(7);
    let lines = vec![
        ProductQuantity { sku: "cup".to_owned(), quantity: 1 },
        ProductQuantity { sku: "mug".to_owned(), quantity: 2 },
    ];
    let stream = format!("stock-{order}.1");
    let held = StockHeld { order_id: order.to_string(), attempt: 1, lines: lines.clone() };
    log.write(&stream, 1, &held, noon(2)).await?;
    let committed = StockCommitted { order_id: order.to_string(), attempt: 1, lines };
    let last = log.write(&stream, 2, &committed, noon(3)).await?;

    let whole = log.stock(None, &[]).await?;
    let of_one = log.stock(None, &["mug", "jug"]).await?;
    assert_eq!((whole.evidence.rows, of_one.evidence.rows), (2, 1));
    assert_eq!(rows(&of_one)?, rows(&whole)?.split_off(1));
    assert_eq!((of_one.unknown, whole.unknown), (vec!["jug".to_owned()], vec![]));
    assert_eq!(of_one.evidence.events_read, 6);

    let of_mugs: Vec<Movement> = whole.movements.into_iter().filter(|movement| movement.key == "mug").collect();
    assert_eq!(of_one.movements, of_mugs);
    let told = of_mugs.iter().map(|movement| {
        let figure = |name: &str| movement.figures.get(name).map_or((0, 0), |figure| (figure.delta, figure.balance));
        (proto::short_name(&movement.event), figure("available"), figure("held"), figure("on_hand"))
    });
    let told: Vec<_> = told.collect();
    let wanted = [
        ("ProductRegistered", (0, 0), (0, 0), (0, 0)),
        ("StockReceived", (5, 5), (0, 0), (5, 5)),
        ("StockHeld", (-2, 3), (2, 2), (0, 5)),
        ("StockCommitted", (0, 3), (-2, 0), (-2, 3)),
    ];
    assert_eq!(told, wanted);
    let closing = of_mugs.last().map(|movement| (movement.position.get(), movement.order_id.clone()));
    assert_eq!(closing, Some((last, Some(order.to_string()))));
    assert!(of_mugs.iter().take(2).all(|movement| movement.order_id.is_none()));
    Ok(())
}

/// The role of the guide, made as the guide says.
#[tokio::test]
async fn whoever_may_read_the_log_and_nothing_else_may_replay() -> Result<()> {
    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    let guide = include_str!("../README.md");
    let role = guide.split_once("```sql\n").and_then(|(_, rest)| rest.split_once("```")).map_or("", |(role, _)| role);
    sqlx::raw_sql(role).execute(&mut log.connection).await?;
    let url = log.servers.as_ref().map(|(postgres, _dir)| postgres.url("auditor", DATABASE)).unwrap_or_default();
    let answer = replay(&url, &question(None, &[]), Vec::new(), |_progress| ()).await?;
    assert_eq!((answer.evidence.database.role.as_str(), answer.evidence.rows), ("auditor", 1));
    assert!(
        PgConnection::connect(&url).await?.execute("select from inventory.stock").await.is_err(),
        "it may read no rows"
    );
    Ok(())
}

/// Somebody has drawn a position and not committed: what is read now would be another log in a moment.
#[tokio::test]
async fn a_replay_never_passes_over_an_event_that_is_still_on_its_way() -> Result<()> {
    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    log.receive("mug", 2, 1, noon(1)).await?;
    let mut slow = log.beside().await?;
    sqlx::raw_sql("begin").execute(&mut slow.connection).await?;
    let on_its_way = slow.receive("mug", 3, 10, noon(2)).await?;
    log.register("cup", noon(3)).await?;

    let said = log.refusal(None).await?;
    let (pid,): (i32,) = sqlx::query_as("select pg_backend_pid()").fetch_one(&mut slow.connection).await?;
    for words in [format!("session {pid} "), "below position 4,".to_owned(), ": end it".to_owned()] {
        assert!(said.contains(&words), "{words} is not in {said}");
    }
    assert!(!said.contains("--at"), "the relay has not passed anything: {said}");
    // What the relay has passed is settled, whoever else is at work.
    sqlx::raw_sql("update log.relay set published = 2").execute(&mut log.connection).await?;
    assert_eq!(received(&log.stock(at(2), &[]).await?)?, [1]);
    assert!(log.refusal(at(4)).await?.contains("--at 2"));

    let url = log.url.clone();
    let question = Question { movements: true, ..question(None, &["mug"]) };
    let (answer, committed) = tokio::join!(
        replay(&url, &question, Vec::new(), |_progress| ()),
        sqlx::raw_sql("commit").execute(&mut slow.connection)
    );
    committed?;
    let answer = answer?;
    assert_eq!(received(&answer)?, [11]);
    assert_eq!(answer.movements.last().map(|movement| movement.position.get()), Some(on_its_way));
    Ok(())
}

#[tokio::test]
async fn it_reads_no_faster_than_it_may_and_says_how_far_it_is() -> Result<()> {
    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    for version in 2..=40 {
        log.receive("mug", version, 1, noon(version)).await?;
    }
    let question = Question { max_rate: NonZeroU32::new(40), ..question(None, &[]) };
    let told = std::sync::Mutex::new(Vec::new());
    let begun = std::time::Instant::now();
    let progress = |progress| told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(progress);
    let answer = replay(&log.url, &question, Vec::new(), progress).await?;
    // Forty events at forty a second, in four pages: at least the time of the first three.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(750), "{:?}", begun.elapsed());
    assert_eq!(received(&answer)?, [39]);
    assert!(answer.movements.is_empty(), "nobody asked for them");
    let told = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let up_to = GlobalPosition::new(40);
    assert_eq!(told.first(), Some(&Progress::Folding { events: 10, position: GlobalPosition::new(10), up_to }));
    assert_eq!(told.last(), Some(&Progress::Folding { events: 40, position: up_to, up_to }));
    Ok(())
}

#[tokio::test]
async fn a_cut_off_tells_so_many_on_each_side_and_whose_clock_disagrees() -> Result<()> {
    let mut log = Archive::start().await?;
    log.register("mug", noon(0)).await?;
    let mut positions = Vec::new();
    // Of a writer whose clock is ahead, and of one whose clock is behind: the third and the sixth.
    for (version, seconds) in (2..).zip([10, 20, 90, 30, 70, 25, 80, 85]) {
        positions.push(log.receive("mug", version, 1, noon(seconds)).await?);
    }
    let of = async |at: At, around: usize| {
        let around = NonZeroUsize::new(around).unwrap_or(NonZeroUsize::MIN);
        cutoff(&log.url, &at, around, &["StockReceived".to_owned()]).await
    };
    let told = |answer: &questions::Answer<Entry>| -> Vec<(Side, i64, bool)> {
        answer.rows.iter().map(|row| (row.side, row.position.get(), row.clock_disagrees)).collect()
    };
    let at = |index: usize| positions.get(index).copied().unwrap_or_default();
    // The last event that is recorded by then is the sixth.
    let answer = of(At::Time(noon(60)), 3).await?;
    assert_eq!(answer.evidence.cut.position.get(), at(5));
    let (before, after) = (Side::Before, Side::After);
    let expected = vec![
        (before, at(3), false),
        (before, at(4), true),
        (before, at(5), false),
        (after, at(6), false),
        (after, at(7), false),
    ];
    assert_eq!(told(&answer), expected);
    // At a position, its event's own time is what the others are compared with.
    let answer = of(At::Position(GlobalPosition::new(at(3))), 2).await?;
    let expected = vec![(before, at(2), true), (before, at(3), false), (after, at(4), false), (after, at(5), true)];
    assert_eq!(told(&answer), expected);
    let refused = of(At::Position(GlobalPosition::new(1_000)), 2).await.err().map(|error| format!("{error:#}"));
    assert!(refused.is_some_and(|words| words.contains("beyond the log")));
    Ok(())
}
