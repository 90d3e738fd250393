//! What every transaction writes beside the rows of its service: its events, its answers and its timers. All of it, and the rows, are one
//! statement.

use domain::{GlobalPosition, Timer, Timestamp};
use platform::{
    database::column,
    error::Error,
    statement::{CompleteStatement, Statement},
};
use sqlx::{PgConnection, error::DatabaseError};
use time::OffsetDateTime;

use crate::{
    batch::draft::{Answered, Draft},
    log::{event_store::NewEvent, positions::Positions, rebuild::LastRebuild},
    service::Service,
};

/// Owns a transaction id before it draws any position: what gap detection stands on.
const OWNER: &str = "select pg_current_xact_id()";

/// A race that was lost.
const MOVED: &str = "log.refuse('40001', 'a row has changed since it was read')";

/// A rebuild may have mended a row without a change of its revision.
const NOT_REBUILT: &str = "(select coalesce(max(id), 0) from log.rebuilds) = $1";

/// The positions come in order of the arrays.
const EVENTS: &str = "insert into log.events
         (stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent, recorded_at)
     select stream, version, event_id, service, type, data, correlation_id, causation_id, traceparent, $2
     from owner, unmoved, unnest($3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::bytea[], $8::uuid[], $9::uuid[],
         $10::text[], $1::text[]) as new (stream, version, event_id, type, data, correlation_id, causation_id, traceparent,
         service)
     returning case when position > $11 then position
         else log.refuse('55000', 'a position was given out again') end";

const WRITING: &str = "writing a batch";

/// SQLSTATE of a position that was given out again.
const GIVEN_OUT_AGAIN: &str = "55000";

const ANSWERS: &str = "insert into {service}.inbox (command_id, body_hash, reply, handled_at)
     select command_id, body_hash, reply, $4 from unnest($1::uuid[], $2::bytea[], $3::bytea[])
         as new (command_id, body_hash, reply)
     returning 1";

const TIMERS: &str = "select * from unnest($1::text[], $2::timestamptz[]) as new (stream, due_at)";

/// A timer that another replica has claimed is skipped, not waited for: that replica waits for our rows, and would wait for
/// ever. It finds nothing to do then, and the timer is gone with its transaction.
///
/// All parts of a statement see the tables as they were before it, so a timer that is to stay is not taken away first. Timers are
/// looked up one by one: of its own accord, the planner would go through all of them when it believes that there are few.
const TIMERS_CLEARED: &str = "delete from {service}.timers where ctid = any(array(
         select old.place from {service}_timer as timer cross join lateral (
             select timers.ctid as place from {service}.timers
             where timers.stream = timer.stream and timers.due_at is distinct from timer.due_at
             for update skip locked
         ) as old
     ))";

const TIMERS_SET: &str = "insert into {service}.timers (stream, due_at)
     select stream, due_at from {service}_timer where due_at is not null
     on conflict do nothing";

/// Adds a service's answers, which conflict before a position is drawn where a command was answered before, and its timers.
pub(crate) fn add(statement: &mut Statement, service: &str, draft: &Draft, at: Timestamp) {
    let of_service = |words: &str| words.replace("{service}", service);
    let answers: Vec<(&_, &Answered)> = draft.answered.iter().collect();
    if !answers.is_empty() {
        statement
            .counted(&of_service("{service}_answered"), answers.len(), &of_service(ANSWERS))
            .bind(column(&answers, |(command_id, _)| *command_id))
            .bind(column(&answers, |(_, answered)| answered.body_hash.as_slice()))
            .bind(column(&answers, |(_, answered)| answered.reply.as_slice()))
            .bind(OffsetDateTime::from(at));
    }
    let timers: Vec<(&String, &Timer)> = draft.timers.iter().collect();
    if !timers.is_empty() {
        statement
            .part(&of_service("{service}_timer"), TIMERS)
            .bind(column(&timers, |(stream, _)| stream.as_str()))
            .bind(column(&timers, |(_, timer)| timer.due_at().map(OffsetDateTime::from)));
        statement.part(&of_service("{service}_timers_cleared"), &of_service(TIMERS_CLEARED));
        statement.part(&of_service("{service}_timers_set"), &of_service(TIMERS_SET));
    }
}

