//! Messages from the broker, headers and all: who it is from, who is answered and what is kept is what the headers say, or nothing.

use std::collections::BTreeSet;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};
use inventory::Inventory;
use orders::Orders;
use payments::Payments;
use platform::message::{JSON, PROTOBUF, header};
use rounds::Rounds;
use runtime::{
    service::Service,
    simulation::{Understood, understand},
};
use uuid::Uuid;

use super::{Checked, Shape, Target, ensure, headless, refused, same, samples::COMMANDS};
use crate::attempt::about;

pub(super) const TARGET: Target = Target {
    name: "headers",
    shape: Shape::Text,
    heads: headless,
    tokens: &[
        "cmd.orders.PlaceOrder\n",
        "cmd.inventory.ReceiveStock\n",
        "cmd.",
        "evt.orders.OrderPaid\n",
        "cmd.payments.ResolveRefund\n",
        ".",
        "\n",
        "\n\n",
        ": ",
        "ce-id: 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81\n",
        "ce-id: 00000000-0000-0000-0000-000000000000\n",
        "ce-id: {6F1D0C2E8A514B7E9D3A2F4C5B6A7D81}\n",
        "ce-type: holdfast.orders.v1.PlaceOrder\n",
        "ce-type: holdfast.orders.v1.OrderExpired\n",
        "CE-ID: x\n",
        "Ce-Id: 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81\n",
        "Reply-To: _INBOX.a.b\n",
        "Content-Type: Application/JSON; charset=UTF-8\n",
        "content-type: application/json-seq\n",
        "content-type: text/plain\n",
        "ce-correlationid: 0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05\n",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
        "content-type: application/json\n",
        "content-type:  application/json; charset=utf-8\n",
        "reply-to: _INBOX.a.b\n",
        "reply-to: $JS.ACK.a\n",
        "reply-to: cmd.orders.PlaceOrder\n",
        "reply-to: a.*\n",
        "*",
        ">",
        "\0",
        "\t",
        "\u{a0}",
        "{}",
    ],
    seeds,
    check,
};

/// The longest body in these trials, so that many are longer.
const BODY_BYTES_MAX: usize = 2_048;

/// The longest subject that a broker takes.
const SUBJECT_BYTES_MAX: usize = 4_096;

/// The longest header that counts.
const HEADER_BYTES_MAX: usize = 512;

fn seeds() -> Vec<Vec<u8>> {
    let json = COMMANDS.iter().map(|(message_type, json)| {
        let (owner, name) = (proto::owner(message_type).unwrap(), proto::short_name(message_type));
        format!(
            "cmd.{owner}.{name}\nce-id: 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81\nce-type: {message_type}\n\
             content-type: application/json\nreply-to: _INBOX.a\ntraceparent: 00-1-2-01\n\n{json}"
        )
        .into_bytes()
    });
    let expired = "evt.orders.OrderExpired\nce-type: holdfast.orders.v1.OrderExpired\nce-correlationid: \
                   0b9e7a34-5c1d-4f2b-8e6a-9d7c3b2a1f05\n\n\n\u{24}6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81\u{10}\u{1}";
    json.chain([expired.as_bytes().to_vec()]).collect()
}

fn check(input: &[u8]) -> Checked {
    let Some(message) = message(input) else { return Ok("no client reads it".to_owned()) };
    let subject = message.subject.as_str();
    if !subject.starts_with("cmd.") {
        let heard = [
            read::<Orders>(&message)?,
            read::<Inventory>(&message)?,
            read::<Rounds>(&message)?,
            read::<Payments>(&message)?,
        ];
        return Ok(heard.join("; "));
    }
    match subject.split('.').nth(1) {
        Some("inventory") => read::<Inventory>(&message),
        Some("rounds") => read::<Rounds>(&message),
        Some("payments") => read::<Payments>(&message),
        _ => read::<Orders>(&message),
    }
}

/// A subject, headers, an empty line, and a body. `None`: a client refuses the headers before anyone reads them.
fn message(input: &[u8]) -> Option<Message> {
    let body_at = input.windows(2).position(|pair| pair == b"\n\n").unwrap_or(input.len());
    let payload = bytes::Bytes::copy_from_slice(input.get(body_at + 2..).unwrap_or_default());
    let head = std::str::from_utf8(&input[..body_at]).ok()?;
    let mut lines = head.split('\n');
    let subject = lines.next().filter(|subject| subject.len() <= SUBJECT_BYTES_MAX)?.to_owned();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?);
    }
    let length = input.len();
    let headers = Some(headers).filter(|headers| !headers.is_empty());
    Some(Message { subject: subject.into(), reply: None, payload, headers, status: None, description: None, length })
}

fn read<S: Service>(message: &Message) -> Checked {
    let read = understand::<S>(message, BODY_BYTES_MAX);
    let again = understand::<S>(message, BODY_BYTES_MAX);
    same("read again", &format!("{again:?}"), &format!("{read:?}"))?;
    attributed(message, &read)?;
    kept(message, &read.headers)?;
    let is_command = message.subject.starts_with("cmd.");
    let ending = match &read.commands {
        Ok(commands) if is_command => {
            asked::<S>(message, &read)?;
            format!("{} commands", commands.len())
        }
        Ok(commands) => format!("{} reactions", about(commands.len())),
        Err(rejection) => refused(rejection)?,
    };
    let Understood { traceparent, reply_to, .. } = &read;
    let count = message.headers.as_ref().map_or(0, HeaderMap::len);
    let (trace, reply) = (traceparent.is_some(), reply_to.is_some());
    Ok(format!("{} of {} headers, trace {trace}, reply {reply}: {ending}", S::NAME, about(count)))
}

