//! Publishing events: by the worker that committed them, right after the commit. The relay hears what was published and
//! publishes the rest.

use std::time::Duration;

use async_nats::{
    HeaderMap, HeaderName,
    jetstream::{
        context::{PublishAckFuture, PublishError},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    broker::{Broker, PUBLISHED, event_subject, json_subject},
    error::Error,
    event_store::Recorded,
    message::{JSON, PROTOBUF, header},
    ranges::Ranges,
};

/// Commits whose events are under way to the broker at once.
const PUBLICATIONS_MAX: usize = 64;

/// A broker that takes no events in for so long is left to the relay.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);

/// One message of the broker's stream: proof that what came before it on the same connection is there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Witness {
    /// Its sequence number.
    pub(crate) sequence: i64,
    /// The position of the event that it carries.
    pub(crate) position: i64,
}

/// What a worker has published, as it tells the relay.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Publication {
    /// The connection that it went out on, by a name that no other has.
    pub(crate) connection: String,
    /// Positions, from and to.
    pub(crate) ranges: Vec<(i64, i64)>,
    /// The last message of it.
    pub(crate) witness: Witness,
}

/// What came of publishing events, one after the other.
pub(crate) struct Published {
    /// How many arrived, from the first on, before one did not.
    pub(crate) count: usize,
    /// The last message of those.
    pub(crate) witness: Option<Witness>,
    /// Why not all did.
    pub(crate) result: Result<(), Error>,
}

/// An event on its way to the broker, and its copy in JSON, if copies are wanted.
type UnderWay = (PublishAckFuture, Option<PublishAckFuture>);

/// Publishes events, and waits until the broker has acknowledged each, or has not.
pub(crate) async fn publish(broker: &Broker, events: &[Recorded]) -> Published {
    match begin(broker, events).await {
        Ok(under_way) => acknowledged(events.iter().map(|event| event.position), under_way).await,
        Err(error) => Published { count: 0, witness: None, result: Err(error) },
    }
}

async fn begin(broker: &Broker, events: &[Recorded]) -> Result<Vec<UnderWay>, Error> {
    let mut under_way = Vec::with_capacity(events.len());
    for event in events {
        let subject = event_subject(&event.service, &event.message_type);
        let sent = send(broker, event, subject, PROTOBUF, event.data.clone().into()).await?;
        let copy = match json(broker, event) {
            Some(json) => {
                let subject = json_subject(&event.service, &event.message_type);
                Some(send(broker, event, subject, JSON, json).await?)
            }
            None => None,
        };
        under_way.push((sent, copy));
    }
    Ok(under_way)
}

/// The copy in JSON, if copies are wanted.
fn json(broker: &Broker, event: &Recorded) -> Option<Bytes> {
    if !broker.publishes_json() {
        return None;
    }
    match proto::to_json(&event.message_type, &event.data) {
        Ok(json) => Some(json.to_string().into()),
        Err(error) => {
            // Written by a newer worker than this one. What the fleet itself needs must not wait for that.
            tracing::error!(position = event.position, %error, "an event has no copy in JSON");
            None
        }
    }
}

async fn send(
    broker: &Broker,
    event: &Recorded,
    subject: String,
    content_type: &str,
    payload: Bytes,
) -> Result<PublishAckFuture, Error> {
    // Without a `Nats-Msg-Id`: the broker's window of ids costs it a third of what it can take in, and every consumer knows by
    // its own state what it has handled.
    let message = PublishMessage::build().payload(payload).headers(headers(event, content_type));
    broker.jetstream.send_publish(subject, message).await.map_err(|error| Error::transient("publishing events", error))
}

/// Waits for an event's acknowledgement, and then for its copy's: an event without its copy is not published.
async fn sequence((sent, copy): UnderWay) -> Result<u64, PublishError> {
    let acknowledgement = sent.await?;
    if let Some(copy) = copy {
        copy.await?;
    }
    Ok(acknowledgement.sequence)
}

