//! Taking messages in: the service's durable pull consumers, merged, and made again whenever the broker lost them.
//!
//! They have a connection of their own, which a malformed message can break without hurting any other traffic, and which is not
//! made again once it is lost, so that no acknowledgement reaches a broker that has not handed out what it is for.
//!
//! Why it is so: services/runtime/README.md#messages-come-in-on-connections-that-are-never-made-again

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    AckKind, Message,
    consumer::{PullConsumer, pull},
};
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{BoxStream, PollNext, select_with_strategy},
};
use platform::{
    broker::{
        self, Broker, EVENTS, commands_consumer, commands_stream, commands_subject, event_subject, events_consumer,
        sent_subject, urgent_consumer,
    },
    clock,
    config::{self, Config, ms},
    error::Error,
    health::Health,
    retry,
};
use tokio::task::unconstrained;

use crate::{inbound::pace::Pace, log::lineage::Lineage, service::Service, telemetry};

/// Messages for one service, in batches.
pub(crate) struct Consumer {
    source: Arc<Source>,
    state: State,
}

enum State {
    /// Goes on where it was when it is asked again: else timers that are due all the time would begin it anew for ever.
    Opening(BoxFuture<'static, Open>),
    Open(Box<Open>),
    Closed,
}

struct Open {
    broker: Broker,
    /// `None` once one of them broke, or was let go of while a batch took long.
    messages: Option<Messages>,
    /// What was fetched before that, and when the broker was told the last time that it is in good hands.
    ahead: VecDeque<Message>,
    told_at: Instant,
    /// How long what was fetched may have waited by now.
    pace: Pace,
}

type Messages = BoxStream<'static, Result<Message, pull::MessagesError>>;

/// Where messages come from.
struct Source {
    name: &'static str,
    broker: config::Broker,
    settings: config::Consumer,
    durables: Vec<Durable>,
    lineage: Arc<Lineage>,
    health: Health,
}

/// A durable consumer that the replicas of a service share.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    pub(crate) stream: String,
    pub(crate) name: String,
    pub(crate) subjects: Vec<String>,
    /// Whether what it has goes before what those before it have; else they take turns.
    goes_first: bool,
}

/// All durable consumers of a service.
pub(crate) fn durables<S: Service>() -> Vec<Durable> {
    usual_durables::<S>().into_iter().chain(urgent_durable::<S>()).collect()
}

/// Those of commands and of events.
pub(crate) fn usual_durables<S: Service>() -> Vec<Durable> {
    let mut durables = vec![Durable {
        stream: commands_stream(S::NAME),
        name: commands_consumer(S::NAME),
        subjects: vec![commands_subject(S::NAME)],
        goes_first: false,
    }];
    if !S::REACTS_TO.is_empty() {
        durables.push(Durable {
            stream: EVENTS.to_owned(),
            name: events_consumer(S::NAME),
            subjects: S::REACTS_TO
                .iter()
                .map(|message_type| event_subject(proto::owner(message_type).unwrap_or("unknown"), message_type))
                .collect(),
            goes_first: S::EVENTS_FIRST,
        });
    }
    durables
}

/// That of commands that wait for no other work, if the service has such.
pub(crate) fn urgent_durable<S: Service>() -> Option<Durable> {
    let has_urgent = proto::URGENT.iter().any(|message_type| S::COMMANDS.contains(message_type));
    has_urgent.then(|| Durable {
        stream: commands_stream(S::NAME),
        name: urgent_consumer(S::NAME),
        subjects: vec![format!("cmd.{}.urgent.*", S::NAME)],
        goes_first: true,
    })
}

impl Consumer {
    pub(crate) fn new<S: Service>(
        config: &Config,
        durables: Vec<Durable>,
        lineage: Arc<Lineage>,
        health: Health,
    ) -> Self {
        let source = Arc::new(Source {
            name: S::NAME,
            broker: config.broker.clone(),
            settings: config.consumer.clone(),
            durables,
            lineage,
            health,
        });
        let state = State::Opening(Arc::clone(&source).open(None).boxed());
        Self { source, state }
    }

    /// Waits until it can fetch. Safe to drop.
    pub(crate) async fn opened(&mut self) {
        if let State::Opening(opening) = &mut self.state {
            self.state = State::Open(Box::new(opening.await));
        }
    }

