//! Publishing events: by the worker that committed them, right after the commit. The relay hears what was published and
//! publishes the rest.
//!
//! Their copies in JSON go with them, and hold up nobody: what does not get in is left to the relay too.
//!
//! Why it is so: services/runtime/README.md#workers-publish-what-they-commit-and-the-relay-only-checks

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, HeaderName};
use domain::{BrokerSequence, GlobalPosition};
use platform::{
    broker::{Broker, PUBLISHED, event_subject, handled_subject, json_subject},
    clock,
    error::Error,
    message::{JSON, PROTOBUF, header, header_value},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};
use tracing::Instrument as _;

use crate::{
    log::{event_store::StoredEvent, lineage::Lineage},
    outbound::{
        batch_publish::{self, BatchPublisher, Outgoing},
        refusals::Refusals,
    },
    relay::position_set::PositionSet,
};

/// Commits whose events are under way to the broker at once.
const PUBLICATIONS_MAX: usize = 64;

/// A broker that takes no events in for so long is left to the relay.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(1);

/// What takes longer from its beginning to the report of it is not reported.
pub(crate) const REPORTED_WITHIN: Duration = Duration::from_secs(1);

/// How long what has arrived waits to be reported, so that one message does for many commits.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Once events are stored, their copies may take this much longer. Then the relay hears of the events alone.
const COPIES_WITHIN: Duration = Duration::from_millis(300);

/// After copies were refused, this worker sends none for so long.
const COPIES_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often to say that copies are refused.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// One message of the broker's stream: proof that what was published with it, before it, is there too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct StreamMarker {
    /// Its sequence number.
    pub sequence: BrokerSequence,
    /// The position of the event that it carries.
    pub position: GlobalPosition,
}

/// What a worker has published, as it tells the relay.
#[derive(Debug, Serialize, Deserialize)]
pub struct PublishReport {
    /// Positions, from and to.
    pub ranges: Vec<(GlobalPosition, GlobalPosition)>,
    /// The last message of it.
    pub marker: StreamMarker,
}

/// The same, as it goes over the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) publication: PublishReport,
    /// Positions of events whose copies in JSON are stored, from and to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) copied: Vec<(GlobalPosition, GlobalPosition)>,
    /// What came of other commits: each has a message of its own that vouches for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) more: Vec<PublishReport>,
    /// The server that all of it was published to. Workers of an older release do not say it.
    #[serde(default)]
    pub(crate) server: String,
}

/// What came of publishing events, one after the other.
pub(crate) struct PublishResult {
    /// How many arrived, from the first on, before one did not.
    pub(crate) count: usize,
    /// The last message of those.
    pub(crate) marker: Option<StreamMarker>,
    /// Why not all did.
    pub(crate) result: Result<(), Error>,
}

/// What came of publishing copies.
pub(crate) struct Copied {
    /// Of how many events they arrived, from the first on, before one did not.
    pub(crate) count: usize,
    /// Why not of all.
    pub(crate) result: Result<(), Error>,
}

/// Publishes events.
#[derive(Debug)]
pub(crate) struct Publisher {
    broker: Broker,
    batch_publish: BatchPublisher,
    lineage: Arc<Lineage>,
}

/// Events on their way to the broker.
struct PendingPublish {
    stored: batch_publish::PendingBatch,
    _room: OwnedSemaphorePermit,
}

