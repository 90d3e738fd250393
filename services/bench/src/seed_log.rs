//! A long history: lifecycles decided by the services' own rules and written to the log and to their rows, without workers or
//! a broker, 500 orders a transaction.

use anyhow::{Context, Result};
use domain::{DecideError, Decider, GlobalPosition, Timestamp};
use platform::clock;
use proto::{
    Message, Name,
    common::v1::{Accepted, CommandReply, command_reply::Outcome},
    orders::v1::PlaceOrder,
    payments::v1::{PaymentRequested, RecordProviderEvent},
};
use providers::sandbox::report::of_payment;
use runtime::{
    log::{append::save_rows, event_store::StoredEvent, identity::event_id},
    service::{Locks, Service},
};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    baseline::append::append_to_log,
    catalog::{Catalog, OrderGenerator},
};

/// Orders of one transaction.
const BATCH: u64 = 500;

/// How long the hash of a command's body is, of which the inbox keeps one for each.
const HASH_BYTES: usize = 32;

/// A command, and the event or order that it is because of.
struct Job<C> {
    command: C,
    cause: Uuid,
    story: Uuid,
}

/// Writes lifecycles until the log has so many events, all of them published and handled as far as anyone knows.
pub(super) async fn write(database_url: &str, catalog: Catalog, events: u64) -> Result<()> {
    let mut connection = PgConnection::connect(database_url).await?;
    let mut count: i64 = sqlx::query_scalar("select count(*) from log.events").fetch_one(&mut connection).await?;
    // Before all others.
    let mut buyers = OrderGenerator::new(catalog, 0, "sandbox:succeed");
    while count < i64::try_from(events)? {
        let mut transaction = connection.begin().await?;
        let written = lifecycles(&mut transaction, &mut buyers).await?;
        transaction.commit().await?;
        count += i64::try_from(written)?;
    }
    for statement in [
        "update log.relay set (published, handled) = (select max(position), max(position) from log.events)",
        "vacuum analyze",
        "checkpoint",
    ] {
        sqlx::query(statement).execute(&mut connection).await.context("ending a history")?;
    }
    Ok(connection.close().await?)
}

/// One batch of orders through all services, hop by hop. How many events that made.
async fn lifecycles(connection: &mut PgConnection, buyers: &mut OrderGenerator) -> Result<usize> {
    let at = clock::now();
    let mut jobs = Vec::new();
    for _order in 0..BATCH {
        let (id, order) = buyers.order(None);
        let command = orders::Orders::decode_command(&PlaceOrder::full_name(), &order.encode_to_vec(), id)?;
        jobs.push(Job { command, cause: id, story: id });
    }
    let mut news = answered::<orders::Orders>(connection, jobs, at).await?;
    let mut count = news.len();
    while !news.is_empty() {
        let mut next = answered::<payments::Payments>(connection, reports(&news, at)?, at).await?;
        next.extend(hop::<orders::Orders>(connection, reactions::<orders::Orders>(&news)?, at).await?);
        next.extend(hop::<inventory::Inventory>(connection, reactions::<inventory::Inventory>(&news)?, at).await?);
        next.extend(hop::<rounds::Rounds>(connection, reactions::<rounds::Rounds>(&news)?, at).await?);
        next.extend(hop::<payments::Payments>(connection, reactions::<payments::Payments>(&news)?, at).await?);
        count += next.len();
        news = next;
    }
    Ok(count)
}

/// What a service does about events of others.
fn reactions<S: Decider>(news: &[StoredEvent]) -> Result<Vec<Job<S::Command>>> {
    let mut jobs = Vec::new();
    for event in news.iter().filter(|event| S::REACTS_TO.contains(&event.message_type.as_str())) {
        let commands = S::react(&event.message_type, &event.data)?;
        jobs.extend(commands.into_iter().map(|command| Job {
            command,
            cause: event.event_id,
            story: event.correlation_id,
        }));
    }
    Ok(jobs)
}

/// What the sandbox reports of payments.
fn reports(news: &[StoredEvent], at: Timestamp) -> Result<Vec<Job<payments::command::Command>>> {
    let mut jobs = Vec::new();
    for event in news.iter().filter(|event| event.message_type == PaymentRequested::full_name()) {
        let requested = PaymentRequested::decode(event.data.as_slice())?;
        let Some(report) = of_payment(&requested, at) else { continue };
        let data = report.command.encode_to_vec();
        let command =
            <payments::Payments as Decider>::decode_command(&RecordProviderEvent::full_name(), &data, report.id)?;
        jobs.push(Job { command, cause: report.id, story: event.correlation_id });
    }
    Ok(jobs)
}

/// One batch of one service, as a worker would: load, decide, save, append.
async fn hop<S: Service>(
    connection: &mut PgConnection,
    jobs: Vec<Job<S::Command>>,
    at: Timestamp,
) -> Result<Vec<StoredEvent>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let commands: Vec<&S::Command> = jobs.iter().map(|job| &job.command).collect();
    let mut state = S::load(connection, &commands, Locks::Rows).await?;
    let mut events = Vec::new();
    for job in &jobs {
        let decided = S::advance(&mut state, &job.command, at);
        for (_, record) in decided.map_err(|refusal: DecideError| anyhow::anyhow!("{refusal:?}"))? {
            events.push(StoredEvent {
                position: GlobalPosition::default(),
                event_id: event_id(job.cause, &record.stream, record.version),
                stream: record.stream,
                version: record.version,
                service: S::NAME.to_owned(),
                message_type: record.message_type.to_owned(),
                data: record.data,
                correlation_id: job.story,
                causation_id: job.cause,
                traceparent: None,
                recorded_at: at,
                is_handled: false,
            });
        }
    }
    save_rows::<S>(connection, &state).await?;
    append_to_log(connection, &events).await?;
    Ok(events)
}

/// One batch of commands, which the inbox keeps with their answers.
async fn answered<S: Service>(
    connection: &mut PgConnection,
    jobs: Vec<Job<S::Command>>,
    at: Timestamp,
) -> Result<Vec<StoredEvent>> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.cause).collect();
    let events = hop::<S>(connection, jobs, at).await?;
    let replies: Vec<Vec<u8>> = ids.iter().map(|id| reply(*id, &events)).collect();
    let statement = format!(
        "insert into {}.inbox (command_id, body_hash, reply, handled_at)
         select command_id, $2, reply, $4 from unnest($1::uuid[], $3::bytea[]) as new (command_id, reply)",
        S::NAME
    );
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(ids)
        .bind(vec![1_u8; HASH_BYTES])
        .bind(replies)
        .bind(OffsetDateTime::from(at))
        .execute(connection)
        .await
        .context("filling an inbox")?;
    Ok(events)
}

/// The answer to a command that has caused those of these events.
fn reply(command_id: Uuid, events: &[StoredEvent]) -> Vec<u8> {
    let caused: Vec<&StoredEvent> = events.iter().filter(|event| event.causation_id == command_id).collect();
    let last = caused.last();
    let accepted = Accepted {
        events: caused.iter().map(|event| event.message_type.clone()).collect(),
        stream: last.map(|event| event.stream.clone()).unwrap_or_default(),
        version: last.map_or(0, |event| event.version.get()),
    };
    CommandReply { command_id: command_id.to_string(), outcome: Some(Outcome::Accepted(accepted)) }.encode_to_vec()
}
