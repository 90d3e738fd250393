//! What a message is taken for, by a service that takes one command and does nothing about it.

use std::collections::BTreeMap;

use async_nats::{HeaderMap, HeaderName, Message};
use domain::{DecideError, Decider, Memory, Rejection, StreamVersion, Timestamp, decode};
use proto::{Message as _, rounds::v1::CloseRound};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{InputKind, ReplyTo, parse_message};
use platform::statement::Statement;

use crate::service::{Locks, RowTable, Service};

const ID: &str = "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81";
const SUBJECT: &str = "cmd.clerk.CloseRound";

struct Clerk;

impl Decider for Clerk {
    const NAME: &'static str = "clerk";
    const STREAMS: &'static [&'static str] = &[];
    const COMMANDS: &'static [&'static str] = &["holdfast.rounds.v1.CloseRound"];
    const REACTS_TO: &'static [&'static str] = &[];

    type Command = CloseRound;
    type Event = ();
    type State = ();
    type Row = ();

    fn decode_command(_message_type: &str, data: &[u8], _id: Uuid) -> Result<CloseRound, Rejection> {
        decode(data)
    }

    fn react(_message_type: &str, _data: &[u8]) -> Result<Vec<CloseRound>, Rejection> {
        Ok(Vec::new())
    }

    fn on_timer(_stream: &str) -> Option<CloseRound> {
        None
    }

    fn decide(_state: &(), _command: &CloseRound, _at: Timestamp) -> Result<Vec<()>, DecideError> {
        Ok(Vec::new())
    }

    fn evolve(_state: &mut (), _event: &()) {}

    fn place(_state: &(), _event: &()) -> (String, StreamVersion) {
        (String::new(), StreamVersion::FIRST)
    }

    fn encode_event(_event: &()) -> (&'static str, Vec<u8>) {
        ("", Vec::new())
    }

    fn decode_event(_message_type: &str, _data: &[u8]) -> Result<(), Rejection> {
        Ok(())
    }

    fn rows(_state: &()) -> BTreeMap<String, ()> {
        BTreeMap::new()
    }

    fn row(_state: &(), _name: &str) -> Option<()> {
        None
    }

    fn put(_state: &mut (), _name: &str, _row: ()) -> Option<()> {
        None
    }

    fn take_out(_state: &mut (), _name: &str) -> Option<()> {
        None
    }

    fn rows_of(_event: &()) -> Vec<String> {
        Vec::new()
    }
}

impl Service for Clerk {
    const TABLES: &'static [RowTable] = &[];

    async fn load(_connection: &mut PgConnection, _commands: &[&CloseRound], _locks: Locks) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn recall(_memory: &mut Memory<()>, _commands: &[&CloseRound], _state: &mut ()) -> bool {
        true
    }

    fn save(_statement: &mut Statement, _state: &()) {}

