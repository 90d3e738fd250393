//! Batches of messages that the broker answers once for all, not one by one: "fast-ingest batch publishing" of nats-server 2.14
//! (ADR-50). Each message names the batch, its place in it, and whether it is the last, in the subject it could be answered on.
//!
//! Why it is so: services/runtime/README.md#the-broker-answers-once-for-a-commit

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use domain::BrokerSequence;
use futures::StreamExt as _;
use platform::{broker::IN_FLIGHT_MAX, error::Error};
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::JoinSet,
};
use tracing::Instrument as _;

const PUBLISHING: &str = "publishing events";

/// A message to be published.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// What the broker stored of a batch.
#[derive(Debug)]
pub(crate) struct BatchAck {
    /// How many messages, from the first on.
    pub(crate) count: usize,
    /// The sequence number of the last of those.
    pub(crate) last: BrokerSequence,
    /// Why not all.
    pub(crate) result: Result<(), Error>,
}

/// A batch that was sent.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    size: usize,
    answer: oneshot::Receiver<Answer>,
    waiting: Arc<Waiting>,
    number: u64,
    timeout: Duration,
}

/// What the broker says about a batch: at its beginning, from time to time, and at its end.
#[derive(Debug, Deserialize)]
struct Answer {
    /// None at the end.
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    seq: BrokerSequence,
    /// None for a message that was sent alone.
    count: Option<usize>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    description: String,
}

/// Batches whose end is awaited, by number.
#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<u64, PendingAck>>);

#[derive(Debug)]
struct PendingAck {
    end: oneshot::Sender<Answer>,
    /// Why the broker takes in no more, as it says before the end.
    refusal: Option<Refusal>,
}

/// Sends batches.
#[derive(Debug)]
pub(crate) struct BatchPublisher {
    client: Client,
    /// Where answers go; its last part is a name that no other has.
    inbox: String,
    numbers: AtomicU64,
    waiting: Arc<Waiting>,
    room: Permits,
    timeout: Duration,
    _listener: JoinSet<()>,
}

impl BatchPublisher {
    /// Listens for answers.
    pub(crate) async fn open(client: Client, timeout: Duration) -> Result<Self, Error> {
        let inbox = client.new_inbox();
        let answers = client
            .subscribe(format!("{inbox}.>"))
            .await
            .map_err(|error| Error::transient("listening for what the broker stored", error))?;
        let waiting = Arc::new(Waiting::default());
        let mut listener = JoinSet::new();
        listener.spawn(listen(answers, inbox.len(), Arc::clone(&waiting)).in_current_span());
        Ok(Self {
            client,
            inbox,
            numbers: AtomicU64::new(0),
            waiting,
            room: Permits::new(),
            timeout,
            _listener: listener,
        })
    }

    /// Waits until there is room for so many messages: all the room there is, if they are more. It is taken until this is dropped.
    pub(crate) async fn room(&self, messages: usize) -> Result<OwnedSemaphorePermit, Error> {
        self.room.take(messages).await
    }

    /// Sends messages for one stream.
    pub(crate) async fn send(&self, messages: Vec<Outgoing>) -> Result<PendingBatch, Error> {
        let size = messages.len();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let answer = self.waiting.expect(number);
        let under_way =
            PendingBatch { size, answer, waiting: Arc::clone(&self.waiting), number, timeout: self.timeout };
        let name = self.inbox.rsplit('.').next().unwrap_or_default();
        for (place, message) in (1_usize..).zip(messages) {
            let reply = match size {
                // No batch: the broker keeps no state for it, and answers as it does any message.
                1 => format!("{}.{name}-{number}", self.inbox),
                _ => {
                    // Begins, goes on, ends.
                    let step = if place == size { 2 } else { u8::from(place > 1) };
                    format!("{}.{name}-{number}.{size}.fail.{place}.{step}.$FI", self.inbox)
                }
            };
            self.client
                .publish_with_reply_and_headers(message.subject, reply, message.headers, message.payload)
                .await
                .map_err(|error| Error::transient(PUBLISHING, error))?;
        }
        Ok(under_way)
    }
}

