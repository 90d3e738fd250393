//! Notices: what a worker tells an operator, or the other workers, although it goes on. What is not said again in time is over.

use std::time::Duration;

use platform::error::Error;
use sqlx::PgConnection;

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The broker takes no events in.
    Refused,
    /// Copies in JSON are behind.
    Copies,
    /// Settings of a worker, and the streams that are there, differ.
    Settings,
    /// The clock of a worker's machine is wrong.
    Clock,
    /// A provider brings no reports of its own accord.
    Webhooks,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Copies, Self::Settings, Self::Clock, Self::Webhooks];

    /// As the table has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Copies => "copies",
            Self::Settings => "settings",
            Self::Clock => "clock",
            Self::Webhooks => "webhooks",
        }
    }

    /// The topic of a name. `None`: it is one of a later release.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// What `holdfast diagnose` calls it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Refused => "BROKER_REFUSES",
            Self::Copies => "COPIES_BEHIND",
            Self::Settings => "SETTINGS_DIFFER",
            Self::Clock => "CLOCK_SKEW",
            Self::Webhooks => "WEBHOOKS_SILENT",
        }
    }

    /// The promise that is at stake, in the word of `holdfast diagnose`.
    #[must_use]
    pub const fn severity(self) -> &'static str {
        match self {
            Self::Refused | Self::Copies | Self::Webhooks => "delay",
            Self::Settings | Self::Clock => "nothing",
        }
    }
}

/// Who says what the relay has to say, whichever worker is the relay.
pub(crate) const RELAY: &str = "relay";

/// What somebody says about a topic, instead of what the same one said before.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// What it is about.
    pub topic: Topic,
    /// Who says it, or of whom it is said.
    pub said_by: &'a str,
    /// What, in words.
    pub says: &'a str,
    /// How long it has been so, if that is news.
    pub lasted: Duration,
    /// How long it counts if it is not said again.
    pub counts_for: Duration,
}

impl Notice<'_> {
    /// Says it.
    ///
    /// # Errors
    /// Postgres failed.
    pub async fn note(self, connection: &mut PgConnection) -> Result<(), Error> {
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
pub async fn is_over(connection: &mut PgConnection, topic: Topic, said_by: &str) -> Result<(), Error> {
    sqlx::query("delete from log.notices where topic = $1 and said_by = $2")
        .bind(topic.name())
        .bind(said_by)
        .execute(connection)
        .await
        .map_err(|error| Error::database("telling the others", error))?;
    Ok(())
}

/// What all workers say now, a line each, by the codes of `holdfast diagnose`: for whoever asks the probes of one of them.
///
/// # Errors
/// Postgres failed.
pub(crate) async fn lines(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let query =
        "select topic, said_by from log.notices where valid_until > clock_timestamp() order by topic, said_by limit 20";
    let said: Vec<(String, String)> = sqlx::query_as(query).fetch_all(connection).await?;
    let line = |(topic, said_by): (String, String)| {
        let topic = Topic::parse(&topic)?;
        Some(format!("{} {} {said_by}", topic.code(), topic.severity()))
    };
    Ok(said.into_iter().filter_map(line).collect())
}
