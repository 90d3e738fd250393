//! How two rows in words differ: field by field where the words have fields, or else as a whole.
//!
//! The words are those of `Debug`: `Stock { received: 5, held: 0 }`. Whatever does not look so is compared as it is.

/// Fields that are told of one row.
const FIELDS_MAX: usize = 8;

/// Letters that are told of one value.
const CHARS_MAX: usize = 160;

/// What the row says and what its events say, where they differ.
pub(super) fn difference(row: &str, events: &str) -> String {
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
pub(super) fn excerpt(value: &str) -> String {
    if value.is_empty() {
        return "nothing".to_owned();
    }
    if value.chars().count() <= CHARS_MAX {
        return value.to_owned();
    }
    value.chars().take(CHARS_MAX).chain("...".chars()).collect()
}

struct Field<'a> {
    path: String,
    row: &'a str,
    events: &'a str,
}

fn compare<'a>(path: &str, row: &'a str, events: &'a str, found: &mut Vec<Field<'a>>) {
    if row == events {
        return;
    }
    match (parts(row), parts(events)) {
        (Some(row_parts), Some(event_parts)) if row_parts.name == event_parts.name => {
            let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            let value =
                |of: &Parts<'a>, key: &str| of.fields.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            for (key, of_row) in &row_parts.fields {
                let of_events = value(&event_parts, key).unwrap_or("");
                compare(&below(key), of_row, of_events, found);
            }
            for (key, of_events) in &event_parts.fields {
                if value(&row_parts, key).is_none() {
                    found.push(Field { path: below(key), row: "", events: of_events });
                }
            }
        }
        _ => found.push(Field { path: path.to_owned(), row, events }),
    }
}

/// A struct or a map, taken apart: what stands before the brace, and its fields.
struct Parts<'a> {
    name: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

/// `None`: it has no fields, or some have no name.
fn parts(text: &str) -> Option<Parts<'_>> {
    // `Some(Terms { .. })` is read as `Terms { .. }`.
    let text = text.strip_prefix("Some(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(text);
    let (name, inner) = text.strip_suffix('}')?.split_once('{')?;
    if name.contains(['"', '(', '[', ',']) {
        return None;
    }
    let fields = split(inner, ',').into_iter().map(str::trim).filter(|field| !field.is_empty());
    let fields: Option<Vec<(&str, &str)>> = fields
        .map(|field| {
            let key = *split(field, ':').first()?;
            let value = field.get(key.len()..)?.strip_prefix(':')?;
            Some((key.trim(), value.trim()))
        })
        .collect();
    Some(Parts { name: name.trim(), fields: fields? })
}

/// Splits at a sign that stands in no bracket and in no quotes.
fn split(text: &str, sign: char) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut start) = (0_i32, false, false, 0);
    let mut parts = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ if letter == sign && depth == 0 => {
                parts.extend(text.get(start..at));
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn names_the_field_that_differs() {
        let row = r#"Stock { name: "a, b: {", received: 105, held: 0 }"#;
        let events = r#"Stock { name: "a, b: {", received: 100, held: 0 }"#;
        assert_eq!(difference(row, events), "received: the row says 105, its events say 100");
    }

    #[test]
    fn names_the_path_of_a_field_within_a_field() {
        let row = "Round { offer: Offer { price: Money { minor_units: 5 }, total: 9 }, terms: Some(Terms { a: 1 }) }";
        let events =
            "Round { offer: Offer { price: Money { minor_units: 6 }, total: 9 }, terms: Some(Terms { a: 2 }) }";
        assert_eq!(
            difference(row, events),
            "offer.price.minor_units: the row says 5, its events say 6; terms.a: the row says 1, its events say 2"
        );
    }

    #[test]
    fn names_the_entry_of_a_map_that_only_one_has() {
        let row = r#"Hold { lines: {Sku("cup"): 1, Sku("mug"): 2}, version: 1 }"#;
        let events = r#"Hold { lines: {Sku("cup"): 1, Sku("jug"): 2}, version: 1 }"#;
        assert_eq!(
            difference(row, events),
            r#"lines.Sku("mug"): the row says 2, its events say nothing; lines.Sku("jug"): the row says nothing, its events say 2"#
        );
    }

    #[test]
    fn compares_as_a_whole_what_has_no_fields() {
        assert_eq!(difference("Held", "Released"), "the row says Held, its events say Released");
        assert_eq!(difference("A { x: None }", "A { x: Some(3) }"), "x: the row says None, its events say Some(3)");
        assert_eq!(difference("A { x: [1, 2] }", "A { x: [1] }"), "x: the row says [1, 2], its events say [1]");
    }

    #[test]
    fn quotes_may_have_quotes_in_them() {
        let row = r#"A { note: "he said \"x, y: 1\"", n: 1 }"#;
        let events = r#"A { note: "he said \"x, y: 1\"", n: 2 }"#;
        assert_eq!(difference(row, events), "n: the row says 1, its events say 2");
    }

    #[test]
    fn says_how_many_more_fields_differ() {
        let words = |value: i32| format!("A {{ {} }}", (0..12).map(|n| format!("f{n}: {value}, ")).collect::<String>());
        assert!(difference(&words(1), &words(2)).ends_with("; and 4 more fields"));
    }

    #[test]
    fn long_values_are_cut() {
        assert!(difference(&"x".repeat(5_000), "y").chars().count() < 300);
    }
}
