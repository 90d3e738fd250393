//! One line of the table of events.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{GlobalPosition, StreamVersion, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::blocks::Line;
use crate::replay::fold::LogEvent;

/// The columns of an event where a line has no names.
pub(super) const COLUMNS: [&str; 12] = [
    "position",
    "stream",
    "version",
    "event_id",
    "service",
    "type",
    "correlation_id",
    "causation_id",
    "traceparent",
    "recorded_at",
    "event",
    "data",
];

/// An event with all that the log has of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ExportedEvent {
    pub(super) position: GlobalPosition,
    pub(super) stream: String,
    pub(super) version: StreamVersion,
    pub(super) event_id: Uuid,
    pub(super) service: String,
    #[serde(rename = "type")]
    pub(super) message_type: String,
    pub(super) correlation_id: Uuid,
    pub(super) causation_id: Uuid,
    pub(super) traceparent: Option<String>,
    /// In UTC, to the microsecond.
    pub(super) recorded_at: String,
    /// What the bytes say, as proto3 JSON.
    pub(super) event: Value,
    /// The very bytes, in base64.
    pub(super) data: String,
}

impl ExportedEvent {
    pub(crate) fn of(event: &LogEvent<'_>) -> Result<Self> {
        Ok(Self {
            position: event.position,
            stream: event.stream.to_owned(),
            version: event.version,
            event_id: event.event_id,
            service: event.service.to_owned(),
            message_type: event.message_type.to_owned(),
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            traceparent: event.traceparent.map(str::to_owned),
            recorded_at: event.recorded_at.to_string(),
            event: event.said()?,
            data: STANDARD.encode(event.data),
        })
    }

    /// From the values of a line, as [`Line::values`] gives them.
    pub(super) fn from_values(values: &[String]) -> Result<Self> {
        let all: &[String; COLUMNS.len()] = values.try_into().context("it has another number of columns")?;
        let [position, stream, version, event_id, service, message_type, correlation_id, causation_id, rest @ ..] = all;
        let [traceparent, recorded_at, event, data] = rest;
        let number = |text: &str| text.parse::<i64>().context("it has no number where one belongs");
        let id = |text: &str| Uuid::try_parse(text).context("it has no id where one belongs");
        Ok(Self {
            position: GlobalPosition::new(number(position)?),
            stream: stream.clone(),
            version: StreamVersion::new(number(version)?),
            event_id: id(event_id)?,
            service: service.clone(),
            message_type: message_type.clone(),
            correlation_id: id(correlation_id)?,
            causation_id: id(causation_id)?,
            traceparent: Some(traceparent.clone()).filter(|text| !text.is_empty()),
            recorded_at: recorded_at.clone(),
            event: serde_json::from_str(event).context("what it says is no JSON")?,
            data: data.clone(),
        })
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        STANDARD.decode(&self.data).context("its data is no base64")
    }

    /// It as the log had it, with these bytes.
    pub(super) fn as_logged<'a>(&'a self, data: &'a [u8]) -> Result<LogEvent<'a>> {
        let recorded_at = OffsetDateTime::parse(&self.recorded_at, &Rfc3339);
        Ok(LogEvent {
            position: self.position,
            stream: &self.stream,
            version: self.version,
            event_id: self.event_id,
            service: &self.service,
            message_type: &self.message_type,
            recorded_at: recorded_at.map(Timestamp::from).context("recorded_at is no time")?,
            data,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent.as_deref(),
        })
    }
}

impl Line for ExportedEvent {
    fn values(&self) -> Vec<String> {
        vec![
            self.position.to_string(),
            self.stream.clone(),
            self.version.to_string(),
            self.event_id.to_string(),
            self.service.clone(),
            self.message_type.clone(),
            self.correlation_id.to_string(),
            self.causation_id.to_string(),
            self.traceparent.clone().unwrap_or_default(),
            self.recorded_at.clone(),
            self.event.to_string(),
            self.data.clone(),
        ]
    }
}
