//! A message from outside: what its headers say, and its payload, protobuf or proto3 JSON.

use async_nats::HeaderMap;
use domain::Rejection;

mod attributes;

pub(crate) use attributes::{Attributes, Content};

/// Text as Postgres can keep it: it knows no NUL.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Name of the header's field in a table, every header as text.
pub(crate) fn headers_as_json(headers: Option<&HeaderMap>) -> serde_json::Value {
    let fields = headers.into_iter().flat_map(HeaderMap::iter).map(|(name, values)| {
        let values: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
        (without_nul(name.as_ref()), without_nul(&values.join(", ")).into())
    });
    serde_json::Value::Object(fields.collect())
}

/// Payload of a message as protobuf, whatever it came as.
pub(crate) fn to_protobuf(message_type: &str, content: Content, payload: &[u8]) -> Result<Vec<u8>, Rejection> {
    match content {
        Content::Protobuf | Content::Unsaid => return Ok(payload.to_vec()),
        Content::Json => {}
    }
    proto::from_json(message_type, payload)
        .map_err(|error| Rejection::new("INVALID_JSON", error.to_string().chars().take(1_000).collect::<String>()))
}
