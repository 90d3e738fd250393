//! Which events a story has: those of its own streams, those that name it, and what these led to.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use anyhow::{Context, Result};
use domain::{GlobalPosition, OrderId, Timestamp};
use proto::{Name, orders::v1::OrderReinstated};
use runtime::log::event_store::StoredEvent;
use serde_json::Value;
use uuid::Uuid;

use super::{Entry, Question, Subject};
use crate::replay::{
    Progress,
    fold::LogEvent,
    prefix::{End, LOOK, Log, event},
};

/// The events of a story.
pub(super) struct Told {
    /// Whose it is, by the key that events have.
    pub(super) key: String,
    /// How many there are. Not all of them need be told.
    pub(super) of: usize,
    /// The last of them, in order.
    pub(super) entries: Vec<(Timestamp, Entry)>,
}

/// Finds them.
pub(super) async fn find(log: &mut Log, question: &Question, end: &End, progress: &impl Fn(Progress)) -> Result<Told> {
    let Question { subject, key, limit, .. } = question;
    let (key, mut entries, of) = match subject {
        Subject::Order => {
            let id = order_id(log, key, end).await?;
            let entries = match id {
                Some(id) => of_order(log, id, end).await?,
                None => Vec::new(),
            };
            (id.map_or_else(|| key.clone(), |id| id.to_string()), entries, None)
        }
        Subject::Payment => {
            let own = of_streams(log, &[format!("payment-{key}"), format!("funds-{key}")], end).await?;
            (key.clone(), about(log, own, key, end).await?, None)
        }
        Subject::Refund => {
            let (found, _) = naming(log, key, end, usize::MAX, progress).await?;
            (key.clone(), about(log, found, key, end).await?, None)
        }
        Subject::Product | Subject::Round => {
            let (found, of) = naming(log, key, end, limit.get(), progress).await?;
            (key.clone(), found, Some(of))
        }
    };
    let of = of.unwrap_or(entries.len());
    let entries = entries.split_off(entries.len().saturating_sub(limit.get()));
    Ok(Told { key, of, entries })
}

/// An order by its id, if the log has it, or by the shop's own number of it, which the row has.
async fn order_id(log: &mut Log, key: &str, end: &End) -> Result<Option<OrderId>> {
    if let Ok(id) = OrderId::parse(key)
        && !of_streams(log, &id.streams(0), end).await?.is_empty()
    {
        return Ok(Some(id));
    }
    let found: Option<Uuid> = sqlx::query_scalar("select order_id from orders.orders where reference = $1")
        .bind(key)
        .fetch_optional(log.connection())
        .await
        .context("looking in orders.orders for the shop's own number of an order; its id needs no look there")?;
    Ok(found.map(OrderId))
}

/// All that the streams of an order have.
async fn of_order(log: &mut Log, id: OrderId, end: &End) -> Result<Vec<(Timestamp, Entry)>> {
    let own = of_streams(log, &id.streams(0), end).await?;
    let reinstated = OrderReinstated::full_name();
    let attempts = 1 + own.iter().filter(|(_, entry)| entry.message_type == reinstated).count();
    of_streams(log, &id.streams(attempts), end).await
}

/// Of the order that these events are of: those that name a key, and what they led to. Without an order: these events.
async fn about(log: &mut Log, found: Vec<(Timestamp, Entry)>, key: &str, end: &End) -> Result<Vec<(Timestamp, Entry)>> {
    let order = found.iter().find_map(|(_, entry)| OrderId::parse(entry.data.get("orderId")?.as_str()?).ok());
    let Some(order) = order else { return Ok(found) };
    let mut kept: BTreeSet<Uuid> = found.iter().map(|(_, entry)| entry.event_id).collect();
    let mut story = of_order(log, order, end).await?;
    story.retain(|(_, entry)| {
        let is_about = kept.contains(&entry.event_id) || kept.contains(&entry.causation_id) || names(&entry.data, key);
        if is_about {
            kept.insert(entry.event_id);
        }
        is_about
    });
    Ok(story)
}

/// All events of some streams, in order.
async fn of_streams(log: &mut Log, streams: &[String], end: &End) -> Result<Vec<(Timestamp, Entry)>> {
    let events = log.of_streams(streams, end.up_to).await?;
    Ok(events.iter().map(told).collect())
}

/// The last events that name a key in any field, and how many there are. No statement lasts: events of others stay in the database.
async fn naming(
    log: &mut Log,
    key: &str,
    end: &End,
    limit: usize,
    progress: &impl Fn(Progress),
) -> Result<(Vec<(Timestamp, Entry)>, usize)> {
    // Texts are in the bytes as they are. What has them as a part of another text is left out below.
    let query = "select position, stream, version, event_id, service, type, recorded_at, data, correlation_id,
            causation_id, traceparent
        from log.events where position > $1 and position <= $2 and position($3::bytea in data) > 0 order by position";
    let (mut after, up_to) = (0, end.up_to.get());
    let (mut found, mut of) = (VecDeque::new(), 0);
    let mut take = |event: &LogEvent<'_>| {
        let (at, entry) = entry(event);
        if names(&entry.data, key) || entry.data.is_string() {
            of += 1;
            found.push_back((at, entry));
        }
        if found.len() > limit {
            found.pop_front();
        }
    };
    let archive = Arc::clone(log.archive());
    let wanted = key.as_bytes().to_vec();
    let has = move |event: &StoredEvent| event.data.windows(wanted.len().max(1)).any(|part| part == wanted);
    for event in archive.some((GlobalPosition::default(), end.up_to), has).await? {
        take(&LogEvent::of(&event));
    }
    after = archive.ends().get().max(after);
    while after < up_to {
        let until = up_to.min(i64::from(LOOK).saturating_add(after));
        let rows = sqlx::query(query).bind(after).bind(until).bind(key.as_bytes()).fetch_all(log.connection()).await;
        for row in &rows.context("looking for events that name it")? {
            take(&event(row).context("reading the log")?);
        }
        after = until;
        let position = GlobalPosition::new(after);
        progress(Progress::Folding { events: u64::try_from(after).unwrap_or(0), position, up_to: end.up_to });
    }
    Ok((found.into(), of))
}

/// Whether any field says this, and nothing else.
#[must_use]
pub fn names(data: &Value, key: &str) -> bool {
    match data {
        Value::String(text) => text == key,
        Value::Array(all) => all.iter().any(|part| names(part, key)),
        Value::Object(fields) => fields.values().any(|part| names(part, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An event as it was read from the log.
pub(super) fn told(event: &StoredEvent) -> (Timestamp, Entry) {
    entry(&LogEvent::of(event))
}

fn entry(event: &LogEvent<'_>) -> (Timestamp, Entry) {
    let entry = Entry {
        position: event.position,
        recorded_at: event.recorded_at.to_string(),
        ms: 0,
        service: event.service.to_owned(),
        message_type: event.message_type.to_owned(),
        stream: event.stream.to_owned(),
        version: event.version,
        event_id: event.event_id,
        correlation_id: event.correlation_id,
        causation_id: event.causation_id,
        depth: 0,
        waited: Vec::new(),
        waits_for: None,
        // What does not decode is still told: somebody looks because something is wrong.
        data: proto::to_json(event.message_type, event.data).unwrap_or_else(|error| Value::String(error.to_string())),
    };
    (event.recorded_at, entry)
}
