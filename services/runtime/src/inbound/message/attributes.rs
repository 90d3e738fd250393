//! What the headers of a message say. Nothing is passed over in silence: what cannot be used is a refusal in words.

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderValue};
use domain::Rejection;
use platform::message::{JSON, PROTOBUF, header};
use uuid::Uuid;

/// The longest header that is taken, in bytes.
const HEADER_BYTES_MAX: usize = 512;

/// How much of a header a refusal repeats.
const QUOTED_CHARS_MAX: usize = 64;

/// Another name of protobuf, from before there was an official one.
const PROTOBUF_OF_OLD: &str = "application/x-protobuf";

/// Subjects on which somebody listens for something else begin like this.
const RESERVED: [&str; 5] = ["$", "cmd.", "evt.", "json.", "holdfast."];

/// What a payload is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Protobuf,
    /// Protobuf, for nothing else is said.
    Unsaid,
}

/// What the headers of a message say.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) id: Result<Uuid, Rejection>,
    pub(crate) message_type: Result<Option<String>, Rejection>,
    pub(crate) correlation_id: Result<Option<Uuid>, Rejection>,
    pub(crate) traceparent: Result<Option<String>, Rejection>,
    pub(crate) reply_to: Result<Option<String>, Rejection>,
    pub(crate) content: Result<Content, Rejection>,
}

impl Attributes {
    pub(crate) fn read(headers: Option<&HeaderMap>) -> Self {
        let found = |name| find(headers, name);
        let one = |name| found(name).one(name);
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            id: one(header::ID).and_then(id),
            message_type: one(header::TYPE).map(owned),
            correlation_id: one(header::CORRELATION_ID).and_then(correlation_id),
            traceparent: trace(found(header::TRACEPARENT)),
            reply_to: one(header::REPLY_TO).and_then(|text| text.map(reply_to).transpose()).map_err(unanswerable),
            content: one(header::CONTENT_TYPE).and_then(content),
        }
    }

    /// Whether the sender of this payload reads JSON, as far as one can tell. No protobuf of a command begins with a brace.
    pub(crate) fn is_answered_in_json(&self, payload: &[u8]) -> bool {
        match self.content {
            Ok(Content::Json) => true,
            Ok(Content::Protobuf) => false,
            Ok(Content::Unsaid) | Err(_) => payload.starts_with(b"{"),
        }
    }
}

/// The values of one header, under whatever spelling of its name.
#[derive(Debug, Clone, Copy)]
enum Found<'a> {
    None,
    One(&'a str),
    Several(&'a str, &'a str),
}

/// Clients disagree on capitals in names of headers, so they count for nothing. Equal values are one value, blank ones none.
fn find<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Found<'a> {
    let named = headers.into_iter().flat_map(HeaderMap::iter);
    let named = named.filter(|(spelling, _)| AsRef::<str>::as_ref(*spelling).eq_ignore_ascii_case(name));
    let mut values = named.flat_map(|(_, values)| values).map(HeaderValue::as_str).map(str::trim);
    let Some(first) = values.find(|value| !value.is_empty()) else { return Found::None };
    match values.find(|value| !value.is_empty() && *value != first) {
        // The same words whatever order the client keeps them in.
        Some(other) => Found::Several(first.min(other), first.max(other)),
        None => Found::One(first),
    }
}

impl<'a> Found<'a> {
    fn one(self, name: &str) -> Result<Option<&'a str>, Rejection> {
        match self {
            Self::None => Ok(None),
            Self::One(value) if value.len() <= HEADER_BYTES_MAX => Ok(Some(value)),
            Self::One(value) => {
                let reason = format!("the header {name} has {} bytes; {HEADER_BYTES_MAX} is the most", value.len());
                Err(Rejection::new("INVALID_HEADER", reason))
            }
            Self::Several(one, other) => {
                let reason = format!(
                    "the header {name} is there twice, as {} and as {}: give it once",
                    quoted(one),
                    quoted(other)
                );
                Err(Rejection::new("INVALID_HEADER", reason))
            }
        }
    }
}

fn id(text: Option<&str>) -> Result<Uuid, Rejection> {
    let what = "the header ce-id must be a UUID that names this command for ever";
    let reason = match text {
        None => format!("{what}, and there is none"),
        Some(text) => match Uuid::from_str(text) {
            Ok(id) if !id.is_nil() => return Ok(id),
            Ok(_) | Err(_) => format!("{what}, not {}", quoted(text)),
        },
    };
    Err(Rejection::new("MISSING_ID", reason))
}

fn correlation_id(text: Option<&str>) -> Result<Option<Uuid>, Rejection> {
    let Some(text) = text else { return Ok(None) };
    match Uuid::from_str(text) {
        Ok(id) if !id.is_nil() => Ok(Some(id)),
        Ok(_) | Err(_) => {
            let reason = format!(
                "the header ce-correlationid must be a UUID that all messages of a story share, not {}",
                quoted(text)
            );
            Err(Rejection::new("INVALID_HEADER", reason))
        }
    }
}

