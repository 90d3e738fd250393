//! Quarantine: messages whose frame no client library reads. Whoever is handed one loses its connection over it, and so it would
//! come again for ever. Here it is looked up where it waits, and kept as a dead letter instead; and the consumers themselves are looked
//! after by the way.

use std::time::Duration;

use async_nats::{
    HeaderName, StatusCode,
    jetstream::{
        ErrorCode, consumer,
        message::StreamMessage,
        response::Response,
        stream::{RawMessage, Stream},
    },
};
use domain::{BrokerSequence, Rejection, Timestamp};
use futures::future::try_join_all;
use platform::{
    broker::{Broker, remake_if_it_passes_over, sent_subject},
    clock,
    database::{Pool, answered},
    error::Error,
    shutdown::Shutdown,
};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::{
    batch::{dead_letter, draft::DeadLetter},
    inbound::{consumer::Durable, input::RawInput},
    telemetry,
};

/// How often to look. A message is handed out in vain a few times before.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Messages to look at each time, from the oldest that is not acknowledged: all others are handled, so it is one of these.
const LOOK_AT_MAX: usize = 64;

/// A message as the broker's API tells it: in JSON, which nothing in it can break.
#[derive(Debug, Deserialize)]
struct StoredMessage {
    message: RawMessage,
}

