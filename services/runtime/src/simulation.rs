//! A batch without its surroundings: what a worker reads, decides and would write, for a simulation that brings its own store,
//! broker and clock, and for whoever wants to know what bytes do to it. The code that reads and decides is the one that runs.

use std::collections::BTreeMap;

use domain::{Effect, GlobalPosition, Memory, Rejection, Timer, Timestamp};
use platform::error::Error;
use proto::{Message, common::v1::CommandReply};
use uuid::Uuid;

use crate::{
    batch::{
        commit::decide_from_memory,
        draft::{Answered, Draft, draft},
    },
    inbound::{
        input::{self, Cause, Input, InputKind, Origin, RawInput},
        message::headers_as_json,
        quarantine,
    },
    log::{event_store::StoredEvent, recovery},
    service::Service,
};
pub use crate::{
    log::gap::GapTracker,
    outbound::publish::{PublishReport, StreamMarker},
    relay::{Checkpoint, RelayState},
};

/// A message from the broker as a worker understands it.
#[derive(Debug)]
pub struct Understood<C> {
    /// Its id, or one that follows from what it says.
    pub id: Uuid,
    /// What all events of its story share.
    pub correlation_id: Uuid,
    /// Trace context that is carried along.
    pub traceparent: Option<String>,
    /// The subject on which its sender waits for an answer.
    pub reply_to: Option<String>,
    /// Its headers as a dead letter would keep them.
    pub headers: serde_json::Value,
    /// What is to be done about it, or why nothing can be.
    pub commands: Result<Vec<C>, Rejection>,
}

/// Reads a message from the broker, whatever it is made of.
#[must_use]
pub fn understand<S: Service>(message: &async_nats::Message, bytes_max: usize) -> Understood<S::Command> {
    let (cause, work, reply_to) = input::parse_message::<S>(message, bytes_max);
    let commands = match work {
        InputKind::Command { command, .. } => command.map(|command| vec![command]),
        InputKind::Outcome { command, .. } => Ok(vec![command]),
        InputKind::Reaction { commands } => Ok(commands),
        InputKind::Unreadable { rejection } => Err(rejection),
    };
    Understood {
        id: cause.id,
        correlation_id: cause.correlation_id,
        traceparent: cause.traceparent,
        reply_to: reply_to.map(|to| to.subject),
        headers: headers_as_json(message.headers.as_ref()),
        commands,
    }
}

/// Whether a client reads such headers. A message with others would cost every worker its connection, so it is set aside unread.
#[must_use]
pub fn has_readable_headers(headers: &[u8]) -> bool {
    quarantine::is_readable(headers)
}

/// Something for a service to do.
#[derive(Debug)]
pub enum TestInput<'a, C> {
    /// A command from outside.
    Command {
        /// Its id.
        id: Uuid,
        /// Full type name.
        message_type: &'a str,
        /// Protobuf bytes.
        data: &'a [u8],
    },
    /// Another service's event.
    Event {
        /// Its id.
        id: Uuid,
        /// What all events of the story share.
        correlation_id: Uuid,
        /// Full type name.
        message_type: &'a str,
        /// Protobuf bytes.
        data: &'a [u8],
    },
    /// A due timer.
    Timer {
        /// Of this stream.
        stream: &'a str,
        /// Due since then.
        due_at: Timestamp,
    },
    /// How an outside call ended.
    Outcome {
        /// Its key.
        key: String,
        /// Which try it was.
        attempt: u32,
        /// What all events of its story share.
        correlation_id: Uuid,
        /// What is to be recorded.
        command: C,
    },
}

/// Answers that a service has given, by command.
#[derive(Debug, Default, Clone)]
pub struct Inbox(BTreeMap<Uuid, Answered>);

impl Inbox {
    /// What the sender of a command hears.
    #[must_use]
    pub fn reply(&self, id: Uuid) -> Option<CommandReply> {
        CommandReply::decode(self.0.get(&id)?.reply.as_slice()).ok()
    }

    /// Takes in answers that were given without a look at what was answered before; whether none was.
    pub fn take_in(&mut self, new: Self) -> bool {
        let is_new = new.0.keys().all(|id| !self.0.contains_key(id));
        if is_new {
            self.0.extend(new.0);
        }
        is_new
    }
}

