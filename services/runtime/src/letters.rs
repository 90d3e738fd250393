//! Dead letters for whoever decides about them: what is left to decide, how a letter comes to be handled again, and what is written when it does.
//!
//! A letter is kept for ever, and is over once it is settled. What is sent again goes the way that it came, under its own id: a command to the
//! service's stream, an event by the relay and out of the log, and what is owed by being due at once.
//!
//! Why it is so: services/runtime/README.md#a-letter-of-an-event-comes-again-out-of-the-log

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use domain::{GlobalPosition, Timestamp};
use platform::message::{header, plain_text};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    batch::foresee::{self, Foreseen},
    inbound::message::{Attributes, to_protobuf},
    service::Service,
};

/// A message that could not be handled.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Whose it is.
    pub service: &'static str,
    /// Its number among those of the service.
    pub id: i64,
    /// What it came on: `cmd.SERVICE.NAME` or `evt.SERVICE.NAME` of the broker, `timer.…`, `effect.…`.
    pub subject: String,
    /// Its headers, each as text.
    pub headers: Value,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Why it could not be handled: a code,
    pub code: String,
    /// and in words.
    pub reason: String,
    /// When it was given up.
    pub received_at: Timestamp,
    /// What was done about it last.
    pub act_id: Option<i64>,
    /// When that was done with. `None`: it is open.
    pub settled_at: Option<Timestamp>,
}

/// How a letter comes to be handled again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is sent, under its id.
    Command {
        /// Its id.
        id: Uuid,
        /// Full type name.
        message_type: &'static str,
        /// Protobuf bytes.
        data: Vec<u8>,
        /// What all events of its story share.
        correlation_id: Option<Uuid>,
    },
    /// The relay publishes it out of the log.
    Event {
        /// Where it is there.
        position: GlobalPosition,
        /// Its id.
        id: Uuid,
        /// Full type name.
        message_type: String,
    },
    /// It is due now.
    Timer {
        /// Of this stream.
        stream: String,
    },
    /// The call is made now.
    Call {
        /// Its key.
        key: String,
    },
}

macro_rules! columns {
    () => {
        "id, subject, headers, payload, code, reason, received_at, act_id, settled_at"
    };
}

impl Letter {
    /// Its name: `inventory-41`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.service, self.id)
    }

    /// How it comes to be handled again, given all commands that there are.
    ///
    /// # Errors
    /// It never will, and why.
    pub fn way(&self, commands: &[&'static str]) -> Result<Way, String> {
        let Self { service, subject, .. } = self;
        if let Some(stream) = subject.strip_prefix(&format!("timer.{service}.")) {
            return Ok(Way::Timer { stream: stream.to_owned() });
        }
        if let Some(name) = subject.strip_prefix("effect.") {
            let key = self.headers.get("key").and_then(Value::as_str).unwrap_or(name);
            return Ok(Way::Call { key: key.to_owned() });
        }
        let headers = self.headers();
        let attributes = Attributes::read(Some(&headers));
        let broken = |rejection: domain::Rejection| format!("{}: {}", rejection.code, rejection.reason);
        if subject.starts_with("evt.") {
            let position = headers.get(header::POSITION).and_then(|value| value.as_str().parse().ok());
            let position = position.ok_or("it has no position in the log, so no worker has sent it")?;
            let message_type = attributes.message_type.map_err(broken)?.ok_or("it has no ce-type")?;
            return Ok(Way::Event {
                position: GlobalPosition::new(position),
                id: attributes.id.map_err(broken)?,
                message_type,
            });
        }
        let name = subject.rsplit('.').next().unwrap_or_default();
        let known =
            commands.iter().find(|full| proto::short_name(full) == name && proto::owner(full) == Some(*service));
        let message_type = *known.ok_or_else(|| format!("{service} takes no command {name}"))?;
        let content = attributes.content.map_err(broken)?;
        Ok(Way::Command {
            id: attributes.id.map_err(broken)?,
            message_type,
            data: to_protobuf(message_type, content, &self.payload).map_err(broken)?,
            correlation_id: attributes.correlation_id.map_err(broken)?,
        })
    }

    /// The event stream that it is about, if its headers say so.
    #[must_use]
    pub fn stream(&self) -> Option<String> {
        plain_text(self.headers().get(header::SUBJECT)?.as_str())
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers.as_object().into_iter().flatten() {
            let value = value.as_str().and_then(|value| HeaderValue::from_str(value).ok());
            if let (Ok(name), Some(value)) = (HeaderName::from_str(name), value) {
                headers.insert(name, value);
            }
        }
        headers
    }

    fn read(service: &'static str, row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            service,
            id: row.try_get(0)?,
            subject: row.try_get(1)?,
            headers: row.try_get(2)?,
            payload: row.try_get(3)?,
            code: row.try_get(4)?,
            reason: row.try_get(5)?,
            received_at: row.try_get::<OffsetDateTime, _>(6)?.into(),
            act_id: row.try_get(7)?,
            settled_at: row.try_get::<Option<OffsetDateTime>, _>(8)?.map(Timestamp::from),
        })
    }

    /// Notes what is being done about it.
    ///
    /// # Errors
    /// Postgres failed.
    pub async fn is_acted_on(&self, connection: &mut PgConnection, act_id: i64) -> Result<(), sqlx::Error> {
        let query = format!("update {}.dead_letters set act_id = $2 where id = $1", self.service);
        sqlx::query(AssertSqlSafe(query)).bind(self.id).bind(act_id).execute(connection).await?;
        Ok(())
    }

    /// Notes that this is done.
    ///
    /// # Errors
    /// Postgres failed.
    pub async fn is_settled(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let query = format!("update {}.dead_letters set settled_at = clock_timestamp() where id = $1", self.service);
        sqlx::query(AssertSqlSafe(query)).bind(self.id).execute(connection).await?;
        Ok(())
    }
}

