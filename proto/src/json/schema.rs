//! The contract as JSON Schema: what the JSON of a message may be, in the words of its `.proto`.

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

/// Who reads what a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaOf {
    /// The gateway: fields as the contract spells them, `order_id`, and no others.
    Request,
    /// A worker: fields as proto3 JSON names them, `orderId`, and no others.
    Command,
    /// Another system: fields as proto3 JSON names them, as they are written, and whatever newer versions add.
    Event,
}

/// Adds the schema of a message, and of all that it is made of, each under its full name. Other schemas are found below `at`.
pub(super) fn add(message: &MessageDescriptor, of: SchemaOf, at: &str, schemas: &mut BTreeMap<String, Value>) {
    if schemas.contains_key(message.full_name()) {
        return;
    }
    // Before its parts are looked at, for a message may be a part of its parts.
    schemas.insert(message.full_name().to_owned(), Value::Null);
    let name = |field: &FieldDescriptor| match of {
        SchemaOf::Request => field.name().to_owned(),
        SchemaOf::Command | SchemaOf::Event => field.json_name().to_owned(),
    };
    let properties: Map<String, Value> =
        message.fields().map(|field| (name(&field), property(&field, of, at, schemas))).collect();
    let schema = json!({
        "type": "object",
        "description": message_comment(message),
        "properties": properties,
        "additionalProperties": of == SchemaOf::Event,
    });
    schemas.insert(message.full_name().to_owned(), schema);
}

/// What the `.proto` says above a message, in one line.
pub(super) fn message_comment(message: &MessageDescriptor) -> String {
    comment(&message.parent_file(), message.path())
}

fn property(field: &FieldDescriptor, of: SchemaOf, at: &str, schemas: &mut BTreeMap<String, Value>) -> Value {
    let one = kind(&field.kind(), of, at, schemas);
    let mut schema = if field.is_list() { json!({ "type": "array", "items": one }) } else { one };
    let words = comment(&field.parent_file(), field.path());
    if let (Some(schema), false) = (schema.as_object_mut(), words.is_empty()) {
        schema.insert("description".to_owned(), words.into());
    }
    schema
}

fn kind(kind: &Kind, of: SchemaOf, at: &str, schemas: &mut BTreeMap<String, Value>) -> Value {
    match kind {
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Duration" => json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" }),
            name => {
                add(message, of, at, schemas);
                json!({ "$ref": format!("{at}{name}") })
            }
        },
        // A word that is newer than the worker that writes it is written as its number.
        Kind::Enum(words) if of == SchemaOf::Event => {
            json!({ "type": ["string", "integer"], "x-extensible-enum": names(words) })
        }
        Kind::Enum(words) => json!({ "type": "string", "enum": names(words) }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Kind::Double | Kind::Float => json!({ "type": "number" }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
        Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0 }),
        // As a text, because many readers of JSON know no number that large. Written as nothing else, read as a number too.
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 if of == SchemaOf::Event => {
            json!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]+$" })
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => {
            json!({ "type": ["string", "integer"], "format": "int64", "pattern": "^-?[0-9]+$" })
        }
    }
}

fn names(words: &EnumDescriptor) -> Vec<String> {
    words.values().map(|value| value.name().to_owned()).collect()
}

/// What the `.proto` says above an element, in one line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let file = file.file_descriptor_proto();
    let places = file.source_code_info.iter().flat_map(|info| &info.location);
    let words = places.filter(|place| place.path == path).find_map(|place| place.leading_comments.as_deref());
    words.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