async fn acknowledged(positions: impl Iterator<Item = i64>, under_way: Vec<UnderWay>) -> Published {
    let mut published = Published { count: 0, witness: None, result: Ok(()) };
    let sequences = join_all(under_way.into_iter().map(sequence)).await;
    for (sequence, position) in sequences.into_iter().zip(positions) {
        match sequence {
            Ok(sequence) => {
                let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
                published.count += 1;
                published.witness = published.witness.max(Some(Witness { sequence, position }));
            }
            Err(error) => {
                published.result = Err(Error::transient("publishing events", error));
                break;
            }
        }
    }
    published
}

/// Publishes what a worker commits, a commit after the other, without waiting for acknowledgements in between.
#[derive(Debug)]
pub(crate) struct Outbox {
    broker: Broker,
    /// Tells its connections from those of others.
    id: String,
    under_way: JoinSet<()>,
}

impl Outbox {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { id: broker.client.new_inbox(), broker, under_way: JoinSet::new() }
    }

    /// Hands events to the broker. Never fails: what does not arrive is left to the relay.
    pub(crate) async fn send(&mut self, events: Vec<Recorded>) {
        if events.is_empty() {
            return;
        }
        while self.under_way.try_join_next().is_some() {}
        if self.under_way.len() >= PUBLICATIONS_MAX {
            self.under_way.join_next().await;
        }
        let connection = *self.broker.connections().borrow();
        match tokio::time::timeout(HAND_OVER_WITHIN, begin(&self.broker, &events)).await {
            Ok(Ok(under_way)) => {
                let (broker, sender) = (self.broker.clone(), format!("{} {connection}", self.id));
                self.under_way.spawn(async move {
                    if let Err(error) = confirm(&broker, (sender, connection), &events, under_way).await {
                        tracing::debug!(error = error.chain(), "left to the relay");
                    }
                });
            }
            Ok(Err(error)) => tracing::debug!(error = error.chain(), "left to the relay"),
            Err(_elapsed) => tracing::debug!("the broker takes nothing in; left to the relay"),
        }
    }

    /// Waits for what is under way.
    pub(crate) async fn drain(&mut self) {
        while self.under_way.join_next().await.is_some() {}
    }
}

/// Tells the relay what has arrived. Not if the connection was lost in between: then the witness vouches for nothing.
async fn confirm(
    broker: &Broker,
    (sender, connection): (String, u64),
    events: &[Recorded],
    under_way: Vec<UnderWay>,
) -> Result<(), Error> {
    let positions = || events.iter().map(|event| event.position);
    let published = acknowledged(positions(), under_way).await;
    published.result?;
    let Some(witness) = published.witness else { return Ok(()) };
    if *broker.connections().borrow() != connection {
        return Ok(());
    }
    let ranges = Ranges::of(positions()).iter().collect();
    let publication = Publication { connection: sender, ranges, witness };
    let failed = |error| Error::transient("telling the relay what is published", error);
    let payload = serde_json::to_vec(&publication)
        .map_err(|error| Error::transient("telling the relay what is published", error))?;
    broker.client.publish(PUBLISHED, payload.into()).await.map_err(failed)
}

/// A header's name, which is known to be one.
const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn headers(event: &Recorded, content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name(header::ID), event.event_id.to_string());
    headers.insert(name(header::TYPE), event.message_type.as_str());
    headers.insert(name(header::SOURCE), format!("/holdfast/{}", event.service));
    headers.insert(name(header::TIME), event.recorded_at.to_string());
    headers.insert(name(header::SPEC_VERSION), "1.0");
    headers.insert(name(header::SUBJECT), event.stream.as_str());
    headers.insert(name(header::STREAM_VERSION), event.version.to_string());
    headers.insert(name(header::POSITION), event.position.to_string());
    headers.insert(name(header::CORRELATION_ID), event.correlation_id.to_string());
    headers.insert(name(header::CAUSATION_ID), event.causation_id.to_string());
    headers.insert(name(header::CONTENT_TYPE), content_type);
    if let Some(traceparent) = &event.traceparent {
        headers.insert(name(header::TRACEPARENT), traceparent.as_str());
    }
    headers
}
