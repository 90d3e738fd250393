//! The log in partitions on a real Postgres: a log that was one table becomes the first of them while writers go on, and each of them keeps the
//! rules of the log.

use platform::{
    error::{Contested, Error},
    migrations::migrate,
};
use sqlx::{Connection, PgConnection, migrate::Migrator, postgres::PgDatabaseError};
use testbed::{
    fleet::DATABASE,
    servers::{Postgres, SUPERUSER, scratch_dir},
};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// The last layout in which the log was one table.
const ONE_TABLE: i64 = 27;

/// Positions of one partition.
const SIZE: u32 = 100;

/// Writes an event as a worker of any release does.
const WRITE: &str = "insert into log.events
        (stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent, recorded_at)
    select stream, version, gen_random_uuid(), 'orders', 'x', '', gen_random_uuid(), gen_random_uuid(), null, now()
    from unnest($1::text[], $2::bigint[]) as new (stream, version) returning position";

async fn write(connection: &mut PgConnection, streams: &[String]) -> Result<Vec<i64>, sqlx::Error> {
    let versions = vec![1_i64; streams.len()];
    sqlx::query_scalar(WRITE).bind(streams).bind(versions).fetch_all(connection).await
}

fn streams(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("order-{number}")).collect()
}

/// SQLSTATE, and the constraint or the table that refused it.
async fn refused(connection: &mut PgConnection, streams: &[String]) -> (String, String) {
    let error = write(connection, streams).await.unwrap_err().into_database_error().unwrap();
    let error = error.downcast_ref::<PgDatabaseError>();
    (error.code().to_owned(), error.constraint().or(error.table()).unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_log_that_was_one_table_goes_on_in_partitions_under_writers() {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let postgres = Postgres::start(&dir.path().join("pg")).await.unwrap();
    let server = postgres.url(SUPERUSER, "postgres");
    let mut admin = PgConnection::connect(&server).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {DATABASE}"))).execute(&mut admin).await.unwrap();
    let mut admin = PgConnection::connect(&postgres.url(SUPERUSER, DATABASE)).await.unwrap();
    MIGRATIONS.run_to(ONE_TABLE, &mut admin).await.unwrap();

    // A worker of the last release, whose session and plan outlive the change.
    let mut worker = PgConnection::connect(&postgres.url("holdfast_orders", DATABASE)).await.unwrap();
    let positions = write(&mut worker, &streams(0..150)).await.unwrap();
    assert_eq!((positions.first(), positions.last()), (Some(&1), Some(&150)));
    migrate(&server, &postgres.url_to_migrate(DATABASE, Some(SIZE)), DATABASE).await.unwrap();
    assert_eq!(refused(&mut worker, &streams(7..8)).await.0, "23505");

    // The first has what was there, and room for what comes until then.
    let all: Vec<(i64, i64)> =
        sqlx::query_as("select first, last from log.partitions order by number").fetch_all(&mut admin).await.unwrap();
    assert_eq!(all, [(1, 300), (301, 400), (401, 500), (501, 600)]);
    let positions = write(&mut worker, &streams(150..550)).await.unwrap();
    let first = positions[0];
    assert!(first > 150, "{first}");
    let expected: Vec<i64> = (first..).take(positions.len()).collect();
    assert_eq!(positions, expected);

    // A place that is taken is refused by its own partition, by a key that tells the stream.
    let (code, constraint) = refused(&mut worker, &streams(549..550)).await;
    assert_eq!((code.as_str(), constraint.ends_with("_stream_version_key")), ("23505", true), "{constraint}");
    let taken = Error::database("writing", write(&mut worker, &streams(549..550)).await.unwrap_err());
    assert_eq!(taken.contested(), Some(Contested::Stream("order-549".to_owned())));

    // Without a partition nothing is taken in, and none of it stays.
    let (code, table) = refused(&mut worker, &streams(550..700)).await;
    assert_eq!((code.as_str(), table.as_str()), ("23514", "events"));
    let count: i64 = sqlx::query_scalar("select count(*) from log.events").fetch_one(&mut worker).await.unwrap();
    assert_eq!(count, 550);

    // Any worker may have them made, and so the log goes on. Whoever writes meanwhile does not wait.
    let mut writer = PgConnection::connect(&postgres.url("holdfast_orders", DATABASE)).await.unwrap();
    let mut made = worker.begin().await.unwrap();
    let count: i32 = sqlx::query_scalar("select log.make_partitions()").fetch_one(&mut *made).await.unwrap();
    assert!(count > 0);
    sqlx::query("set statement_timeout = '5s'").execute(&mut writer).await.unwrap();
    assert_eq!(refused(&mut writer, &streams(549..550)).await.0, "23514");
    made.commit().await.unwrap();
    let positions = write(&mut writer, &streams(550..700)).await.unwrap();
    assert_eq!(positions.len(), 150);
    let ordered: Vec<i64> =
        sqlx::query_scalar("select position from log.events order by position").fetch_all(&mut writer).await.unwrap();
    assert_eq!((ordered.len(), ordered.is_sorted()), (700, true));
}
