//! The ledger of mail in Postgres: the only SQL. What is due is due by the database's clock, which all replicas share.

use std::time::Duration;

use domain::{GlobalPosition, Timestamp};
use platform::{
    database::{Pool, column},
    error::Error,
};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    about::{About, Kind},
    next::{Next, Rules, State},
};

pub mod operators;

/// A mail that an event causes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caused {
    /// What it is about.
    pub(crate) about: About,
    /// Where the event is in the log.
    pub(crate) position: GlobalPosition,
    /// When it was.
    pub(crate) happened_at: Timestamp,
}

/// A mail that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) mail_id: Uuid,
    pub(crate) about: About,
    pub(crate) position: GlobalPosition,
    pub(crate) happened_at: Timestamp,
    /// Of tries before this one.
    pub(crate) attempt: i32,
    pub(crate) unknowns: i32,
    pub(crate) give_up_at: Timestamp,
    /// What was sent before, if it was.
    pub(crate) message: Option<Vec<u8>>,
    /// Where the buyer is reached, unless that was forgotten.
    pub(crate) email: Option<String>,
}

/// Notes when mail was switched on, the first time.
pub(crate) async fn begin(pool: &Pool) -> Result<(), Error> {
    sqlx::query("insert into mail.began default values on conflict do nothing")
        .execute(pool)
        .await
        .map_err(|error| Error::database("noting when mail began", error))?;
    Ok(())
}

/// Queues mails, of buyers who can be reached, for what happened since mail was switched on. One that is there already stays as it is.
pub(crate) async fn queue(pool: &Pool, caused: &[Caused], give_up: Duration) -> Result<u64, Error> {
    const QUEUE: &str = "insert into mail.mails
            (mail_id, order_id, kind, refund_id, position, happened_at, state, due_at, give_up_at)
        select new.mail_id, new.order_id, new.kind, new.refund_id, new.position, new.happened_at, 'queued',
            clock_timestamp(), clock_timestamp() + $7
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::int8[], $6::timestamptz[])
            as new (mail_id, order_id, kind, refund_id, position, happened_at)
        join orders.contacts using (order_id)
        where new.happened_at >= (select at from mail.began)
        on conflict do nothing";
    let queued = sqlx::query(QUEUE)
        .bind(column(caused, |one| one.about.mail_id()))
        .bind(column(caused, |one| one.about.order_id))
        .bind(column(caused, |one| one.about.kind.as_str()))
        .bind(column(caused, |one| one.about.refund_id))
        .bind(column(caused, |one| one.position.get()))
        .bind(column(caused, |one| OffsetDateTime::from(one.happened_at)))
        .bind(whole_micros(give_up))
        .execute(pool)
        .await
        .map_err(|error| Error::database("queueing mail", error))?;
    Ok(queued.rows_affected())
}

/// Takes one mail that is due, which no other process takes until the transaction ends.
pub(crate) async fn take(transaction: &mut Transaction<'_, Postgres>) -> Result<Option<Due>, Error> {
    const TAKE: &str = "select mails.*, contacts.email from mail.mails left join orders.contacts using (order_id)
        where due_at <= now() and state in ('queued', 'unknown')
        order by due_at limit 1 for update of mails skip locked";
    let row = sqlx::query(TAKE).try_map(due).fetch_optional(&mut **transaction).await;
    row.map_err(|error| Error::database("looking for mail that is due", error))
}

fn due(row: PgRow) -> Result<Due, sqlx::Error> {
    let time = |name: &str| row.try_get::<OffsetDateTime, _>(name).map(Timestamp::from);
    let word: &str = row.try_get("kind")?;
    let kind = Kind::parse(word).ok_or_else(|| sqlx::Error::Decode(format!("a mail is of kind {word:?}").into()))?;
    Ok(Due {
        mail_id: row.try_get("mail_id")?,
        about: About { order_id: row.try_get("order_id")?, kind, refund_id: row.try_get("refund_id")? },
        position: GlobalPosition::new(row.try_get("position")?),
        happened_at: time("happened_at")?,
        attempt: row.try_get("attempt")?,
        unknowns: row.try_get("unknowns")?,
        give_up_at: time("give_up_at")?,
        message: row.try_get("message")?,
        email: row.try_get("email")?,
    })
}