/// Trace context that is malformed, or there twice, counts as none: so says W3C Trace Context, section 3.2.
fn trace(found: Found<'_>) -> Result<Option<String>, Rejection> {
    if let Found::Several(..) = found {
        return Ok(None);
    }
    let text = found.one(header::TRACEPARENT)?;
    Ok(text.filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic())).map(str::to_owned))
}

fn content(text: Option<&str>) -> Result<Content, Rejection> {
    let Some(text) = text else { return Ok(Content::Unsaid) };
    let media_type = text.split(';').next().unwrap_or_default().trim();
    let is = |known: &str| media_type.eq_ignore_ascii_case(known);
    if is(JSON) {
        return Ok(Content::Json);
    }
    if is(PROTOBUF) || is(PROTOBUF_OF_OLD) {
        return Ok(Content::Protobuf);
    }
    let reason = format!(
        "content-type {} is not taken: send content-type: {JSON}, or {PROTOBUF}, which it is without one; and a new ce-id",
        quoted(text)
    );
    Err(Rejection::new("UNSUPPORTED_CONTENT_TYPE", reason))
}

/// Answers go to a plain subject on which nobody listens for something else.
fn reply_to(subject: &str) -> Result<String, Rejection> {
    let is_plain = |token: &str| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*' && byte != b'>')
    };
    if !RESERVED.iter().any(|prefix| subject.starts_with(prefix)) && subject.split('.').all(is_plain) {
        return Ok(subject.to_owned());
    }
    let reserved = RESERVED.join(" ");
    let reason = format!(
        "the header reply-to must be a plain subject without blanks and wildcards that begins with none of {reserved}, not {}",
        quoted(subject)
    );
    Err(Rejection::new("INVALID_REPLY_TO", reason))
}

/// Whoever cannot hear what became of a command would take silence for anything: so nothing becomes of it.
fn unanswerable(rejection: Rejection) -> Rejection {
    Rejection::new(
        "INVALID_REPLY_TO",
        format!("{}; the command was not done, for nobody could be answered", rejection.reason),
    )
}

