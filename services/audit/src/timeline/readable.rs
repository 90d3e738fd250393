//! Data and waits of events, as people read them.

use std::time::Duration;

use domain::written;
use platform::print::short;
use serde_json::{Map, Value};

use super::Entry;

/// How long was waited until an event, and for whom.
#[must_use]
pub fn waited(entry: &Entry) -> String {
    let waits = entry.waited.iter().map(|wait| format!("{} for {}", time(wait.ms), wait.on));
    waits.collect::<Vec<_>>().join(", ")
}

/// The same, and who is waited for still.
#[must_use]
pub fn waits(entry: &Entry) -> String {
    let still = entry.waits_for.map(|on| format!("still waits for {on}"));
    [waited(entry)].into_iter().filter(|text| !text.is_empty()).chain(still).collect::<Vec<_>>().join("; ")
}

/// So many milliseconds.
#[must_use]
pub fn time(ms: u64) -> String {
    short(Duration::from_millis(ms))
}

/// The story in one sentence, for whoever does not see the picture.
#[must_use]
pub fn sentence(entries: &[Entry]) -> String {
    let Some((first, last)) = entries.first().zip(entries.last()) else { return "No event.".to_owned() };
    let longest = entries.iter().flat_map(|entry| &entry.waited).max_by_key(|wait| wait.ms);
    let waited = longest.map(|wait| format!("; the longest wait was {} for {}", time(wait.ms), wait.on));
    let still = entries.iter().filter_map(|entry| entry.waits_for).next_back();
    let still = still.map(|on| format!("; it still waits for {on}"));
    format!(
        "{} events in {}, from {} to {}{}{}.",
        entries.len(),
        time(last.ms),
        first.name(),
        last.name(),
        waited.unwrap_or_default(),
        still.unwrap_or_default()
    )
}

/// Data of an event with its amounts as people write them.
#[must_use]
pub fn data(data_of: &Value) -> Value {
    let fields = match data_of {
        Value::Object(fields) => fields,
        Value::Array(all) => return all.iter().map(data).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return data_of.clone(),
    };
    if let Some(money) = money(fields) {
        return Value::String(money);
    }
    // The parts of an amount stand beside it.
    let currency = fields.get("amount").and_then(|amount| amount.get("currency")).and_then(Value::as_str);
    let field = |(name, value): (&String, &Value)| {
        let of = currency.filter(|_| name.ends_with("Minor"));
        (name.clone(), of.map_or_else(|| data(value), |currency| parts(value, currency)))
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
    use serde_json::json;

    use super::data;

    #[test]
    fn amounts_are_told_as_people_write_them() {
        let said = json!({
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
        assert_eq!(data(&said), told);
    }
}
