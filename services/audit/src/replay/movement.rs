//! What one event moved in one row.

use std::collections::BTreeMap;

use anyhow::Result;
use domain::{GlobalPosition, StreamVersion, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What one event changed in one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// The event's place in the log.
    pub position: GlobalPosition,
    /// When it was recorded, by its writer's clock.
    pub recorded_at: Timestamp,
    /// The row's key.
    pub key: String,
    /// The event's full type name.
    pub event: String,
    /// Its id.
    pub event_id: Uuid,
    /// Its stream.
    pub stream: String,
    /// The stream's version with it.
    pub version: StreamVersion,
    /// The order that it is about, where the event says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// The payment, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<String>,
    /// Where the row stands after it, for rows that stand somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Whether the row stood elsewhere before.
    pub status_changed: bool,
    /// The currency of its figures, if they are money in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The row's figures by name.
    pub figures: BTreeMap<String, Figure>,
}

/// A figure of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// What the event added to it.
    pub delta: i64,
    /// What it is after the event.
    pub balance: i64,
}

/// Who takes every change.
pub trait Movements: Send + 'static {
    /// Takes the next, in order of position.
    ///
    /// # Errors
    /// It cannot be kept: the replay ends.
    fn take(&mut self, movement: Movement) -> Result<()>;
}

impl Movements for Vec<Movement> {
    fn take(&mut self, movement: Movement) -> Result<()> {
        self.push(movement);
        Ok(())
    }
}
