//! `holdfast order`: all that happened to one order, across all services, in causal order.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, Result};
use audit::snapshot::Snapshot;
use domain::{GlobalPosition, OrderId, StreamVersion, written};
use platform::print::{self, Cell, Look, Paint, Table};
use proto::{Name, orders::v1::OrderReinstated};
use runtime::log::event_store::{StoredEvent, read_streams};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::global_args::GlobalArgs;

/// Options of `holdfast order`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The order's id, or the shop's own number of it.
    #[arg(value_name = "ID|REFERENCE")]
    order: String,
}

/// What happened to an order.
#[derive(Debug, Serialize)]
struct Timeline {
    order_id: Option<Uuid>,
    /// The shop's own number of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    events: Vec<TimelineEntry>,
}

/// One event of it.
#[derive(Debug, PartialEq, Serialize)]
struct TimelineEntry {
    recorded_at: String,
    /// Since the first event.
    ms: u64,
    service: String,
    #[serde(rename = "type")]
    message_type: String,
    position: GlobalPosition,
    stream: String,
    version: StreamVersion,
    event_id: Uuid,
    correlation_id: Uuid,
    causation_id: Uuid,
    /// How many events of this story led to it.
    depth: usize,
    data: Value,
}

/// Prints the order's events: exit code 0, or 1 if there is no such order.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut snapshot = Snapshot::take(&global.database_url()?).await?;
    let (order_id, reference) = find(&mut snapshot.connection, &args.order).await?;
    let events = match order_id {
        Some(order_id) => events(&mut snapshot.connection, OrderId(order_id)).await.context("reading the log")?,
        None => Vec::new(),
    };
    snapshot.close().await?;

    let timeline = Timeline { order_id, reference, events: entries(&events) };
    if global.json {
        print::json(&timeline)?;
    } else {
        print::out(&timeline.text(Paint::for_stdout()))?;
    }
    if timeline.events.is_empty() {
        eprintln!("holdfast: there is no order {:?} in the log; was its PlaceOrder accepted?", args.order);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// An order by its id or its reference. One that only the log knows has no row, and is named by its id.
async fn find(connection: &mut PgConnection, order: &str) -> Result<(Option<Uuid>, Option<String>)> {
    let id = Uuid::try_parse(order).ok();
    let query = "select order_id, reference from orders.orders where order_id = $1 or reference = $2
        order by order_id = $1 desc nulls last limit 1";
    let found = sqlx::query_as(query).bind(id).bind(order).fetch_optional(connection).await;
    Ok(found.context("looking for the order")?.unwrap_or((id, None)))
}

/// All events of an order.
async fn events(connection: &mut PgConnection, order_id: OrderId) -> Result<Vec<StoredEvent>, sqlx::Error> {
    let own = read_streams(connection, &order_id.streams(0)).await?;
    let attempts = 1 + own.iter().filter(|event| event.message_type == OrderReinstated::full_name()).count();
    read_streams(connection, &order_id.streams(attempts)).await
}

/// Events in order of position, each knowing how deep below its first cause it stands.
fn entries(events: &[StoredEvent]) -> Vec<TimelineEntry> {
    let mut depths: BTreeMap<Uuid, usize> = BTreeMap::new();
    let begun = events.first().map(|event| event.recorded_at).unwrap_or_default();
    let entry = |event: &StoredEvent| {
        let depth = depths.get(&event.causation_id).map_or(0, |cause| cause + 1);
        depths.insert(event.event_id, depth);
        TimelineEntry {
            recorded_at: event.recorded_at.to_string(),
            ms: u64::try_from(event.recorded_at.since(begun).as_millis()).unwrap_or(u64::MAX),
            service: event.service.clone(),
            message_type: event.message_type.clone(),
            position: event.position,
            stream: event.stream.clone(),
            version: event.version,
            event_id: event.event_id,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            depth,
            // What does not decode is still shown: somebody looks because something is wrong.
            data: proto::to_json(&event.message_type, &event.data)
                .unwrap_or_else(|error| Value::String(error.to_string())),
        }
    };
    events.iter().map(entry).collect()
}

impl Timeline {
    fn text(&self, paint: Paint) -> String {
        let named = self.order_id.iter().zip(&self.reference);
        let reference = named.map(|(order_id, reference)| format!("order {order_id}, reference {reference}\n"));
        let mut table = Table::default();
        for event in &self.events {
            let name = format!("{}{}", "  ".repeat(event.depth), proto::short_name(&event.message_type));
            table.row([
                Cell::new(&event.recorded_at, Look::Dim),
                Cell::new(format!("+{} ms", event.ms), Look::Dim),
                Cell::new(&event.service, Look::Plain),
                Cell::new(event.position, Look::Dim),
                Cell::new(format!("v{}", event.version), Look::Dim),
                Cell::new(name, Look::Bold),
                Cell::new(readable(&event.data), Look::Plain),
            ]);
        }
        reference.chain([table.text(paint)]).collect()
    }
}

/// Data of an event with its amounts as people write them.
fn readable(data: &Value) -> Value {
    let fields = match data {
        Value::Object(fields) => fields,
        Value::Array(all) => return all.iter().map(readable).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return data.clone(),
    };
    if let Some(money) = money(fields) {
        return Value::String(money);
    }
    // The parts of an amount stand beside it.
    let currency = fields.get("amount").and_then(|amount| amount.get("currency")).and_then(Value::as_str);
    let field = |(name, value): (&String, &Value)| {
        let of = currency.filter(|_| name.ends_with("Minor"));
        (name.clone(), of.map_or_else(|| readable(value), |currency| parts(value, currency)))
    };
    fields.iter().map(field).collect()
}

/// An amount as people write it, if this is one. Nothing at all is left out of JSON.
fn money(fields: &Map<String, Value>) -> Option<String> {
    let currency = fields.get("currency")?.as_str()?;
    let minor_units = fields.get("minorUnits").map_or(Some(0), minor)?;
    let is_money = fields.keys().all(|name| name == "currency" || name == "minorUnits");
    is_money.then(|| written(minor_units, currency))
}

fn parts(value: &Value, currency: &str) -> Value {
    match value {
        Value::Array(all) => all.iter().map(|part| parts(part, currency)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            minor(value).map_or_else(|| value.clone(), |minor| Value::String(written(minor, currency)))
        }
    }
}

fn minor(value: &Value) -> Option<i64> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use domain::{GlobalPosition, StreamVersion, Timestamp};
    use proto::{Message, Name, orders::v1::OrderReleased};
    use runtime::log::event_store::StoredEvent;
    use serde_json::json;
    use uuid::Uuid;

    use super::{Paint, Timeline, entries, readable};

    fn event(position: i64, id: u128, cause: u128) -> StoredEvent {
        StoredEvent {
            position: GlobalPosition::new(position),
            stream: "order-1".to_owned(),
            version: StreamVersion::new(position),
            event_id: Uuid::from_u128(id),
            service: "orders".to_owned(),
            message_type: OrderReleased::full_name(),
            data: OrderReleased { order_id: "x".to_owned(), attempt: 2 }.encode_to_vec(),
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(cause),
            traceparent: None,
            recorded_at: Timestamp::from_micros(position * 1_500_000),
            is_handled: false,
        }
    }

    #[test]
    fn an_event_stands_below_its_cause() {
        let told = entries(&[event(1, 10, 1), event(2, 11, 10), event(3, 12, 11), event(4, 13, 10), event(5, 14, 99)]);
        let depths: Vec<usize> = told.iter().map(|entry| entry.depth).collect();
        assert_eq!(depths, [0, 1, 2, 1, 0]);
        assert_eq!(told[2].ms, 3_000);
    }

    #[test]
    fn the_text_has_a_line_an_event_with_its_data() {
        let events = || entries(&[event(1, 10, 1), event(2, 11, 10)]);
        let timeline = |reference| Timeline { order_id: Some(Uuid::from_u128(7)), reference, events: events() };
        let text = timeline(None).text(Paint::Off);
        let named = timeline(Some("R-1".to_owned())).text(Paint::Off);
        assert!(named.lines().next().unwrap().ends_with("0007, reference R-1") && named.ends_with(&text), "{named}");
        let last = text.lines().nth(1).unwrap();
        for part in ["+1500 ms", "orders", "v2", "    OrderReleased", r#"{"attempt":2,"orderId":"x"}"#] {
            assert!(last.contains(part), "{part:?} is not in {last:?}");
        }
    }

    #[test]
    fn amounts_are_told_as_people_write_them() {
        let data = json!({
            "total": { "minorUnits": "125000", "currency": "EUR" },
            "lines": [
                { "sku": "TEA", "quantity": "2", "unitPrice": { "minorUnits": "1250", "currency": "JPY" } },
                { "sku": "GIFT", "unitPrice": { "currency": "KWD" } },
            ],
            "discount": {
                "amount": { "minorUnits": "-5", "currency": "EUR" },
                "linesMinor": ["-2", "-3"],
                "sharesMinor": "100000",
            },
            "offer": { "currency": "EUR", "basisPoints": "1000" },
        });
        let told = json!({
            "total": "1,250.00 EUR",
            "lines": [
                { "sku": "TEA", "quantity": "2", "unitPrice": "1,250 JPY" },
                { "sku": "GIFT", "unitPrice": "0.000 KWD" },
            ],
            "discount": { "amount": "-0.05 EUR", "linesMinor": ["-0.02 EUR", "-0.03 EUR"], "sharesMinor": "1,000.00 EUR" },
            "offer": { "currency": "EUR", "basisPoints": "1000" },
        });
        assert_eq!(readable(&data), told);
    }

    #[test]
    fn data_that_does_not_decode_is_shown_with_the_reason() {
        let broken = StoredEvent { data: vec![255], ..event(1, 10, 1) };
        assert!(entries(&[broken])[0].data.as_str().unwrap().contains("OrderReleased"));
    }
}