    async fn load_all(_connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn load_rows(_connection: &mut PgConnection, _names: &[String]) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

fn read(headers: &[(&str, &str)], payload: &[u8]) -> (InputKind<CloseRound>, Option<ReplyTo>) {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        all.append(name.parse::<HeaderName>().unwrap(), *value);
    }
    let message = Message {
        subject: SUBJECT.into(),
        reply: None,
        payload: payload.to_vec().into(),
        headers: Some(all),
        status: None,
        description: None,
        length: 0,
    };
    let (_, work, reply_to) = parse_message::<Clerk>(&message, 1_000);
    (work, reply_to)
}

/// The command, or the code and the reason of its refusal: one that its sender is to hear for ever.
fn asked(headers: &[(&str, &str)], payload: &[u8]) -> Result<CloseRound, (String, String)> {
    match read(&[&[("ce-id", ID)], headers].concat(), payload).0 {
        InputKind::Command { command, .. } => command.map_err(|Rejection { code, reason }| (code.into_owned(), reason)),
        other @ (InputKind::Reaction { .. } | InputKind::Outcome { .. } | InputKind::Unreadable { .. }) => {
            panic!("{other:?}")
        }
    }
}

fn close() -> CloseRound {
    CloseRound { round_id: ID.to_owned(), actor: "ops".to_owned(), note: "x".to_owned() }
}

#[test]
fn a_command_whose_sender_cannot_be_answered_is_not_done_and_kept() {
    let bytes = close().encode_to_vec();
    for reply_to in [SUBJECT, "evt.x", "$JS.x", ">", "a b", "_INBOX..x"] {
        let (work, answer) = read(&[("ce-id", ID), ("Reply-To", reply_to)], &bytes);
        let InputKind::Unreadable { rejection } = work else { panic!("{work:?}") };
        assert_eq!(rejection.code, "INVALID_REPLY_TO");
        assert!(answer.is_none());
    }
    assert_eq!(asked(&[], &bytes), Ok(close()));
    let (_, answer) = read(&[("CE-ID", ID), ("Reply-To", "shop.answers")], &bytes);
    assert_eq!(answer.unwrap().subject, "shop.answers");
}

#[test]
fn who_can_be_answered_is_answered_whatever_else_is_wrong() {
    for headers in [[("ce-id", "7"), ("x", "x")], [("ce-id", ID), ("Ce-Id", "7")], [("ce-id", ID), ("ce-type", "a.B")]]
    {
        let (_, answer) = read(&[&headers[..], &[("reply-to", "shop.answers")]].concat(), b"{");
        let answer = answer.unwrap();
        assert!(answer.subject == "shop.answers" && answer.json, "{headers:?}");
    }
}

#[test]
fn a_header_that_cannot_be_used_is_refused_by_name() {
    let (bytes, long) = (close().encode_to_vec(), "x".repeat(513));
    for (name, value) in [("ce-type", long.as_str()), ("traceparent", &long), ("CE-CorrelationId", "order 7")] {
        let (code, reason) = asked(&[(name, value)], &bytes).unwrap_err();
        assert_eq!(code, "INVALID_HEADER");
        assert!(reason.contains(&format!("the header {} ", name.to_lowercase())), "{reason}");
    }
    assert_eq!(asked(&[("Content-Type", "text/plain")], &bytes).unwrap_err().0, "UNSUPPORTED_CONTENT_TYPE");
    assert_eq!(asked(&[("Ce-Type", "a.B")], &bytes).unwrap_err().0, "TYPE_MISMATCH");
    assert_eq!(asked(&[("Ce-Type", "holdfast.rounds.v1.CloseRound")], &bytes), Ok(close()));
}

#[test]
fn json_that_is_not_said_to_be_json_is_told_how_to_say_it() {
    let json = format!(r#"{{"roundId": "{ID}", "actor": "ops", "note": "x"}}"#);
    let (code, reason) = asked(&[], json.as_bytes()).unwrap_err();
    assert_eq!(code, "UNDECODABLE");
    assert!(reason.contains("send content-type: application/json"), "{reason}");
    assert_eq!(asked(&[("Content-Type", "Application/JSON; charset=UTF-8")], json.as_bytes()), Ok(close()));
    let (_, reason) = asked(&[], b"\xff\xff\xff").unwrap_err();
    assert!(!reason.contains("JSON"), "{reason}");
}

#[test]
fn a_field_that_nobody_knows_is_refused_in_protobuf_as_in_json() {
    let wish = [close().encode_to_vec(), b"\x7a\x06SUMMER".to_vec()].concat();
    let (code, reason) = asked(&[], &wish).unwrap_err();
    assert_eq!(code, "UNKNOWN_FIELD");
    assert!(reason.starts_with("holdfast.rounds.v1.CloseRound has no field 15"), "{reason}");
    let json = ("content-type", "application/json");
    assert_eq!(asked(&[json], br#"{"wish": "SUMMER"}"#).unwrap_err().0, "INVALID_JSON");
}
