//! The window: which events the broker may forget. The log has them all for ever; the broker keeps the latest, and never loses one
//! that a service is still owed: it is full then, and what comes next waits in the log.
//!
//! Why it is so: services/runtime/README.md#the-broker-may-forget-only-what-all-have-handled

use std::{collections::BTreeSet, time::Duration};

use async_nats::jetstream::stream::Stream;
use domain::BrokerSequence;
use futures::StreamExt;
use platform::{
    broker::{Broker, events_consumer, is_as_asked, is_required},
    clock,
    error::Error,
};

/// What is gone from the stream of events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone {
    /// Messages from its middle, which only an administrator takes away.
    pub(crate) holes: u64,
    /// All before this one. The relay alone takes those away, once all have handled them.
    pub(crate) first: BrokerSequence,
}

impl Gone {
    /// Whether more is gone than was before, by somebody else.
    pub(crate) fn is_more_than(self, before: Self) -> bool {
        let is_known = before.first != BrokerSequence::default();
        self.holes > before.holes || (is_known && self.first > before.first)
    }
}

/// What is gone from the stream. Asked for after all that a consumer may have passed over.
pub(crate) async fn gone(broker: &Broker) -> Result<Gone, Error> {
    let stream = broker.events_stream().await?;
    let state = &stream.cached_info().state;
    // Of a stream that has had no message yet the broker says 0.
    let first = BrokerSequence::new(state.first_sequence.max(1));
    Ok(Gone { holes: state.deleted_count.unwrap_or(0), first })
}

/// The sequence number up to which every consumer that is owed events has handled them; none while one of them is not there, or is
/// not as its service made it and so passes over some.
pub(crate) async fn ack_floor(stream: &Stream) -> Result<Option<BrokerSequence>, Error> {
    let last = BrokerSequence::new(stream.cached_info().state.last_sequence);
    let mut ack_floor = last;
    let mut missing: BTreeSet<String> = proto::SERVICES.iter().map(|service| events_consumer(service)).collect();
    let mut consumers = stream.consumers();
    while let Some(consumer) = consumers.next().await {
        let consumer = consumer.map_err(|error| Error::transient("asking for consumers", error))?;
        if is_required(&consumer.config.metadata) {
            if !is_as_asked(&consumer.config) {
                return Ok(None);
            }
            missing.remove(&consumer.name);
            let idle = consumer.num_pending == 0 && consumer.num_ack_pending == 0;
            let floor = BrokerSequence::new(consumer.ack_floor.stream_sequence);
            ack_floor = ack_floor.min(if idle { last } else { floor });
        }
    }
    // A service that has not made its consumer yet is owed all that the stream has.
    Ok(missing.is_empty().then_some(ack_floor))
}

/// The first event that the broker is to keep, if it is to forget some: because the stream is nearly full, or because they are older
/// than `age_max` (zero: they may be of any age). Never one after `handled`.
pub(crate) async fn first_kept(stream: &Stream, handled: BrokerSequence, age_max: Duration) -> Option<BrokerSequence> {
    let info = stream.cached_info();
    let first = BrokerSequence::new(info.state.first_sequence);
    let dispensable = handled.saturating_since(first);
    let bytes_max = u64::try_from(info.config.max_bytes).unwrap_or(0);
    let crowding = too_many(info.state.messages, info.state.bytes, bytes_max).min(dispensable);
    let outdated = if age_max.is_zero() { 0 } else { outdated(stream, dispensable, age_max).await };
    let forgotten = crowding.max(outdated);
    if forgotten == 0 && is_crowded(info.state.bytes, bytes_max) {
        tracing::warn!(
            bytes = info.state.bytes,
            bytes_max,
            "the broker's stream of events is nearly full of events that some service has not handled; what does not fit waits \
             in the log. See which consumer of EVENTS lags, or raise broker.events_bytes_max"
        );
    }
    (forgotten > 0).then(|| first.plus(forgotten))
}

