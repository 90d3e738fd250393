//! The headers of commands, answers and events, as schemas.

use std::collections::BTreeMap;

use platform::message::{JSON, PROTOBUF, header};
use proto::{Name, common::v1::CommandReply};
use serde_json::{Map, Value, json};

pub(super) const COMMAND: &str = "#/components/schemas/headers.command";
pub(super) const ANSWER: &str = "#/components/schemas/headers.answer";
pub(super) const EVENT: &str = "#/components/schemas/headers.event";

/// By their names below `#/components/schemas/`.
pub(super) fn schemas() -> BTreeMap<String, Value> {
    let of = [("headers.command", command()), ("headers.answer", answer()), ("headers.event", event())];
    BTreeMap::from(of.map(|(name, schema)| (name.to_owned(), schema)))
}

fn headers<const N: usize>(required: &[&str], properties: [(&str, Value); N]) -> Value {
    let properties: Map<String, Value> =
        properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn text(words: &str) -> Value {
    json!({ "type": "string", "description": words })
}

fn uuid(words: &str) -> Value {
    json!({ "type": "string", "format": "uuid", "description": words })
}

/// Every header is a text, a number too.
fn number(words: &str) -> Value {
    json!({ "type": "string", "pattern": "^[1-9][0-9]*$", "description": words })
}

fn content_type() -> Value {
    json!({ "type": "string", "enum": [JSON, PROTOBUF], "description": "What the payload is" })
}

fn command() -> Value {
    let reply_to = json!({
        "type": "string", "maxLength": 512, "pattern": r"^(?!\$|cmd\.|evt\.|json\.|holdfast\.)[^\s*>]+$",
        "description": "The subject that gets the answer: where the broker has users, below _INBOX. and the user's name",
    });
    headers(
        &[header::ID, header::CONTENT_TYPE],
        [
            (header::ID, uuid("Names the command for ever")),
            (
                header::CONTENT_TYPE,
                json!({ "type": "string", "const": JSON, "description": "Of JSON; protobuf may say none" }),
            ),
            (header::REPLY_TO, reply_to),
            (header::CORRELATION_ID, uuid("Comes again in all events that the command causes")),
            (header::TYPE, text("The full type name, if it is given: that of the subject")),
            (header::TRACEPARENT, text("W3C trace context")),
        ],
    )
}

fn answer() -> Value {
    headers(
        &[header::TYPE, header::CONTENT_TYPE],
        [
            (header::TYPE, json!({ "type": "string", "const": CommandReply::full_name() })),
            (header::CONTENT_TYPE, content_type()),
            (header::REPEATED, json!({ "type": "string", "const": "true", "description": "It was given before" })),
        ],
    )
}

fn event() -> Value {
    headers(
        &[
            header::ID,
            header::TYPE,
            header::SOURCE,
            header::TIME,
            header::SPEC_VERSION,
            header::SUBJECT,
            header::STREAM_VERSION,
            header::POSITION,
            header::EPOCH,
            header::CORRELATION_ID,
            header::CAUSATION_ID,
            header::CONTENT_TYPE,
        ],
        [
            (header::ID, uuid("The event's id: one that comes twice has the same")),
            (header::TYPE, text("The full type name of the payload")),
            (
                header::SOURCE,
                json!({ "type": "string", "pattern": "^/holdfast/[a-z]+$", "description": "Who wrote it" }),
            ),
            (
                header::TIME,
                json!({ "type": "string", "format": "date-time", "description": "When the log took it in" }),
            ),
            (header::SPEC_VERSION, json!({ "type": "string", "const": "1.0", "description": "Of CloudEvents" })),
            (
                header::SUBJECT,
                text("The event stream, order-<uuid>; percent-encoded where it has more than plain ASCII"),
            ),
            (header::STREAM_VERSION, number("The place in that stream: 1, 2, 3, without gaps")),
            (header::POSITION, number("The place in the log: one event in an epoch")),
            (header::EPOCH, number("With the position it names one event for ever")),
            (header::CORRELATION_ID, uuid("What all messages of one story share")),
            (header::CAUSATION_ID, uuid("The message that caused it")),
            (header::CONTENT_TYPE, content_type()),
            (header::TRACEPARENT, text("W3C trace context")),
        ],
    )
}