/// Saves the rows that are new and those that changed.
///
/// # Errors
/// Postgres failed, or a row has changed since it was loaded.
pub async fn save_rows<S: Service>(connection: &mut PgConnection, state: &S::State) -> Result<(), sqlx::Error> {
    let mut statement = Statement::default();
    S::save(&mut statement, state);
    save(statement, connection).await
}

/// Does all that was added, in one statement, and nothing of it where rows have changed since they were loaded.
pub(crate) async fn save(statement: Statement, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    match complete_without_events(statement)? {
        Some(statement) => statement.run(connection).await.map(drop),
        None => Ok(()),
    }
}

fn complete_without_events(mut statement: Statement) -> Result<Option<CompleteStatement>, sqlx::Error> {
    if statement.is_empty() {
        return Ok(None);
    }
    statement.unless_complete("unmoved", MOVED);
    statement.complete("select * from unmoved", |_| {}).map(Some)
}

/// Events, and all else that goes with them, ready to be written.
pub(crate) struct Append {
    /// `None`: there is nothing.
    statement: Option<CompleteStatement>,
    has_events: bool,
    /// The last position that this process knew then.
    known: GlobalPosition,
}

impl Append {
    /// Makes one statement that appends events and does all else that was added, if no rows were rebuilt after this rebuild.
    ///
    /// # Errors
    /// A value cannot be sent.
    pub(crate) fn new(
        mut statement: Statement,
        events: &[NewEvent],
        positions: &Positions,
        (at, last_rebuild): (Timestamp, LastRebuild),
    ) -> Result<Self, Error> {
        let known = positions.last();
        let failed = |error| Error::database(WRITING, error);
        if events.is_empty() {
            let statement = complete_without_events(statement).map_err(failed)?;
            return Ok(Self { statement, has_events: false, known });
        }
        statement.requires(NOT_REBUILT).bind(last_rebuild.get());
        statement.unless_complete("unmoved", MOVED);
        statement.part("owner", OWNER);
        let events = events.iter().collect::<Vec<_>>();
        let statement = statement.complete(EVENTS, |values| {
            values
                .bind(column(&events, |event| event.service))
                .bind(OffsetDateTime::from(at))
                .bind(column(&events, |event| event.record.stream.as_str()))
                .bind(column(&events, |event| event.record.version.get()))
                .bind(column(&events, |event| event.event_id))
                .bind(column(&events, |event| event.record.message_type))
                .bind(column(&events, |event| event.record.data.as_slice()))
                .bind(column(&events, |event| event.correlation_id))
                .bind(column(&events, |event| event.causation_id))
                .bind(column(&events, |event| event.traceparent.as_deref()))
                .bind(known.get());
        });
        Ok(Self { statement: Some(statement.map_err(failed)?), has_events: true, known })
    }

    /// Writes it, and returns the positions of the events in order.
    ///
    /// Nothing of it is done where rows have changed since they were loaded, or where the log gives out a position that it has given out before.
    ///
    /// # Errors
    /// That was so, or Postgres failed.
    pub(crate) async fn run(
        self,
        connection: &mut PgConnection,
        positions: &Positions,
    ) -> Result<Vec<GlobalPosition>, Error> {
        let Some(statement) = self.statement else { return Ok(Vec::new()) };
        match statement.run(connection).await {
            Ok(_) if !self.has_events => Ok(Vec::new()),
            Ok(drawn) => {
                let drawn: Vec<GlobalPosition> = drawn.into_iter().map(GlobalPosition::new).collect();
                positions.drew(&drawn);
                Ok(drawn)
            }
            Err(error)
                if error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(GIVEN_OUT_AGAIN) =>
            {
                Err(Positions::given_out_again(self.known))
            }
            Err(error) => Err(Error::database(WRITING, error)),
        }
    }
}