/// Copies in JSON on their way to the broker.
struct PendingCopies {
    /// `None` if none of the events has one.
    stored: Option<batch_publish::PendingBatch>,
    /// Which of the events they are of.
    of: Vec<usize>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Publisher {
    pub(crate) async fn open(broker: Broker, lineage: Arc<Lineage>) -> Result<Self, Error> {
        let batch_publish = BatchPublisher::open(broker.client.clone(), broker.publish_timeout()).await?;
        Ok(Self { broker, batch_publish, lineage })
    }

    /// Publishes events, and waits until the broker has stored them, or has not. Not their copies.
    pub(crate) async fn publish(&self, events: &[StoredEvent]) -> PublishResult {
        if events.is_empty() {
            return PublishResult { count: 0, marker: None, result: Ok(()) };
        }
        match self.begin(events).await {
            Ok(under_way) => under_way.published(events).await,
            Err(error) => PublishResult { count: 0, marker: None, result: Err(error) },
        }
    }

    /// Publishes the copies of events in JSON, and waits until the broker has stored them, or has not.
    pub(crate) async fn publish_copies(&self, events: &[StoredEvent]) -> Copied {
        match self.begin_copies(events).await {
            Ok(under_way) => under_way.copied(events).await,
            Err(error) => Copied { count: 0, result: Err(error) },
        }
    }

    async fn begin(&self, events: &[StoredEvent]) -> Result<PendingPublish, Error> {
        let room = self.batch_publish.room(events.len()).await?;
        self.send(events, room).await
    }

    async fn begin_copies(&self, events: &[StoredEvent]) -> Result<PendingCopies, Error> {
        let room = self.batch_publish.room(events.len()).await?;
        self.send_copies(events, Some(room)).await
    }

    async fn send(&self, events: &[StoredEvent], room: OwnedSemaphorePermit) -> Result<PendingPublish, Error> {
        let messages = events.iter().map(|event| Outgoing {
            subject: match event.is_handled {
                true => handled_subject(&event.service, &event.message_type),
                false => event_subject(&event.service, &event.message_type),
            },
            // Without a `Nats-Msg-Id`: the broker's window of ids costs it a third of what it can take in, and every consumer
            // knows by its own state what it has handled.
            headers: headers(event, &self.lineage, PROTOBUF),
            payload: event.data.clone().into(),
        });
        Ok(PendingPublish { stored: self.batch_publish.send(messages.collect()).await?, _room: room })
    }

    async fn send_copies(
        &self,
        events: &[StoredEvent],
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<PendingCopies, Error> {
        let bytes_max = self.broker.client.server_info().max_payload;
        let copies = events.iter().enumerate();
        let (of, messages): (Vec<_>, Vec<_>) =
            copies.filter_map(|(index, event)| Some((index, json(event, &self.lineage, bytes_max)?))).unzip();
        let stored = if messages.is_empty() { None } else { Some(self.batch_publish.send(messages).await?) };
        Ok(PendingCopies { stored, of, _room: room })
    }
}

/// What a header may add to a message, all of them together.
const HEADERS_BYTES: usize = 4_096;

/// The copy in JSON, if it has one. What the fleet itself needs, and the copies of other events, must not wait for one that cannot be made.
fn json(event: &StoredEvent, lineage: &Lineage, bytes_max: usize) -> Option<Outgoing> {
    let position = event.position.get();
    let payload = match proto::to_json(&event.message_type, &event.data) {
        Ok(json) => json.to_string(),
        Err(error) => {
            // Written by a newer worker than this one.
            tracing::error!(position, %error, "an event has no copy in JSON");
            return None;
        }
    };
    if payload.len().saturating_add(HEADERS_BYTES) > bytes_max {
        // Somebody has lowered the limit while workers run: they begin only where all copies get through.
        tracing::error!(
            position,
            bytes = payload.len(),
            bytes_max,
            "an event has no copy in JSON: nats-server's max_payload is too low"
        );
        return None;
    }
    let subject = json_subject(&event.service, &event.message_type);
    Some(Outgoing { subject, headers: headers(event, lineage, JSON), payload: payload.into() })
}

impl PendingPublish {
    /// Waits until the events are stored, or are not.
    async fn published(self, events: &[StoredEvent]) -> PublishResult {
        let stored = self.stored.stored().await;
        let marker = stored
            .count
            .checked_sub(1)
            .and_then(|last| events.get(last))
            .map(|event| StreamMarker { sequence: stored.last, position: event.position });
        PublishResult { count: stored.count, marker, result: stored.result }
    }
}

impl PendingCopies {
    /// Waits until the copies are stored, or are not.
    async fn copied(self, events: &[StoredEvent]) -> Copied {
        let Some(stored) = self.stored else { return Copied { count: events.len(), result: Ok(()) } };
        let stored = stored.stored().await;
        // What has no copy counts as copied.
        let count = self.of.get(stored.count).copied().unwrap_or(events.len());
        Copied { count, result: stored.result }
    }
}

/// Publishes what a worker commits, a commit after the other, without waiting for acknowledgements in between.
#[derive(Debug)]
pub(crate) struct CommitPublisher {
    lineage: Arc<Lineage>,
    refusals: Arc<Refusals>,
    /// On the connection that messages come in on, which is never made again: one write takes acknowledgements, answers and events.
    sender: Option<Arc<Sender>>,
    under_way: JoinSet<()>,
}

#[derive(Debug)]
struct Sender {
    publisher: Publisher,
    refusals: Arc<Refusals>,
    copies: Mutex<Refused>,
    /// What has arrived and is not reported. Whoever adds the first reports all.
    arrived: Mutex<Vec<Arrived>>,
}

/// What has arrived of a commit.
#[derive(Debug)]
struct Arrived {
    begun: Instant,
    report: Report,
}

/// When copies were refused, and when that was said the last time.
#[derive(Debug, Default)]
struct Refused {
    at: Option<Instant>,
    said: Option<Instant>,
}

impl CommitPublisher {
    pub(crate) fn new(lineage: Arc<Lineage>, refusals: Arc<Refusals>) -> Self {
        Self { lineage, refusals, sender: None, under_way: JoinSet::new() }
    }

    /// Publishes on this connection from now on. On none, if there is none now.
    pub(crate) async fn publish_on(&mut self, broker: Option<&Broker>) {
        if let (Some(sender), Some(broker)) = (&self.sender, broker)
            && sender.publisher.broker.is_same_connection(broker)
        {
            return;
        }
        self.sender = None;
        let Some(broker) = broker else { return };
        match Publisher::open(broker.clone(), Arc::clone(&self.lineage)).await {
            Ok(publisher) => {
                let refusals = Arc::clone(&self.refusals);
                let (copies, arrived) = (Mutex::default(), Mutex::default());
                self.sender = Some(Arc::new(Sender { publisher, refusals, copies, arrived }));
            }
            Err(error) => tracing::debug!(error = error.chain(), "cannot publish on this connection"),
        }
    }

    /// Hands events to the broker. Never fails: what does not arrive is left to the relay.
    pub(crate) async fn send(&mut self, events: Vec<StoredEvent>) {
        if events.is_empty() {
            return;
        }
        while self.under_way.try_join_next().is_some() {}
        if self.under_way.len() >= PUBLICATIONS_MAX {
            self.under_way.join_next().await;
        }
        let at = Instant::now();
        let Some(sender) = self.sender.clone() else {
            return tracing::debug!("left to the relay: there is no connection to the broker");
        };
        match tokio::time::timeout(HAND_OVER_WITHIN, sender.begin(&events)).await {
            Ok(Ok((published, copies))) => {
                let confirming = async move {
                    let confirmed = sender.confirm(at, &events, published, copies).await;
                    sender.left_to_the_relay(&events, at, confirmed);
                };
                self.under_way.spawn(confirming.in_current_span());
            }
            Ok(Err(error)) => sender.left_to_the_relay(&events, at, Err(error)),
            Err(_elapsed) => {
                let why = Error::transient("publishing events", "the broker takes nothing in");
                sender.left_to_the_relay(&events, at, Err(why));
            }
        }
    }

    /// Waits for what is under way.
    pub(crate) async fn drain(&mut self) {
        while self.under_way.join_next().await.is_some() {}
        if let Some(sender) = &self.sender
            && let Err(error) = sender.publisher.broker.client.flush().await
        {
            tracing::debug!(%error, "could not flush the last report of what is published");
        }
    }
}

impl Sender {
    async fn begin(&self, events: &[StoredEvent]) -> Result<(PendingPublish, Option<PendingCopies>), Error> {
        if !self.sends_copies() {
            return Ok((self.publisher.begin(events).await?, None));
        }
        // For copies too, at once: events that wait for room for theirs would wait for themselves.
        let mut room = self.publisher.batch_publish.room(events.len().saturating_mul(2)).await?;
        let room_for_copies = room.split(room.num_permits() / 2);
        let published = self.publisher.send(events, room).await?;
        match self.publisher.send_copies(events, room_for_copies).await {
            Ok(copies) => Ok((published, Some(copies))),
            Err(error) => {
                self.copies_refused(&error);
                Ok((published, None))
            }
        }
    }

    /// Waits until events have arrived, and sees to it that the relay is told.
    async fn confirm(
        &self,
        begun: Instant,
        events: &[StoredEvent],
        published: PendingPublish,
        copies: Option<PendingCopies>,
    ) -> Result<(), Error> {
        let published = published.published(events).await;
        published.result?;
        let copied = match copies {
            Some(copies) => self.copied(events, copies).await,
            None => Vec::new(),
        };
        let Some(marker) = published.marker else { return Ok(()) };
        let publication = PublishReport { ranges: ranges(events), marker };
        let report = Report { publication, copied, more: Vec::new(), server: self.publisher.broker.server() };
        let is_first = {
            let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.push(Arrived { begun, report });
            arrived.len() == 1
        };
        if is_first {
            clock::sleep(REPORT_EVERY).await;
            self.report().await?;
        }
        Ok(())
    }

    /// Tells the relay what has arrived since the last report.
    async fn report(&self) -> Result<(), Error> {
        let broker = &self.publisher.broker;
        let arrived = std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner));
        // What was published on a connection that is lost may have been to a broker which has lost it.
        let Some(report) = merged(arrived, Instant::now()).filter(|_| !broker.is_lost()) else { return Ok(()) };
        let failed = |error| Error::transient("telling the relay what is published", error);
        let payload = serde_json::to_vec(&report)
            .map_err(|error| Error::transient("telling the relay what is published", error))?;
        broker.client.publish(PUBLISHED, payload.into()).await.map_err(failed)
    }

