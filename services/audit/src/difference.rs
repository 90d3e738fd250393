//! How two rows differ: field by field.

use domain::written;
use serde_json::Value;

/// Fields that are told of one row.
const FIELDS_MAX: usize = 8;

/// Letters that are told of one value.
const CHARS_MAX: usize = 160;

/// How a row and the fold of its events differ, where one of both may not be there.
pub(super) fn in_words(row: Option<&Value>, events: Option<&Value>) -> String {
    match (row, events) {
        (Some(row), Some(events)) => difference(row, events),
        (Some(row), None) => format!("there is a row, and no event made it: {}", excerpt(row)),
        (None, events) => {
            format!("there is no row, and its events say {}", events.map(excerpt).unwrap_or_default())
        }
    }
}

/// Adds to what is said of a row already.
pub(super) fn add_words(said: &mut String, more: &str) {
    if !said.is_empty() {
        said.push_str("; ");
    }
    said.push_str(more);
}

/// What the row says and what its events say, where they differ.
fn difference(row: &Value, events: &Value) -> String {
    let mut fields = Vec::new();
    compare("", row, events, &mut fields);
    let more = fields.len().saturating_sub(FIELDS_MAX);
    let mut told: Vec<String> = fields
        .iter()
        .take(FIELDS_MAX)
        .map(|Field { path, row, events }| {
            let name = if path.is_empty() { String::new() } else { format!("{path}: ") };
            format!("{name}the row says {}, its events say {}", excerpt(row), excerpt(events))
        })
        .collect();
    if more > 0 {
        told.push(format!("and {more} more fields"));
    }
    told.join("; ")
}

/// As much of a value as fits a report.
fn excerpt(value: &Value) -> String {
    if let Some(money) = money(value) {
        return money;
    }
    let text = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(word) if !word.is_empty() && !word.contains(char::is_whitespace) => word.clone(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.chars().count() <= CHARS_MAX {
        return text;
    }
    text.chars().take(CHARS_MAX).chain("...".chars()).collect()
}

struct Field<'a> {
    path: String,
    row: &'a Value,
    events: &'a Value,
}

fn compare<'a>(path: &str, row: &'a Value, events: &'a Value, found: &mut Vec<Field<'a>>) {
    if row == events {
        return;
    }
    let (Value::Object(of_row), Value::Object(of_events), false) = (row, events, money(row).is_some()) else {
        found.push(Field { path: path.to_owned(), row, events });
        return;
    };
    let only_events = of_events.keys().filter(|key| !of_row.contains_key(*key));
    for key in of_row.keys().chain(only_events) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let (row, events) = (of_row.get(key), of_events.get(key));
        compare(&path, row.unwrap_or(&Value::Null), events.unwrap_or(&Value::Null), found);
    }
}

/// An amount as people write it. `None`: it is something else.
fn money(value: &Value) -> Option<String> {
    let fields = value.as_object().filter(|fields| fields.len() == 2)?;
    Some(written(fields.get("minor_units")?.as_i64()?, fields.get("currency")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{difference, excerpt};

    #[test]
    fn names_the_field_that_differs() {
        let row = json!({ "name": "a, b: {", "received": 105, "held": 0 });
        let events = json!({ "name": "a, b: {", "received": 100, "held": 0 });
        assert_eq!(difference(&row, &events), "received: the row says 105, its events say 100");
    }

    #[test]
    fn names_the_path_of_a_field_within_a_field() {
        let row = json!({ "offer": { "price": { "minor_units": 5 }, "total": 9 }, "terms": { "a": 1 } });
        let events = json!({ "offer": { "price": { "minor_units": 6 }, "total": 9 }, "terms": { "a": 2 } });
        assert_eq!(
            difference(&row, &events),
            "offer.price.minor_units: the row says 5, its events say 6; terms.a: the row says 1, its events say 2"
        );
    }

    #[test]
    fn money_is_told_as_a_whole() {
        let row = json!({ "total": { "minor_units": 125_000, "currency": "EUR" } });
        let events = json!({ "total": { "minor_units": 125_000, "currency": "JPY" } });
        assert_eq!(difference(&row, &events), "total: the row says 1,250.00 EUR, its events say 125,000 JPY");
    }

    #[test]
    fn names_the_entry_of_a_map_that_only_one_has() {
        let row = json!({ "lines": { "cup": 1, "mug": 2 }, "version": 1 });
        let events = json!({ "lines": { "cup": 1, "jug": 2 }, "version": 1 });
        assert_eq!(
            difference(&row, &events),
            "lines.mug: the row says 2, its events say nothing; lines.jug: the row says nothing, its events say 2"
        );
    }

    #[test]
    fn compares_as_a_whole_what_has_no_fields() {
        assert_eq!(difference(&json!("held"), &json!("released")), "the row says held, its events say released");
        assert_eq!(
            difference(&json!({ "x": null }), &json!({ "x": { "y": 3 } })),
            r#"x: the row says nothing, its events say {"y":3}"#
        );
        assert_eq!(
            difference(&json!({ "x": [1, 2] }), &json!({ "x": [1] })),
            "x: the row says [1,2], its events say [1]"
        );
    }

    #[test]
    fn says_how_many_more_fields_differ() {
        let row = |value: i32| (0..12).map(|n| (format!("f{n}"), json!(value))).collect();
        assert!(difference(&row(1), &row(2)).ends_with("; and 4 more fields"));
    }

    #[test]
    fn a_value_is_told_so_that_it_can_be_told_from_nothing_and_never_at_any_length() {
        assert_eq!(excerpt(&json!("")), r#""""#);
        assert_eq!(excerpt(&json!("two words")), r#""two words""#);
        assert!(excerpt(&json!("x".repeat(1_000))).len() < 200);
    }
}
