//! Questions that single events of the log answer: who did what, and what lies around a moment.

use serde::Serialize;
use serde_json::Value;

mod actions;
mod cutoff;

pub use actions::{Action, Period, actions};
pub use cutoff::{Entry, Side, cutoff};

use crate::{
    reconcile::Payouts,
    replay::{Cut, Database, PROGRAM},
    what_if::Compared,
};

/// An answer, and what stands above it.
#[derive(Debug, Clone, Serialize)]
pub struct Answer<R> {
    /// What it is worth.
    pub evidence: Evidence,
    /// The rows.
    pub rows: Vec<R>,
}

/// What an answer is worth.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// The command, with all that was left to be understood.
    pub command: String,
    /// Name and version of the program.
    pub program: &'static str,
    /// Of which database, when and by whom.
    pub database: Database,
    /// Where the log was cut.
    pub cut: Cut,
    /// Rows of the answer.
    pub rows: usize,
    /// What the rows are the last of, if they need not be all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extent: Option<Extent>,
    /// What payout reports the log was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payouts: Option<Payouts>,
    /// How orders ended, and how they would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what_if: Option<Compared>,
}

impl Evidence {
    /// Of a question of which there is no more to say.
    pub(crate) fn new(command: String, database: Database, cut: Cut, rows: usize) -> Self {
        Self { command, program: PROGRAM, database, cut, rows, extent: None, payouts: None, what_if: None }
    }
}

/// What rows are the last of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Of so many.
    pub of: usize,
}

/// What an event says in a field, if that is a text and not empty.
pub(crate) fn text(said: &Value, field: &str) -> Option<String> {
    said.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
