//! What a message would do now: decided as a worker decides it, in rows as they are, and written nowhere.

use std::collections::BTreeMap;

use domain::{EncodedEvent, Rejection, Timestamp};
use platform::clock;
use proto::{Message, common::v1::CommandRejected};
use sqlx::PgConnection;
use uuid::Uuid;

use super::commit::decide;
use crate::{
    inbound::input::{self, Cause, Input, InputKind, Origin, RawInput},
    service::{Locks, Service, is_rejection},
};

/// What would come of a message.
#[derive(Debug)]
pub struct Foreseen {
    /// The events that would be written, in order. Of a message that would be refused: none.
    pub events: Vec<EncodedEvent>,
    /// Why it would be refused.
    pub refused: Option<Rejection>,
    /// Whether it would be kept for operators: what is wrong with it is not its sender's business.
    pub is_given_up: bool,
}

/// Of a command, by its id, its type and its bytes. What the settings of a worker would make of it is not known here.
///
/// # Errors
/// Postgres failed.
pub async fn command<S: Service>(
    connection: &mut PgConnection,
    (id, message_type, data): (Uuid, &str, &[u8]),
) -> Result<Foreseen, sqlx::Error> {
    message::<S>(connection, input::decode_command_input::<S>(message_type, data, id), id).await
}

/// Of an event of another service.
///
/// # Errors
/// Postgres failed.
pub async fn event<S: Service>(
    connection: &mut PgConnection,
    (id, message_type, data): (Uuid, &str, &[u8]),
) -> Result<Foreseen, sqlx::Error> {
    message::<S>(connection, input::react_input::<S>(message_type, data), id).await
}

/// Of a timer of this stream, if it was due now.
///
/// # Errors
/// Postgres failed.
pub async fn timer<S: Service>(connection: &mut PgConnection, stream: &str) -> Result<Foreseen, sqlx::Error> {
    let now = clock::now();
    foresee::<S>(connection, input::timer::<S>(stream, now), now).await
}

async fn message<S: Service>(
    connection: &mut PgConnection,
    work: InputKind<S::Command>,
    id: Uuid,
) -> Result<Foreseen, sqlx::Error> {
    let cause = Cause { id, correlation_id: id, traceparent: None };
    let nothing = RawInput { subject: String::new(), headers: serde_json::Value::Null, payload: bytes::Bytes::new() };
    let input = Input { cause, work, origin: Origin::Local(nothing), reply_to: None };
    foresee::<S>(connection, input, clock::now()).await
}

async fn foresee<S: Service>(
    connection: &mut PgConnection,
    input: Input<S::Command>,
    at: Timestamp,
) -> Result<Foreseen, sqlx::Error> {
    let mut rows = match input.commands() {
        [] => S::State::default(),
        commands => S::load(connection, &commands.iter().collect::<Vec<_>>(), Locks::None).await?,
    };
    let given_up = |why| Foreseen { events: Vec::new(), refused: Some(why), is_given_up: true };
    let draft = match decide::<S>(&mut rows, std::slice::from_ref(&input), &BTreeMap::new(), at) {
        Ok(draft) => draft,
        Err(failure) => return Ok(given_up(failure.rejection())),
    };
    if let Some(letter) = draft.dead_letters.into_iter().next() {
        return Ok(given_up(letter.rejection));
    }
    let events: Vec<EncodedEvent> = draft.events.into_iter().map(|event| event.record).collect();
    let refusal = events.iter().find(|event| is_rejection(event.message_type));
    match refusal.and_then(|event| CommandRejected::decode(event.data.as_slice()).ok()?.rejection) {
        Some(said) => {
            let refused = Rejection { code: said.code.into(), reason: said.reason };
            Ok(Foreseen { events: Vec::new(), refused: Some(refused), is_given_up: false })
        }
        None => Ok(Foreseen { events, refused: None, is_given_up: false }),
    }
}
