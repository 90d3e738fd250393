//! `holdfast asyncapi`: the contract as an AsyncAPI document, made of the descriptors, the subjects and what the services take, so it says
//! what is.

mod commands;
mod headers;

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, Result};
use audit::catalogue::event_types;
use domain::code::CODES;
use platform::{
    broker::{EVENTS, EVENTS_JSON, command_subject, commands_stream, event_subject, handled_subject, json_subject},
    message::{JSON, PROTOBUF, header},
    print,
};
use proto::{Name, SchemaOf, common::v1::CommandReply};
use serde_json::{Map, Value, json};

/// What its help ends with.
pub const EXAMPLES: &str = "\
Examples:
  holdfast asyncapi > asyncapi.json

Exit codes: 0 it is printed; 3 it could not be made.";

/// The version of AsyncAPI.
const VERSION: &str = "3.0.0";

/// Schemas of what others read.
const READ: &str = "#/components/schemas/read.";

/// The event that every service writes.
const REFUSED: &str = "holdfast.common.v1.CommandRejected";

/// In a subject, the place of an event's name.
const EVENT: &str = "{event}";

const ABOUT: &str = "\
Commands that other systems send to Holdfast over NATS JetStream, and events that they read. Operations are named from Holdfast's side: \
it receives commands, answers them, and sends events. A message is proto3 JSON, or protobuf of the same type. The header ce-id names a \
command for ever: sent again, it is answered again and done once. Until the answer has come, nothing is promised: send it again. \
Commands are not kept in the order in which they were sent. Events come at least once, and not always in order. A command with a field that \
is not described here is refused; whoever reads events must go on past fields and words that he does not know, for the contract only \
grows. Headers are the attributes of CloudEvents 1.0, as in the binary mode of its NATS binding 1.0.3-wip, except that content-type \
stands for datacontenttype. The guide is tests/clients/README.md, the contract in words proto/README.md.";

/// Prints the document.
pub fn run() -> Result<ExitCode> {
    print::out(&text()?)?;
    Ok(ExitCode::SUCCESS)
}

/// The document as it is committed.
fn text() -> Result<String> {
    let mut text = serde_json::to_string_pretty(&document()?).context("writing JSON")?;
    text.push('\n');
    Ok(text)
}

/// What is collected of a document.
#[derive(Debug, Default)]
struct Parts {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
    schemas: BTreeMap<String, Value>,
}

