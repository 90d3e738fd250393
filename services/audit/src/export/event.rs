//! One line of the table of events.

use std::borrow::Cow;

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{GlobalPosition, StreamVersion, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{
    blocks::{Form, Line},
    check::Row,
    columnar::{Cell, Column, Holds},
};
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
    pub(super) recorded_at: Timestamp,
    /// What the bytes say, as proto3 JSON.
    pub(super) event: Value,
    /// The very bytes, in base64.
    #[serde(with = "base64_text")]
    pub(super) data: Vec<u8>,
}

/// Bytes as text.
pub(crate) mod base64_text {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(|error| D::Error::custom(format!("its data is no base64: {error}")))
    }
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
            recorded_at: event.recorded_at,
            event: event.said()?,
            data: event.data.to_vec(),
        })
    }

    /// Reads a row of a file.
    pub(super) fn read(row: Row<'_>, form: Form) -> Result<Self> {
        match row {
            Row::Text(line) if form == Form::Jsonl => serde_json::from_str(line).map_err(Into::into),
            Row::Text(line) => {
                let mut reader = csv::ReaderBuilder::new();
                let reader = reader.delimiter(b';').has_headers(false).buffer_capacity(line.len().max(1));
                let record = reader.from_reader(line.as_bytes()).into_records().next().context("it is empty")?;
                let values: Vec<String> = record?.iter().map(str::to_owned).collect();
                Self::from_values(&values)
            }
            Row::Cells(cells) => Self::from_cells(cells),
        }
        .context("it is no event")
    }

    /// From the values of a line, as [`Line::values`] gives them.
    fn from_values(values: &[String]) -> Result<Self> {
        let all: &[String; COLUMNS.len()] = values.try_into().context("it has another number of columns")?;
        let [position, stream, version, event_id, service, message_type, correlation_id, causation_id, rest @ ..] = all;
        let [traceparent, recorded_at, event, data] = rest;
        let number = |text: &str| text.parse::<i64>().context("it has no number where one belongs");
        let recorded_at = OffsetDateTime::parse(recorded_at, &Rfc3339).context("recorded_at is no time")?;
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
            recorded_at: recorded_at.into(),
            event: serde_json::from_str(event).context("what it says is no JSON")?,
            data: STANDARD.decode(data).context("its data is no base64")?,
        })
    }

    /// From the values of a row, as [`Line::cells`] gives them.
    fn from_cells(cells: Vec<Cell<'_>>) -> Result<Self> {
        let all: [Cell<'_>; COLUMNS.len()] = cells.try_into().ok().context("it has another number of columns")?;
        let [position, stream, version, event_id, service, message_type, correlation_id, causation_id, rest @ ..] = all;
        let [traceparent, recorded_at, event, data] = rest;
        let (Cell::Time(recorded_at), Cell::Bytes(data)) = (recorded_at, data) else {
            bail!("it has another value where a time or bytes belong")
        };
        Ok(Self {
            position: GlobalPosition::new(position.number()?),
            stream: stream.text()?,
            version: StreamVersion::new(version.number()?),
            event_id: id(&event_id.text()?)?,
            service: service.text()?,
            message_type: message_type.text()?,
            correlation_id: id(&correlation_id.text()?)?,
            causation_id: id(&causation_id.text()?)?,
            traceparent: if traceparent == Cell::Nothing { None } else { Some(traceparent.text()?) },
            recorded_at,
            event: serde_json::from_str(&event.text()?).context("what it says is no JSON")?,
            data: data.into_owned(),
        })
    }

    /// It as the log had it.
    pub(super) fn as_logged(&self) -> LogEvent<'_> {
        LogEvent {
            position: self.position,
            stream: &self.stream,
            version: self.version,
            event_id: self.event_id,
            service: &self.service,
            message_type: &self.message_type,
            recorded_at: self.recorded_at,
            data: &self.data,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent.as_deref(),
        }
    }
}

fn id(text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).context("it has no id where one belongs")
}

impl Line for ExportedEvent {
    const COLUMNS: &'static [Column] = &[
        Column::new("position", Holds::Integer),
        Column::new("stream", Holds::Text),
        Column::new("version", Holds::Integer),
        Column::new("event_id", Holds::Text),
        Column::new("service", Holds::Text),
        Column::new("type", Holds::Text),
        Column::new("correlation_id", Holds::Text),
        Column::new("causation_id", Holds::Text),
        Column::new("traceparent", Holds::MaybeText),
        Column::new("recorded_at", Holds::Time),
        Column::new("event", Holds::Json),
        Column::new("data", Holds::Bytes),
    ];

    fn position(&self) -> GlobalPosition {
        self.position
    }

    fn recorded_at(&self) -> Timestamp {
        self.recorded_at
    }

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
            self.recorded_at.to_string(),
            self.event.to_string(),
            STANDARD.encode(&self.data),
        ]
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        vec![
            Cell::Integer(self.position.get()),
            self.stream.as_str().into(),
            Cell::Integer(self.version.get()),
            self.event_id.to_string().into(),
            self.service.as_str().into(),
            self.message_type.as_str().into(),
            self.correlation_id.to_string().into(),
            self.causation_id.to_string().into(),
            self.traceparent.as_deref().map_or(Cell::Nothing, Cell::from),
            Cell::Time(self.recorded_at),
            self.event.to_string().into(),
            Cell::Bytes(Cow::Borrowed(&self.data)),
        ]
    }
}