    /// Those whose copies are stored soon.
    async fn copied(&self, events: &[StoredEvent], copies: PendingCopies) -> Vec<(GlobalPosition, GlobalPosition)> {
        let copied = tokio::time::timeout(COPIES_WITHIN, copies.copied(events)).await;
        let why = Error::transient("publishing copies in JSON", "the broker does not answer");
        let Copied { count, result } = copied.unwrap_or(Copied { count: 0, result: Err(why) });
        if let Err(error) = result {
            self.copies_refused(&error);
        }
        ranges(events.get(..count).unwrap_or(events))
    }

    fn sends_copies(&self) -> bool {
        let refused = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        self.publisher.broker.publishes_json() && refused.at.is_none_or(|at| at.elapsed() >= COPIES_AGAIN_AFTER)
    }

    fn copies_refused(&self, error: &Error) {
        let mut refused = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        refused.at = Some(Instant::now());
        if refused.said.is_none_or(|said| said.elapsed() >= WARN_EVERY) {
            refused.said = refused.at;
            tracing::warn!(error = error.chain(), "copies in JSON do not get in; the relay publishes them once it can");
        }
    }

    /// What came of events that were committed: what was not confirmed the relay publishes.
    fn left_to_the_relay(&self, events: &[StoredEvent], begun: Instant, confirmed: Result<(), Error>) {
        if let Err(error) = confirmed {
            tracing::debug!(error = error.chain(), "left to the relay");
            self.refusals.note(events, begun, &error);
        }
    }
}

