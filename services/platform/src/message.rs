//! Messages on the broker: the names of their headers, and how a text is written in one.

use std::{borrow::Cow, fmt::Write};

/// Content type of protobuf.
pub const PROTOBUF: &str = "application/protobuf";

/// Content type of proto3 JSON.
pub const JSON: &str = "application/json";

/// Names of the headers, as CloudEvents' NATS binding spells them. Of messages from outside they are read without regard to case.
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
    /// The event stream: `order-<uuid>`, percent-encoded like every text of CloudEvents in a header.
    pub const SUBJECT: &str = "ce-subject";
    /// The stream's version with this event.
    pub const STREAM_VERSION: &str = "ce-streamversion";
    /// The event's position in the log: one event in an epoch.
    pub const POSITION: &str = "ce-position";
    /// The epoch of the log: a later one does not have all events of an earlier one.
    pub const EPOCH: &str = "ce-epoch";
    /// What all messages of one story share.
    pub const CORRELATION_ID: &str = "ce-correlationid";
    /// The message that caused this one.
    pub const CAUSATION_ID: &str = "ce-causationid";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// `application/json` for proto3 JSON, or `application/protobuf`, which is also what a message without it is.
    pub const CONTENT_TYPE: &str = "content-type";
    /// Where the answer to a command goes: JetStream uses NATS's own reply field for its acknowledgements.
    pub const REPLY_TO: &str = "reply-to";
    /// `true` on an answer that was given before, to the same command.
    pub const REPEATED: &str = "ce-repeated";
}

/// A text as the value of a header, which is ASCII on all ways: all but what can be seen, `"` and `%` are percent-encoded, as CloudEvents'
/// bindings have it. Most texts stay as they are.
pub fn header_value(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'%';
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(encoded, "%{byte:02X}").unwrap_or_default();
        }
    }
    Cow::Owned(encoded)
}

/// The text that [`header_value`] has encoded.
pub fn plain_text(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit =
            || rest.next().and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit()? * 16 + digit()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{header_value, plain_text};

    #[test]
    fn a_text_comes_back_from_a_header_as_it_was() {
        for text in ["order-6f1d0c2e.1", "M6x20 / galv. #4", "a%20b", "\"Größe\"", "a\r\nb", ""] {
            assert_eq!(plain_text(&header_value(text)).as_deref(), Some(text));
        }
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(plain_text(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_text_in_a_header_is_ascii_and_can_be_told_from_every_other() {
        assert_eq!(header_value("order-6f1d0c2e.1"), "order-6f1d0c2e.1");
        assert_eq!(header_value("M6x20 / galv. #4"), "M6x20%20/%20galv.%20#4");
        assert_eq!(header_value("a%20b"), "a%2520b");
        assert_eq!(header_value("\"Größe\""), "%22Gr%C3%B6%C3%9Fe%22");
        assert_eq!(header_value("a\r\nb"), "a%0D%0Ab");
    }
}