    /// The next messages, at least one, at most as many as make a batch with those that are in hand. Safe to drop while it waits.
    pub(crate) async fn next_batch(&mut self, in_hand: usize) -> Vec<Message> {
        loop {
            self.opened().await;
            let State::Open(open) = &mut self.state else { return std::future::pending().await };
            let settings = &self.source.settings;
            let batch_max = settings.batch_max.saturating_sub(in_hand).max(1);
            if let Some(batch) = open.next_held(batch_max, ms(settings.ack_wait_ms)) {
                return batch;
            }
            let batch = open.next_batch(batch_max).await;
            if !batch.is_empty() {
                return batch;
            }
            let broker = open.broker.clone();
            self.state = State::Opening(Arc::clone(&self.source).open(Some(broker)).boxed());
        }
    }

    /// How long until the broker has to be told of what is in hand now.
    pub(crate) fn until_tell(&self) -> Duration {
        let State::Open(open) = &self.state else { return self.tell_every() };
        let since = open.pace.oldest().unwrap_or(open.told_at).max(open.told_at);
        (since + self.tell_every()).saturating_duration_since(Instant::now())
    }

    /// How often to tell the broker of what takes long: before it takes it for lost, be one of these late.
    pub(crate) fn tell_every(&self) -> Duration {
        ms(self.source.settings.ack_wait_ms / 3)
    }

    /// Tells the broker that these messages are being worked on, and that those behind them will be. It would hand them out again
    /// otherwise, and each copy would take as long. Nothing more is fetched until what was fetched is done.
    pub(crate) async fn tell(&mut self, begun: impl Iterator<Item = &Message>) {
        let State::Open(open) = &mut self.state else { return };
        open.hold();
        let mut told = 0;
        for message in begun {
            told += tell(message).await;
        }
        for message in &open.ahead {
            told += tell(message).await;
        }
        open.told_at = Instant::now();
        telemetry::progress_told(told);
    }

    /// The connection that messages come from, if there is one now.
    pub(crate) fn broker(&self) -> Option<&Broker> {
        match &self.state {
            State::Open(open) => Some(&open.broker),
            State::Opening(_) | State::Closed => None,
        }
    }

    /// Gives back at once what was fetched and not begun, so that other replicas need not wait for it.
    pub(crate) async fn nak_unstarted(&mut self) {
        let State::Open(mut open) = std::mem::replace(&mut self.state, State::Closed) else { return };
        // First all, and then no more: what is given back while it still asks for messages comes straight to it again.
        open.hold();
        for message in open.ahead {
            if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
                tracing::debug!(%error, "could not give a message back");
                return;
            }
        }
        if let Err(error) = open.broker.client.flush().await {
            tracing::debug!(%error, "could not flush the last acknowledgements");
        }
    }
}

/// Acknowledges a message.
pub(crate) async fn acknowledge(message: &Message) {
    if let Err(error) = message.ack().await {
        tracing::debug!(%error, "could not acknowledge; the message comes again and changes nothing");
    }
}

