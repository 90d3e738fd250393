//! What waits at the broker: per durable consumer, what is not delivered and what is not acknowledged.

#![expect(
    missing_docs,
    reason = "a count says what it counts by its name, as in the JSON; what is not plain is documented"
)]

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream;
use futures::TryStreamExt;
use platform::{
    broker::{is_not_there, options, servers, streams},
    config,
};
use serde::Serialize;

/// How long the broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What waits at the broker.
#[derive(Debug, Default, Serialize)]
pub struct Broker {
    pub streams: Vec<Stream>,
    /// Streams that a fleet needs and that are not there.
    pub missing: Vec<String>,
    pub consumers: Vec<Consumer>,
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
}

/// Asks the broker. What goes wrong is part of the answer, for the rest of the status is worth seeing without it.
pub(super) async fn look(settings: &config::Broker) -> Broker {
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
    let client = options(settings)?
        .name("holdfast-status")
        .connect(servers(&settings.url))
        .await
        .context("connecting to NATS; is the fleet up? (holdfast up, or --broker-url for another one)")?;
    let context = jetstream::new(client);
    for name in streams() {
        let stream = match context.get_stream(&name).await {
            Ok(stream) => stream,
            Err(error) if is_not_there(&error.kind()) => {
                broker.missing.push(name);
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("asking for the stream {name}")),
        };
        let state = &stream.cached_info().state;
        broker.streams.push(Stream { name: name.clone(), messages: state.messages, bytes: state.bytes });
        let consumers: Vec<_> =
            stream.consumers().try_collect().await.with_context(|| format!("asking for the consumers of {name}"))?;
        broker.consumers.extend(consumers.into_iter().map(|consumer| Consumer {
            stream: name.clone(),
            durable: consumer.name,
            pending: consumer.num_pending,
            ack_pending: consumer.num_ack_pending,
            redelivered: consumer.num_redelivered,
            paused: consumer.paused,
        }));
    }
    Ok(())
}