/// What tells a mail's story: the event that placed the order, and the type and bytes of the one that causes the mail.
pub(crate) async fn events(
    transaction: &mut Transaction<'_, Postgres>,
    due: &Due,
) -> Result<Option<(Vec<u8>, String, Vec<u8>)>, Error> {
    const EVENTS: &str = "select placed.data, cause.type, cause.data from log.events as placed, log.events as cause
        where placed.stream = $1 and placed.version = 1 and cause.position = $2 and cause.stream = $1";
    let found = sqlx::query_as(EVENTS)
        .bind(format!("order-{}", due.about.order_id))
        .bind(due.position.get())
        .fetch_optional(&mut **transaction)
        .await;
    found.map_err(|error| Error::database("reading what a mail is about", error))
}

/// Notes, before anything goes out, that a mail is being sent, and by when its sender counts as gone.
pub(crate) async fn sending(
    transaction: &mut Transaction<'_, Postgres>,
    mail_id: Uuid,
    message: &[u8],
    lease: Duration,
) -> Result<(), Error> {
    const SENDING: &str = "update mail.mails set state = 'sending', attempt = attempt + 1, message = $2,
        due_at = clock_timestamp() + $3, changed_at = clock_timestamp() where mail_id = $1";
    sqlx::query(SENDING)
        .bind(mail_id)
        .bind(message)
        .bind(whole_micros(lease))
        .execute(&mut **transaction)
        .await
        .map_err(|error| Error::database("noting that a mail is being sent", error))?;
    Ok(())
}

/// Ends a mail that was not tried.
pub(crate) async fn end(
    transaction: &mut Transaction<'_, Postgres>,
    mail_id: Uuid,
    state: State,
    reply: &str,
) -> Result<(), Error> {
    const END: &str = "update mail.mails set state = $2, due_at = null, message = null, reply = $3,
        changed_at = clock_timestamp() where mail_id = $1";
    sqlx::query(END)
        .bind(mail_id)
        .bind(state.as_str())
        .bind(reply)
        .execute(&mut **transaction)
        .await
        .map_err(|error| Error::database("ending a mail", error))?;
    Ok(())
}

/// Notes what became of a try, also if its sender was taken for gone meanwhile. False: another try has begun since.
pub(crate) async fn record(pool: &Pool, mail_id: Uuid, attempt: i32, next: &Next) -> Result<bool, Error> {
    const RECORD: &str = "update mail.mails set state = $3, unknowns = $4, due_at = clock_timestamp() + $5, reply = $6,
            message = case when $7 then null else message end, changed_at = clock_timestamp()
        where mail_id = $1 and attempt = $2 and state in ('sending', 'unknown')";
    let recorded = sqlx::query(RECORD)
        .bind(mail_id)
        .bind(attempt)
        .bind(next.state.as_str())
        .bind(i32::try_from(next.unknowns).unwrap_or(i32::MAX))
        .bind(next.after.map(whole_micros))
        .bind(&next.reply)
        .bind(next.state.is_over())
        .execute(pool)
        .await
        .map_err(|error| Error::database("noting what became of a mail", error))?;
    Ok(recorded.rows_affected() > 0)
}

/// Postgres knows no shorter time.
fn whole_micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Mails whose sender is gone: nobody knows what became of them.
pub(crate) async fn lost(pool: &Pool, rules: &Rules) -> Result<u64, Error> {
    const LOST: &str = "update mail.mails set state = 'unknown', unknowns = unknowns + 1,
            due_at = case when unknowns = 0 then clock_timestamp() + $1 end,
            reply = 'the process that sent it ended before the answer was noted', changed_at = clock_timestamp()
        where state = 'sending' and due_at <= now()";
    let lost = sqlx::query(LOST)
        .bind(rules.once_more(0).map(whole_micros))
        .execute(pool)
        .await
        .map_err(|error| Error::database("looking for mail whose sender is gone", error))?;
    Ok(lost.rows_affected())
}

/// How many mails stand where, those that are sent left out: they are many, and over.
pub(crate) async fn counts(pool: &Pool) -> Result<Vec<(State, i64)>, Error> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select state, count(*) from mail.mails where state <> 'sent' group by state")
            .fetch_all(pool)
            .await
            .map_err(|error| Error::database("counting mail", error))?;
    let count = |state: State| rows.iter().find(|(word, _)| word == state.as_str()).map_or(0, |(_, count)| *count);
    Ok(State::ALL.into_iter().filter(|state| *state != State::Sent).map(|state| (state, count(state))).collect())
}