/// The open letters of a service, all or those with a code, the oldest first.
///
/// # Errors
/// Postgres failed.
pub async fn open(
    connection: &mut PgConnection,
    service: &'static str,
    code: Option<&str>,
    limit: i64,
) -> Result<Vec<Letter>, sqlx::Error> {
    let query = format!(
        concat!(
            "select ",
            columns!(),
            " from {}.dead_letters where settled_at is null and ($1::text is null or code = $1) order by id limit $2"
        ),
        service
    );
    let rows = sqlx::query(AssertSqlSafe(query)).bind(code).bind(limit).fetch_all(connection).await?;
    rows.iter().map(|row| Letter::read(service, row)).collect()
}

/// A letter, which nobody else decides about until the transaction ends.
///
/// # Errors
/// Postgres failed.
pub async fn lock(
    connection: &mut PgConnection,
    service: &'static str,
    id: i64,
) -> Result<Option<Letter>, sqlx::Error> {
    let query = format!(concat!("select ", columns!(), " from {}.dead_letters where id = $1 for update"), service);
    let row = sqlx::query(AssertSqlSafe(query)).bind(id).fetch_optional(connection).await?;
    row.map(|row| Letter::read(service, &row)).transpose()
}

/// A letter as it is.
///
/// # Errors
/// Postgres failed.
pub async fn find(
    connection: &mut PgConnection,
    service: &'static str,
    id: i64,
) -> Result<Option<Letter>, sqlx::Error> {
    let query = format!(concat!("select ", columns!(), " from {}.dead_letters where id = $1"), service);
    let row = sqlx::query(AssertSqlSafe(query)).bind(id).fetch_optional(connection).await?;
    row.map(|row| Letter::read(service, &row)).transpose()
}

/// What a letter would do now. `None`: of a call that only its callee can say.
///
/// # Errors
/// Postgres failed.
pub async fn foresee<S: Service>(
    connection: &mut PgConnection,
    letter: &Letter,
    way: &Way,
) -> Result<Option<Foreseen>, sqlx::Error> {
    match way {
        Way::Command { id, message_type, data, .. } => {
            foresee::command::<S>(connection, (*id, message_type, data)).await.map(Some)
        }
        Way::Event { id, message_type, .. } => {
            foresee::event::<S>(connection, (*id, message_type, &letter.payload)).await.map(Some)
        }
        Way::Timer { stream } => foresee::timer::<S>(connection, stream).await.map(Some),
        Way::Call { .. } => Ok(None),
    }
}

/// What a command was answered: the bytes of a `CommandReply`.
///
/// # Errors
/// Postgres failed.
pub async fn answer(connection: &mut PgConnection, service: &str, id: Uuid) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let query = format!("select reply from {service}.inbox where command_id = $1");
    sqlx::query_scalar(AssertSqlSafe(query)).bind(id).fetch_optional(connection).await
}

/// Takes an answer back, so that the command is handled when it comes again.
///
/// # Errors
/// Postgres failed.
pub async fn take_back_answer(
    connection: &mut PgConnection,
    service: &str,
    (id, answer): (Uuid, &[u8]),
) -> Result<(), sqlx::Error> {
    let query = format!("delete from {service}.inbox where command_id = $1 and reply = $2");
    sqlx::query(AssertSqlSafe(query)).bind(id).bind(answer).execute(connection).await?;
    Ok(())
}

/// Whether the log has this very event.
///
/// # Errors
/// Postgres failed.
pub async fn is_in_log(
    connection: &mut PgConnection,
    (position, id): (GlobalPosition, Uuid),
    data: &[u8],
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from log.events where position = $1 and event_id = $2 and data = $3)")
        .bind(position.get())
        .bind(id)
        .bind(data)
        .fetch_one(connection)
        .await
}

/// Has the relay publish an event again, once, whoever else asks for it.
///
/// # Errors
/// Postgres failed.
pub async fn publish_again(
    connection: &mut PgConnection,
    position: GlobalPosition,
    act_id: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into log.asked_again (position, act_id) values ($1, $2) on conflict do nothing")
        .bind(position.get())
        .bind(act_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Has a timer be due now that was put off. Whether there is one.
///
/// # Errors
/// Postgres failed.
pub async fn timer_is_due(connection: &mut PgConnection, service: &str, stream: &str) -> Result<bool, sqlx::Error> {
    let query = format!("update {service}.timers set due_at = clock_timestamp() where stream = $1");
    let due = sqlx::query(AssertSqlSafe(query)).bind(stream).execute(connection).await?;
    Ok(due.rows_affected() > 0)
}

/// Has a call be made now that was put off for longer than anybody holds a lease of it. Whether there is one.
///
/// # Errors
/// Postgres failed.
pub async fn call_is_due(connection: &mut PgConnection, service: &str, key: &str) -> Result<bool, sqlx::Error> {
    let query = format!(
        "update {service}.effects set due_at = clock_timestamp()
         where key = $1 and due_at > clock_timestamp() + interval '1 minute'"
    );
    let due = sqlx::query(AssertSqlSafe(query)).bind(key).execute(connection).await?;
    Ok(due.rows_affected() > 0)
}
