//! Taking messages in: the service's two durable pull consumers, merged, and made again whenever the broker lost them.

use async_nats::jetstream::{
    AckKind, Message,
    consumer::{PullConsumer, pull},
};
use futures::{
    FutureExt, StreamExt,
    stream::{BoxStream, select_all},
};
use tokio::sync::watch;

use crate::{
    broker::{Broker, COMMANDS, EVENTS, event_subject, events_consumer},
    clock,
    config::{self, ms},
    error::Error,
    retry,
    service::Service,
};

/// Messages for one service, in batches.
pub(crate) struct Consumer {
    broker: Broker,
    settings: config::Consumer,
    durables: Vec<Durable>,
    messages: Option<BoxStream<'static, Result<Message, pull::MessagesError>>>,
    connections: watch::Receiver<u64>,
}

struct Durable {
    stream: &'static str,
    name: String,
    subjects: Vec<String>,
}

impl Consumer {
    pub(crate) fn new<S: Service>(broker: Broker, settings: config::Consumer) -> Self {
        let mut durables = vec![Durable {
            stream: COMMANDS,
            name: format!("{}-commands", S::NAME),
            subjects: vec![format!("cmd.{}.*", S::NAME)],
        }];
        if !S::REACTS_TO.is_empty() {
            durables.push(Durable {
                stream: EVENTS,
                name: events_consumer(S::NAME),
                subjects: S::REACTS_TO
                    .iter()
                    .map(|message_type| event_subject(proto::owner(message_type).unwrap_or("unknown"), message_type))
                    .collect(),
            });
        }
        let connections = broker.connections();
        Self { broker, settings, durables, messages: None, connections }
    }

    /// Makes streams and consumers unless they are there, and begins to fetch.
    ///
    /// # Errors
    /// The broker is away, or made something else than it was asked for.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        self.messages = None;
        self.connections.mark_unchanged();
        self.broker.ensure_streams().await?;
        let mut streams = Vec::new();
        for durable in &self.durables {
            let consumer = self
                .broker
                .ensure_consumer(durable.stream, &durable.name, durable.subjects.clone(), &self.settings)
                .await?;
            streams.push(self.fetch(&consumer).await?.boxed());
        }
        // Takes all that is there, up to a batch, without waiting for more. Unconstrained below, because tokio's budget per
        // poll would cut a batch of 500 to about 66.
        self.messages = Some(select_all(streams).boxed());
        Ok(())
    }

    async fn fetch(&self, consumer: &PullConsumer) -> Result<pull::Stream, Error> {
        consumer
            .stream()
            .max_messages_per_batch(self.settings.prefetch_max)
            .expires(ms(10_000))
            .heartbeat(ms(1_000))
            .messages()
            .await
            .map_err(|error| Error::transient("fetching messages", error))
    }

    /// The next messages, at least one, at most a batch. Safe to drop while it waits.
    pub(crate) async fn next_batch(&mut self) -> Vec<Message> {
        let mut waits = retry::backoff(ms(50), ms(1_000));
        loop {
            if self.connections.has_changed().unwrap_or(false) && self.messages.is_some() {
                tracing::info!("connected to the broker again; checking streams and consumers");
                self.messages = None;
            }
            let Some(messages) = self.messages.as_mut() else {
                if let Err(error) = self.open().await {
                    tracing::warn!(error = error.chain(), "cannot consume yet");
                    clock::sleep(waits.next().unwrap_or(ms(1_000))).await;
                }
                continue;
            };
            let mut batch = Vec::new();
            let first = tokio::select! {
                first = messages.next() => first,
                _reconnected = self.connections.changed() => {
                    self.messages = None;
                    continue;
                }
            };
            let mut broken = !collect(&mut batch, first);
            while !broken && batch.len() < self.settings.batch_max {
                match messages.next().now_or_never() {
                    Some(more) => broken = !collect(&mut batch, more),
                    None => break,
                }
            }
            if broken {
                self.messages = None;
            }
            if !batch.is_empty() {
                return batch;
            }
        }
    }

    /// Gives back at once what was fetched and not begun, so that other replicas need not wait for it.
    pub(crate) async fn give_back(&mut self) {
        let Some(mut messages) = self.messages.take() else { return };
        while let Some(Some(Ok(message))) = messages.next().now_or_never() {
            if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
                tracing::debug!(%error, "could not give a message back");
                return;
            }
        }
    }
}

/// Whether the stream of messages is still good.
fn collect(batch: &mut Vec<Message>, next: Option<Result<Message, pull::MessagesError>>) -> bool {
    match next {
        Some(Ok(message)) => {
            batch.push(message);
            true
        }
        Some(Err(error)) => {
            tracing::info!(%error, "a consumer broke; making it again");
            false
        }
        None => false,
    }
}
