//! Errors, by what they mean for the message that met them: each chooses its acknowledgement.

use sqlx::{error::DatabaseError, postgres::PgDatabaseError};
use uuid::Uuid;

use crate::database::Unanswered;

/// The places for which two replicas may race: one in the log, by the key of its partition, `events_7_stream_version_key`, and the one answer
/// to a command.
const LOG: &str = "events_";
const LOG_PLACE: &str = "stream_version_key";
const ANSWER: &str = "inbox_pkey";

/// What the runtime itself writes to. A constraint of these that is violated, and is no race, is violated whatever the message: the
/// sequence behind a position was set back, the partition of the log is missing, or an operator has added a constraint.
const TABLES: [&str; 5] = ["events", "inbox", "timers", "effects", "dead_letters"];

/// What two wanted to write at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contested {
    /// The next event of a stream.
    Stream(String),
    /// The answer to a command.
    Answer(Uuid),
    /// A value of another unique key, by the name of the key and what was written to it: many may be contested one after the other.
    Key(String),
}

impl Contested {
    /// Postgres names the key in its detail, `Key (stream, version)=(order-1, 7) already exists.`, in the language that it is set to.
    fn read(constraint: &str, detail: &str) -> Self {
        let values = detail.split_once(")=(").and_then(|(_, rest)| rest.rsplit_once(')')).map(|(values, _)| values);
        let read = match (constraint, values) {
            (constraint, Some(values)) if is_log_place(constraint) => {
                values.rsplit_once(", ").map(|(stream, _version)| Self::Stream(stream.to_owned()))
            }
            (ANSWER, Some(id)) => Uuid::try_parse(id).ok().map(Self::Answer),
            _ => None,
        };
        let key = || values.map_or_else(|| constraint.to_owned(), |values| format!("{constraint} ({values})"));
        read.unwrap_or_else(|| Self::Key(key()))
    }
}

/// Why something of the shell failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another replica was faster: reload and try again at once.
    #[error("{what}: lost a race")]
    Conflict {
        /// What was tried.
        what: &'static str,
        /// What Postgres said.
        source: sqlx::Error,
    },
    /// It may work later: try again in place.
    #[error("{what}")]
    Transient {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It will never work with this input: take the batch apart, keep the culprit as a dead letter.
    #[error("{what}")]
    Permanent {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A failure of the surroundings, which may pass.
    pub fn transient(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Transient { what, source: source.into() }
    }

    /// Sorts a failure of Postgres by its SQLSTATE.
    ///
    /// 40001, 40P01 and a unique key that is there already (23505) mean that another replica was faster; but not where no two
    /// replicas meet. Classes 22 (bad data), 23 (a violated constraint of a service's rows) and 54000 (more than an index can hold) are
    /// the input's fault. A value that cannot be read or written is the fault of its row or its message. All else, a missing table, a
    /// refused login, a sequence at its end or whatever the runtime's own tables do not take in among it, is the surroundings' fault, and no
    /// message may be given up for it.
    #[must_use]
    pub fn database(what: &'static str, error: sqlx::Error) -> Self {
        use sqlx::Error::{ColumnDecode, Decode, Encode};
        if matches!(error, ColumnDecode { .. } | Decode(_) | Encode(_)) {
            return Self::Permanent { what, source: error.into() };
        }
        let code = error.as_database_error().and_then(DatabaseError::code).unwrap_or_default().into_owned();
        match code.as_str() {
            "23505" if !is_ours(&error) || is_race(&error) => Self::Conflict { what, source: error },
            "40001" | "40P01" => Self::Conflict { what, source: error },
            "2200H" => Self::Transient { what, source: error.into() },
            code if code.starts_with("23") && is_ours(&error) => Self::Transient { what, source: error.into() },
            code if ["22", "23", "54000"].iter().any(|class| code.starts_with(class)) => {
                Self::Permanent { what, source: error.into() }
            }
            _ => Self::Transient { what, source: error.into() },
        }
    }

    /// Whether Postgres gave up because it took too long: less at once may do.
    pub fn is_timeout(&self) -> bool {
        const QUERY_CANCELED: &str = "57014";
        let Self::Transient { source, .. } = self else { return false };
        let error = source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        error.and_then(DatabaseError::code).is_some_and(|code| code == QUERY_CANCELED)
    }

    /// Whether Postgres has not answered in time.
    pub fn is_unanswered(&self) -> bool {
        let Self::Transient { source, .. } = self else { return false };
        let is_io = || match source.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Io(error)) => error.get_ref().is_some_and(|why| why.is::<Unanswered>()),
            _ => false,
        };
        source.is::<Unanswered>() || is_io()
    }

    /// What the race was about, if it was about a unique key: that may be a defect, and last. A deadlock never does.
    pub fn contested(&self) -> Option<Contested> {
        let Self::Conflict { source, .. } = self else { return None };
        let error = source.as_database_error().filter(|error| error.is_unique_violation())?;
        let detail = postgres(source).and_then(PgDatabaseError::detail).unwrap_or_default();
        Some(Contested::read(error.constraint().unwrap_or_default(), detail))
    }

    /// The error and all that caused it, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        line
    }
}

fn postgres(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

fn is_log_place(constraint: &str) -> bool {
    constraint.starts_with(LOG) && constraint.ends_with(LOG_PLACE)
}

/// Whether two replicas may meet at this key of the runtime's own that is taken.
fn is_race(error: &sqlx::Error) -> bool {
    let constraint = postgres(error).and_then(PgDatabaseError::constraint).unwrap_or_default();
    constraint == ANSWER || is_log_place(constraint)
}

/// Whether it is about a table of the runtime, or a partition of one.
fn is_ours(error: &sqlx::Error) -> bool {
    let table = postgres(error).and_then(PgDatabaseError::table).unwrap_or_default();
    TABLES.iter().any(|ours| table.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Contested, Error};

    #[test]
    fn what_was_contested_is_read_from_the_words_of_postgres_in_any_language() {
        let stream = Contested::Stream("product-a.b-c".to_owned());
        let said = |detail| Contested::read("events_12_stream_version_key", detail);
        let before_partitions = "Key (stream, version)=(product-a.b-c, 7) already exists.";
        assert_eq!(Contested::read("events_stream_version_key", before_partitions), stream);
        assert_eq!(said("Key (stream, version)=(product-a.b-c, 7) already exists."), stream);
        assert_eq!(said("Schl\u{fc}ssel \u{bb}(stream, version)=(product-a.b-c, 7)\u{ab} existiert bereits."), stream);
        assert_eq!(said(""), Contested::Key("events_12_stream_version_key".to_owned()));
        let id = Uuid::from_u128(7);
        let detail = format!("Key (command_id)=({id}) already exists.");
        assert_eq!(Contested::read("inbox_pkey", &detail), Contested::Answer(id));
        let read = |detail| Contested::read("planted", detail);
        assert_eq!(read("Key (a)=(1) already exists."), Contested::Key("planted (1)".to_owned()));
        assert_ne!(read("Key (a)=(1) already exists."), read("Key (a)=(2) already exists."));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_the_fault_of_its_row() {
        let unread = Error::database("loading rows", sqlx::Error::Decode("not a status".into()));
        assert!(matches!(unread, Error::Permanent { .. }));
        assert!(matches!(Error::database("loading rows", sqlx::Error::PoolTimedOut), Error::Transient { .. }));
    }
}
