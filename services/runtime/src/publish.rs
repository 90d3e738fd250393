//! Publishing events: by the worker that committed them, right after the commit. The relay hears what was published and
//! publishes the rest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};

use crate::{
    broker::{Broker, PUBLISHED, event_subject, json_subject},
    error::Error,
    event_store::Recorded,
    ingest::{self, Ingest, Outgoing},
    lineage::Lineage,
    message::{JSON, PROTOBUF, header, header_value},
    ranges::Ranges,
};

/// Commits whose events are under way to the broker at once.
const PUBLICATIONS_MAX: usize = 64;

/// A broker that takes no events in for so long is left to the relay.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);

/// What takes longer from its beginning to the report of it is not reported.
pub(crate) const REPORTED_WITHIN: Duration = Duration::from_secs(1);

/// One message of the broker's stream: proof that what was published with it, before it, is there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Witness {
    /// Its sequence number.
    pub sequence: i64,
    /// The position of the event that it carries.
    pub position: i64,
}

/// What a worker has published, as it tells the relay.
#[derive(Debug, Serialize, Deserialize)]
pub struct Publication {
    /// Positions, from and to.
    pub ranges: Vec<(i64, i64)>,
    /// The last message of it.
    pub witness: Witness,
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

/// Publishes events.
#[derive(Debug)]
pub(crate) struct Publisher {
    broker: Broker,
    ingest: Ingest,
    lineage: Arc<Lineage>,
}

/// Events on their way to the broker, and their copies in JSON, if copies are wanted.
struct UnderWay {
    events: ingest::UnderWay,
    copies: Option<Copies>,
    _room: OwnedSemaphorePermit,
}

struct Copies {
    under_way: ingest::UnderWay,
    /// Which of the events they are of.
    of: Vec<usize>,
}

impl Publisher {
    pub(crate) async fn open(broker: Broker, lineage: Arc<Lineage>) -> Result<Self, Error> {
        let ingest = Ingest::open(broker.client.clone(), broker.publish_timeout()).await?;
        Ok(Self { broker, ingest, lineage })
    }

    /// Publishes events, and waits until the broker has stored them, or has not.
    pub(crate) async fn publish(&self, events: &[Recorded]) -> Published {
        if events.is_empty() {
            return Published { count: 0, witness: None, result: Ok(()) };
        }
        match self.begin(events).await {
            Ok(under_way) => under_way.published(events).await,
            Err(error) => Published { count: 0, witness: None, result: Err(error) },
        }
    }

    async fn begin(&self, events: &[Recorded]) -> Result<UnderWay, Error> {
        let copies_each = usize::from(self.broker.publishes_json());
        // For copies too, at once: events that wait for room for theirs would wait for themselves.
        let room = self.ingest.room(events.len().saturating_mul(1 + copies_each)).await?;
        let messages = events.iter().map(|event| Outgoing {
            subject: event_subject(&event.service, &event.message_type),
            // Without a `Nats-Msg-Id`: the broker's window of ids costs it a third of what it can take in, and every consumer
            // knows by its own state what it has handled.
            headers: headers(event, &self.lineage, PROTOBUF),
            payload: event.data.clone().into(),
        });
        let sent = self.ingest.send(messages.collect()).await?;
        let copies = if copies_each > 0 { self.copy(events).await? } else { None };
        Ok(UnderWay { events: sent, copies, _room: room })
    }

