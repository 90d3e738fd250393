//! Traces owns what a collector of OpenTelemetry is told: for each event of the log a span, from its cause to itself, across all services.
//!
//! In: the log, in its order, from where it was told of last. Out: OTLP over HTTP. Workers do nothing for it, and none waits for it; what a span says
//! follows from the log, so what is told twice is the same twice.

use std::{
    convert::Infallible,
    process::ExitCode,
    time::{Duration, Instant},
};

use domain::GlobalPosition;
use metrics::gauge;
use platform::{
    clock,
    config::{self, Config, ms},
    database,
    database::answered,
    error::Error,
    health::{self, Health},
    metric::{self, Metric},
    process::{self, connect_with_retry},
    retry, shutdown,
};
use runtime::log::growth::Growth;
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;

mod collector;
mod otlp;
mod span;

use collector::Collector;
use span::{Choice, Event, Span, Spans};

/// The name of the process in logs and in Postgres; its schema.
const NAME: &str = "traces";

const POSITION: &str = "holdfast_traces_position";

/// What is measured of traces.
pub const METRICS: &[Metric] =
    &[Metric::gauge(POSITION, &[], "the collector was told of the log up to this position"), collector::TOLD];

/// What the probes call its ways to others.
const CONNECTING: &str = "connecting";
const TELLING: &str = "telling the collector";

/// Events of one page, and of one request at most.
const PAGE: i64 = 1_000;

/// Events before where it begins that are read again, for what they have caused.
const LOOKED_BACK: i64 = 20_000;

/// Of several processes one tells: whoever has this lock of the database.
const LOCK: i64 = 7_023_644_117_219_004;

/// How often one that is not it looks whether it may be.
const STAND_BY: Duration = Duration::from_secs(1);

/// Runs until SIGTERM. Exit code 0 after a graceful stop, 1 if it cannot start, 2 if its settings are wrong.
pub fn run() -> ExitCode {
    process::run(NAME, || tracing::error_span!("traces", pid = std::process::id()), work)
}

async fn work(config: Config) -> Result<(), Error> {
    let mut shutdown = shutdown::on_signals().map_err(|error| Error::transient("listening for signals", error))?;
    let collector = Collector::read(&config.traces)?;
    let health = Health::default();
    health.beat_alive();
    let metrics = metric::start(&[platform::telemetry::METRICS, METRICS]);
    health::serve(&config.http.address, health.clone(), metrics, shutdown.clone()).await?;
    let pool = tokio::select! {
        pool = connect_with_retry(&health, CONNECTING, || database::connect(&config.database, NAME)) => pool?,
        () = shutdown.requested() => return Ok(()),
    };
    let mut waits = retry::backoff(ms(50), ms(2_000));
    loop {
        let told = async {
            let mut connection = pool.session().await?;
            // With the session ends the lock.
            connection.close_on_drop();
            tell(&mut connection, &collector, &config.traces, &health).await
        };
        let failed = tokio::select! {
            told = told => told,
            () = shutdown.requested() => return Ok(()),
        };
        let Err(error) = failed;
        let error = error.chain();
        tracing::warn!(error, "cannot tell of the log");
        health.stuck(TELLING, error);
        health.beat_alive();
        clock::sleep(waits.next().unwrap_or_default()).await;
    }
}

/// Tells of the log for as long as that goes well.
async fn tell(
    connection: &mut PgConnection,
    collector: &Collector,
    settings: &config::Traces,
    health: &Health,
) -> Result<Infallible, Error> {
    while !answered(is_the_one(connection)).await? {
        health.goes_on(TELLING);
        health.beat_progress();
        clock::sleep(STAND_BY).await;
    }
    let mut told = answered(told_up_to(connection)).await?;
    let slow_ms = i64::try_from(settings.slow_ms).unwrap_or(i64::MAX);
    let mut spans = Spans::new(Choice { one_in: settings.one_in, slow_ms });
    let before = GlobalPosition::new(told.get().saturating_sub(LOOKED_BACK));
    for event in answered(read(connection, (before, told), LOOKED_BACK)).await? {
        spans.take(event);
    }
    tracing::info!(position = told.get(), "telling the collector of the log");
    let (mut growth, mut working_since) = (Growth::default(), Instant::now());
    loop {
        health.beat_progress();
        let published =
            answered(sqlx::query_scalar("select published from log.relay").fetch_one(&mut *connection)).await;
        let published = published.map_err(|error| Error::database("reading how far the log is settled", error))?;
        let page = answered(read(connection, (told, GlobalPosition::new(published)), PAGE)).await?;
        let Some(last) = page.last().map(|event| event.position) else {
            health.goes_on(TELLING);
            clock::sleep(ms(settings.poll_ms)).await;
            working_since = Instant::now();
            continue;
        };
        let of_page: Vec<Span> = page.into_iter().flat_map(|event| spans.take(event)).collect();
        collector.tell(&of_page).await?;
        told = last;
        answered(note(connection, told)).await?;
        health.goes_on(TELLING);
        let pause = answered(growth.pause_after(working_since.elapsed(), connection)).await;
        clock::sleep(pause.map_err(|error| Error::database("looking how fast the log grows", error))?).await;
        working_since = Instant::now();
    }
}

async fn is_the_one(connection: &mut PgConnection) -> Result<bool, Error> {
    let locked = sqlx::query_scalar("select pg_try_advisory_lock($1)").bind(LOCK).fetch_one(connection).await;
    locked.map_err(|error| Error::database("asking to be the one that tells", error))
}

/// Where it goes on. The first time that is where the log ends: what came before is told to nobody.
async fn told_up_to(connection: &mut PgConnection) -> Result<GlobalPosition, Error> {
    let begin = "insert into traces.told (position) select published from log.relay on conflict do nothing";
    let read = async {
        sqlx::query(begin).execute(&mut *connection).await?;
        sqlx::query_scalar("select position from traces.told").fetch_one(&mut *connection).await
    };
    read.await.map(GlobalPosition::new).map_err(|error| Error::database("reading where to go on", error))
}

/// Nothing of what events say: what a collector is told is beside it.
const READ: &str =
    "select position, stream, event_id, service, type, correlation_id, causation_id, traceparent, recorded_at
    from log.events where position > $1 and position <= $2 order by position limit $3";

async fn read(
    connection: &mut PgConnection,
    (after, up_to): (GlobalPosition, GlobalPosition),
    limit: i64,
) -> Result<Vec<Event>, Error> {
    let event = |row: PgRow| {
        Ok(Event {
            position: GlobalPosition::new(row.try_get(0)?),
            stream: row.try_get::<&str, _>(1)?.into(),
            event_id: row.try_get(2)?,
            service: row.try_get(3)?,
            message_type: row.try_get(4)?,
            correlation_id: row.try_get(5)?,
            causation_id: row.try_get(6)?,
            traceparent: row.try_get(7)?,
            recorded_at: row.try_get::<OffsetDateTime, _>(8)?.into(),
        })
    };
    let page = sqlx::query(READ).bind(after.get()).bind(up_to.get()).bind(limit).try_map(event).fetch_all(connection);
    page.await.map_err(|error| Error::database("reading the log", error))
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float; positions stay below 2^53")]
async fn note(connection: &mut PgConnection, told: GlobalPosition) -> Result<(), Error> {
    gauge!(POSITION).set(told.get() as f64);
    sqlx::query("update traces.told set position = $1, told_at = clock_timestamp()")
        .bind(told.get())
        .execute(connection)
        .await
        .map_err(|error| Error::database("noting where to go on", error))?;
    Ok(())
}