/// All values of a header that are not blank, whatever the spelling of its name.
fn values<'a>(message: &'a Message, name: &str) -> BTreeSet<&'a str> {
    let named = message.headers.iter().flat_map(HeaderMap::iter);
    let named = named.filter(|(spelling, _)| AsRef::<str>::as_ref(*spelling).to_ascii_lowercase() == name);
    named.flat_map(|(_, values)| values).map(|value| value.as_str().trim()).filter(|value| !value.is_empty()).collect()
}

/// The one value of a header, if it has one and no other, of a length that counts.
fn value<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let values = values(message, name);
    let first = values.first().copied()?;
    (values.len() == 1 && first.len() <= HEADER_BYTES_MAX).then_some(first)
}

fn id(message: &Message, name: &str) -> Option<Uuid> {
    Uuid::parse_str(value(message, name)?).ok().filter(|id| !id.is_nil())
}

/// What is taken from the headers is what they say, and harmless where it goes: into tables, and into a subject.
fn attributed<C>(message: &Message, read: &Understood<C>) -> Result<(), String> {
    if let Some(id) = id(message, header::ID) {
        ensure(read.id == id, || format!("it is {}, not {id}", read.id))?;
    }
    ensure(!read.id.is_nil() && !read.correlation_id.is_nil(), || "a nil id".to_owned())?;
    let story = id(message, header::CORRELATION_ID).unwrap_or(read.id);
    ensure(read.correlation_id == story, || format!("its story is {}, not {story}", read.correlation_id))?;
    if let Some(trace) = &read.traceparent {
        let is_plain = trace.bytes().all(|byte| byte.is_ascii_graphic());
        ensure(is_plain && Some(trace.as_str()) == value(message, header::TRACEPARENT), || format!("trace {trace:?}"))?;
    }
    match &read.reply_to {
        Some(reply) => {
            ensure(message.subject.starts_with("cmd."), || "an event gets an answer".to_owned())?;
            let is_own = ["$", "cmd.", "evt.", "json.", "holdfast."].iter().any(|prefix| reply.starts_with(prefix));
            let is_plain = !reply.contains(|letter: char| !letter.is_ascii_graphic() || "*>".contains(letter));
            let is_subject = reply.split('.').all(|token| !token.is_empty());
            ensure(!is_own && is_plain && is_subject, || format!("answers go to {reply:?}"))?;
            ensure(Some(reply.as_str()) == value(message, header::REPLY_TO), || format!("nobody waits on {reply:?}"))
        }
        // Nobody takes silence for an answer: a command that names a place for it, and gets none there, is not done.
        None if message.subject.starts_with("cmd.") && !values(message, header::REPLY_TO).is_empty() => {
            let is_refused = read.commands.as_ref().is_err_and(|rejection| rejection.code == "INVALID_REPLY_TO");
            ensure(is_refused, || "it is done, and nobody hears of it".to_owned())
        }
        None => Ok(()),
    }
}

/// Every header is kept, in JSON that Postgres takes.
fn kept(message: &Message, headers: &serde_json::Value) -> Result<(), String> {
    let count = message.headers.as_ref().map_or(0, HeaderMap::len);
    let kept = headers.as_object().ok_or("headers are kept as no object")?;
    ensure(kept.len() == count, || format!("{} of {count} headers are kept", kept.len()))?;
    let mut texts = kept.iter().flat_map(|(name, value)| [Some(name.as_str()), value.as_str()]);
    ensure(texts.all(|text| text.is_some_and(|text| !text.contains('\0'))), || format!("tables refuse «{headers}»"))?;
    let again: serde_json::Value = serde_json::from_str(&headers.to_string()).map_err(|error| error.to_string())?;
    ensure(again == *headers, || "kept headers read differently".to_owned())
}

/// A command that is taken has an id, is of the type it says, is not too long, and is the same in protobuf.
fn asked<S: Service>(message: &Message, read: &Understood<S::Command>) -> Result<(), String> {
    let name = message.subject.rsplit('.').next().unwrap_or_default();
    let message_type = S::COMMANDS.iter().find(|known| proto::short_name(known) == name);
    let message_type = *message_type.ok_or_else(|| format!("nobody knows a command {name:?}"))?;
    ensure(id(message, header::ID).is_some(), || "a command without an id is taken".to_owned())?;
    for name in [header::ID, header::TYPE, header::CORRELATION_ID, header::REPLY_TO, header::CONTENT_TYPE] {
        let values = values(message, name);
        let is_one = values.len() < 2 && values.iter().all(|value| value.len() <= HEADER_BYTES_MAX);
        ensure(is_one, || format!("it is taken with {name} of {values:?}"))?;
    }
    let claimed = value(message, header::TYPE).unwrap_or(message_type);
    ensure(claimed == message_type, || format!("{claimed:?} is taken for {message_type}"))?;
    let size = message.payload.len();
    ensure(size <= BODY_BYTES_MAX, || format!("{size} bytes are taken"))?;
    let content = value(message, header::CONTENT_TYPE).unwrap_or(PROTOBUF).to_ascii_lowercase();
    let bytes = match content.split(';').next().map(str::trim) {
        Some(JSON) => {
            proto::from_json(message_type, &message.payload).map_err(|error| format!("taken, but: {error}"))?
        }
        Some(PROTOBUF | "application/x-protobuf") => message.payload.to_vec(),
        other => return Err(format!("{other:?} is taken")),
    };
    ensure(proto::unknown_field(message_type, &bytes).is_none(), || "a field is passed over".to_owned())?;
    let command = S::decode_command(message_type, &bytes, read.id).map(|command| vec![command]);
    same("in protobuf", &format!("{command:?}"), &format!("{:?}", read.commands))
}