    /// Sends copies in JSON.
    async fn copy(&self, events: &[Recorded]) -> Result<Option<Copies>, Error> {
        let (of, messages): (Vec<_>, Vec<_>) =
            events.iter().enumerate().filter_map(|(index, event)| Some((index, json(event, &self.lineage)?))).unzip();
        if messages.is_empty() {
            return Ok(None);
        }
        Ok(Some(Copies { under_way: self.ingest.send(messages).await?, of }))
    }
}

/// The copy in JSON.
fn json(event: &Recorded, lineage: &Lineage) -> Option<Outgoing> {
    match proto::to_json(&event.message_type, &event.data) {
        Ok(json) => Some(Outgoing {
            subject: json_subject(&event.service, &event.message_type),
            headers: headers(event, lineage, JSON),
            payload: json.to_string().into(),
        }),
        Err(error) => {
            // Written by a newer worker than this one. What the fleet itself needs must not wait for that.
            tracing::error!(position = event.position, %error, "an event has no copy in JSON");
            None
        }
    }
}

impl UnderWay {
    /// Waits until the events and their copies are stored: an event without its copy is not published.
    async fn published(self, events: &[Recorded]) -> Published {
        let stored = self.events.stored().await;
        let witness = stored.count.checked_sub(1).and_then(|last| events.get(last)).map(|event| Witness {
            sequence: i64::try_from(stored.last).unwrap_or(i64::MAX),
            position: event.position,
        });
        let mut published = Published { count: stored.count, witness, result: stored.result };
        if let Some(Copies { under_way, of }) = self.copies {
            let copied = under_way.stored().await;
            let without = of.get(copied.count).copied().unwrap_or(events.len());
            published.count = published.count.min(without);
            published.result = published.result.and(copied.result);
        }
        published
    }
}

/// Publishes what a worker commits, a commit after the other, without waiting for acknowledgements in between.
#[derive(Debug)]
pub(crate) struct Outbox {
    publisher: Arc<Publisher>,
    under_way: JoinSet<()>,
}

impl Outbox {
    pub(crate) async fn open(broker: Broker, lineage: Arc<Lineage>) -> Result<Self, Error> {
        Ok(Self { publisher: Arc::new(Publisher::open(broker, lineage).await?), under_way: JoinSet::new() })
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
        let (connection, begun) = (*self.publisher.broker.connections().borrow(), Instant::now());
        match tokio::time::timeout(HAND_OVER_WITHIN, self.publisher.begin(&events)).await {
            Ok(Ok(under_way)) => {
                let publisher = Arc::clone(&self.publisher);
                self.under_way.spawn(async move {
                    if let Err(error) = confirm(&publisher.broker, (connection, begun), &events, under_way).await {
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

/// Tells the relay what has arrived. Not if the connection was lost in between, for then the witness vouches for nothing, nor if
/// it took long: a relay that finds a loss believes nobody only for so long.
async fn confirm(
    broker: &Broker,
    (connection, begun): (u64, Instant),
    events: &[Recorded],
    under_way: UnderWay,
) -> Result<(), Error> {
    let published = under_way.published(events).await;
    published.result?;
    let Some(witness) = published.witness else { return Ok(()) };
    if *broker.connections().borrow() != connection || begun.elapsed() > REPORTED_WITHIN {
        return Ok(());
    }
    let ranges = Ranges::of(events.iter().map(|event| event.position)).iter().collect();
    let publication = Publication { ranges, witness };
    let failed = |error| Error::transient("telling the relay what is published", error);
    let payload = serde_json::to_vec(&publication)
        .map_err(|error| Error::transient("telling the relay what is published", error))?;
    broker.client.publish(PUBLISHED, payload.into()).await.map_err(failed)
}

/// A header's name, which is known to be one.
const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn headers(event: &Recorded, lineage: &Lineage, content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name(header::ID), event.event_id.to_string());
    headers.insert(name(header::TYPE), event.message_type.as_str());
    headers.insert(name(header::SOURCE), format!("/holdfast/{}", event.service));
    headers.insert(name(header::TIME), event.recorded_at.to_string());
    headers.insert(name(header::SPEC_VERSION), "1.0");
    headers.insert(name(header::SUBJECT), header_value(&event.stream).as_ref());
    headers.insert(name(header::STREAM_VERSION), event.version.to_string());
    headers.insert(name(header::POSITION), event.position.to_string());
    headers.insert(name(header::EPOCH), lineage.epoch_of(event.position).to_string());
    headers.insert(name(header::CORRELATION_ID), event.correlation_id.to_string());
    headers.insert(name(header::CAUSATION_ID), event.causation_id.to_string());
    headers.insert(name(header::CONTENT_TYPE), content_type);
    if let Some(traceparent) = &event.traceparent {
        headers.insert(name(header::TRACEPARENT), traceparent.as_str());
    }
    headers
}