/// Forgets the events before this one.
pub(crate) async fn purge_before(stream: &Stream, sequence: BrokerSequence) -> Result<(), Error> {
    let purged = stream.purge().sequence(sequence.get()).await;
    let purged = purged.map_err(|error| Error::transient("making room in the stream of events", error))?;
    tracing::debug!(forgotten = purged.purged, "the broker forgot events that all have handled");
    Ok(())
}

/// More than three quarters full.
const fn is_crowded(bytes: u64, bytes_max: u64) -> bool {
    bytes_max > 0 && bytes > bytes_max - bytes_max / 4
}

/// How many messages are to go, that a crowded stream be half full.
fn too_many(messages: u64, bytes: u64, bytes_max: u64) -> u64 {
    if !is_crowded(bytes, bytes_max) {
        return 0;
    }
    let excess = u128::from(bytes - bytes_max / 2) * u128::from(messages) / u128::from(bytes);
    u64::try_from(excess).unwrap_or(messages)
}

/// How many of the oldest are too old, of at most `most`. Looks closer only when the first has been too old for a while.
async fn outdated(stream: &Stream, most: u64, age_max: Duration) -> u64 {
    let state = &stream.cached_info().state;
    let is_older = |time, age| clock::now().since(time) > age;
    if state.messages == 0 || !is_older(state.first_timestamp.into(), age_max + age_max / 64) {
        return 0;
    }
    count_outdated(BrokerSequence::new(state.first_sequence), most, |sequence| async move {
        // What is not there counts as younger.
        let message = stream.get_raw_message(sequence.get()).await;
        message.is_ok_and(|message| is_older(message.time.into(), age_max))
    })
    .await
}

/// Halves the count until the newest of so many is too old: the rest follows the next time.
async fn count_outdated<F>(first: BrokerSequence, most: u64, is_outdated: impl Fn(BrokerSequence) -> F) -> u64
where
    F: Future<Output = bool>,
{
    let mut count = most;
    while count > 0 && !is_outdated(first.plus(count - 1)).await {
        count /= 2;
    }
    count
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use domain::BrokerSequence;
    use futures::executor::block_on;

    use super::{count_outdated, too_many};

    #[test]
    fn a_crowded_stream_becomes_half_full() {
        assert_eq!(too_many(1_000, 700, 1_000), 0);
        assert_eq!(too_many(1_000, 750, 1_000), 0);
        assert_eq!(too_many(1_000, 1_000, 1_000), 500);
        assert_eq!(too_many(100, 800, 1_000), 37);
        // No limit, nothing there.
        assert_eq!(too_many(1_000, 1_000, 0), 0);
        assert_eq!(too_many(0, 0, 1_000), 0);
    }

    #[test]
    fn what_is_too_old_goes_and_nothing_that_is_not() {
        // Messages 100 to 199, of which those up to `last` are too old.
        let outdated = |last| {
            let is_outdated = |sequence: BrokerSequence| ready(sequence.get() <= last);
            block_on(count_outdated(BrokerSequence::new(100), 100, is_outdated))
        };
        assert_eq!(outdated(99), 0);
        assert_eq!(outdated(199), 100);
        for last in 100..199 {
            let count = outdated(last);
            assert!(count > 0 && 99 + count <= last, "{count} of those up to {last}");
        }
        // Nothing may go, so nobody asks.
        assert_eq!(block_on(count_outdated(BrokerSequence::new(100), 0, |_| ready(true))), 0);
    }

    #[test]
    fn what_is_too_old_is_gone_after_a_few_looks() {
        let (mut first, last) = (100, 187);
        for _look in 0..8 {
            let is_outdated = |sequence: BrokerSequence| ready(sequence.get() <= last);
            first += block_on(count_outdated(BrokerSequence::new(first), 200 - first, is_outdated));
        }
        assert_eq!(first, last + 1);
    }
}
