//! JSON to messages, field by field along the descriptors, so that whatever is refused is named by its path.

use std::fmt;

use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{number, time};

/// How much of what was sent a reason repeats.
const EXCERPT_CHARS_MAX: usize = 64;

/// Reads a message.
pub(super) fn read(descriptor: &MessageDescriptor, text: &str) -> Result<DynamicMessage, String> {
    // Finds whatever is no JSON at all, with its line and column; the rest fails by what it says.
    let json: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    part(descriptor, json, &Path::Root)
}

/// The entries of an object, in order, each value as it was written.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Where a value is: `lines[0].unitPrice.currency`.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl Path<'_> {
    /// What a sentence about it begins with.
    fn before(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Field(..) | Self::Item(..) => format!("{self}: "),
        }
    }

    fn expected(&self, what: impl fmt::Display, json: &RawValue) -> String {
        let text = json.get();
        let shown: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
        let more = if shown.len() < text.len() { " ..." } else { "" };
        let at = self.before();
        format!("{at}expected {what}, not {shown}{more}")
    }
}

fn message(descriptor: &MessageDescriptor, entries: Entries<'_>, path: &Path<'_>) -> Result<DynamicMessage, String> {
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut seen = Vec::new();
    for (name, json) in entries.0 {
        let by_name = || descriptor.get_field_by_name(&name);
        let Some(field) = descriptor.get_field_by_json_name(&name).or_else(by_name) else {
            let short: String = name.chars().take(EXCERPT_CHARS_MAX).collect();
            return Err(format!("{}{} has no field '{}'", path.before(), descriptor.name(), short.escape_debug()));
        };
        let path = Path::Field(path, field.json_name());
        if seen.contains(&field.number()) {
            return Err(format!("{path}: it is there twice, and only one of them can be meant"));
        }
        seen.push(field.number());
        if json.get() == "null" {
            continue;
        }
        if let Some(other) = rival(&message, &field) {
            return Err(format!("{path}: it excludes {}, which is there too", other.json_name()));
        }
        let value = if field.is_list() { list(&field, json, &path)? } else { value(&field.kind(), json, &path)? };
        message.try_set_field(&field, value).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(message)
}

/// Another field of the same choice that is set already.
fn rival(message: &DynamicMessage, field: &FieldDescriptor) -> Option<FieldDescriptor> {
    field.containing_oneof()?.fields().find(|other| message.has_field(other))
}

fn list(field: &FieldDescriptor, json: &RawValue, path: &Path<'_>) -> Result<Value, String> {
    let items: Vec<&RawValue> = serde_json::from_str(json.get()).map_err(|_other| path.expected("a list", json))?;
    let kind = field.kind();
    let read = |(index, item)| value(&kind, item, &Path::Item(path, index));
    Ok(Value::List(items.into_iter().enumerate().map(read).collect::<Result<_, _>>()?))
}

fn value(kind: &Kind, json: &RawValue, path: &Path<'_>) -> Result<Value, String> {
    match kind {
        Kind::Bool => match json.get() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(path.expected("true or false", json)),
        },
        Kind::String => text(json).map(Value::String).ok_or_else(|| path.expected("text in quotes", json)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => whole(json, path, i32::MIN, i32::MAX).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => whole(json, path, i64::MIN, i64::MAX).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => whole(json, path, u32::MIN, u32::MAX).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => whole(json, path, u64::MIN, u64::MAX).map(Value::U64),
        Kind::Enum(values) => enumerated(values, json, path).map(Value::EnumNumber),
        Kind::Message(descriptor) => part(descriptor, json, path).map(Value::Message),
        // The contract has none: money is no float, and a specification below says so.
        Kind::Float | Kind::Double | Kind::Bytes => Err(format!("{path}: it cannot be given as JSON")),
    }
}

/// A message, or one of those that JSON writes as text.
fn part(descriptor: &MessageDescriptor, json: &RawValue, path: &Path<'_>) -> Result<DynamicMessage, String> {
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let read = text(json).and_then(|text| time::timestamp(&text));
            read.map(|time| transcoded(descriptor, &time)).ok_or_else(|| path.expected(time::TIME, json))
        }
        "google.protobuf.Duration" => {
            let read = text(json).and_then(|text| time::duration(&text));
            read.map(|duration| transcoded(descriptor, &duration)).ok_or_else(|| path.expected(time::DURATION, json))
        }
        _ => {
            let entries = serde_json::from_str(json.get()).map_err(|_other| path.expected("an object", json))?;
            message(descriptor, entries, path)
        }
    }
}

fn text(json: &RawValue) -> Option<String> {
    if !json.get().starts_with('"') {
        return None;
    }
    serde_json::from_str(json.get()).ok()
}

fn transcoded(descriptor: &MessageDescriptor, known: &impl prost::Message) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    // They are the same type, so nothing can be lost.
    match message.transcode_from(known) {
        Ok(()) | Err(_) => message,
    }
}

/// A whole number, as a JSON number or as digits in quotes.
fn whole<N>(json: &RawValue, path: &Path<'_>, least: N, most: N) -> Result<N, String>
where
    N: TryFrom<i128> + fmt::Display,
{
    let number = match text(json) {
        Some(digits) => digits.parse().ok(),
        None => number::whole(json.get()),
    };
    let fits = number.and_then(|number| N::try_from(number).ok());
    fits.ok_or_else(|| path.expected(format_args!("a whole number from {least} to {most}"), json))
}

/// By name, or by number: one that this version does not know is for the service to refuse.
fn enumerated(values: &EnumDescriptor, json: &RawValue, path: &Path<'_>) -> Result<i32, String> {
    let number = match text(json) {
        Some(name) => values.get_value_by_name(&name).map(|value| value.number()),
        None => number::whole(json.get()).and_then(|number| i32::try_from(number).ok()),
    };
    number.ok_or_else(|| {
        let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
        path.expected(format_args!("one of {}", names.join(", ")), json)
    })
}

#[cfg(test)]
mod tests;