/// Enough of a value to recognise it.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(QUOTED_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use async_nats::{HeaderMap, HeaderName};
    use uuid::Uuid;

    use super::{Attributes, Content, HEADER_BYTES_MAX, header};

    const ID: &str = "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81";

    fn read(headers: &[(&str, &str)]) -> Attributes {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name.parse::<HeaderName>().unwrap(), *value);
        }
        Attributes::read(Some(&all))
    }

    fn code<T: std::fmt::Debug>(read: Result<T, domain::Rejection>) -> String {
        read.unwrap_err().code.into_owned()
    }

    #[test]
    fn names_of_headers_are_read_without_regard_to_case() {
        let capitals = read(&[
            ("Ce-Id", ID),
            ("CE-TYPE", "a.B"),
            ("Ce-CorrelationId", ID),
            ("TraceParent", "00-1-2-01"),
            ("Reply-To", "_INBOX.a"),
            ("Content-Type", "Application/JSON; charset=UTF-8"),
        ]);
        let id = Uuid::parse_str(ID).unwrap();
        assert_eq!(capitals.id, Ok(id));
        assert_eq!(capitals.message_type, Ok(Some("a.B".to_owned())));
        assert_eq!(capitals.correlation_id, Ok(Some(id)));
        assert_eq!(capitals.traceparent, Ok(Some("00-1-2-01".to_owned())));
        assert_eq!(capitals.reply_to, Ok(Some("_INBOX.a".to_owned())));
        assert_eq!(capitals.content, Ok(Content::Json));
    }

    #[test]
    fn a_media_type_is_read_whole_and_without_regard_to_case() {
        let content = |text: &str| read(&[(header::CONTENT_TYPE, text)]).content;
        for json in ["application/json", "APPLICATION/JSON", " application/json ; charset=utf-8", "application/json;"] {
            assert_eq!(content(json), Ok(Content::Json), "{json}");
        }
        for protobuf in ["application/protobuf", "Application/X-Protobuf", "application/protobuf; proto=x"] {
            assert_eq!(content(protobuf), Ok(Content::Protobuf), "{protobuf}");
        }
        assert_eq!(content(""), Ok(Content::Unsaid));
        for other in
            ["application/json-seq", "application/cloudevents+json", "text/plain", "json", "application/jsonx; a"]
        {
            let refusal = content(other).unwrap_err();
            assert_eq!(refusal.code, "UNSUPPORTED_CONTENT_TYPE", "{other}");
            assert!(
                refusal.reason.contains("send content-type: application/json, or application/protobuf"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_header_that_is_there_twice_with_two_values_is_refused_with_one_value_it_is_not() {
        let other = "0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05";
        for names in [["ce-id", "ce-id"], ["ce-id", "Ce-Id"]] {
            let [one, two] = names;
            assert_eq!(read(&[(one, ID), (two, ID)]).id, Ok(Uuid::parse_str(ID).unwrap()));
            let refusal = read(&[(one, ID), (two, other)]).id.unwrap_err();
            assert_eq!(refusal.code, "INVALID_HEADER");
            assert!(refusal.reason.contains("ce-id") && refusal.reason.contains(other), "{refusal}");
        }
        let twice = |name: &str| read(&[(name, "a"), (&name.to_uppercase(), "b")]);
        assert_eq!(code(twice(header::TYPE).message_type), "INVALID_HEADER");
        assert_eq!(code(twice(header::CONTENT_TYPE).content), "INVALID_HEADER");
        assert_eq!(code(twice(header::CORRELATION_ID).correlation_id), "INVALID_HEADER");
        assert_eq!(code(twice(header::REPLY_TO).reply_to), "INVALID_REPLY_TO");
        assert_eq!(twice(header::TRACEPARENT).traceparent, Ok(None));
    }

    #[test]
    fn a_header_that_is_too_long_is_refused_by_name_and_limit() {
        let long = "x".repeat(HEADER_BYTES_MAX + 1);
        let with = |name| read(&[(name, &long)]);
        let said = |refusal: domain::Rejection, name: &str| {
            assert!(refusal.reason.contains(&format!("the header {name} has 513 bytes; 512 is the most")), "{refusal}");
        };
        said(with(header::ID).id.unwrap_err(), "ce-id");
        said(with(header::TYPE).message_type.unwrap_err(), "ce-type");
        said(with(header::CORRELATION_ID).correlation_id.unwrap_err(), "ce-correlationid");
        said(with(header::TRACEPARENT).traceparent.unwrap_err(), "traceparent");
        said(with(header::CONTENT_TYPE).content.unwrap_err(), "content-type");
        let refusal = with(header::REPLY_TO).reply_to.unwrap_err();
        assert_eq!(refusal.code, "INVALID_REPLY_TO");
        said(refusal, "reply-to");
    }

    #[test]
    fn answers_go_to_plain_subjects_only() {
        let reply_to = |subject: &str| read(&[(header::REPLY_TO, subject)]).reply_to;
        for good in ["_INBOX.abc.1", "shop.answers", "cmd", "CMD.x"] {
            assert_eq!(reply_to(good), Ok(Some(good.to_owned())));
        }
        assert_eq!(reply_to("shop.answers \t"), Ok(Some("shop.answers".to_owned())));
        assert_eq!(reply_to(" "), Ok(None));
        for bad in [
            "a..b",
            "a.",
            "*",
            ">",
            "a.*",
            "a.>",
            "a b",
            "_INBOX..x",
            "ä",
            "$JS.API.x",
            "cmd.orders.PlaceOrder",
            "evt.orders.OrderPaid",
            "holdfast.x",
            // An answer there would be taken for an event.
            "json.orders.OrderPaid",
        ] {
            let refusal = reply_to(bad).unwrap_err();
            assert_eq!(refusal.code, "INVALID_REPLY_TO", "{bad}");
            assert!(refusal.reason.contains(bad) && refusal.reason.contains("was not done"), "{refusal}");
        }
    }

    #[test]
    fn an_id_that_is_none_is_quoted() {
        let said = |value: &str| read(&[(header::ID, value)]).id.unwrap_err().to_string();
        assert!(said("not-a-uuid").contains("not \"not-a-uuid\""));
        assert!(said("00000000-0000-0000-0000-000000000000").starts_with("MISSING_ID"));
        assert!(said("").ends_with("and there is none"));
        assert_eq!(code(read(&[(header::CORRELATION_ID, "order 7")]).correlation_id), "INVALID_HEADER");
    }

    #[test]
    fn trace_context_that_is_malformed_is_left_out() {
        // Postgres would refuse it, and with it a command that is as good as any.
        assert_eq!(read(&[(header::TRACEPARENT, "00-\0-01")]).traceparent, Ok(None));
    }

    #[test]
    fn who_sends_json_is_answered_in_json() {
        let answered = |content_type: &str, payload: &[u8]| {
            read(&[(header::CONTENT_TYPE, content_type)]).is_answered_in_json(payload)
        };
        assert!(answered("application/json", b"[]"));
        assert!(answered("text/plain", b"{}"));
        assert!(answered("", b"{}"));
        assert!(!answered("application/protobuf", b"{}"));
        assert!(!answered("", b"\x0a\x00"));
    }
}
