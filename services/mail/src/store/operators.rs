//! What operators do with the ledger: look, have a mail sent again, forget addresses. No address is ever shown.

use domain::Timestamp;
use platform::error::Error;
use serde::Serialize;
use sqlx::{Connection, PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::next::State;

/// A mail, as operators see it.
#[derive(Debug, Serialize)]
pub struct Mail {
    /// Its id, which is in its Message-ID.
    pub mail_id: Uuid,
    /// The order that it is about.
    pub order_id: Uuid,
    /// What it tells.
    pub kind: String,
    /// The refund that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<Uuid>,
    /// Where it stands.
    pub state: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Since when it stands so.
    pub changed_at: String,
    /// When it is tried next, or its sender counts as gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<String>,
    /// What the server said last, or why there is no answer.
    pub reply: String,
}

/// Lists mails, the latest first: all, or those that stand so.
pub async fn list(connection: &mut PgConnection, state: Option<&str>, limit: u16) -> Result<Vec<Mail>, Error> {
    const LIST: &str =
        "select * from mail.mails where $1::text is null or state = $1 order by queued_at desc, mail_id limit $2";
    let mails = sqlx::query(LIST).bind(state).bind(i64::from(limit)).try_map(mail).fetch_all(connection).await;
    mails.map_err(|error| Error::database("reading mail.mails", error))
}

fn mail(row: PgRow) -> Result<Mail, sqlx::Error> {
    let written = |time: OffsetDateTime| Timestamp::from(time).to_string();
    Ok(Mail {
        mail_id: row.try_get("mail_id")?,
        order_id: row.try_get("order_id")?,
        kind: row.try_get("kind")?,
        refund_id: row.try_get("refund_id")?,
        state: row.try_get("state")?,
        attempts: row.try_get("attempt")?,
        changed_at: written(row.try_get("changed_at")?),
        due_at: row.try_get::<Option<OffsetDateTime>, _>("due_at")?.map(written),
        reply: row.try_get("reply")?,
    })
}

/// What became of the wish to send a mail again.
#[derive(Debug, PartialEq, Eq)]
pub enum Resent {
    /// It is in its queue.
    Queued,
    /// There is no such mail.
    Unheard,
    /// It stands so, and is not sent again.
    Stands(String),
}

/// Has a mail sent again, under the same Message-ID. In one transaction: the note of why, and the mail back in its queue. Its words are
/// kept if they still are.
pub async fn send_again(connection: &mut PgConnection, mail_id: Uuid, reason: &str) -> Result<Resent, Error> {
    // A day to try it in, as one that is new.
    const AGAIN: &str = "update mail.mails set state = 'queued', due_at = clock_timestamp(), unknowns = 0,
            give_up_at = clock_timestamp() + interval '1 day', changed_at = clock_timestamp() where mail_id = $1";
    const NOTE: &str = "insert into mail.resent (mail_id, reason, state_before) values ($1, $2, $3)";
    let failed = |error| Error::database("queueing a mail again", error);
    let mut transaction = connection.begin().await.map_err(failed)?;
    let state: Option<String> = sqlx::query_scalar("select state from mail.mails where mail_id = $1 for update")
        .bind(mail_id)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(failed)?;
    let Some(state) = state else { return Ok(Resent::Unheard) };
    if ![State::Sent, State::Refused, State::Unknown].iter().any(|again| again.as_str() == state) {
        return Ok(Resent::Stands(state));
    }
    sqlx::query(NOTE).bind(mail_id).bind(reason).bind(&state).execute(&mut *transaction).await.map_err(failed)?;
    sqlx::query(AGAIN).bind(mail_id).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Resent::Queued)
}

/// What was forgotten.
#[derive(Debug, Serialize)]
pub struct Forgotten {
    /// Addresses.
    pub forgotten: u64,
    /// Mails that will not be sent, or not again, because of it.
    pub mails: u64,
}

/// Forgets the addresses of an order, or of all orders of a customer.
pub async fn forget(
    connection: &mut PgConnection,
    order: Option<Uuid>,
    customer: Option<&str>,
) -> Result<Forgotten, Error> {
    const ADDRESSES: &str = "delete from orders.contacts where order_id = $1 or order_id in
        (select order_id from orders.orders where customer_id = $2)";
    // A mail's bytes have the address in them, so they go too. What is being sent just now ends as it ends, and is not sent again.
    const MAILS: &str = "update mail.mails set message = null, changed_at = clock_timestamp(),
            due_at = case when state = 'sending' then due_at end,
            reply = case when state = 'sending' then reply else 'the address was forgotten' end,
            state = case when state = 'sending' then state else 'forgotten' end
        where state in ('queued', 'sending', 'unknown') and (order_id = $1 or order_id in
            (select order_id from orders.orders where customer_id = $2))";
    let failed = |error| Error::database("forgetting (may this role write to orders.contacts and mail.mails?)", error);
    let mut transaction = connection.begin().await.map_err(failed)?;
    let mut done = [0, 0];
    for (count, statement) in done.iter_mut().zip([ADDRESSES, MAILS]) {
        let ended = sqlx::query(statement).bind(order).bind(customer).execute(&mut *transaction).await;
        *count = ended.map_err(failed)?.rows_affected();
    }
    transaction.commit().await.map_err(failed)?;
    let [forgotten, mails] = done;
    Ok(Forgotten { forgotten, mails })
}
