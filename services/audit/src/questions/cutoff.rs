//! Cut-off: the last events before a moment and the first behind it, with when their orders were placed and paid, and whose clocks disagree
//! with their places.

use std::{collections::BTreeMap, num::NonZeroUsize};

use anyhow::{Context, Result, bail};
use domain::{GlobalPosition, OrderId, Timestamp};
use proto::{
    Name,
    orders::v1::{OrderPaid, OrderPlaced},
};
use runtime::log::event_store::StoredEvent;
use serde::Serialize;
use uuid::Uuid;

use super::{Answer, Evidence, text};
use crate::{
    archive::LogAt,
    replay::{
        At, Cut,
        fold::LogEvent,
        prefix::{LOOK, Log},
    },
};

/// On which side of the moment an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// It counts.
    Before,
    /// It counts no more.
    After,
}

/// An event beside the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Where it stands.
    pub side: Side,
    /// Its place in the log.
    pub position: GlobalPosition,
    /// When it was recorded, by its writer's clock.
    pub recorded_at: String,
    /// Its type, without the package.
    pub event: String,
    /// Its id.
    pub event_id: Uuid,
    /// Its stream.
    pub stream: String,
    /// The order that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// When that was placed,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<String>,
    /// and paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<String>,
    /// Whether its time is on the other side of the moment than its place.
    pub clock_disagrees: bool,
}

/// Tells the events of these types that are nearest to a moment, so many on each side. Traffic may run.
///
/// # Errors
/// There is no such type, the database is away, the moment is beyond the log or before it, or an event cannot be read: all name what it is.
pub async fn cutoff(
    log: impl Into<LogAt<'_>>,
    at: &At,
    around: NonZeroUsize,
    events: &[String],
) -> Result<Answer<Entry>> {
    let types = events.iter().map(|name| full_name(name)).collect::<Result<Vec<_>>>()?;
    let mut log = Log::open(log, None).await?;
    let database = log.database().await?;
    let whole = log.end(None, &|_progress| ()).await?;
    let end = log.end(Some(at), &|_progress| ()).await?;

    let mut before = Vec::new();
    let mut up_to = end.up_to.get();
    while before.len() < around.get() && up_to > 0 {
        let after = up_to.saturating_sub(i64::from(LOOK)).max(0);
        let mut page = log.of_types(&types, (GlobalPosition::new(after), GlobalPosition::new(up_to))).await?;
        page.append(&mut before);
        (before, up_to) = (page, after);
    }
    let before = before.split_off(before.len().saturating_sub(around.get()));
    let mut behind = Vec::new();
    let mut after = end.up_to.get();
    while behind.len() < around.get() && after < whole.up_to.get() {
        let until = after.saturating_add(i64::from(LOOK)).min(whole.up_to.get());
        behind.extend(log.of_types(&types, (GlobalPosition::new(after), GlobalPosition::new(until))).await?);
        after = until;
    }
    behind.truncate(around.get());

    let sides = before.iter().map(|row| (Side::Before, row)).chain(behind.iter().map(|row| (Side::After, row)));
    let mut rows = sides.map(|(side, row)| entry(side, row, end.time)).collect::<Result<Vec<_>>>()?;
    tell_orders(&mut log, whole.up_to, &mut rows).await?;
    log.close().await?;
    let of = events.iter().map(|name| format!(" --event {name}")).collect::<String>();
    let command = format!("holdfast cutoff --at {at} --around {around}{of}");
    let cut = Cut { log_ended: whole.log_ended, ..end.cut() };
    let evidence = Evidence::new(command, database, cut, rows.len());
    Ok(Answer { evidence, rows })
}

fn full_name(name: &str) -> Result<String> {
    let types = proto::message_types();
    let mut named =
        types.iter().filter(|message_type| *message_type == name || proto::short_name(message_type) == name);
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(one), Some(other)) => bail!("{name} is the name of {one} and of {other}: write it whole"),
        (None, _) => bail!("there is no event {name}: proto/README.md names them, such as StockCommitted, OrderPaid"),
    }
}

fn entry(side: Side, event: &StoredEvent, time: Timestamp) -> Result<Entry> {
    let event = LogEvent::of(event);
    let is_late = event.recorded_at > time;
    Ok(Entry {
        side,
        position: event.position,
        recorded_at: event.recorded_at.to_string(),
        event: proto::short_name(event.message_type).to_owned(),
        event_id: event.event_id,
        stream: event.stream.to_owned(),
        order_id: text(&event.said()?, "orderId"),
        placed_at: None,
        paid_at: None,
        clock_disagrees: is_late != (side == Side::After),
    })
}

/// When the orders were placed and paid.
async fn tell_orders(log: &mut Log, up_to: GlobalPosition, rows: &mut [Entry]) -> Result<()> {
    let stream = |row: &Entry| {
        row.order_id.as_ref().and_then(|id| Uuid::try_parse(id).ok()).and_then(|id| OrderId(id).streams(0).pop())
    };
    let streams: Vec<String> = rows.iter().filter_map(stream).collect();
    let told = [OrderPlaced::full_name(), OrderPaid::full_name()];
    let mut times: BTreeMap<(String, String), Timestamp> = BTreeMap::new();
    for event in log.of_streams(&streams, up_to).await.context("reading when orders were placed and paid")? {
        if told.contains(&event.message_type) {
            let latest = times.entry((event.stream, event.message_type)).or_default();
            *latest = event.recorded_at.max(*latest);
        }
    }
    for row in rows {
        let Some(stream) = stream(row) else { continue };
        row.placed_at = times.get(&(stream.clone(), OrderPlaced::full_name())).map(Timestamp::to_string);
        row.paid_at = times.get(&(stream, OrderPaid::full_name())).map(Timestamp::to_string);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::full_name;

    #[test]
    fn an_event_is_named_short_or_whole() {
        for name in ["OrderPaid", "holdfast.orders.v1.OrderPaid"] {
            assert_eq!(full_name(name).unwrap(), "holdfast.orders.v1.OrderPaid");
        }
        assert!(full_name("OrderPayed").unwrap_err().to_string().contains("there is no event OrderPayed"));
    }
}
