//! Inputs: one message, timer or outcome of an outside call each, read into what the service is to do about it.

use std::{fmt::Debug, panic::catch_unwind};

use async_nats::jetstream;
use domain::{Rejection, Timestamp, is_unknown_type};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    inbound::message::{Attributes, Content, headers_as_json, to_protobuf, without_nul},
    log::{
        identity::{call_id, message_id, timer_id, timer_story},
        lineage::Lineage,
    },
    service::Service,
};

/// The code of bytes that are no message.
const UNDECODABLE: &str = "UNDECODABLE";

/// The code of a command with a field that the contract does not have.
const UNKNOWN_FIELD: &str = "UNKNOWN_FIELD";

/// What caused the events of an input, carried along into them.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) traceparent: Option<String>,
}

/// One thing to do, whole or not at all.
#[derive(Debug)]
pub(crate) struct Input<C> {
    pub(crate) cause: Cause,
    pub(crate) work: InputKind<C>,
    pub(crate) origin: Origin,
    pub(crate) reply_to: Option<ReplyTo>,
}

/// Where an input came from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// From the broker: to be acknowledged once the input is committed.
    Message(Box<jetstream::Message>),
    /// From this process: all that there is to keep.
    Local(RawInput),
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum InputKind<C> {
    /// A command from outside, answered for ever by its id.
    Command { message_type: String, body_hash: Vec<u8>, command: Result<C, Rejection> },
    /// What the policy makes of another service's event, or what a due timer asks for.
    Reaction { commands: Vec<C> },
    /// How an outside call ended.
    Outcome { key: String, command: C },
    /// Nothing can be made of it.
    Unreadable { rejection: Rejection },
}

/// A message as it came, to be kept if it cannot be handled.
#[derive(Debug, Clone)]
pub(crate) struct RawInput {
    pub(crate) subject: String,
    pub(crate) headers: serde_json::Value,
    pub(crate) payload: bytes::Bytes,
}

/// Where the sender of a command waits for its answer.
#[derive(Debug, Clone)]
pub(crate) struct ReplyTo {
    pub(crate) subject: String,
    pub(crate) json: bool,
    pub(crate) command_id: String,
}

impl<C> Input<C> {
    /// Why this release leaves it to workers of a newer one: it is an event of a type that it does not know.
    pub(crate) fn left_to_newer(&self) -> Option<&Rejection> {
        let InputKind::Unreadable { rejection } = &self.work else { return None };
        (matches!(self.origin, Origin::Message(_)) && is_unknown_type(rejection)).then_some(rejection)
    }

    /// What is kept of it if it cannot be handled.
    pub(crate) fn raw(&self) -> RawInput {
        match &self.origin {
            Origin::Message(message) => RawInput {
                subject: message.subject.to_string(),
                headers: headers_as_json(message.headers.as_ref()),
                payload: message.payload.clone(),
            },
            Origin::Local(letter) => letter.clone(),
        }
    }

    pub(crate) fn commands(&self) -> &[C] {
        match &self.work {
            InputKind::Command { command: Ok(command), .. } | InputKind::Outcome { command, .. } => {
                std::slice::from_ref(command)
            }
            InputKind::Reaction { commands } => commands,
            InputKind::Command { command: Err(_), .. } | InputKind::Unreadable { .. } => &[],
        }
    }
}

/// Reads a message from the broker.
pub(crate) fn read<S: Service>(
    service: &S,
    message: jetstream::Message,
    bytes_max: usize,
    lineage: &Lineage,
) -> Input<S::Command> {
    let (cause, work, reply_to) = parse_message::<S>(&message, bytes_max);
    let work = admitted(service, work);
    // Of what the log has given up nothing follows any more.
    let is_given_up = message.headers.as_ref().is_some_and(|headers| lineage.has_given_up(headers));
    let work = if is_given_up { InputKind::Reaction { commands: Vec::new() } } else { work };
    Input { cause, work, origin: Origin::Message(Box::new(message)), reply_to }
}

/// The same, unless the settings of this process make more of a command, or nothing.
fn admitted<S: Service>(service: &S, work: InputKind<S::Command>) -> InputKind<S::Command> {
    match work {
        InputKind::Command { message_type, body_hash, command } => {
            InputKind::Command { message_type, body_hash, command: command.and_then(|command| service.admit(command)) }
        }
        InputKind::Reaction { .. } | InputKind::Outcome { .. } | InputKind::Unreadable { .. } => work,
    }
}

