//! Notices: what a worker tells an operator, or the other workers, although it goes on. What is not said again in time is over.

use std::time::Duration;

use platform::error::Error;
use sqlx::PgConnection;

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// The broker takes no events in.
    Refused,
    /// Copies in JSON are behind.
    Copies,
    /// Settings of a worker, and the streams that are there, differ.
    Settings,
    /// The clock of a worker's machine is wrong.
    Clock,
}

impl Topic {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Copies => "copies",
            Self::Settings => "settings",
            Self::Clock => "clock",
        }
    }
}

/// Who says what the relay has to say, whichever worker is the relay.
pub(crate) const RELAY: &str = "relay";

/// What somebody says about a topic, instead of what the same one said before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notice<'a> {
    pub(crate) topic: Topic,
    pub(crate) said_by: &'a str,
    pub(crate) says: &'a str,
    /// How long it has been so, if that is news.
    pub(crate) lasted: Duration,
    /// How long it counts if it is not said again.
    pub(crate) counts_for: Duration,
}

impl Notice<'_> {
    /// # Errors
    /// Postgres failed.
    pub(crate) async fn note(self, connection: &mut PgConnection) -> Result<(), Error> {
        sqlx::query(
            "insert into log.notices as known (topic, said_by, says, since, valid_until)
             values ($1, $2, $3, clock_timestamp() - $4 * interval '1 second', clock_timestamp() + $5 * interval '1 second')
             on conflict (topic, said_by) do update set
                 says = excluded.says, valid_until = excluded.valid_until,
                 since = case when known.valid_until > clock_timestamp() then known.since else excluded.since end",
        )
        .bind(self.topic.name())
        .bind(self.said_by)
        .bind(self.says)
        .bind(self.lasted.as_secs_f64())
        .bind(self.counts_for.as_secs_f64())
        .execute(connection)
        .await
        .map_err(|error| Error::database("telling the others", error))?;
        Ok(())
    }
}

/// It is so no longer.
///
/// # Errors
/// Postgres failed.
pub(crate) async fn is_over(connection: &mut PgConnection, topic: Topic, said_by: &str) -> Result<(), Error> {
    sqlx::query("delete from log.notices where topic = $1 and said_by = $2")
        .bind(topic.name())
        .bind(said_by)
        .execute(connection)
        .await
        .map_err(|error| Error::database("telling the others", error))?;
    Ok(())
}