/// Room for messages on their way.
#[derive(Debug)]
struct Permits(Arc<Semaphore>);

impl Permits {
    fn new() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(IN_FLIGHT_MAX).unwrap_or(usize::MAX))))
    }

    async fn take(&self, messages: usize) -> Result<OwnedSemaphorePermit, Error> {
        let permits = u32::try_from(messages).unwrap_or(IN_FLIGHT_MAX).min(IN_FLIGHT_MAX);
        let room = Arc::clone(&self.0).acquire_many_owned(permits).await;
        room.map_err(|error| Error::transient(PUBLISHING, error))
    }
}

impl PendingBatch {
    /// Waits until the broker has stored all, or says that it will not, or says nothing for too long.
    pub(crate) async fn stored(mut self) -> BatchAck {
        let answer = tokio::time::timeout(self.timeout, &mut self.answer).await;
        let nothing = |reason: &str| {
            let last = BrokerSequence::default();
            BatchAck { count: 0, last, result: Err(Error::transient(PUBLISHING, reason)) }
        };
        match answer {
            Ok(Ok(answer)) => {
                let alone = usize::from(answer.error.is_none());
                let (count, size) = (answer.count.unwrap_or(alone).min(self.size), self.size);
                let result = match answer.error {
                    None if count == size => Ok(()),
                    refusal => {
                        let reason = refusal.map_or_else(|| "some were lost".to_owned(), |refusal| refusal.description);
                        Err(Error::transient(PUBLISHING, format!("the broker took in {count} of {size}: {reason}")))
                    }
                };
                BatchAck { count, last: answer.seq, result }
            }
            Ok(Err(_gone)) => nothing("the connection was lost"),
            Err(_elapsed) => nothing("the broker does not answer"),
        }
    }
}

impl Drop for PendingBatch {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.number);
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, PendingAck>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, number: u64) -> oneshot::Receiver<Answer> {
        let (end, receiver) = oneshot::channel();
        self.lock().insert(number, PendingAck { end, refusal: None });
        receiver
    }

    fn on_answer(&self, number: u64, answer: Answer) {
        let mut waiting = self.lock();
        if answer.kind.is_none() {
            let Some(PendingAck { end, refusal }) = waiting.remove(&number) else { return };
            if end.send(Answer { error: answer.error.or(refusal), ..answer }).is_err() {
                tracing::debug!(number, "nobody waits for a batch any more");
            }
        } else if let Some(awaited) = waiting.get_mut(&number) {
            awaited.refusal = answer.error.or(awaited.refusal.take());
        }
    }
}

/// Hands answers to those who wait for them.
async fn listen(mut answers: Subscriber, inbox: usize, waiting: Arc<Waiting>) {
    while let Some(message) = answers.next().await {
        let Some(number) = number(&message, inbox) else { continue };
        match serde_json::from_slice(&message.payload) {
            Ok(answer) => waiting.on_answer(number, answer),
            // Nobody listens on the subject: there is no such stream just now.
            Err(_no_answer) if message.payload.is_empty() => {
                let error = Some(Refusal { description: "there is no stream of events".to_owned() });
                waiting.on_answer(number, Answer { kind: None, seq: BrokerSequence::default(), count: None, error });
            }
            Err(error) => tracing::warn!(%error, "the broker's answer to a batch cannot be read"),
        }
    }
}