/// What one transaction writes.
#[derive(Debug)]
pub struct Batch {
    /// Its events, in order. Their positions are drawn by whoever keeps the log.
    pub events: Vec<StoredEvent>,
    /// What becomes of timers, by stream.
    pub timers: BTreeMap<String, Timer>,
    /// Outside calls to be made, each with what all events of its story share.
    pub effects: Vec<(Effect, Uuid)>,
    /// Keys of outside calls that are over.
    pub effects_done: Vec<String>,
    /// Why messages could not be handled.
    pub dead_letters: Vec<Rejection>,
}

/// Decides these, in order, in this state, and takes what they cause into state and inbox.
///
/// # Errors
/// Which of them broke an invariant, and how. State and inbox are no longer good for anything then.
pub fn batch<S: Service>(
    state: &mut S::State,
    inbox: &mut Inbox,
    inputs: Vec<TestInput<'_, S::Command>>,
    at: Timestamp,
) -> Result<Batch, (usize, Rejection)> {
    let inputs: Vec<_> = inputs.into_iter().map(read::<S>).collect();
    let draft = draft::<S>(state, &inputs, &inbox.0, at).map_err(|poison| (poison.input, poison.rejection))?;
    Ok(written(draft, inbox, at))
}

/// Decides these in rows that are remembered, without a look at what was answered before. `None`: the rows have to be read.
pub fn batch_from_memory<S: Service>(
    memory: &mut Memory<S::State>,
    inbox: &mut Inbox,
    inputs: Vec<TestInput<'_, S::Command>>,
    at: Timestamp,
) -> Option<Batch> {
    let inputs: Vec<_> = inputs.into_iter().map(read::<S>).collect();
    let (_rows, draft) = decide_from_memory::<S>(memory, &inputs, at)?;
    Some(written(draft, inbox, at))
}

fn written(draft: Draft, inbox: &mut Inbox, at: Timestamp) -> Batch {
    inbox.0.extend(draft.answered);
    Batch {
        events: draft.events.into_iter().map(|event| event.recorded(GlobalPosition::default(), at)).collect(),
        timers: draft.timers,
        effects: draft.effects.into_iter().map(|(effect, cause)| (effect, cause.correlation_id)).collect(),
        effects_done: draft.effects_done,
        dead_letters: draft.dead_letters.into_iter().map(|letter| letter.rejection).collect(),
    }
}

/// What follows from events that a store had lost and took back.
#[derive(Debug)]
pub struct TakenBack {
    /// What becomes of timers, by stream.
    pub timers: BTreeMap<String, Timer>,
    /// Outside calls that may not have been made, each with what all events of its story share.
    pub effects: Vec<(Effect, Uuid)>,
}

/// Takes events back into state and inbox, in order of position.
///
/// # Errors
/// One of them does not fit its stream.
pub fn take_back<S: Service>(
    state: &mut S::State,
    inbox: &mut Inbox,
    events: &[&StoredEvent],
) -> Result<TakenBack, Error> {
    let back = recovery::take_back::<S>(state, events)?;
    for (command_id, answered, _) in recovery::answers(events) {
        inbox.0.entry(command_id).or_insert(answered);
    }
    Ok(TakenBack {
        timers: back.timers.into_iter().map(|(stream, timer)| (stream.to_owned(), timer)).collect(),
        effects: back.effects.into_iter().map(|(effect, event)| (effect, event.correlation_id)).collect(),
    })
}

fn read<S: Service>(input: TestInput<'_, S::Command>) -> Input<S::Command> {
    let (id, correlation_id, work) = match input {
        TestInput::Command { id, message_type, data } => {
            (id, id, input::decode_command_input::<S>(message_type, data, id))
        }
        TestInput::Event { id, correlation_id, message_type, data } => {
            (id, correlation_id, input::react_input::<S>(message_type, data))
        }
        TestInput::Timer { stream, due_at } => return input::timer::<S>(stream, due_at),
        TestInput::Outcome { key, attempt, correlation_id, command } => {
            let cause = Cause { id: correlation_id, correlation_id, traceparent: None };
            return input::outcome(key, attempt, cause, command);
        }
    };
    let letter = RawInput { subject: String::new(), headers: serde_json::Value::Null, payload: bytes::Bytes::new() };
    let cause = Cause { id, correlation_id, traceparent: None };
    Input { cause, work, origin: Origin::Local(letter), reply_to: None }
}
