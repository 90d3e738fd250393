//! What comes through the gateway, as people read it: amounts as they write them, times where they are, and nothing that a terminal obeys.

use domain::{legible, written};
use jiff::{Timestamp, tz::TimeZone};
use platform::print::{Cell, Look, Paint, Table};
use serde_json::{Map, Value};

/// The most letters of one value.
const CHARS_MAX: usize = 400;

/// Options of what shows times to people.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Times {
    /// Times in UTC, and not where you are. JSON has them in UTC always.
    #[arg(long)]
    utc: bool,
}

/// Where the times are that are shown.
#[derive(Debug, Clone)]
pub(crate) struct Zone(TimeZone);

impl Times {
    pub(crate) fn zone(self) -> Zone {
        Zone(if self.utc { TimeZone::UTC } else { TimeZone::system() })
    }
}

impl Zone {
    /// A time of this zone, with its offset; whatever is none as it is.
    pub(crate) fn time(&self, text: &str) -> String {
        let Ok(at) = text.parse::<Timestamp>() else { return legible(text, CHARS_MAX) };
        at.to_zoned(self.0.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f %:z").to_string()
    }

    /// A value as people read it. `None`: there is nothing to read in it.
    pub(crate) fn value(&self, name: &str, value: &Value) -> Option<String> {
        match value {
            Value::Null => None,
            Value::Bool(is) => Some(if *is { "yes" } else { "no" }.to_owned()),
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) if text.is_empty() => None,
            Value::String(text) if is_time(name) => Some(self.time(text)),
            Value::String(text) => Some(legible(text, CHARS_MAX)),
            Value::Array(all) if all.iter().all(|one| !one.is_object()) => {
                let all: Vec<String> = all.iter().filter_map(|one| self.value(name, one)).collect();
                Some(all.join(", ")).filter(|all| !all.is_empty())
            }
            Value::Array(_) => None,
            Value::Object(fields) => money(fields),
        }
    }
}

/// Fields of times.
fn is_time(name: &str) -> bool {
    ["_at", "_by", "_since", "deadline", "valid_from", "valid_until"].iter().any(|ending| name.ends_with(ending))
}

/// An amount, if this is one.
fn money(fields: &Map<String, Value>) -> Option<String> {
    let currency = fields.get("currency")?.as_str()?;
    let minor_units: i64 = fields.get("minor_units")?.as_str()?.parse().ok()?;
    (fields.len() == 2).then(|| written(minor_units, currency))
}

/// One thing with all that is known of it: its own fields below each other, then a table of each kind of its parts.
pub(crate) fn one(thing: &Value, first: &[&str], zone: &Zone, paint: Paint) -> String {
    let (mut fields, mut tables) = (Table::default(), String::new());
    let empty = Map::new();
    let all = thing.as_object().unwrap_or(&empty);
    let others = all.keys().map(String::as_str).filter(|name| !first.contains(name));
    for name in first.iter().copied().chain(others) {
        match all.get(name) {
            Some(Value::Array(parts)) if parts.iter().any(Value::is_object) => {
                tables.push_str(&format!(
                    "\n{}\n{}",
                    paint.text(name, Look::Bold),
                    many(parts, &columns(parts), zone, paint)
                ));
            }
            Some(value) => field(&mut fields, name, value, zone),
            None => {}
        }
    }
    fields.text(paint) + &tables
}

/// A field, or those below it: `holds.stock`.
fn field(table: &mut Table, name: &str, value: &Value, zone: &Zone) {
    if let Some(text) = zone.value(name, value) {
        table.row([Cell::new(name, Look::Dim), Cell::new(text, Look::Plain)]);
    } else if let Value::Object(below) = value {
        below.iter().for_each(|(part, value)| field(table, &format!("{name}.{part}"), value, zone));
    }
}

/// Names of fields that any of these has, and that fit into a cell.
fn columns(parts: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, value) in parts.iter().filter_map(Value::as_object).flatten() {
        let fits = !value.is_array()
            && (!value.is_object() || value.as_object().is_some_and(|fields| money(fields).is_some()));
        if fits && !value.is_null() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Many things below each other, with these of their fields.
pub(crate) fn many(things: &[Value], columns: &[impl AsRef<str>], zone: &Zone, paint: Paint) -> String {
    let mut table = Table::default();
    table.cells(columns.iter().map(|name| Cell::new(name.as_ref(), Look::Bold)).collect());
    for thing in things {
        let cell = |name: &str| thing.get(name).and_then(|value| zone.value(name, value)).unwrap_or_default();
        table.cells(columns.iter().map(|name| Cell::from(cell(name.as_ref()))).collect());
    }
    table.text(paint)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use platform::print::Paint;
    use serde_json::json;

    use super::{Zone, many, one};

    #[test]
    fn times_have_their_zone() {
        let (utc, berlin) = (Zone(TimeZone::UTC), Zone(TimeZone::get("Europe/Berlin").unwrap()));
        assert_eq!(utc.time("2026-07-01T10:00:00.123456Z"), "2026-07-01 10:00:00.123 +00:00");
        assert_eq!(berlin.time("2026-07-01T10:00:00.123456+00:00"), "2026-07-01 12:00:00.123 +02:00");
        assert_eq!(berlin.time("soon"), "soon");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_and_not_done() {
        let zone = Zone(TimeZone::UTC);
        let said = one(&json!({ "note": "a\u{1b}[2Jb\nc" }), &[], &zone, Paint::Off);
        assert!(!said.contains('\u{1b}') && said.lines().count() == 1, "{said:?}");
    }

    #[test]
    fn a_thing_is_told_by_its_fields_and_its_parts_by_tables() {
        let order = json!({
            "status": "paid", "order_id": "O-7", "reference": null, "disputed": false,
            "total": { "minor_units": "125000", "currency": "EUR" },
            "holds": { "stock": "held", "released": false },
            "lines": [{ "sku": "MUG", "quantity": "2", "unit_price": { "minor_units": "5", "currency": "JPY" } }],
            "refunds": [],
        });
        let zone = Zone(TimeZone::UTC);
        let told = one(&order, &["order_id", "status"], &zone, Paint::Off);
        let expected = "  order_id        O-7\n  status          paid\n  disputed        no\n  holds.released  no\n  \
            holds.stock     held\n  total           1,250.00 EUR\n\nlines\n  quantity  sku  unit_price\n         2  MUG       5 JPY\n";
        assert_eq!(told, expected);
        assert_eq!(
            many(&[order], &["order_id", "total"], &zone, Paint::Off),
            "  order_id  total\n  O-7       1,250.00 EUR\n"
        );
    }
}
