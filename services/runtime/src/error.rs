//! Errors, by what they mean for the message that met them: each chooses its acknowledgement.

use sqlx::error::DatabaseError;

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
    /// Class 22 (bad data), 23 (a violated constraint) and 54 (more than a row or an index can hold) are the input's fault,
    /// all but 23505: a unique key that is already there means that another replica was faster, as do 40001 and 40P01. A
    /// value that cannot be read or written is the fault of its row or its message. All else, a missing table or a refused
    /// login among it, is the surroundings' fault, and no message may be given up for it.
    #[must_use]
    pub fn database(what: &'static str, error: sqlx::Error) -> Self {
        use sqlx::Error::{ColumnDecode, Decode, Encode};
        if matches!(error, ColumnDecode { .. } | Decode(_) | Encode(_)) {
            return Self::Permanent { what, source: error.into() };
        }
        let code = error.as_database_error().and_then(DatabaseError::code).unwrap_or_default().into_owned();
        match code.as_str() {
            "23505" | "40001" | "40P01" => Self::Conflict { what, source: error },
            code if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                Self::Permanent { what, source: error.into() }
            }
            _ => Self::Transient { what, source: error.into() },
        }
    }

    /// Whether the race was about a unique key: that may be a defect, and last. A deadlock never does.
    pub(crate) fn is_duplicate(&self) -> bool {
        match self {
            Self::Conflict { source, .. } => source.as_database_error().is_some_and(DatabaseError::is_unique_violation),
            Self::Transient { .. } | Self::Permanent { .. } => false,
        }
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

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn a_value_that_cannot_be_read_is_the_fault_of_its_row() {
        let unread = Error::database("loading rows", sqlx::Error::Decode("not a status".into()));
        assert!(matches!(unread, Error::Permanent { .. }));
        assert!(matches!(Error::database("loading rows", sqlx::Error::PoolTimedOut), Error::Transient { .. }));
    }
}