impl Source {
    /// Opens, however long it takes.
    async fn open(self: Arc<Self>, known: Option<Broker>) -> Open {
        let mut known = known;
        let mut waits = retry::backoff(ms(50), ms(1_000));
        loop {
            self.health.beat_alive();
            match self.try_open(&mut known).await {
                Ok(open) => return open,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "cannot consume yet");
                    clock::sleep(waits.next().unwrap_or(ms(1_000))).await;
                }
            }
        }
    }

    /// Makes streams and consumers unless they are there, and begins to fetch.
    async fn try_open(&self, known: &mut Option<Broker>) -> Result<Open, Error> {
        let broker = match known.take().filter(|broker| !broker.is_lost()) {
            Some(broker) => broker,
            None => broker::connect_without_reconnect(&self.broker, &format!("{}-consumer", self.name)).await?,
        };
        *known = Some(broker.clone());
        let messages = tokio::select! {
            messages = self.messages(&broker) => messages?,
            // What it had asked the broker is answered by nobody any more.
            () = broker.lost() => return Err(Error::transient("fetching messages", "the connection was lost")),
        };
        let now = Instant::now();
        // Each durable asks for more when half of what it asked for has come.
        let waiting_max =
            self.durables.len().saturating_mul(self.settings.prefetch_max + self.settings.prefetch_max / 2);
        let pace = Pace::new(now, waiting_max);
        Ok(Open { broker, messages: Some(messages), ahead: VecDeque::new(), told_at: now, pace })
    }

    async fn messages(&self, broker: &Broker) -> Result<Messages, Error> {
        broker.ensure_streams(self.lineage.installation).await?;
        let mut merged: Option<Messages> = None;
        for durable in &self.durables {
            let subjects = durable.subjects.clone();
            let consumer = broker.ensure_consumer(&durable.stream, &durable.name, subjects, &self.settings).await?;
            let messages = self.fetch(broker, &consumer).await?.map_ok(as_sent).boxed();
            let goes_first = durable.goes_first;
            merged = Some(match merged {
                None => messages,
                Some(before) => {
                    let next = move |last: &mut PollNext| if goes_first { PollNext::Left } else { last.toggle() };
                    select_with_strategy(messages, before, next).boxed()
                }
            });
        }
        merged.ok_or_else(|| Error::transient("fetching messages", "there is nothing to fetch them from"))
    }

    async fn fetch(&self, broker: &Broker, consumer: &PullConsumer) -> Result<pull::Stream, Error> {
        // Room for two messages of any size at least, or the largest would never be handed out.
        let bytes_max = self.settings.prefetch_bytes_max.max(broker.client.server_info().max_payload.saturating_mul(2));
        consumer
            .stream()
            .max_messages_per_batch(self.settings.prefetch_max)
            .max_bytes_per_batch(bytes_max)
            .expires(ms(10_000))
            .heartbeat(ms(1_000))
            .messages()
            .await
            .map_err(|error| Error::transient("fetching messages", error))
    }
}

impl Open {
    /// Takes all that was fetched, and lets go of the streams that would fetch more.
    fn hold(&mut self) {
        let Some(mut messages) = self.messages.take() else { return };
        self.told_at = Instant::now();
        while let Some(Some(Ok(message))) = unconstrained(messages.next()).now_or_never() {
            self.ahead.push_back(message);
        }
    }

    /// The next of what was held. What the broker has not heard of for too long it hands out again, maybe to others.
    fn next_held(&mut self, batch_max: usize, ack_wait: Duration) -> Option<Vec<Message>> {
        if self.broker.is_lost() || self.told_at.elapsed() >= ack_wait {
            self.ahead.clear();
        }
        let count = self.ahead.len().min(batch_max);
        (count > 0).then(|| self.ahead.drain(..count).collect())
    }

    /// Takes all that is there, up to a batch, without waiting for more. Nothing when it has to be opened again.
    async fn next_batch(&mut self, batch_max: usize) -> Vec<Message> {
        let mut batch = Vec::new();
        let Some(messages) = self.messages.as_mut() else { return batch };
        let ready = if self.broker.is_lost() { None } else { messages.next().now_or_never() };
        let first = match ready {
            Some(first) => first,
            None => tokio::select! {
                biased;
                () = self.broker.lost() => {
                    tracing::info!("the connection to the broker was lost; fetching on another one");
                    self.messages = None;
                    return batch;
                }
                first = messages.next() => {
                    self.pace.took_all(Instant::now());
                    first
                }
            },
        };
        let mut broken = !collect(&mut batch, first);
        // Whoever calls this does so unconstrained: tokio's budget per poll would cut a batch of 500 to about 66.
        while !broken && batch.len() < batch_max {
            match messages.next().now_or_never() {
                Some(more) => broken = !collect(&mut batch, more),
                None => break,
            }
        }
        if broken {
            self.messages = None;
        }
        match batch.len() < batch_max {
            true => self.pace.took_all(Instant::now()),
            false => self.pace.took(Instant::now(), batch.len()),
        }
        batch
    }
}

/// The message on the subject that it was sent on.
fn as_sent(mut message: Message) -> Message {
    if message.subject.contains(".urgent.") {
        message.message.subject = sent_subject(&message.subject).into();
    }
    message
}

/// Tells the broker that a message is being worked on: 1, or 0 if it cannot be told.
async fn tell(message: &Message) -> u64 {
    let told = message.ack_with(AckKind::Progress).await;
    if let Err(error) = &told {
        tracing::debug!(%error, "could not tell the broker that a message is being worked on");
    }
    u64::from(told.is_ok())
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
