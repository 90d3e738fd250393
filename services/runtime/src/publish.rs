//! Publishing events: by the worker that committed them, right after the commit. The relay hears what was published and
//! publishes the rest.

use std::{future::IntoFuture, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{context::PublishAckFuture, message::PublishMessage},
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::{
    broker::{Broker, PUBLISHED, event_subject},
    error::Error,
    event_store::Recorded,
    message::header,
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

/// Publishes events, and waits until the broker has acknowledged each, or has not.
pub(crate) async fn publish(broker: &Broker, events: &[Recorded]) -> Published {
    let under_way = match begin(broker, events).await {
        Ok(under_way) => under_way,
        Err(error) => return Published { count: 0, witness: None, result: Err(error) },
    };
    acknowledged(events.iter().map(|event| event.position), under_way).await
}

async fn begin(broker: &Broker, events: &[Recorded]) -> Result<Vec<PublishAckFuture>, Error> {
    let mut under_way = Vec::with_capacity(events.len());
    for event in events {
        let subject = event_subject(&event.service, &event.message_type);
        let message = PublishMessage::build()
            .payload(event.data.clone().into())
            .headers(headers(event))
            .message_id(event.event_id.to_string());
        let sent = broker.jetstream.send_publish(subject, message).await;
        under_way.push(sent.map_err(|error| Error::transient("publishing events", error))?);
    }
    Ok(under_way)
}

async fn acknowledged(positions: impl Iterator<Item = i64>, under_way: Vec<PublishAckFuture>) -> Published {
    let mut published = Published { count: 0, witness: None, result: Ok(()) };
    let acknowledgements = join_all(under_way.into_iter().map(IntoFuture::into_future)).await;
    for (acknowledgement, position) in acknowledgements.into_iter().zip(positions) {
        match acknowledgement {
            Ok(acknowledgement) => {
                let sequence = i64::try_from(acknowledgement.sequence).unwrap_or(i64::MAX);
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
    under_way: JoinSet<()>,
}

impl Outbox {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker, under_way: JoinSet::new() }
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
                let broker = self.broker.clone();
                self.under_way.spawn(async move {
                    if let Err(error) = confirm(&broker, connection, &events, under_way).await {
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
    connection: u64,
    events: &[Recorded],
    under_way: Vec<PublishAckFuture>,
) -> Result<(), Error> {
    let positions = || events.iter().map(|event| event.position);
    let published = acknowledged(positions(), under_way).await;
    published.result?;
    let Some(witness) = published.witness else { return Ok(()) };
    if *broker.connections().borrow() != connection {
        return Ok(());
    }
    let publication = Publication { ranges: Ranges::of(positions()).iter().collect(), witness };
    let failed = |error| Error::transient("telling the relay what is published", error);
    let payload = serde_json::to_vec(&publication)
        .map_err(|error| Error::transient("telling the relay what is published", error))?;
    broker.client.publish(PUBLISHED, payload.into()).await.map_err(failed)
}

fn headers(event: &Recorded) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ID, event.event_id.to_string());
    headers.insert(header::TYPE, event.message_type.as_str());
    headers.insert(header::SOURCE, format!("/holdfast/{}", event.service));
    headers.insert(header::TIME, event.recorded_at.to_string());
    headers.insert(header::SPEC_VERSION, "1.0");
    headers.insert(header::SUBJECT, event.stream.as_str());
    headers.insert(header::STREAM_VERSION, event.version.to_string());
    headers.insert(header::POSITION, event.position.to_string());
    headers.insert(header::CORRELATION_ID, event.correlation_id.to_string());
    headers.insert(header::CAUSATION_ID, event.causation_id.to_string());
    headers.insert(header::CONTENT_TYPE, "application/protobuf");
    if let Some(traceparent) = &event.traceparent {
        headers.insert(header::TRACEPARENT, traceparent.as_str());
    }
    headers
}
