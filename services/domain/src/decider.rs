//! What a service decides, without any IO: the one trait that specs, the simulator and an audit need of it.

use std::{collections::BTreeMap, fmt::Debug};

use serde::Serialize;
use uuid::Uuid;

use crate::{DecideError, HoldKey, Rejection, Rows, StreamVersion, Timestamp};

/// A service's decisions: which events a command causes, and what they make true. Pure: the same state, command and time give the same
/// events, so a log can be folded again by anybody.
pub trait Decider {
    /// Its name, which is also its schema, the prefix of its subjects (`cmd.<name>.…`) and of its durable consumers.
    const NAME: &'static str;

    /// Full type names of the commands it takes from outside: `holdfast.orders.v1.PlaceOrder`.
    const COMMANDS: &'static [&'static str];

    /// Full type names of the events of other services that it reacts to.
    const REACTS_TO: &'static [&'static str];

    /// Categories of the streams it writes, `order` for `order-<uuid>`. A category has one writer; one of the service's own name is
    /// its streams of refused commands.
    const STREAMS: &'static [&'static str];

    /// An intent, from outside, from a policy, from a timer or from an effect.
    type Command: Debug + Send + Sync;

    /// A fact of this service.
    type Event: Debug + Send + Sync;

    /// The rows of this service that a batch touches; in an audit, all of them.
    type State: Rows + Send + Sync;

    /// One row, to be compared with another and shown.
    type Row: Clone + Debug + PartialEq + Serialize;

    /// Reads a command from outside. `id` is the id of the command. Checks all that can be checked without state.
    ///
    /// # Errors
    /// What the sender did wrong.
    fn decode_command(message_type: &str, data: &[u8], id: Uuid) -> Result<Self::Command, Rejection>;

    /// The policy: what this service does about an event of another.
    ///
    /// # Errors
    /// The event does not decode: a defect, for it is from the log.
    fn react(message_type: &str, data: &[u8]) -> Result<Vec<Self::Command>, Rejection>;

    /// What a reaction is about that can be done as one with another.
    fn joined_by(_command: &Self::Command) -> Option<HoldKey> {
        None
    }

    /// What two reactions about the same, of which the second came later, are as one: it causes fewer events, and leaves the same behind.
    fn join(_first: &Self::Command, _then: &Self::Command) -> Option<Self::Command> {
        None
    }

    /// What this service does when the timer of one of its streams is due.
    fn on_timer(stream: &str) -> Option<Self::Command>;

    /// What a command causes in this state, at this time. An empty list: it is as it should be already.
    ///
    /// # Errors
    /// Business says no, or an invariant is broken.
    fn decide(state: &Self::State, command: &Self::Command, at: Timestamp) -> Result<Vec<Self::Event>, DecideError>;

    /// Makes an event true in this state. Total: it cannot fail, and it hides nothing.
    fn evolve(state: &mut Self::State, event: &Self::Event);

    /// The event's stream, and the stream's version with it, after `evolve` took it in.
    fn place(state: &Self::State, event: &Self::Event) -> (String, StreamVersion);

    /// The full name of the event's type, and its bytes.
    fn encode_event(event: &Self::Event) -> (&'static str, Vec<u8>);

    /// Its place and its bytes.
    fn encode(state: &Self::State, event: &Self::Event) -> EncodedEvent {
        let ((stream, version), (message_type, data)) = (Self::place(state, event), Self::encode_event(event));
        EncodedEvent { stream, version, message_type, data }
    }

    /// Keeps what a command that is done has brought and no event may have, to be saved with the rows: it is no part of what is folded.
    fn keep(_state: &mut Self::State, _command: &Self::Command) {}

    /// Decides a command and makes true what it causes: each event, with its place in its stream and its bytes.
    ///
    /// # Errors
    /// As of [`Self::decide`]; the state is as it was.
    fn advance(
        state: &mut Self::State,
        command: &Self::Command,
        at: Timestamp,
    ) -> Result<Vec<(Self::Event, EncodedEvent)>, DecideError> {
        let events = Self::decide(state, command, at)?;
        // What is done already has been kept.
        if !events.is_empty() {
            Self::keep(state, command);
        }
        let advanced = events.into_iter().map(|event| {
            Self::evolve(state, &event);
            let encoded = Self::encode(state, &event);
            (event, encoded)
        });
        Ok(advanced.collect())
    }

    /// Reads an event of this service back from the log.
    ///
    /// # Errors
    /// The event does not decode.
    fn decode_event(message_type: &str, data: &[u8]) -> Result<Self::Event, Rejection>;

    /// What an event does to the timer of its stream.
    fn timer(_event: &Self::Event) -> Option<Timer> {
        None
    }

    /// The outside call that an event asks for.
    fn effect(_event: &Self::Event) -> Option<Effect> {
        None
    }

    /// Whether the outside call with this key may still have to be made, in this state.
    fn is_call_open(_state: &Self::State, _key: &str) -> bool {
        true
    }

    /// Every row, by a name that sorts it.
    fn rows(state: &Self::State) -> BTreeMap<String, Self::Row>;

    /// One of these rows.
    fn row(state: &Self::State, name: &str) -> Option<Self::Row>;

    /// Puts one of these rows in: as a new one where there is none, and else as one that has changed. `None`: it is no row of this name.
    fn put(state: &mut Self::State, name: &str, row: Self::Row) -> Option<()>;

    /// Takes one of these rows out, with what the state has beside it for that row alone.
    fn take_out(state: &mut Self::State, name: &str) -> Option<Self::Row>;

    /// The names of the rows that an event changed: to name the event where row and fold part.
    fn rows_of(event: &Self::Event) -> Vec<String>;
}

/// An event's place and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    /// The stream it belongs to: `order-<uuid>`.
    pub stream: String,
    /// The stream's version with it.
    pub version: StreamVersion,
    /// Full type name: `holdfast.orders.v1.OrderPlaced`.
    pub message_type: &'static str,
    /// Protobuf bytes.
    pub data: Vec<u8>,
}

/// What an event does to the timer of its stream. A stream has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Be woken at this time.
    Set(Timestamp),
    /// Nothing is due any more.
    Clear,
}

impl Timer {
    /// When it is due, if it is set.
    #[must_use]
    pub const fn due_at(self) -> Option<Timestamp> {
        match self {
            Self::Set(due_at) => Some(due_at),
            Self::Clear => None,
        }
    }
}

/// An outside call to be made after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The idempotency key that the outside gets: the same call always has the same.
    pub key: String,
    /// Full type name of what `data` is.
    pub message_type: &'static str,
    /// Protobuf bytes of what to do.
    pub data: Vec<u8>,
    /// After this its outcome counts as unknown.
    pub deadline: Timestamp,
    /// Whom it is made to. Empty: nobody in particular.
    pub callee: &'static str,
}
