//! Due work: set by events, claimed with SKIP LOCKED, and gone in the transaction that does it.

use domain::Timestamp;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

/// A timer that is due.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) stream: String,
    pub(crate) due_at: Timestamp,
}

/// Takes timers that are due, the oldest first. Others skip them; a rollback puts them back.
pub(crate) async fn claim(connection: &mut PgConnection, at: Timestamp, limit: i64) -> Result<Vec<Due>, sqlx::Error> {
    // A CTE is read once; a planner may read a subquery once for every row that it joins, and so beyond its limit.
    let rows = sqlx::query(
        "with due as (
             select stream, due_at from timers where due_at <= $1 order by due_at limit $2 for update skip locked
         )
         delete from timers using due
         where timers.stream = due.stream and timers.due_at = due.due_at
         returning timers.stream, timers.due_at",
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
        "with due as (
             select stream, due_at from timers where stream = $1 and due_at = $2 for update skip locked
         )
         delete from timers using due where timers.stream = due.stream and timers.due_at = due.due_at",
    )
    .bind(&timer.stream)
    .bind(OffsetDateTime::from(timer.due_at))
    .execute(connection)
    .await?;
    Ok(if claimed.rows_affected() > 0 { vec![timer.clone()] } else { Vec::new() })
}

/// When the next timer is due.
pub(crate) async fn next_due(connection: &mut PgConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    let next: Option<OffsetDateTime> =
        sqlx::query_scalar("select min(due_at) from timers").fetch_one(connection).await?;
    Ok(next.map(Timestamp::from))
}
