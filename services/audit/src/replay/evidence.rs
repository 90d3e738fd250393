//! What stands above every output: what was asked, of which log, where it was cut, and what was read for the answer.

use std::num::NonZeroU32;

use domain::{GlobalPosition, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{At, Chosen, Question, Shard};

/// What answers, and in which version.
pub(crate) const PROGRAM: &str = concat!("holdfast ", env!("CARGO_PKG_VERSION"));

/// The evidence of an answer.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// What was asked.
    pub asked: Asked,
    /// Name and version of the program.
    pub program: &'static str,
    /// Of which database, when and by whom.
    pub database: Database,
    /// Where the log was cut.
    pub cut: Cut,
    /// What clocks disagree about.
    pub skew: Skew,
    /// Events that were read: all up to the cut.
    pub events_read: u64,
    /// Those of them that are about what was asked for.
    pub events_folded: u64,
    /// What the rows were chosen from, if they are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// The part of all rows that this is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Rows of the answer.
    pub rows: u64,
}

/// What was asked, with all that was left to be understood.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// As a command.
    pub command: String,
    /// Rows of this kind.
    pub kind: &'static str,
    /// With the event at this position, if the question was that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<GlobalPosition>,
    /// As of this time, in UTC, if the question was that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Of these keys. None: of all.
    pub keys: Vec<String>,
    /// Whether all changes are told.
    pub movements: bool,
    /// The most events that were to be read in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<NonZeroU32>,
}

impl Asked {
    pub(super) fn of(question: &Question) -> Self {
        let Question { kind, at, keys, movements, choice, shard, max_rate } = question;
        let mut command = format!("holdfast replay {}", kind.as_str());
        let (position, time) = match at {
            None => (None, None),
            Some(At::Position(position)) => (Some(*position), None),
            Some(At::Time(time)) => (None, Some(*time)),
        };
        if let Some(at) = position.map(|at| at.to_string()).or(time.map(|at| at.to_string())) {
            command.push_str(&format!(" --at {at}"));
        }
        for key in keys {
            command.push_str(&format!(" --key {}", quoted(key)));
        }
        if *movements {
            command.push_str(" --movements");
        }
        if let Some(status) = choice.as_ref().and_then(|choice| choice.status.as_ref()) {
            command.push_str(&format!(" --status {}", quoted(status)));
        }
        if let Some(sample) = choice.as_ref().and_then(|choice| choice.sample.as_ref()) {
            command.push_str(&format!(" --sample {} --seed {}", sample.size, quoted(&sample.seed)));
        }
        if let Some(shard) = shard {
            command.push_str(&format!(" --shard {shard}"));
        }
        if let Some(max_rate) = max_rate {
            command.push_str(&format!(" --max-rate {max_rate}"));
        }
        let (keys, movements) = (keys.clone(), *movements);
        Self { command, kind: kind.as_str(), position, time, keys, movements, max_rate: *max_rate }
    }
}

/// A text as one word of a command.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The database that was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Database {
    /// The installation, by its id.
    pub installation: Uuid,
    /// And by its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The database's own name.
    pub database: String,
    /// The cluster of Postgres, by the identifier that it got when it was made.
    pub system_identifier: String,
    /// The epoch of the log.
    pub epoch: i32,
    /// The role that read it.
    pub role: String,
    /// When it began to be read, by the clock of Postgres.
    pub at: Timestamp,
}

/// Where the log was cut: all events up to a position, and none behind it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cut {
    /// The last event's.
    pub position: GlobalPosition,
    /// When that one was recorded, by its writer's clock.
    pub recorded_at: Timestamp,
    /// Where the log ended when it was read.
    pub log_ended: GlobalPosition,
}

/// What the clocks of writers disagree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skew {
    /// At this time: the one that was asked for, or when the last event was recorded.
    pub time: Timestamp,
    /// Events up to the cut that are recorded later.
    pub later_before_the_cut: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_later: Option<GlobalPosition>,
    /// Events behind the cut that are recorded at this time or before. Of a time there are none: its cut is the last such event.
    pub earlier_behind_the_cut: u64,
    /// How many events behind the cut were looked at for it.
    pub looked_at_behind: u64,
}