fn document() -> Result<Value> {
    let mut parts = Parts::default();
    for (message_type, example) in proto::EXAMPLES {
        parts.add_command(message_type, example)?;
    }
    parts.schemas.extend(commands::schemas()?);
    parts.add_answers()?;
    for service in proto::SERVICES {
        parts.add_events(service)?;
    }
    parts.schemas.extend(headers::schemas());
    name_codes(&mut parts.schemas);
    let Parts { channels, operations, messages, schemas } = parts;
    Ok(json!({
        "asyncapi": VERSION,
        "info": {
            "title": "Holdfast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": JSON,
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    }))
}

/// Words of this program that a refusal may have; providers have words of their own.
fn name_codes(schemas: &mut BTreeMap<String, Value>) {
    let words: Vec<&str> = CODES.iter().map(|code| code.word).collect();
    let rejection = schemas.get_mut("read.holdfast.common.v1.Rejection");
    if let Some(code) = rejection.and_then(|schema| schema.pointer_mut("/properties/code")?.as_object_mut()) {
        code.insert("x-extensible-enum".to_owned(), words.into());
    }
}

fn message(name: &str) -> Value {
    json!({ "$ref": format!("#/components/messages/{name}") })
}

/// A message as it is in this channel, which is what operations refer to.
fn in_channel(channel: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/channels/{channel}/messages/{name}") })
}

/// The first sentence of a description.
fn summary(words: &str) -> &str {
    words.split_once(". ").map_or(words, |(first, _)| first).trim_end_matches('.')
}

impl Parts {
    fn add_command(&mut self, message_type: &str, example: &str) -> Result<()> {
        let (name, service) = (proto::short_name(message_type), proto::owner(message_type).context("it has an owner")?);
        let words = proto::description(message_type)?;
        let words = words.strip_prefix("Command: ").unwrap_or(&words);
        let payload: Value = serde_json::from_str(example).context("reading an example")?;
        let (schema, headers) = (commands::reference(message_type), json!({ "$ref": headers::COMMAND }));
        self.messages.insert(
            name.to_owned(),
            json!({
                "name": message_type, "title": name, "summary": summary(words), "description": words,
                "contentType": JSON, "headers": headers, "payload": { "$ref": schema },
                "correlationId": { "location": format!("$message.header#/{}", header::ID) },
                "examples": [{
                    "headers": { header::ID: "0191d2a4-7c3e-7a55-8f60-2b1f0a527b1f", header::CONTENT_TYPE: JSON },
                    "payload": payload,
                }],
            }),
        );
        self.channels.insert(
            name.to_owned(),
            json!({
                "address": command_subject(message_type),
                "description": format!("JetStream stream {}; kept until it is handled", commands_stream(service)),
                "messages": { name: message(name) },
            }),
        );
        self.operations.insert(
            name.to_owned(),
            json!({
                "action": "receive", "summary": summary(words), "channel": { "$ref": format!("#/channels/{name}") },
                "messages": [in_channel(name, name)],
                "reply": {
                    "address": { "location": format!("$message.header#/{}", header::REPLY_TO) },
                    "channel": { "$ref": "#/channels/answers" },
                    "messages": [in_channel("answers", "CommandReply")],
                },
            }),
        );
        Ok(())
    }

    fn add_answers(&mut self) -> Result<()> {
        self.channels.insert(
            "answers".to_owned(),
            json!({
                "address": null,
                "description": "The subject that the sender names in the header reply-to. By core NATS: one that is missed is had by \
                    sending the command again",
                "messages": { "CommandReply": message("CommandReply") },
            }),
        );
        self.add_read(&CommandReply::full_name(), headers::ANSWER)
    }

    /// A message that others read, in JSON.
    fn add_read(&mut self, message_type: &str, headers: &str) -> Result<()> {
        let (name, words) = (proto::short_name(message_type), proto::description(message_type)?);
        self.messages.insert(
            name.to_owned(),
            json!({
                "name": message_type, "title": name, "summary": summary(&words), "contentType": JSON,
                "headers": { "$ref": headers }, "payload": { "$ref": format!("{READ}{message_type}") },
            }),
        );
        let schemas = proto::json_schemas(message_type, SchemaOf::Event, READ)?;
        self.schemas.extend(schemas.into_iter().map(|(name, schema)| (format!("read.{name}"), schema)));
        Ok(())
    }

    fn add_events(&mut self, service: &str) -> Result<()> {
        let types = event_types();
        let is_of = |message_type: &&String| proto::owner(message_type) == Some(service) || *message_type == REFUSED;
        let types: Vec<&String> = types.iter().filter(is_of).collect();
        for message_type in &types {
            self.add_read(message_type, headers::EVENT)?;
        }
        let names: Vec<&str> = types.iter().map(|message_type| proto::short_name(message_type)).collect();
        let all: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), message(name))).collect();
        let in_json = format!(
            "JetStream stream {EVENTS_JSON}, where broker.events_json is true. Durable consumers have the name of their user"
        );
        let in_protobuf = format!("JetStream stream {EVENTS}; the header ce-type names the protobuf message");
        let handled =
            format!("As {service}.protobuf: events that had been handled when they were published. Ask for both");
        let protobuf = Map::from_iter([("protobuf".to_owned(), message("protobuf"))]);
        self.add_channel(&format!("{service}.json"), &json_subject(service, EVENT), &in_json, &names, all);
        let subject = event_subject(service, EVENT);
        self.add_channel(&format!("{service}.protobuf"), &subject, &in_protobuf, &names, protobuf.clone());
        let subject = handled_subject(service, EVENT);
        self.add_channel(&format!("{service}.protobuf.handled"), &subject, &handled, &names, protobuf);
        self.messages.insert(
            "protobuf".to_owned(),
            json!({
                "name": "protobuf", "title": "Any event, as protobuf", "contentType": PROTOBUF,
                "summary": "The bytes of the message that the header ce-type names, of the files below proto/holdfast",
                "headers": { "$ref": headers::EVENT },
            }),
        );
        Ok(())
    }

    fn add_channel(&mut self, id: &str, address: &str, words: &str, events: &[&str], messages: Map<String, Value>) {
        let all: Vec<Value> = messages.keys().map(|name| in_channel(id, name)).collect();
        self.channels.insert(
            id.to_owned(),
            json!({
                "address": address, "description": words, "messages": messages,
                "parameters": { "event": { "description": "The event's name; * for all", "enum": events } },
            }),
        );
        self.operations.insert(
            id.to_owned(),
            json!({ "action": "send", "channel": { "$ref": format!("#/channels/{id}") }, "messages": all }),
        );
    }
}

#[cfg(test)]
mod tests;
