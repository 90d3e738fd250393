//! Dead letters: messages that could not be handled, kept whole with the reason until an operator decides.

use domain::Timestamp;
use platform::{database::column, statement::Statement};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::{batch::draft::DeadLetter, inbound::message::without_nul, log::append, telemetry};

/// Keeps a letter, in the caller's transaction, unless the same was kept before and is open still.
pub(crate) async fn keep_once(
    connection: &mut PgConnection,
    service: &'static str,
    letter: &DeadLetter,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let is_kept: bool = sqlx::query_scalar(
        "select exists (select from dead_letters where subject = $1 and reason = $2 and settled_at is null)",
    )
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
    let mut statement = Statement::default();
    add(&mut statement, letters, at);
    append::save(statement, connection).await?;
    say(service, letters);
    Ok(())
}

/// Adds letters to a statement.
pub(crate) fn add(statement: &mut Statement, letters: &[DeadLetter], at: Timestamp) {
    if letters.is_empty() {
        return;
    }
    let letters: Vec<&DeadLetter> = letters.iter().collect();
    statement
        .part("dead_letters_kept", KEEP)
        .bind(column(&letters, |dead| without_nul(&dead.letter.subject)))
        .bind(column(&letters, |dead| &dead.letter.headers))
        .bind(column(&letters, |dead| dead.letter.payload.as_ref()))
        .bind(column(&letters, |dead| dead.rejection.code.as_ref()))
        // A letter must be kept whatever it says.
        .bind(column(&letters, |dead| without_nul(&dead.rejection.reason)))
        .bind(OffsetDateTime::from(at));
}

const KEEP: &str = "insert into dead_letters (subject, headers, payload, code, reason, received_at)
     select subject, headers, payload, code, reason, $6
     from unnest($1::text[], $2::jsonb[], $3::bytea[], $4::text[], $5::text[])
         as new (subject, headers, payload, code, reason)";

/// Says that letters are kept.
pub(crate) fn say(service: &'static str, letters: &[DeadLetter]) {
    for dead in letters {
        let (subject, rejection) = (&dead.letter.subject, &dead.rejection);
        tracing::error!(service, subject, %rejection, "kept a message that cannot be handled as a dead letter");
        telemetry::dead_letter(service);
    }
}
