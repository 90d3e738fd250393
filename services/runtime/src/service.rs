//! What a service is to the runtime: its [`Decider`], and the IO around it.

use std::{collections::BTreeMap, future::Future, time::Duration};

use domain::{Decider, Memory, Rejection, Timestamp};
use platform::{metric::Metric, statement::Statement};
use proto::{Name, common::v1::CommandRejected};
use sqlx::PgConnection;

use crate::context::Context;

/// A service around its decisions: how its rows are loaded and saved, and what it calls outside. The runtime does the rest.
pub trait Service: Decider + Send + Sync + 'static {
    /// Whether others' events go before commands when there is more of both than can be done. Most commands begin something, and what
    /// was begun is to be ended first.
    const EVENTS_FIRST: bool = true;

    /// Those whom its outside calls are made to: each has slots of its own, so that one who does not answer holds up no other. With none it makes no calls.
    const CALLEES: &'static [&'static str] = &[];

    /// What it measures besides what every worker does.
    const METRICS: &'static [Metric] = &[];

    /// The tables of its rows, in the order in which it locks them.
    const TABLES: &'static [RowTable];

    /// What the settings of this process make of a command from outside: they may complete it, or refuse it. Called once it is read and
    /// before anything is decided; whatever it says, a command that was answered before keeps its answer.
    ///
    /// # Errors
    /// What the settings do not allow.
    fn admit(&self, command: Self::Command) -> Result<Self::Command, Rejection> {
        Ok(command)
    }

    /// Makes an outside call. Called with a lease, never inside a database transaction.
    fn perform(&self, _effect: LeasedEffect) -> impl Future<Output = EffectOutcome<Self::Command>> + Send {
        async { EffectOutcome::Retry { error: "this service makes no outside calls".to_owned(), in_flight: false } }
    }

    /// How long this call may take, whatever is usual here. While it is being made its lease is renewed, so nobody else makes it.
    fn call_time_max(&self, _effect: &LeasedEffect, usual: Duration) -> Duration {
        usual
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

    /// Loads every row that these commands touch, all as of one moment. If so asked it locks them, each table in key order, and then loads
    /// them as they are once they are locked.
    fn load(
        connection: &mut PgConnection,
        commands: &[&Self::Command],
        locks: Locks,
    ) -> impl Future<Output = Result<Self::State, sqlx::Error>> + Send;

    /// Moves every row that these commands touch, and that is remembered, to `state`. False: there may be more of them. Only what makes a row
    /// may touch one that is nowhere: it is found out where there is one.
    fn recall(memory: &mut Memory<Self::State>, commands: &[&Self::Command], state: &mut Self::State) -> bool;

    /// Whether nobody is kept waiting if a reaction is done a moment later, together with what comes until then. What is remembered may tell.
    fn can_wait(_memory: &Memory<Self::State>, _command: &Self::Command) -> bool {
        false
    }

    /// Adds to a statement what saves the rows that are new and those that changed, these in key order and counted: a row is changed
    /// only where its revision is still the one that was loaded.
    fn save(statement: &mut Statement, state: &Self::State);

    /// Loads every row, without locks: for audits, in a snapshot.
    fn load_all(connection: &mut PgConnection) -> impl Future<Output = Result<Self::State, sqlx::Error>> + Send;

    /// Loads the rows of these names, without locks: for audits, in a snapshot. Rows that those are about may come along.
    fn load_rows(
        connection: &mut PgConnection,
        names: &[String],
    ) -> impl Future<Output = Result<Self::State, sqlx::Error>> + Send;

    /// What the tables have of these rows in columns that are derived from them, where it does not follow from them: for audits, in a snapshot.
    /// Such columns are written for others to read, and nobody of the service reads them back.
    fn check_derived(
        _connection: &mut PgConnection,
        _rows: &Self::State,
    ) -> impl Future<Output = Result<Differing, sqlx::Error>> + Send {
        async { Ok(Differing::new()) }
    }

    /// The same of a table that is derived from all rows: rows of it that lack, or that follow from none. By the names of those that they are of.
    fn check_derived_tables(
        _connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Differing, sqlx::Error>> + Send {
        async { Ok(Differing::new()) }
    }
}

/// What is derived from rows and does not follow from them: in words, by the names of the rows.
pub type Differing = BTreeMap<String, String>;

/// A derived column of one row: its name, what the table has in it, and what follows from the row.
pub type Derived = (&'static str, i64, i64);

/// What does not follow from a row, in words. `None`: all does.
#[must_use]
pub fn differing(columns: &[Derived]) -> Option<String> {
    let differ = columns.iter().filter(|(_, there, follows)| there != follows);
    let told: Vec<String> = differ
        .map(|(column, there, follows)| format!("{column}: the row says {there}, its events say {follows}"))
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// A table of a service's rows.
#[derive(Debug, Clone, Copy)]
pub struct RowTable {
    /// Its name with its schema's.
    pub name: &'static str,
    /// Its rows are named `<category>-<key>`.
    pub category: &'static str,
    /// The columns that are the key, with their types. Of two, the name has a dot between them.
    pub key: &'static [(&'static str, &'static str)],
    /// The table that has the row of which this one has parts.
    pub part_of: Option<&'static str>,
}

/// Whether others may change what is loaded before it is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// They may, and then nothing is saved.
    None,
    /// They wait.
    Rows,
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
    /// What the event said: until when the call is of use.
    pub deadline: Timestamp,
    /// When the first try began, of those that were not sent away with nothing done: how long nobody knows how it ended counts from here.
    pub begun_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// What the last try ended with, if it came to an end.
    pub last_error: Option<String>,
    /// Whether something that an earlier try has sent may yet arrive: it said so, or it never came to its end.
    pub in_flight: bool,
    /// Whether an earlier try has heard that the call is accepted, and not yet how it ends.
    pub accepted: bool,
    /// When an earlier try has found that the key is answered with an error for ever. `None`: none has.
    pub key_spent: Option<Timestamp>,
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
    /// Look again after this time; does not back off further. With nothing in flight it is as if this had been no try.
    Wait {
        /// How long.
        after: Duration,
        /// What is being waited for, for the operator.
        error: String,
        /// As of [`Self::Retry`].
        in_flight: bool,
    },
    /// Whoever is called has accepted it, and does not say yet how it ends. Look again after this time; from now on that much is known of it.
    Accepted {
        /// How long.
        after: Duration,
        /// What is being waited for, for the operator.
        error: String,
    },
    /// Whoever is called refuses how they are asked, and will until a person has mended it. Look again after this time, and say so meanwhile.
    Stopped {
        /// Who that is, in one word.
        by: &'static str,
        /// How long.
        after: Duration,
        /// What they say, for the operator.
        error: String,
        /// As of [`Self::Retry`].
        in_flight: bool,
    },
    /// The key is answered with an error for ever, so nothing is sent under it from now on. Something that was sent may yet arrive: look again
    /// after this time.
    Spent {
        /// How long.
        after: Duration,
        /// What the error is, for the operator.
        error: String,
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
            Self::Accepted { after, error } => EffectOutcome::Accepted { after, error },
            Self::Stopped { by, after, error, in_flight } => EffectOutcome::Stopped { by, after, error, in_flight },
            Self::Spent { after, error } => EffectOutcome::Spent { after, error },
            Self::Unreadable(rejection) => EffectOutcome::Unreadable(rejection),
        }
    }
}
