//! What waits at the broker: per durable consumer, what is not delivered and what is not acknowledged.

#![expect(
    missing_docs,
    reason = "a count says what it counts by its name, as in the JSON; what is not plain is documented"
)]

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use async_nats::jetstream::{self, consumer::Info};
use domain::Timestamp;
use futures::TryStreamExt;
use platform::{
    broker::{
        EVENTS, commands_consumer, commands_stream, connect, events_consumer, is_as_asked, is_not_there, streams,
        urgent_consumer,
    },
    clock, config,
};
use serde::Serialize;

use super::database::ms;

/// How long the broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What waits at the broker.
#[derive(Debug, Default, Serialize)]
pub struct Broker {
    pub streams: Vec<Stream>,
    /// Streams that a fleet needs and that are not there.
    pub missing: Vec<String>,
    pub consumers: Vec<Consumer>,
    /// Durable consumers that a fleet needs and that are not there.
    pub consumers_missing: Vec<String>,
    /// Why it could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A JetStream stream.
#[derive(Debug, Serialize)]
pub struct Stream {
    pub name: String,
    pub messages: u64,
    pub bytes: u64,
}

/// A durable consumer of it.
#[derive(Debug, Serialize)]
pub struct Consumer {
    pub stream: String,
    pub durable: String,
    /// Not delivered to anybody yet.
    pub pending: u64,
    /// Delivered, not acknowledged.
    pub ack_pending: usize,
    /// Of those, delivered more than once.
    pub redelivered: usize,
    /// Whether somebody has paused it.
    pub paused: bool,
    /// Whether it is the fleet's, and not somebody else's who reads along.
    pub ours: bool,
    /// Whether it is the fleet's, and passes over messages that its service asked for: somebody has changed it.
    pub edited: bool,
    /// If it is the fleet's: how long the oldest message has waited that is not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
}

/// The durable consumers that a fleet needs, and the stream of each.
#[must_use]
pub fn consumers() -> BTreeMap<String, String> {
    let urgent = proto::URGENT.iter().filter_map(|command| proto::owner(command));
    let urgent = urgent.map(|name| (urgent_consumer(name), commands_stream(name)));
    let of = |name| [(commands_consumer(name), commands_stream(name)), (events_consumer(name), EVENTS.to_owned())];
    proto::SERVICES.into_iter().flat_map(of).chain(urgent).collect()
}

/// Asks the broker. What goes wrong is part of the answer, for the rest of the status is worth seeing without it.
pub(crate) async fn look(settings: &config::Broker) -> Broker {
    let mut broker = Broker::default();
    let asked = tokio::time::timeout(ANSWER_WITHIN, ask(settings, &mut broker)).await;
    broker.problem = match asked {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_elapsed) => Some(format!("the broker did not answer within {} s", ANSWER_WITHIN.as_secs())),
    };
    broker
}

async fn ask(settings: &config::Broker, broker: &mut Broker) -> Result<()> {
    let asked = connect(settings, "status").await;
    let context = asked.context("is the fleet up? (holdfast up, or --broker-url for another one)")?.jetstream;
    let mut missing = consumers();
    for name in streams() {
        let stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) if is_not_there(&error.kind()) => {
                missing.retain(|_, stream| *stream != name);
                broker.missing.push(name);
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("asking for the stream {name}")),
        };
        let state = &stream.cached_info().state;
        broker.streams.push(Stream { name: name.clone(), messages: state.messages, bytes: state.bytes });
        let consumers: Vec<Info> =
            stream.consumers().try_collect().await.with_context(|| format!("asking for the consumers of {name}"))?;
        for consumer in consumers {
            let ours = missing.remove(&consumer.name).is_some();
            let is_behind = consumer.num_pending > 0 || consumer.num_ack_pending > 0;
            let oldest = if ours && is_behind { oldest(&stream, &consumer).await } else { None };
            broker.consumers.push(Consumer {
                stream: name.clone(),
                pending: consumer.num_pending,
                ack_pending: consumer.num_ack_pending,
                redelivered: consumer.num_redelivered,
                paused: consumer.paused,
                ours,
                edited: ours && !is_as_asked(&consumer.config),
                oldest_ms: oldest.map(|at| ms(clock::now().since(at))),
                durable: consumer.name,
            });
        }
    }
    broker.consumers_missing = missing.into_keys().collect();
    Ok(())
}

/// When the oldest message came that is not acknowledged: the first behind the acknowledged ones that the consumer asks for. The very next one
/// in the stream may be none of its own, and as old as the fleet.
async fn oldest(stream: &jetstream::stream::Stream, consumer: &Info) -> Option<Timestamp> {
    let (config, next) = (&consumer.config, consumer.ack_floor.stream_sequence + 1);
    let filters = match (config.filter_subjects.as_slice(), config.filter_subject.as_str()) {
        ([], "") => vec![">".to_owned()],
        ([], filter) => vec![filter.to_owned()],
        (filters, _) => filters.to_vec(),
    };
    let asked = filters.iter().map(|filter| stream.get_first_raw_message_by_subject(filter, next));
    let first = futures::future::join_all(asked).await.into_iter().flatten().min_by_key(|message| message.sequence)?;
    Some(first.time.into())
}
