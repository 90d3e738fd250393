//! Who did what: every event that names an actor, every command that was refused to one, every recovery of the log, every rebuild of rows and
//! every act of an operator that has no event of its own.

use anyhow::{Context, Result};
use domain::{GlobalPosition, Timestamp};
use proto::{JsonMessage, Name, common::v1::CommandRejected, orders::v1::OrderPlaced};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::{Answer, Evidence, text};
use crate::{
    archive::LogAt,
    replay::{
        At,
        fold::LogEvent,
        prefix::{End, Log},
    },
};

/// Which actions.
#[derive(Debug, Clone, Default)]
pub struct Period {
    /// Behind this moment. `None`: from the beginning of the log.
    pub after: Option<At>,
    /// Up to this one. `None`: to the end of the log.
    pub to: Option<At>,
    /// Of this actor only.
    pub actor: Option<String>,
    /// Orders that were placed, too.
    pub with_orders: bool,
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Where it stands in the log. Of a recovery, a rebuild and an act without an event: where the log ended before it.
    pub position: GlobalPosition,
    /// When, by the clock of the worker or of Postgres.
    pub recorded_at: String,
    /// Who: `token:NAME` and `jwt:NAME` have proved it to the gateway; any other text is what whoever sent the command has said.
    /// `None`: the log does not say, for the command was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The type of the event, without its package; of a refused command, that of the command; or `Recovery`, or `Rebuild`; or the verb of an act.
    pub what: String,
    /// The stream that it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Why, in the words of whoever did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it was refused: a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// All that the event says.
    pub said: Value,
}

/// Tells what people and programs did, in order. Traffic may run.
///
/// # Errors
/// The database is away, a moment is beyond the log or before it, or an event cannot be read: all name what it is.
pub async fn actions(at: impl Into<LogAt<'_>>, period: &Period) -> Result<Answer<Action>> {
    let mut log = Log::open(at, None).await?;
    let database = log.database().await?;
    let end = log.end(period.to.as_ref(), &|_progress| ()).await?;
    let after = match &period.after {
        Some(after) => log.end(Some(after), &|_progress| ()).await?.up_to,
        None => GlobalPosition::default(),
    };
    let mut rows = Vec::new();
    for row in log.of_types(&types_with_an_actor(period.with_orders), (after, end.up_to)).await? {
        rows.extend(action(&LogEvent::of(&row))?);
    }
    rows.extend(beside_the_log(&mut log, (after, &end)).await?);
    log.close().await?;
    rows.retain(|action| period.actor.is_none() || action.actor == period.actor);
    rows.sort_by_key(|action| action.position);
    let evidence = Evidence::new(command(period), database, end.cut(), rows.len());
    Ok(Answer { evidence, rows })
}

/// Events that can name an actor, and refusals.
fn types_with_an_actor(with_orders: bool) -> Vec<String> {
    let mut types = proto::message_types();
    types.retain(|message_type| has_actor(message_type) && (with_orders || *message_type != OrderPlaced::full_name()));
    types.push(CommandRejected::full_name());
    types
}

fn has_actor(message_type: &str) -> bool {
    JsonMessage::read(message_type, b"{}").is_ok_and(|message| message.text("actor").is_some())
}

fn action(event: &LogEvent<'_>) -> Result<Option<Action>> {
    let said = event.said()?;
    let (actor, what, refused) = if event.message_type == CommandRejected::full_name() {
        // Of buyers' orders there is nobody to name.
        let command =
            text(&said, "commandType").filter(|command| has_actor(command) && !command.ends_with(".PlaceOrder"));
        let Some(command) = command else { return Ok(None) };
        (None, command, said.get("rejection").and_then(|rejection| text(rejection, "code")))
    } else {
        let Some(actor) = text(&said, "actor") else { return Ok(None) };
        (Some(actor), event.message_type.to_owned(), None)
    };
    Ok(Some(Action {
        position: event.position,
        recorded_at: event.recorded_at.to_string(),
        actor,
        what: proto::short_name(&what).to_owned(),
        stream: Some(event.stream.to_owned()),
        reason: text(&said, "note").or_else(|| text(&said, "reason")),
        refused,
        said,
    }))
}

/// What was done to the log after the database had gone back, to rows that were not what it says, and by operators beside it.
async fn beside_the_log(log: &mut Log, (after, end): (GlobalPosition, &End)) -> Result<Vec<Action>> {
    let query = "select log_ended, recovered_at, 'database role ' || done_by, 'Recovery', null, reason,
                jsonb_build_object('epoch', epoch, 'adopted', adopted, 'givenUp', given_up)
            from log.recoveries where log_ended > $1 and log_ended <= $2
        union all select position, rebuilt_at, 'database role ' || done_by, 'Rebuild', null, reason,
                jsonb_build_object('rebuildId', id, 'kind', kind)
            from log.rebuilds where position > $1 and position <= $2
        union all select log_ended, acted_at, coalesce(actor, 'database role ' || done_by), verb, stream, reason,
                said || jsonb_build_object('actId', id, 'target', target, 'doneBy', done_by)
            from log.acts where log_ended > $1 and log_ended <= $2
        order by 2";
    let found: Vec<Beside> = sqlx::query_as(query)
        .bind(after.get())
        .bind(end.up_to.get())
        .fetch_all(log.connection())
        .await
        .context("reading log.recoveries, log.rebuilds and log.acts")?;
    let action = |(position, at, actor, what, stream, reason, said): Beside| Action {
        position: GlobalPosition::new(position),
        recorded_at: Timestamp::from(at).to_string(),
        actor: Some(actor),
        what,
        stream,
        reason: Some(reason),
        refused: None,
        said,
    };
    Ok(found.into_iter().map(action).collect())
}

/// A row of what was done beside the log: position, time, actor, what, stream, reason, and what else is known.
type Beside = (i64, OffsetDateTime, String, String, Option<String>, String, Value);

fn command(period: &Period) -> String {
    let Period { after, to, actor, with_orders } = period;
    let moment = |name: &str, at: &Option<At>| at.as_ref().map(|at| format!(" --{name} {at}")).unwrap_or_default();
    let actor = actor.as_ref().map(|actor| format!(" --actor {actor:?}")).unwrap_or_default();
    let with_orders = if *with_orders { " --with-orders" } else { "" };
    format!("holdfast actions{}{}{actor}{with_orders}", moment("after", after), moment("to", to))
}