/// What a message asks for, on account of what, and who waits for the answer.
pub(crate) fn parse_message<S: Service>(
    message: &async_nats::Message,
    bytes_max: usize,
) -> (Cause, InputKind<S::Command>, Option<ReplyTo>) {
    let attributes = Attributes::read(message.headers.as_ref());
    let subject = message.subject.as_str();
    let is_command = subject.starts_with("cmd.");
    let reply_to = attributes.reply_to.clone().ok().flatten().filter(|_| is_command).map(|reply| ReplyTo {
        subject: reply,
        json: attributes.is_answered_in_json(&message.payload),
        command_id: attributes.id.as_ref().map(Uuid::to_string).unwrap_or_default(),
    });
    let id = attributes.id.as_ref().map_or_else(|_none| message_id(subject, &message.payload), |id| *id);
    let cause = Cause {
        id,
        correlation_id: attributes.correlation_id.as_ref().ok().copied().flatten().unwrap_or(id),
        traceparent: attributes.traceparent.clone().ok().flatten(),
    };
    let payload = &message.payload;
    // What panics over one message must not take the process and all other messages with it.
    let read = catch_unwind(|| match is_command {
        true => command::<S>(&attributes, subject, payload, bytes_max),
        false => reaction::<S>(&attributes, subject, payload),
    });
    let work = read.unwrap_or_else(|_panic| unread(is_command && attributes.id.is_ok(), subject, payload));
    (cause, work, reply_to)
}

/// What is left of a message over which reading panicked. A command that has an id is refused for ever all the same.
fn unread<C>(is_named: bool, subject: &str, payload: &[u8]) -> InputKind<C> {
    let reason = "reading it panicked, which is a defect; the worker's log says where";
    let rejection = Rejection::new("NOT_HANDLED", reason);
    match is_named {
        true => InputKind::Command {
            message_type: subject.to_owned(),
            body_hash: hash(subject, payload),
            command: Err(rejection),
        },
        false => InputKind::Unreadable { rejection },
    }
}

fn command<S: Service>(
    attributes: &Attributes,
    subject: &str,
    payload: &[u8],
    bytes_max: usize,
) -> InputKind<S::Command> {
    let id = match (&attributes.reply_to, &attributes.id) {
        (Ok(_), Ok(id)) => *id,
        (Err(rejection), _) | (_, Err(rejection)) => return InputKind::Unreadable { rejection: rejection.clone() },
    };
    let name = subject.rsplit('.').next().unwrap_or_default();
    let known = S::COMMANDS.iter().find(|message_type| proto::short_name(message_type) == name);
    let read = || -> Result<(&'static str, Vec<u8>), Rejection> {
        let message_type = *known.ok_or_else(|| {
            Rejection::new(
                "UNKNOWN_COMMAND",
                format!("{} takes no command {name:.64}; it takes {}", S::NAME, short_names(S::COMMANDS)),
            )
        })?;
        let content = headers_fit(attributes, subject, message_type)?;
        if payload.len() > bytes_max {
            let reason = format!("the message has {} bytes; {bytes_max} is the most", payload.len());
            return Err(Rejection::new("MESSAGE_TOO_LARGE", reason));
        }
        Ok((message_type, to_protobuf(message_type, content, payload)?))
    };
    match read() {
        Ok((message_type, data)) => {
            let command = asked::<S>(message_type, &data, id);
            let command = command.map_err(|rejection| about_json(rejection, attributes, payload));
            InputKind::Command { command, body_hash: hash(message_type, &data), message_type: message_type.to_owned() }
        }
        Err(rejection) => InputKind::Command {
            message_type: known.map_or_else(|| subject.to_owned(), |message_type| (*message_type).to_owned()),
            body_hash: hash(subject, payload),
            command: Err(rejection),
        },
    }
}

/// What the payload is made of, if every other header can be used and speaks of this type.
fn headers_fit(attributes: &Attributes, subject: &str, message_type: &str) -> Result<Content, Rejection> {
    let content = attributes.content.clone()?;
    attributes.correlation_id.clone()?;
    attributes.traceparent.clone()?;
    match attributes.message_type.clone()?.filter(|claimed| claimed != message_type) {
        None => Ok(content),
        Some(claimed) => {
            let reason =
                format!("the header ce-type says {claimed:.128} but the subject {subject} is for {message_type}");
            Err(Rejection::new("TYPE_MISMATCH", reason))
        }
    }
}

