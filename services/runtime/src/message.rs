//! Messages on the broker: CloudEvents attributes as headers, protobuf or proto3 JSON as payload.

use std::str::FromStr;

use async_nats::HeaderMap;
use domain::Rejection;
use uuid::Uuid;

/// Content type of protobuf.
pub const PROTOBUF: &str = "application/protobuf";

/// Content type of proto3 JSON.
pub const JSON: &str = "application/json";

/// Names of the headers, as CloudEvents' NATS binding spells them.
pub mod header {
    /// The message's id, a UUID.
    pub const ID: &str = "ce-id";
    /// Full type name.
    pub const TYPE: &str = "ce-type";
    /// Who wrote it.
    pub const SOURCE: &str = "ce-source";
    /// When it was written, RFC 3339.
    pub const TIME: &str = "ce-time";
    /// Version of CloudEvents.
    pub const SPEC_VERSION: &str = "ce-specversion";
    /// The event stream: `order-<uuid>`.
    pub const SUBJECT: &str = "ce-subject";
    /// The stream's version with this event.
    pub const STREAM_VERSION: &str = "ce-streamversion";
    /// The event's position in the log.
    pub const POSITION: &str = "ce-position";
    /// What all messages of one story share.
    pub const CORRELATION_ID: &str = "ce-correlationid";
    /// The message that caused this one.
    pub const CAUSATION_ID: &str = "ce-causationid";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// `application/json` for proto3 JSON, otherwise protobuf.
    pub const CONTENT_TYPE: &str = "content-type";
    /// Where the answer to a command goes: JetStream uses NATS's own reply field for its acknowledgements.
    pub const REPLY_TO: &str = "reply-to";
}

/// What the headers of a message say, as far as they can be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) id: Option<Uuid>,
    pub(crate) message_type: Option<String>,
    pub(crate) correlation_id: Option<Uuid>,
    pub(crate) traceparent: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) json: bool,
}

/// Longest text header that is taken over.
const HEADER_CHARS_MAX: usize = 512;

impl Attributes {
    pub(crate) fn read(headers: Option<&HeaderMap>) -> Self {
        let text = |name: &str| {
            headers
                .and_then(|headers| headers.get(name))
                .map(|value| value.as_str().to_owned())
                .filter(|value| !value.is_empty() && value.len() <= HEADER_CHARS_MAX)
        };
        let id = |name: &str| text(name).and_then(|value| Uuid::from_str(&value).ok()).filter(|id| !id.is_nil());
        Self {
            id: id(header::ID),
            message_type: text(header::TYPE),
            correlation_id: id(header::CORRELATION_ID),
            traceparent: text(header::TRACEPARENT).filter(|value| value.bytes().all(|byte| byte.is_ascii_graphic())),
            reply_to: text(header::REPLY_TO).filter(|subject| is_publishable(subject)),
            json: text(header::CONTENT_TYPE).is_some_and(|value| value.trim_start().starts_with(JSON)),
        }
    }
}

/// Whether answers may be sent there: a plain subject, and none on which somebody listens for something else.
fn is_publishable(subject: &str) -> bool {
    let reserved = ["$", "cmd.", "evt.", "json.", "holdfast."];
    !reserved.iter().any(|prefix| subject.starts_with(prefix))
        && subject.split('.').all(|token| {
            !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*' && byte != b'>')
        })
}

/// Text as Postgres can keep it: it knows no NUL.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Name of the header's field in a table, every header as text.
pub(crate) fn headers_as_json(headers: Option<&HeaderMap>) -> serde_json::Value {
    let fields = headers.into_iter().flat_map(HeaderMap::iter).map(|(name, values)| {
        let values: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
        (storable(name.as_ref()), storable(&values.join(", ")).into())
    });
    serde_json::Value::Object(fields.collect())
}

/// Payload of a message as protobuf, whatever it came as.
pub(crate) fn to_protobuf(message_type: &str, json: bool, payload: &[u8]) -> Result<Vec<u8>, Rejection> {
    if !json {
        return Ok(payload.to_vec());
    }
    proto::from_json(message_type, payload)
        .map_err(|error| Rejection::new("INVALID_JSON", error.to_string().chars().take(1_000).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::{Attributes, header, is_publishable};

    #[test]
    fn answers_go_to_plain_subjects_only() {
        assert!(is_publishable("_INBOX.abc.1"));
        for subject in ["", "a..b", "a.*", "a.>", "a b", "$JS.API.x", "cmd.orders.PlaceOrder", "evt.orders.OrderPaid"] {
            assert!(!is_publishable(subject), "{subject}");
        }
        // An answer there would be taken for an event.
        assert!(!is_publishable("json.orders.OrderPaid"));
    }

    #[test]
    fn malformed_headers_read_as_absent() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ID, "not a uuid");
        headers.insert(header::CORRELATION_ID, "00000000-0000-0000-0000-000000000000");
        headers.insert(header::TYPE, "x".repeat(600).as_str());
        // Postgres would refuse it, and with it a command that is as good as any.
        headers.insert(header::TRACEPARENT, "00-\0-01");
        let read = Attributes::read(Some(&headers));
        assert!(read.id.is_none() && read.correlation_id.is_none() && read.message_type.is_none());
        assert!(read.traceparent.is_none());
    }
}
