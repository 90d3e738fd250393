//! Timelines: every event about an order, a refund, a payment, a product or a round, across all services, in causal order, with what the story
//! waited for.
//!
//! Read it in this order: [`timeline`] is the whole of it; `story` finds the events, `waits` says what is waited for between them, [`picture`] draws
//! them and [`readable`] puts them into words.
//!
//! Why it is so: services/audit/README.md#an-event-is-about-what-it-names

use std::{collections::BTreeMap, num::NonZeroUsize};

use anyhow::Result;
use domain::{GlobalPosition, RefundId, Rejection, StreamVersion, Timestamp, words};
use runtime::log::event_store::StoredEvent;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

pub mod picture;
pub mod readable;
mod story;
mod waits;

pub use story::names;
pub use waits::Wait;

use crate::{
    archive::LogAt,
    questions::{Answer, Evidence, Extent},
    replay::{At, Kind, Progress, prefix::Log, quoted},
};

words!(
    /// What has a timeline.
    Subject {
        /// An order, by its id or the shop's own number of it.
        Order = "order",
        /// A refund, by its id.
        Refund = "refund",
        /// A payment, by its id.
        Payment = "payment",
        /// A product, by its sku.
        Product = "product",
        /// A round, by its id.
        Round = "round",
    }
);

impl Subject {
    /// Reads a key as events have it. Of an order it may be the shop's own number, which can be any text.
    ///
    /// # Errors
    /// It cannot be the key of any.
    pub fn read_key(self, text: &str) -> Result<String, Rejection> {
        match self {
            Self::Order if text.is_empty() || text.contains(char::is_control) => {
                Err(Rejection::new("INVALID_ID", "an order has an id, or a number of the shop's that can be printed"))
            }
            Self::Order => Ok(text.to_owned()),
            Self::Refund => RefundId::parse(text).map(|id| id.to_string()),
            Self::Payment => Kind::Payments.read_key(text),
            Self::Product => Kind::Stock.read_key(text),
            Self::Round => Kind::Shares.read_key(text),
        }
    }

    /// Whose waits are told: of orders that a product or a round has had, the events that end theirs are not in its timeline.
    fn waits_of(self, key: &str) -> Option<&str> {
        match self {
            Self::Order | Self::Refund | Self::Payment => None,
            Self::Product | Self::Round => Some(key),
        }
    }
}

/// Whose timeline.
#[derive(Debug, Clone)]
pub struct Question {
    /// What it is.
    pub subject: Subject,
    /// Which one, as [`Subject::read_key`] gives it.
    pub key: String,
    /// As the log was then. `None`: up to its end.
    pub at: Option<At>,
    /// The most events to tell: the last of them.
    pub limit: NonZeroUsize,
}

/// One event of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its place in the log.
    pub position: GlobalPosition,
    /// When it was recorded, by its writer's clock.
    pub recorded_at: String,
    /// Milliseconds since the first event that is told.
    pub ms: u64,
    /// Who wrote it.
    pub service: String,
    /// Its type.
    #[serde(rename = "type")]
    pub message_type: String,
    /// Its stream,
    pub stream: String,
    /// and its version there.
    pub version: StreamVersion,
    /// Its id.
    pub event_id: Uuid,
    /// Of everything that one message from outside has led to.
    pub correlation_id: Uuid,
    /// What it follows from.
    pub causation_id: Uuid,
    /// How many events of this story led to it.
    pub depth: usize,
    /// What was waited for until this event came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waited: Vec<Wait>,
    /// What is waited for since this event, if that has not come up to the cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<&'static str>,
    /// What it says. Of an event that cannot be read: why not.
    pub data: Value,
}

impl Entry {
    /// Its type, without the package.
    #[must_use]
    pub fn name(&self) -> &str {
        proto::short_name(&self.message_type)
    }
}

/// Tells all events about one thing, in order. Traffic may run.
///
/// # Errors
/// The database is away, or the moment is beyond the log or before it. Both name what it is.
pub async fn timeline(
    at: impl Into<LogAt<'_>>,
    question: &Question,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Answer<Entry>> {
    let mut log = Log::open(at, None).await?;
    let database = log.database().await?;
    let end = log.end(question.at.as_ref(), &progress).await?;
    let told = story::find(&mut log, question, &end, &progress).await?;
    log.close().await?;
    let Question { subject, at, limit, .. } = question;
    let at = at.as_ref().map(|at| format!(" --at {at}")).unwrap_or_default();
    let command = format!("holdfast timeline {} {}{at} --limit {limit}", subject.as_str(), quoted(&told.key));
    let extent = Some(Extent { of: told.of });
    let rows = linked(told.entries, subject.waits_of(&told.key));
    let evidence = Evidence { extent, ..Evidence::new(command, database, end.cut(), rows.len()) };
    Ok(Answer { evidence, rows })
}

/// The same of events that somebody has read by himself: all that the streams of an order have, in order.
#[must_use]
pub fn told(events: &[StoredEvent]) -> Vec<Entry> {
    linked(events.iter().map(story::told).collect(), None)
}

/// Each entry with its place below its cause, its time since the first, and what was waited for.
fn linked(mut entries: Vec<(Timestamp, Entry)>, waits_of: Option<&str>) -> Vec<Entry> {
    let mut depths: BTreeMap<Uuid, usize> = BTreeMap::new();
    let begun = entries.first().map(|(at, _)| *at).unwrap_or_default();
    for (at, entry) in &mut entries {
        entry.depth = depths.get(&entry.causation_id).map_or(0, |cause| cause + 1);
        depths.insert(entry.event_id, entry.depth);
        entry.ms = u64::try_from(at.since(begun).as_millis()).unwrap_or(u64::MAX);
    }
    let mut entries: Vec<Entry> = entries.into_iter().map(|(_, entry)| entry).collect();
    waits::label(&mut entries, waits_of);
    entries
}

#[cfg(test)]
mod tests;