/// Which batch an answer is about: the subject goes on after the inbox with the batch's name.
fn number(message: &Message, inbox: usize) -> Option<u64> {
    let batch = message.subject.get(inbox + 1..)?.split('.').next()?;
    batch.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt as _;

    use super::{BatchAck, IN_FLIGHT_MAX, PendingBatch, Permits, Waiting};
    use platform::config::ms;

    /// What is stored of a batch of four, after the broker has said all this.
    async fn stored(answers: &[&str]) -> BatchAck {
        stored_of(4, answers).await
    }

    /// The same of a batch of this size.
    async fn stored_of(size: usize, answers: &[&str]) -> BatchAck {
        let waiting = Arc::new(Waiting::default());
        let answer = waiting.expect(7);
        let under_way = PendingBatch { size, answer, waiting: Arc::clone(&waiting), number: 7, timeout: ms(10) };
        for answer in answers {
            waiting.on_answer(7, serde_json::from_str(answer).unwrap());
        }
        let stored = under_way.stored().await;
        assert!(waiting.lock().is_empty(), "somebody still waits for the answer");
        stored
    }

    const BEGUN: &str = r#"{"type":"ack","seq":0,"msgs":500}"#;

    #[tokio::test]
    async fn a_batch_is_stored_when_its_end_is() {
        let stored = stored(&[BEGUN, r#"{"stream":"EVENTS","seq":12,"batch":"b","count":4}"#]).await;
        assert_eq!((stored.count, stored.last.get()), (4, 12));
        stored.result.unwrap();
    }

    #[tokio::test]
    async fn one_message_is_answered_as_any_is() {
        let alone = stored_of(1, &[r#"{"stream":"EVENTS","seq":12}"#]).await;
        assert_eq!((alone.count, alone.last.get()), (1, 12));
        alone.result.unwrap();
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"EVENTS","seq":0}"#;
        let refused = stored_of(1, &[full]).await;
        assert_eq!(refused.count, 0);
        assert!(refused.result.unwrap_err().chain().contains("took in 0 of 1: maximum bytes exceeded"));
    }

    #[tokio::test]
    async fn of_a_batch_with_a_gap_only_what_came_before_it_is_stored() {
        let gap = r#"{"type":"gap","last_seq":2,"seq":3}"#;
        let end = r#"{"stream":"EVENTS","seq":6,"batch":"b","count":1}"#;
        let later = r#"{"error":{"code":400,"err_code":10208,"description":"batch publish ID unknown"},"stream":"EVENTS","seq":0}"#;
        let stored = stored(&[BEGUN, gap, end, later]).await;
        assert_eq!((stored.count, stored.last.get()), (1, 6));
        assert!(stored.result.unwrap_err().chain().contains("took in 1 of 4"));
    }

    #[tokio::test]
    async fn a_stream_that_is_full_says_how_much_it_took_and_why_not_more() {
        let full =
            r#"{"type":"err","seq":3,"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#;
        let end = r#"{"stream":"EVENTS","seq":9,"batch":"b","count":2}"#;
        let stored = stored(&[BEGUN, full, end]).await;
        assert_eq!((stored.count, stored.last.get()), (2, 9));
        assert!(stored.result.unwrap_err().chain().contains("took in 2 of 4: maximum bytes exceeded"));
    }

    #[tokio::test]
    async fn a_batch_that_is_refused_or_never_answered_is_not_stored() {
        let refused = r#"{"error":{"code":429,"err_code":10211,"description":"batch publish too many inflight"},"stream":"EVENTS","seq":0}"#;
        let refused = stored(&[refused]).await;
        assert_eq!(refused.count, 0);
        assert!(refused.result.unwrap_err().chain().contains("too many inflight"));
        let unanswered = stored(&[BEGUN]).await;
        assert_eq!(unanswered.count, 0);
        assert!(unanswered.result.unwrap_err().chain().contains("does not answer"));
    }

    #[tokio::test]
    async fn what_finds_no_room_waits_until_enough_has_arrived() {
        let (room, most) = (Permits::new(), usize::try_from(IN_FLIGHT_MAX).unwrap());
        let (few, many) = (room.take(96).await.unwrap(), room.take(most - 96).await.unwrap());
        assert!(room.take(1).now_or_never().is_none());
        drop(few);
        assert!(room.take(97).now_or_never().is_none());
        drop(room.take(96).now_or_never().unwrap());
        // More than there is room for: alone.
        assert!(room.take(most + 1).now_or_never().is_none());
        drop(many);
        let all = room.take(most + 1).now_or_never().unwrap();
        assert!(room.take(1).now_or_never().is_none());
        drop(all);
    }
}
