//! Dead letters: messages that could not be handled, kept whole with the reason until an operator decides.

use domain::Timestamp;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{batch::draft::DeadLetter, inbound::message::without_nul, telemetry};

/// Keeps a letter, in the caller's transaction, unless the same was kept before.
pub(crate) async fn keep_once(
    connection: &mut PgConnection,
    service: &'static str,
    letter: &DeadLetter,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let is_kept: bool =
        sqlx::query_scalar("select exists (select from dead_letters where subject = $1 and reason = $2)")
            .bind(without_nul(&letter.letter.subject))
            .bind(without_nul(&letter.rejection.reason))
            .fetch_one(&mut *connection)
            .await?;
    if is_kept {
        return Ok(());
    }
    keep(connection, service, std::slice::from_ref(letter), at).await
}

/// Keeps letters, in the caller's transaction.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    service: &'static str,
    letters: &[DeadLetter],
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    if letters.is_empty() {
        return Ok(());
    }
    let subjects: Vec<String> = letters.iter().map(|dead| without_nul(&dead.letter.subject)).collect();
    let headers: Vec<&serde_json::Value> = letters.iter().map(|dead| &dead.letter.headers).collect();
    let payloads: Vec<&[u8]> = letters.iter().map(|dead| dead.letter.payload.as_ref()).collect();
    let codes: Vec<&str> = letters.iter().map(|dead| dead.rejection.code.as_ref()).collect();
    // A letter must be kept whatever it says.
    let reasons: Vec<String> = letters.iter().map(|dead| without_nul(&dead.rejection.reason)).collect();
    sqlx::query(
        "insert into dead_letters (subject, headers, payload, code, reason, received_at)
         select subject, headers, payload, code, reason, $6
         from unnest($1::text[], $2::jsonb[], $3::bytea[], $4::text[], $5::text[])
             as new (subject, headers, payload, code, reason)",
    )
    .bind(subjects)
    .bind(headers)
    .bind(payloads)
    .bind(codes)
    .bind(reasons)
    .bind(OffsetDateTime::from(at))
    .execute(connection)
    .await?;
    for dead in letters {
        let (subject, rejection) = (&dead.letter.subject, &dead.rejection);
        tracing::error!(service, subject, %rejection, "kept a message that cannot be handled as a dead letter");
        telemetry::dead_letter(service);
    }
    Ok(())
}
