//! What an operator does that no message does: dead letters are handled again or set aside, consumers stand still for a while, and sessions that
//! hold the log up are ended. Each is noted with who does it and why, in the transaction that does it. The command and the gateway only ask
//! for it and say what came of it.

use std::fmt;

use runtime::log::acts::Act;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

pub mod letters;
pub mod pause;
pub mod redrive;
pub mod set_aside;
pub mod unblock;
pub mod would;

/// Who does something, and why.
#[derive(Debug, Clone, Default)]
pub struct Why {
    /// Why, for whoever reads it later. `None`: it is only said what would be done.
    pub reason: Option<String>,
    /// As whoever acts calls himself. The role of the database is noted in any case.
    pub actor: Option<String>,
    /// The request that asks for it, where the same may come again: what it has done is then told once more, and not refused.
    pub request: Option<Request>,
}

/// A request that may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is known by, for ever.
    pub id: Uuid,
    /// What it asks for, or a digest of that.
    pub asked: String,
}

impl Request {
    /// What the request of this id has asked for, if it has done anything.
    ///
    /// # Errors
    /// Postgres failed, or the role may not act.
    pub async fn asked_before(&self, connection: &mut PgConnection) -> Result<Option<String>> {
        let query = "select said ->> 'asked' from log.acts where said ? 'request' and said ->> 'request' = $1 limit 1";
        Ok(sqlx::query_scalar(query).bind(self.id.to_string()).fetch_optional(connection).await?.flatten())
    }
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It would be done: nothing is.
    Due,
    /// Nothing is done, for it cannot be.
    Refused,
    /// It was tried in vain.
    Failed,
    /// The letter is handled again, or on its way.
    Redriven,
    /// The letter is over, and nobody sends it again.
    SetAside,
    /// The consumer stands still.
    Paused,
    /// The consumer goes on.
    Resumed,
    /// The session is over.
    Ended,
}

impl Outcome {
    /// In one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Redriven => "redriven",
            Self::SetAside => "set_aside",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Ended => "ended",
        }
    }
}

/// Why nothing was done at all.
#[derive(Debug)]
pub enum Failure {
    /// What is asked for cannot be: the caller has to ask for something else.
    Wrong(String),
    /// It could not be done.
    Failed(anyhow::Error),
}

impl Failure {
    /// Whether the role of the database may not do it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        let database = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
        let code = database.and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
        code.as_deref() == Some("42501")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(words) => formatter.write_str(words),
            Self::Failed(error) => write!(formatter, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What was done, or why nothing was.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Why {
    /// Notes an act, and gives its number.
    async fn note(
        &self,
        connection: &mut PgConnection,
        verb: &str,
        (target, stream): (&str, Option<&str>),
        (reason, mut said): (&str, Value),
    ) -> Result<i64> {
        if let (Some(Request { id, asked }), Some(said)) = (&self.request, said.as_object_mut()) {
            said.extend([("request".to_owned(), json!(id)), ("asked".to_owned(), json!(asked))]);
        }
        let act = Act { verb, target, stream, reason, actor: self.actor.as_deref(), said };
        Ok(act.note(connection).await?)
    }

    /// The letters that this very request has acted on before.
    async fn letters_before(&self, connection: &mut PgConnection) -> Result<Vec<String>> {
        let Some(request) = &self.request else { return Ok(Vec::new()) };
        let query = "select said ->> 'letter' from log.acts where said ? 'request' and said ->> 'request' = $1 and said ? 'letter'
            group by 1 order by min(id)";
        Ok(sqlx::query_scalar(query).bind(request.id.to_string()).fetch_all(connection).await?)
    }

    /// Whether this very request has done this before.
    async fn has_done(&self, connection: &mut PgConnection, verb: &str, target: &str) -> Result<bool> {
        let Some(request) = &self.request else { return Ok(false) };
        let query = "select exists (select from log.acts where said ? 'request' and said ->> 'request' = $1
            and verb = $2 and target = $3)";
        let has_done = sqlx::query_scalar(query)
            .bind(request.id.to_string())
            .bind(verb)
            .bind(target)
            .fetch_one(connection)
            .await?;
        Ok(has_done)
    }
}

/// A way to the broker, for whoever has a command to send.
pub trait Broker: Send {
    /// The client, once there is a command to send.
    fn client(&mut self) -> impl Future<Output = anyhow::Result<&platform::client::CommandClient>> + Send;
}

impl Broker for &platform::client::CommandClient {
    async fn client(&mut self) -> anyhow::Result<&platform::client::CommandClient> {
        Ok(self)
    }
}
