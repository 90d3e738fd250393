//! Acts of operators that have no event of their own: who did what to which thing, and why. Noted in the transaction that does it.

use serde_json::Value;
use sqlx::PgConnection;

/// What somebody does.
#[derive(Debug, Clone)]
pub struct Act<'a> {
    /// What is done, in one word: `Redrive`.
    pub verb: &'a str,
    /// What it is done to: `letter inventory-41`.
    pub target: &'a str,
    /// The event stream that it is about, if that is known.
    pub stream: Option<&'a str>,
    /// Why, for whoever reads it later.
    pub reason: &'a str,
    /// As whoever acts calls himself. The role of the database is noted in any case.
    pub actor: Option<&'a str>,
    /// What else is to be known of it.
    pub said: Value,
}

impl Act<'_> {
    /// Notes it, and gives its number.
    ///
    /// # Errors
    /// Postgres failed, or the role may not act.
    pub async fn note(&self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        let Self { verb, target, stream, reason, actor, said } = self;
        let note = "insert into log.acts (log_ended, verb, target, stream, reason, actor, said)
            select coalesce(max(position), 0), $1, $2, $3, $4, $5, $6 from log.events returning id";
        sqlx::query_scalar(note)
            .bind(verb)
            .bind(target)
            .bind(stream)
            .bind(reason)
            .bind(actor)
            .bind(said)
            .fetch_one(connection)
            .await
    }
}
