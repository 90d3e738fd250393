//! Proto3 JSON by type name, from the descriptors: the one place where JSON becomes protobuf and back.

mod number;
mod reading;
mod schema;
mod time;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

pub use schema::SchemaOf;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions, Value};

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub(crate) static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// Why JSON could not be turned into a message, or a message into JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The contract has no such type.
    #[error("the contract has no message type `{0}`")]
    UnknownType(String),
    /// The JSON does not fit the type.
    #[error("the JSON does not fit `{message_type}`: {reason}")]
    Json {
        /// Full name of the type.
        message_type: String,
        /// Where and why, in words.
        reason: String,
    },
    /// The bytes do not decode as the type.
    #[error("the bytes do not decode as `{message_type}`: {reason}")]
    Bytes {
        /// Full name of the type.
        message_type: String,
        /// Why, in words.
        reason: String,
    },
}

fn descriptor(message_type: &str) -> Result<prost_reflect::MessageDescriptor, JsonError> {
    POOL.as_ref()
        .and_then(|pool| pool.get_message_by_name(message_type))
        .ok_or_else(|| JsonError::UnknownType(message_type.to_owned()))
}

/// Encodes proto3 JSON as protobuf bytes of the named type. What is not exactly understood is refused: unknown fields, a field that
/// comes twice, numbers that are not whole, times without an offset.
///
/// # Errors
/// The type is not in the contract, or the JSON does not fit it: the reason names the field.
pub fn from_json(message_type: &str, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    JsonMessage::read(message_type, json).map(|message| message.to_bytes())
}

/// A message that was read from JSON, and that may be completed before it becomes bytes.
#[derive(Debug, Clone)]
pub struct JsonMessage(DynamicMessage);

impl JsonMessage {
    /// Reads a message as [`from_json`] does.
    ///
    /// # Errors
    /// The type is not in the contract, or the JSON does not fit it: the reason names the field.
    pub fn read(message_type: &str, json: &[u8]) -> Result<Self, JsonError> {
        let descriptor = descriptor(message_type)?;
        let refused = |reason: String| JsonError::Json { message_type: message_type.to_owned(), reason };
        let text = std::str::from_utf8(json).map_err(|error| refused(format!("it is not UTF-8: {error}")))?;
        reading::read(&descriptor, text).map(Self).map_err(refused)
    }

    /// A field that is a text, as the contract spells it: empty if it was not given. `None`: there is no such field.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<String> {
        self.0.get_field_by_name(field)?.as_str().map(str::to_owned)
    }

    /// Sets a field that is a text.
    pub fn set_text(&mut self, field: &str, text: &str) {
        self.0.set_field_by_name(field, Value::String(text.to_owned()));
    }

    /// A field that is a number of 64 bits: 0 if it was not given. `None`: there is no such field.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<i64> {
        self.0.get_field_by_name(field)?.as_i64()
    }

    /// Sets a field that is a number of 64 bits.
    pub fn set_number(&mut self, field: &str, number: i64) {
        self.0.set_field_by_name(field, Value::I64(number));
    }

    /// Its protobuf.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

/// Decodes protobuf bytes of the named type as proto3 JSON, fields at their default left out.
///
/// # Errors
/// The type is not in the contract, or the bytes do not decode as it.
pub fn to_json(message_type: &str, bytes: &[u8]) -> Result<serde_json::Value, JsonError> {
    write(message_type, bytes, &SerializeOptions::new())
}

/// The same with the names of fields as the contract spells them, `order_id` in place of `orderId`; both are read.
///
/// # Errors
/// The type is not in the contract, or the bytes do not decode as it.
pub fn to_json_as_spelled(message_type: &str, bytes: &[u8]) -> Result<serde_json::Value, JsonError> {
    write(message_type, bytes, &SerializeOptions::new().use_proto_field_name(true))
}

fn write(message_type: &str, bytes: &[u8], options: &SerializeOptions) -> Result<serde_json::Value, JsonError> {
    let broken = |reason: String| JsonError::Bytes { message_type: message_type.to_owned(), reason };
    let message =
        DynamicMessage::decode(descriptor(message_type)?, bytes).map_err(|error| broken(error.to_string()))?;
    message.serialize_with_options(serde_json::value::Serializer, options).map_err(|error| broken(error.to_string()))
}

/// JSON Schema of a message and of all that it is made of, by full name. They refer to each other below `at`: `#/components/schemas/`.
///
/// # Errors
/// The type is not in the contract.
pub fn json_schemas(
    message_type: &str,
    of: SchemaOf,
    at: &str,
) -> Result<BTreeMap<String, serde_json::Value>, JsonError> {
    let mut schemas = BTreeMap::new();
    schema::add(&descriptor(message_type)?, of, at, &mut schemas);
    Ok(schemas)
}

/// What the contract says of a message, in one line.
///
/// # Errors
/// The type is not in the contract.
pub fn description(message_type: &str) -> Result<String, JsonError> {
    descriptor(message_type).map(|message| schema::message_comment(&message))
}

/// Full names of all message types of the contract, sorted.
#[must_use]
pub fn message_types() -> Vec<String> {
    let mut names: Vec<String> = POOL
        .iter()
        .flat_map(DescriptorPool::all_messages)
        .map(|message| message.full_name().to_owned())
        .filter(|name| name.starts_with("holdfast."))
        .collect();
    names.sort();
    names
}

/// Full names of those message types that another is made of, sorted.
#[must_use]
pub fn part_types() -> Vec<String> {
    let fields =
        POOL.iter().flat_map(DescriptorPool::all_messages).flat_map(|message| message.fields().collect::<Vec<_>>());
    let part = |field: prost_reflect::FieldDescriptor| {
        let kind = field.kind();
        kind.as_message().map(|part| part.full_name().to_owned()).filter(|name| name.starts_with("holdfast."))
    };
    let parts: BTreeSet<String> = fields.filter_map(part).collect();
    parts.into_iter().collect()
}