/// Whoever sends JSON and does not say so would be told that it is no protobuf, and wonder.
fn about_json(rejection: Rejection, attributes: &Attributes, payload: &[u8]) -> Rejection {
    let is_unread = rejection.code == UNDECODABLE || rejection.code == UNKNOWN_FIELD;
    if !is_unread || !payload.starts_with(b"{") || attributes.content == Ok(Content::Json) {
        return rejection;
    }
    let reason =
        format!("{}; they begin like JSON: send content-type: application/json, and a new ce-id", rejection.reason);
    Rejection::new(UNDECODABLE, reason)
}

fn reaction<S: Service>(attributes: &Attributes, subject: &str, payload: &[u8]) -> InputKind<S::Command> {
    match &attributes.message_type {
        Ok(Some(message_type)) => react_input::<S>(message_type, payload),
        Ok(None) => {
            let reason = format!("the event on {subject} has no header ce-type");
            InputKind::Unreadable { rejection: Rejection::new("MISSING_TYPE", reason) }
        }
        Err(rejection) => InputKind::Unreadable { rejection: rejection.clone() },
    }
}

/// What a command that can be read asks for.
pub(crate) fn decode_command_input<S: Service>(message_type: &str, data: &[u8], id: Uuid) -> InputKind<S::Command> {
    InputKind::Command {
        command: asked::<S>(message_type, data, id),
        body_hash: hash(message_type, data),
        message_type: message_type.to_owned(),
    }
}

/// What a command asks for. A field that is passed over is a wish that is not heard: a price without its discount. Events are another
/// matter, for a worker must go on beside newer ones.
fn asked<S: Service>(message_type: &str, data: &[u8], id: Uuid) -> Result<S::Command, Rejection> {
    let command = S::decode_command(message_type, data, id);
    if command.as_ref().is_err_and(|rejection| rejection.code == UNDECODABLE) {
        return command;
    }
    match proto::unknown_field(message_type, data) {
        None => command,
        Some(proto::UnknownField { message_type, number }) => {
            let reason = format!(
                "{message_type} has no field {number} here: leave it out, or wait until this service knows it; nothing was done"
            );
            Err(Rejection::new(UNKNOWN_FIELD, reason))
        }
    }
}

/// What the policy makes of an event.
pub(crate) fn react_input<S: Service>(message_type: &str, data: &[u8]) -> InputKind<S::Command> {
    match S::react(message_type, data) {
        Ok(commands) => InputKind::Reaction { commands },
        Err(rejection) => InputKind::Unreadable { rejection },
    }
}

/// The input of a due timer.
pub(crate) fn timer<S: Service>(stream: &str, due_at: Timestamp) -> Input<S::Command> {
    let id = timer_id(S::NAME, stream, due_at);
    let commands: Vec<S::Command> = S::on_timer(stream).into_iter().collect();
    let letter = RawInput {
        subject: format!("timer.{}.{stream}", S::NAME),
        headers: serde_json::json!({ "due_at": due_at.to_string() }),
        payload: bytes::Bytes::new(),
    };
    let work = if commands.is_empty() {
        let reason = format!("{} has no use for a timer of {stream}", S::NAME);
        InputKind::Unreadable { rejection: Rejection::new("UNKNOWN_TIMER", reason) }
    } else {
        InputKind::Reaction { commands }
    };
    let cause = Cause { id, correlation_id: timer_story(stream, id), traceparent: None };
    Input { cause, work, origin: Origin::Local(letter), reply_to: None }
}

/// The input of an outside call that ended.
pub(crate) fn outcome<C: Debug>(key: String, attempt: u32, cause: Cause, command: C) -> Input<C> {
    let letter = RawInput {
        subject: format!("effect.{key}"),
        // An outcome has no message: these words are all that would be left of it.
        headers: serde_json::json!({ "attempt": attempt, "outcome": without_nul(&format!("{command:?}")) }),
        payload: bytes::Bytes::new(),
    };
    let cause = Cause { id: call_id(&key, attempt), ..cause };
    Input { cause, work: InputKind::Outcome { key, command }, origin: Origin::Local(letter), reply_to: None }
}

fn hash(message_type: &str, data: &[u8]) -> Vec<u8> {
    Sha256::new().chain_update(message_type).chain_update([0]).chain_update(data).finalize().to_vec()
}

fn short_names(message_types: &[&str]) -> String {
    message_types.iter().map(|name| proto::short_name(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