/// Looks after the messages of a service's consumers until asked to stop.
pub(crate) async fn run(
    service: &'static str,
    durables: Vec<Durable>,
    broker: Broker,
    pool: Pool,
    mut shutdown: Shutdown,
) {
    while !shutdown.is_requested() {
        for durable in &durables {
            if let Err(error) = look(service, durable, &broker, &pool).await {
                tracing::debug!(error = error.chain(), "cannot look for unreadable messages");
            }
        }
        tokio::select! {
            () = clock::sleep(LOOK_EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}

async fn look(service: &'static str, durable: &Durable, broker: &Broker, pool: &Pool) -> Result<(), Error> {
    let asking = |error| Error::transient("asking for a stream", error);
    let stream = broker.jetstream.get_stream_no_info(&durable.stream).await.map_err(asking)?;
    let info =
        stream.consumer_info(&durable.name).await.map_err(|error| Error::transient("asking for a consumer", error))?;
    put_right(durable, &stream, &info, pool).await?;
    measure(service, durable, broker, &info).await?;
    if info.num_redelivered == 0 {
        return Ok(());
    }
    let delivered = BrokerSequence::new(info.delivered.stream_sequence);
    let mut next = BrokerSequence::new(info.ack_floor.stream_sequence).next();
    for _ in 0..LOOK_AT_MAX {
        if next > delivered {
            break;
        }
        let Some(message) = find(broker, durable, next).await? else { break };
        next = BrokerSequence::new(message.sequence).next();
        if let Some(reason) = unreadable(&message).filter(|_| is_for(durable, &message.subject)) {
            give_up_message(service, &stream, pool, message, reason).await?;
        }
    }
    Ok(())
}

/// A consumer stays as its service made it: one that somebody changed is made anew, and one that is paused goes on, unless an operator has
/// said until when it is to stand still. Then it does.
async fn put_right(durable: &Durable, stream: &Stream<()>, info: &consumer::Info, pool: &Pool) -> Result<(), Error> {
    match (paused_until(pool, &durable.name).await?, info.paused) {
        (Some(until), false) => {
            tracing::warn!(consumer = durable.name, %until, "an operator has this consumer stand still");
            let paused = stream.pause_consumer(&durable.name, until).await;
            paused.map_err(|error| Error::transient("pausing a consumer", error))?;
        }
        (None, true) => {
            tracing::warn!(
                consumer = durable.name,
                "a consumer was paused; it goes on. To have it stand still: holdfast pause"
            );
            let resumed = stream.resume_consumer(&durable.name).await;
            resumed.map_err(|error| Error::transient("having a paused consumer go on", error))?;
        }
        (Some(_), true) | (None, false) => {}
    }
    remake_if_it_passes_over(stream, info, &durable.subjects).await
}

/// Until when an operator has a consumer stand still.
async fn paused_until(pool: &Pool, consumer: &str) -> Result<Option<OffsetDateTime>, Error> {
    sqlx::query_scalar("select until from log.pauses where consumer = $1 and until > clock_timestamp()")
        .bind(consumer)
        .fetch_optional(pool)
        .await
        .map_err(|error| Error::database("asking whether a consumer is to stand still", error))
}

/// Notes how far a consumer is behind. All replicas say the same, each as it has seen it last.
async fn measure(
    service: &'static str,
    durable: &Durable,
    broker: &Broker,
    info: &consumer::Info,
) -> Result<(), Error> {
    let unhandled = info.num_pending.saturating_add(u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX));
    let mut oldest = None;
    if unhandled > 0 {
        // By each subject: what the consumer does not ask for may be much older.
        let from = BrokerSequence::new(info.ack_floor.stream_sequence).next();
        let next = durable.subjects.iter().map(|subject| next(broker, &durable.stream, subject, from));
        oldest = try_join_all(next).await?.into_iter().flatten().map(|message| Timestamp::from(message.time)).min();
    }
    let age = oldest.map(|time| clock::now().since(time)).unwrap_or_default();
    telemetry::lag(service, &durable.name, unhandled, age);
    Ok(())
}

/// The first message of a consumer at or after a place in its stream.
async fn find(broker: &Broker, durable: &Durable, sequence: BrokerSequence) -> Result<Option<RawMessage>, Error> {
    let subject = match durable.subjects.as_slice() {
        [subject] => subject.as_str(),
        _ => ">",
    };
    next(broker, &durable.stream, subject, sequence).await
}

/// The first message of these subjects at or after a place in a stream.
async fn next(
    broker: &Broker,
    stream: &str,
    subject: &str,
    sequence: BrokerSequence,
) -> Result<Option<RawMessage>, Error> {
    let failed = |error| Error::transient("asking for a message", error);
    let request = serde_json::json!({ "seq": sequence, "next_by_subj": subject });
    match broker.jetstream.request(format!("STREAM.MSG.GET.{stream}"), &request).await.map_err(failed)? {
        Response::Ok(StoredMessage { message }) => Ok(Some(message)),
        Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Response::Err { error } => Err(Error::transient("asking for a message", error)),
    }
}

fn is_for(durable: &Durable, subject: &str) -> bool {
    durable.subjects.iter().any(|filter| match filter.strip_suffix('*') {
        Some(prefix) => subject.starts_with(prefix),
        None => subject == filter,
    })
}

/// Why nobody reads a message, if so.
fn unreadable(message: &RawMessage) -> Option<&'static str> {
    if message.subject.chars().any(|letter| letter.is_whitespace() || letter == char::REPLACEMENT_CHARACTER) {
        return Some("its subject is not plain text");
    }
    let headers = message.headers.clone()?;
    // The client library decodes bodies; here the body is the headers.
    let block = StreamMessage::try_from(RawMessage { headers: None, payload: headers, ..message.clone() });
    let is_readable = block.is_ok_and(|block| is_readable(&block.payload));
    (!is_readable).then_some("its headers are malformed")
}

/// Whether the client library reads such headers of a message that it fetches, by the rules of its connection. What it has for
/// messages of the API has rules of its own: it passes over carriage returns over which a connection panics.
pub(crate) fn is_readable(headers: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(headers) else { return false };
    let mut lines = text.lines().peekable();
    let version = lines.next().and_then(|line| line.strip_prefix("NATS/1.0"));
    let status = version.map(|rest| rest.trim().split(' ').next().unwrap_or_default());
    if !status.is_some_and(|status| status.is_empty() || status.trim().parse::<StatusCode>().is_ok()) {
        return false;
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return false };
        let mut value = value.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        if name.parse::<HeaderName>().is_err() || value.trim_end().contains('\r') {
            return false;
        }
    }
    true
}

