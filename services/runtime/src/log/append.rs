//! What every transaction writes, whatever the service: its events, its answers and its timers, in one statement.

use domain::{GlobalPosition, Timer, Timestamp};
use platform::database::column;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{
    batch::draft::{Answered, Draft},
    log::event_store::NewEvent,
};

/// Owns a transaction id before it draws any position: what gap detection stands on. The positions come in order of the arrays.
macro_rules! append {
    () => {
        "insert into log.events
             (stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent, recorded_at)
         select stream, version, event_id, $1, type, data, correlation_id, causation_id, traceparent, $2
         from owner, unnest($3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::bytea[], $8::uuid[], $9::uuid[],
             $10::text[]) as new (stream, version, event_id, type, data, correlation_id, causation_id, traceparent)
         returning position"
    };
}

const EVENTS: &str = concat!("with owner as materialized (select pg_current_xact_id()) ", append!());

/// A timer that another replica has claimed is skipped, not waited for: that replica waits for our rows, and would wait for
/// ever. It finds nothing to do then, and the timer is gone with its transaction.
///
/// All parts of a statement see the tables as they were before it, so a timer that is to stay is not taken away first. Timers are
/// looked up one by one: of its own accord, the planner would go through all of them when it believes that there are few.
const EVENTS_ANSWERS_AND_TIMERS: &str = concat!(
    "with owner as materialized (select pg_current_xact_id()),
         answered as (
             insert into inbox (command_id, body_hash, reply, handled_at)
             select command_id, body_hash, reply, $2 from unnest($11::uuid[], $12::bytea[], $13::bytea[])
                 as new (command_id, body_hash, reply)
         ),
         timer as materialized (select * from unnest($14::text[], $15::timestamptz[]) as new (stream, due_at)),
         cleared as (
             delete from timers where ctid = any(array(
                 select old.place from timer cross join lateral (
                     select timers.ctid as place from timers
                     where timers.stream = timer.stream and timers.due_at is distinct from timer.due_at
                     for update skip locked
                 ) as old
             ))
         ),
         set as (
             insert into timers (stream, due_at) select stream, due_at from timer where due_at is not null
             on conflict do nothing
         )
     ",
    append!()
);

/// Writes it, and returns the positions of the events in order.
pub(crate) async fn write(
    connection: &mut PgConnection,
    service: &str,
    draft: &Draft,
    at: Timestamp,
) -> Result<Vec<GlobalPosition>, sqlx::Error> {
    let is_short = draft.answered.is_empty() && draft.timers.is_empty();
    if is_short && draft.events.is_empty() {
        return Ok(Vec::new());
    }
    let events: Vec<&NewEvent> = draft.events.iter().collect();
    let query = sqlx::query_scalar(if is_short { EVENTS } else { EVENTS_ANSWERS_AND_TIMERS })
        .bind(service)
        .bind(OffsetDateTime::from(at))
        .bind(column(&events, |event| event.record.stream.as_str()))
        .bind(column(&events, |event| event.record.version.get()))
        .bind(column(&events, |event| event.event_id))
        .bind(column(&events, |event| event.record.message_type))
        .bind(column(&events, |event| event.record.data.as_slice()))
        .bind(column(&events, |event| event.correlation_id))
        .bind(column(&events, |event| event.causation_id))
        .bind(column(&events, |event| event.traceparent.as_deref()));
    if is_short {
        return Ok(drawn(query.fetch_all(connection).await?));
    }
    let answers: Vec<(&_, &Answered)> = draft.answered.iter().collect();
    let timers: Vec<(&String, &Timer)> = draft.timers.iter().collect();
    let positions = query
        .bind(column(&answers, |(command_id, _)| *command_id))
        .bind(column(&answers, |(_, answered)| answered.body_hash.as_slice()))
        .bind(column(&answers, |(_, answered)| answered.reply.as_slice()))
        .bind(column(&timers, |(stream, _)| stream.as_str()))
        .bind(column(&timers, |(_, timer)| timer.due_at().map(OffsetDateTime::from)))
        .fetch_all(connection)
        .await?;
    Ok(drawn(positions))
}

fn drawn(positions: Vec<i64>) -> Vec<GlobalPosition> {
    positions.into_iter().map(GlobalPosition::new).collect()
}