/// One report of all that has arrived. Not of what took long: a relay that finds a loss believes nobody only for so long.
fn merged(arrived: Vec<Arrived>, now: Instant) -> Option<Report> {
    let is_sure = |arrived: &Arrived| now.saturating_duration_since(arrived.begun) <= REPORTED_WITHIN;
    let mut sure = arrived.into_iter().filter(is_sure).map(|arrived| arrived.report);
    let mut report = sure.next()?;
    for other in sure {
        report.more.push(other.publication);
        report.copied.extend(other.copied);
    }
    Some(report)
}

fn ranges(events: &[StoredEvent]) -> Vec<(GlobalPosition, GlobalPosition)> {
    PositionSet::of(events.iter().map(|event| event.position)).iter().collect()
}

/// A header's name, which is known to be one.
const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn headers(event: &StoredEvent, lineage: &Lineage, content_type: &str) -> HeaderMap {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use domain::{BrokerSequence, GlobalPosition};

    use super::{Arrived, PublishReport, REPORTED_WITHIN, Report, StreamMarker, merged};

    #[test]
    fn one_report_does_for_all_that_arrived_in_time() {
        let now = Instant::now();
        let arrived = |age: Duration, (first, last), sequence| {
            let [first, last] = [first, last].map(GlobalPosition::new);
            let marker = StreamMarker { sequence: BrokerSequence::new(sequence), position: last };
            let publication = PublishReport { ranges: vec![(first, last)], marker };
            let report = Report { publication, copied: vec![(first, last)], more: Vec::new(), server: "NA".to_owned() };
            Arrived { begun: now.checked_sub(age).unwrap(), report }
        };
        let short = Duration::from_millis(10);
        let late = || arrived(REPORTED_WITHIN + short, (4, 4), 31);
        let all = vec![arrived(short, (7, 9), 24), arrived(short, (1, 2), 22), late(), arrived(short, (10, 10), 23)];
        let Report { publication, copied, more, .. } = merged(all, now).unwrap();
        let reported: Vec<_> =
            [publication].into_iter().chain(more).map(|report| report.marker.sequence.get()).collect();
        assert_eq!((reported, copied.len()), (vec![24, 22, 23], 3));
        assert!(merged(vec![late()], now).is_none());
    }

    /// Workers of an older release hear it, and tell theirs.
    #[test]
    fn a_report_is_bare_numbers_on_the_wire() {
        let [first, last] = [3, 5].map(GlobalPosition::new);
        let marker = StreamMarker { sequence: BrokerSequence::new(9), position: last };
        let publication = PublishReport { ranges: vec![(first, last)], marker };
        let mut report =
            Report { publication, copied: vec![(first, first)], more: Vec::new(), server: "NA".to_owned() };
        let text = serde_json::to_string(&report).unwrap();
        let old = r#"{"ranges":[[3,5]],"marker":{"sequence":9,"position":5},"copied":[[3,3]]"#;
        assert_eq!(text, format!(r#"{old},"server":"NA"}}"#));
        let read: Report = serde_json::from_str(&format!("{old}}}")).unwrap();
        assert_eq!(read.server, "");
        assert_eq!((read.publication.marker, read.copied, read.more.len()), (marker, vec![(first, first)], 0));
        report.more.push(read.publication);
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#","more":[{"ranges":[[3,5]],"marker":{"sequence":9,"position":5}}],"#), "{text}");
    }
}