/// Keeps a message as a dead letter, and only then takes it from the broker.
async fn give_up_message(
    service: &'static str,
    stream: &Stream<()>,
    pool: &Pool,
    message: RawMessage,
    reason: &'static str,
) -> Result<(), Error> {
    let sequence = message.sequence;
    let headers = serde_json::json!({ "base64": message.headers });
    let letter = RawMessage { headers: None, ..message };
    let letter =
        StreamMessage::try_from(letter).map_err(|error| Error::transient("reading a message's bytes", error))?;
    let letter = DeadLetter {
        letter: RawInput { subject: sent_subject(&letter.subject), headers, payload: letter.payload },
        rejection: Rejection::new("MALFORMED_FRAME", format!("no client can read this message: {reason}")),
    };
    let keep = async {
        let mut session = pool.session().await?;
        let mut transaction = session.begin().await?;
        dead_letter::keep(&mut transaction, service, &[letter], clock::now()).await?;
        transaction.commit().await
    };
    answered(keep).await.map_err(|error| Error::database("keeping a dead letter", error))?;
    stream
        .delete_message(sequence)
        .await
        .map_err(|error| Error::transient("taking an unreadable message from its stream", error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{RawMessage, StoredMessage, StreamMessage, is_readable, unreadable};

    fn reason(subject: &str, headers: Option<&str>) -> Option<&'static str> {
        let message = serde_json::json!({
            "message": { "subject": subject, "seq": 7, "data": "e30=", "hdrs": headers, "time": "2026-01-01T00:00:00Z" }
        });
        unreadable(&serde_json::from_value::<StoredMessage>(message).unwrap().message)
    }

    #[test]
    fn sees_what_breaks_a_client() {
        assert_eq!(reason("cmd.orders.PlaceOrder", None), None);
        assert!(reason("cmd.orders.\u{fffd}", None).is_some());
        assert!(reason("cmd.orders.Place\u{2003}Order", None).is_some());
        // NATS/1.0␍␊ce-id: x␍␊␍␊
        assert_eq!(reason("cmd.orders.PlaceOrder", Some("TkFUUy8xLjANCmNlLWlkOiB4DQoNCg==")), None);
        // NATS/1.0␍␊no colon␍␊␍␊
        assert!(reason("cmd.orders.PlaceOrder", Some("TkFUUy8xLjANCm5vIGNvbG9uDQoNCg==")).is_some());
        // NATS/1.0␍␊note: two␍lines␍␊␍␊
        assert!(reason("cmd.orders.PlaceOrder", Some("TkFUUy8xLjANCm5vdGU6IHR3bw1saW5lcw0KDQo=")).is_some());
        // NATS/1.0␍␊note: two␍␊ ␍lines␍␊␍␊
        assert!(reason("cmd.orders.PlaceOrder", Some("TkFUUy8xLjANCm5vdGU6IHR3bw0KIA1saW5lcw0KDQo=")).is_some());
    }

    #[test]
    fn what_breaks_a_connection_is_read_by_the_librarys_other_parser() {
        let message = serde_json::json!({
            "subject": "cmd.orders.PlaceOrder", "seq": 7, "data": "e30=",
            "hdrs": "TkFUUy8xLjANCm5vdGU6IHR3bw0KIA1saW5lcw0KDQo=", "time": "2026-01-01T00:00:00Z"
        });
        let message: RawMessage = serde_json::from_value(message).unwrap();
        // Once this fails, it can be asked instead of `is_readable`.
        assert!(unreadable(&message).is_some() && StreamMessage::try_from(message).is_ok());
    }

    #[test]
    fn reads_headers_as_a_connection_does() {
        for readable in ["", "a: b\r\n c\r\n", "a: \rb\r\r\n", "a:b\n\u{a0}c\n", "a:\r\n\r\nb:c\r\n"] {
            assert!(is_readable(format!("NATS/1.0\r\n{readable}\r\n").as_bytes()), "{readable:?}");
        }
        for broken in ["a: b\rc\r\n", "a: b\r\r\n c\r\n", "a: b\r\n \rc\r\n", " a: b\r\n", "a\r\n", "\u{e4}: b\r\n"] {
            assert!(!is_readable(format!("NATS/1.0\r\n{broken}\r\n").as_bytes()), "{broken:?}");
        }
        assert!(is_readable(b"NATS/1.0 100 Idle\r\n\r\n") && is_readable(b"NATS/1.0 100\t Idle\r\n\r\n"));
        assert!(
            !is_readable(b"NATS/1.0 1000\r\n\r\n") && !is_readable(b"") && !is_readable(b"NATS/1.0\r\na: \xff\r\n")
        );
    }
}
