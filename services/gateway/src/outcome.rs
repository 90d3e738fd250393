//! What came of a command: what its worker said, and how that is shown.

use std::{collections::BTreeMap, time::Duration};

use platform::client::{Answer, Outgoing, Sent};
use proto::common::v1::{Accepted, CommandReply, Rejection, command_reply::Outcome};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Gateway, problem::Problem};

/// What a worker said: yes, or no.
///
/// # Errors
/// Neither, which is a defect.
pub(crate) fn said(reply: CommandReply) -> Result<Result<Accepted, Rejection>, Problem> {
    match reply.outcome {
        Some(Outcome::Accepted(accepted)) => Ok(Ok(accepted)),
        Some(Outcome::Rejected(rejection)) => Ok(Err(rejection)),
        None => Err(Problem::own("INTERNAL", "the worker's answer says neither yes nor no")),
    }
}

/// Sends a command of the gateway's own making, and waits for what its worker says.
///
/// # Errors
/// It has said nothing by then, or what cannot be.
pub(crate) async fn hear(
    gateway: &Gateway,
    command: &Outgoing<'_>,
    within: Duration,
) -> Result<Result<Accepted, Rejection>, Problem> {
    said(hear_answer(gateway, command, within).await?.reply)
}

/// The same, with the answer as it came.
///
/// # Errors
/// There is none by then.
pub(crate) async fn hear_answer(
    gateway: &Gateway,
    command: &Outgoing<'_>,
    within: Duration,
) -> Result<Answer, Problem> {
    match gateway.client.send_within(command, within).await {
        Sent::Answered(answer) => Ok(answer),
        Sent::Unanswered | Sent::Undelivered => {
            Err(Problem::own("NOT_COMMITTED", "its worker has not answered: send the same again"))
        }
    }
}

/// What came of a command.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct CommandOutcome {
    pub(crate) command_id: Uuid,
    /// accepted, rejected, or pending: its worker has not come to it yet.
    pub(crate) outcome: &'static str,
    /// Of an accepted one, the types of the events that it caused. None: it was true already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<Vec<String>>,
    /// Of an accepted one, the event stream that it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    /// That stream's version after it: a number of 64 bits, as a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// Of a rejected one, why: a word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    /// And a sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) handled_at: Option<String>,
    /// The id of what it made: `order_id`, `refund_id` or `round_id`.
    #[serde(flatten)]
    pub(crate) made: BTreeMap<&'static str, String>,
}

impl CommandOutcome {
    pub(crate) fn accepted(command_id: Uuid, accepted: &Accepted) -> Self {
        Self {
            command_id,
            outcome: "accepted",
            events: Some(accepted.events.clone()),
            stream: Some(accepted.stream.clone()),
            version: Some(accepted.version.to_string()),
            ..Self::default()
        }
    }

    pub(crate) fn pending(command_id: Uuid) -> Self {
        Self { command_id, outcome: "pending", ..Self::default() }
    }

    pub(crate) fn rejected(command_id: Uuid, rejection: Rejection) -> Self {
        let (code, reason) = (Some(rejection.code), Some(rejection.reason));
        Self { command_id, outcome: "rejected", code, reason, ..Self::default() }
    }
}
