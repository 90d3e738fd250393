//! Due work: set by events, claimed with SKIP LOCKED, and gone in the transaction that does it.

use std::time::Instant;

use domain::Timestamp;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::{clock, database, error::Error};

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

/// What a look at the database shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// When the next timer is due.
    pub(crate) next_due: Option<Timestamp>,
    /// The last position of the log.
    pub(crate) head: i64,
}

/// Looks when the next timer is due and where the log ends, and sets this process's clock by the way.
///
/// # Errors
/// Also where it cannot be done: in a session that only reads.
pub(crate) async fn look(connection: &mut PgConnection) -> Result<Look, Error> {
    let failed = |error| Error::database("looking for timers", error);
    let asked = Instant::now();
    let row = sqlx::query(
        "select clock_timestamp(), current_setting('transaction_read_only') = 'on', (select min(due_at) from timers),
             coalesce((select max(position) from log.events), 0)",
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    clock::set(asked, row.try_get::<OffsetDateTime, _>(0).map_err(failed)?.into());
    if row.try_get(1).map_err(failed)? {
        return Err(database::read_only("looking for timers"));
    }
    let next_due: Option<OffsetDateTime> = row.try_get(2).map_err(failed)?;
    Ok(Look { next_due: next_due.map(Timestamp::from), head: row.try_get(3).map_err(failed)? })
}
