//! Due work: set by events, claimed with SKIP LOCKED, and gone in the transaction that does it.
//!
//! Why it is so: services/runtime/README.md#timers-are-deleted-where-they-are-claimed-and-skipped-where-they-are-cleared

use std::time::Instant;

use domain::{GlobalPosition, Timestamp};
use platform::{clock, database, error::Error};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::log::positions::{Place, Positions};

/// A timer that is due.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) stream: String,
    pub(crate) due_at: Timestamp,
}

/// Takes timers that are due, the oldest first. Others skip them; a rollback puts them back.
pub(crate) async fn claim(connection: &mut PgConnection, at: Timestamp, limit: i64) -> Result<Vec<Due>, sqlx::Error> {
    // By place, which needs no plan: a join would go through all timers when the planner believes that there are few.
    let rows = sqlx::query(
        "delete from timers where ctid = any(array(
             select ctid from timers where due_at <= $1 order by due_at limit $2 for update skip locked
         ))
         returning stream, due_at",
    )
    .bind(OffsetDateTime::from(at))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let mut due: Vec<Due> = rows
        .iter()
        .map(|row| Ok(Due { stream: row.try_get(0)?, due_at: row.try_get::<OffsetDateTime, _>(1)?.into() }))
        .collect::<Result<_, sqlx::Error>>()?;
    due.sort_by(|a, b| (a.due_at, &a.stream).cmp(&(b.due_at, &b.stream)));
    Ok(due)
}

/// Takes this one timer, unless another replica has it or it is gone.
pub(crate) async fn claim_one(connection: &mut PgConnection, timer: &Due) -> Result<Vec<Due>, sqlx::Error> {
    let claimed = sqlx::query(
        "delete from timers where ctid = any(array(
             select ctid from timers where stream = $1 and due_at = $2 for update skip locked
         ))",
    )
    .bind(&timer.stream)
    .bind(OffsetDateTime::from(timer.due_at))
    .execute(connection)
    .await?;
    Ok(if claimed.rows_affected() > 0 { vec![timer.clone()] } else { Vec::new() })
}

/// Puts this one timer off, unless another replica has it or it is gone: whatever is wrong, what has to end by itself keeps its timer.
/// Whether it was there.
pub(crate) async fn put_off(connection: &mut PgConnection, timer: &Due, until: Timestamp) -> Result<bool, sqlx::Error> {
    let put_off = sqlx::query(
        "update timers set due_at = $3 where ctid = any(array(
             select ctid from timers where stream = $1 and due_at = $2 for update skip locked
         ))",
    )
    .bind(&timer.stream)
    .bind(OffsetDateTime::from(timer.due_at))
    .bind(OffsetDateTime::from(until))
    .execute(connection)
    .await?;
    Ok(put_off.rows_affected() > 0)
}

/// Looks when the next timer is due, whether the log is the one that it was, and what time it is.
///
/// # Errors
/// Also where nothing can be done: in a session that only reads, or with another log.
pub(crate) async fn look(connection: &mut PgConnection, positions: &Positions) -> Result<Option<Timestamp>, Error> {
    let failed = |error| Error::database("looking for timers", error);
    let (asked, before) = (Instant::now(), positions.head());
    let row = sqlx::query(
        "select clock_timestamp(), current_setting('transaction_read_only') = 'on', (select min(due_at) from timers),
             head.position, head.event_id, (select event_id from log.events where position = $1)
         from (select) as one left join
             (select position, event_id from log.events order by position desc limit 1) as head on true",
    )
    .bind(before.map(|before| before.position.get()))
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let column = |index| row.try_get::<Option<Uuid>, _>(index).map_err(failed);
    clock::set(asked, row.try_get::<OffsetDateTime, _>(0).map_err(failed)?.into());
    if row.try_get(1).map_err(failed)? {
        return Err(database::read_only("looking for timers"));
    }
    let position = row.try_get::<Option<i64>, _>(3).map_err(failed)?.map(GlobalPosition::new);
    let head = position.zip(column(4)?).map(|(position, event_id)| Place { position, event_id });
    positions.seen(head, before, column(5)?)?;
    let next_due: Option<OffsetDateTime> = row.try_get(2).map_err(failed)?;
    Ok(next_due.map(Timestamp::from))
}
