//! The one trait a service implements. Everything but `load` and `save` is pure.

use std::{collections::BTreeMap, fmt::Debug, future::Future, time::Duration};

use domain::{DecideError, Rejection, Timestamp};
use proto::{Name, common::v1::CommandRejected};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::context::Context;

/// A service: what it decides, and how its rows are loaded and saved. The runtime does the rest.
pub trait Service: Send + Sync + 'static {
    /// Its name, which is also its schema, the prefix of its subjects (`cmd.<name>.…`) and of its durable consumers.
    const NAME: &'static str;

    /// Full type names of the commands it takes from outside: `holdfast.orders.v1.PlaceOrder`.
    const COMMANDS: &'static [&'static str];

    /// Full type names of the events of other services that it reacts to.
    const REACTS_TO: &'static [&'static str];

    /// Categories of the streams it writes, `order` for `order-<uuid>`. A category has one writer; one of the service's own name is
    /// its [`refusal_stream`]s.
    const STREAMS: &'static [&'static str];

    /// Whether others' events go before commands when there is more of both than can be done. Most commands begin something, and what
    /// was begun is to be ended first.
    const EVENTS_FIRST: bool = true;

    /// An intent, from outside, from a policy, from a timer or from an effect.
    type Command: Debug + Send + Sync;

    /// A fact of this service.
    type Event: Debug + Send + Sync;

    /// The rows of this service that a batch touches; in an audit, all of them.
    type State: Default + Send + Sync;

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

    /// What this service does when the timer of one of its streams is due.
    fn on_timer(stream: &str) -> Option<Self::Command>;

    /// What a command causes in this state, at this time. An empty list: it is as it should be already.
    ///
    /// # Errors
    /// Business says no, or an invariant is broken.
    fn decide(state: &Self::State, command: &Self::Command, at: Timestamp) -> Result<Vec<Self::Event>, DecideError>;

    /// Makes an event true in this state. Total: it cannot fail, and it hides nothing.
    fn evolve(state: &mut Self::State, event: &Self::Event);

    /// The event's place in its stream (after `evolve` took it in) and its bytes.
    fn encode(state: &Self::State, event: &Self::Event) -> EncodedEvent;

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

    /// Makes an outside call. Called with a lease, never inside a database transaction.
    fn perform(&self, _effect: LeasedEffect) -> impl Future<Output = EffectOutcome<Self::Command>> + Send {
        async { EffectOutcome::Retry { error: "this service makes no outside calls".to_owned(), in_flight: false } }
    }

    /// Whatever else this service runs beside its worker, until the context's shutdown is pulled.
    fn background(&self, _context: Context) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// What waits for a person, by name: counted now and then for the metrics, so it must be found by an index.
    fn waiting(
        _connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Vec<(&'static str, i64)>, sqlx::Error>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Locks and loads every row that these commands touch, in key order.
    fn load(
        connection: &mut PgConnection,
        commands: &[&Self::Command],
    ) -> impl Future<Output = Result<Self::State, sqlx::Error>> + Send;

    /// Writes the rows that changed, one statement a table.
    fn save(connection: &mut PgConnection, state: &Self::State)
    -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Loads every row, without locks: for audits, in a snapshot.
    fn load_all(connection: &mut PgConnection) -> impl Future<Output = Result<Self::State, sqlx::Error>> + Send;

    /// Every row in words, by a name that sorts it: equal words mean equal rows.
    fn describe(state: &Self::State) -> BTreeMap<String, String>;

    /// One of these rows, in the same words.
    fn describe_row(state: &Self::State, name: &str) -> Option<String> {
        Self::describe(state).remove(name)
    }

    /// The row, in the words of [`Service::describe`], that an event changed: to name the event where row and fold part.
    fn rows_of(event: &Self::Event) -> Vec<String>;
}

/// The stream of a command that this service has refused: `orders-command-<uuid>`. Two services may refuse commands of one id.
#[must_use]
pub fn refusal_stream(service: &str, command_id: &str) -> String {
    format!("{service}-command-{command_id}")
}

/// Whether an event of this type is the shell's own: a command that was refused, which no service folds.
#[must_use]
pub fn is_rejection(message_type: &str) -> bool {
    message_type == CommandRejected::full_name()
}

/// An event's place and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEvent {
    /// The stream it belongs to: `order-<uuid>`.
    pub stream: String,
    /// The stream's version with it: 1 for the first event.
    pub version: i64,
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
}

/// An effect whose lease this process holds.
#[derive(Debug, Clone)]
pub struct LeasedEffect {
    /// The idempotency key.
    pub key: String,
    /// Full type name of what `data` is.
    pub message_type: String,
    /// Protobuf bytes of what to do.
    pub data: Vec<u8>,
    /// Which try this is, from 1. Above 1, an earlier one may have reached the outside although nobody heard of it.
    pub attempt: u32,
    /// After this its outcome counts as unknown.
    pub deadline: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// What the last try ended with, if it came to an end.
    pub last_error: Option<String>,
    /// Whether something that an earlier try has sent may yet arrive: it said so, or it never came to its end.
    pub in_flight: bool,
}

/// How an outside call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectOutcome<C> {
    /// It is over: this command records how.
    Done(C),
    /// It may succeed later: try again after a backoff.
    Retry {
        /// What went wrong, for the operator.
        error: String,
        /// Whether something that this try or an earlier one has sent may yet arrive.
        in_flight: bool,
    },
    /// Look again after this time; does not back off further.
    Wait {
        /// How long.
        after: Duration,
        /// What is being waited for, for the operator.
        error: String,
        /// As of [`Self::Retry`].
        in_flight: bool,
    },
    /// It can never be made, by any try: it is kept as a dead letter, and not tried again before an operator says so.
    Unreadable(Rejection),
}

impl<C> EffectOutcome<C> {
    /// The same, with what records it made into something else.
    pub fn map<D>(self, done: impl FnOnce(C) -> D) -> EffectOutcome<D> {
        match self {
            Self::Done(command) => EffectOutcome::Done(done(command)),
            Self::Retry { error, in_flight } => EffectOutcome::Retry { error, in_flight },
            Self::Wait { after, error, in_flight } => EffectOutcome::Wait { after, error, in_flight },
            Self::Unreadable(rejection) => EffectOutcome::Unreadable(rejection),
        }
    }
}
