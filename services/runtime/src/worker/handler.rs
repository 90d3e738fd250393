//! What is done with a batch: it is committed, its events are published, and whoever asked is answered.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Instant};

use platform::{
    broker, clock,
    health::Health,
    message::{JSON, PROTOBUF, header},
};
use tracing::{Instrument as _, Span, field};

use crate::{
    batch::{Committer, Wakeups, draft::Reply},
    context::Context,
    effects::Dispatcher,
    inbound::{
        consumer::{self, Consumer},
        input::{self, Input, Origin, ReplyTo},
    },
    outbound::publish::CommitPublisher,
    service::Service,
    telemetry,
};

/// Handles batches of one service, one after the other.
pub(super) struct Handler<S: Service> {
    pub(super) service: Arc<S>,
    pub(super) consumer: Consumer,
    pub(super) committer: Committer<S>,
    pub(super) dispatcher: Dispatcher,
    pub(super) context: Context,
    pub(super) health: Health,
    pub(super) commit_publisher: CommitPublisher,
    /// How many batches there were.
    pub(super) batches: u64,
}

impl<S: Service> Handler<S> {
    /// Handles whatever its consumer has, as soon as it has it, until asked to stop.
    pub(super) async fn handle_all(mut self) {
        let mut shutdown = self.context.shutdown.clone();
        loop {
            let messages = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                messages = tokio::task::unconstrained(self.consumer.next_batch(0)) => messages,
            };
            let inputs = self.read(messages).collect();
            match self.handle(inputs).await {
                Some(wakeups) if wakeups.effects => self.dispatcher.wake(),
                Some(_) => {}
                None => break,
            }
        }
        self.end().await;
    }

    pub(super) fn read(
        &self,
        messages: Vec<async_nats::jetstream::Message>,
    ) -> impl Iterator<Item = Input<S::Command>> + use<'_, S> {
        let bytes_max = self.context.config.consumer.message_bytes_max;
        messages.into_iter().map(move |message| input::read(&*self.service, message, bytes_max, &self.context.lineage))
    }

    /// Brings to an end what it has begun, and gives back what it has not.
    pub(super) async fn end(&mut self) {
        self.consumer.nak_unstarted().await;
        self.commit_publisher.drain().await;
    }

    /// Tells the probes that this process does its work, unless the broker is away.
    pub(super) fn beat_progress(&self) {
        if self.context.broker.is_connected() {
            self.health.beat_progress();
        }
    }

    /// What its lines in the log bear: its number in this process, how many inputs it has, and the first of them.
    pub(super) fn batch_span(&mut self, inputs: &[Input<S::Command>]) -> Span {
        self.batches += 1;
        let first = inputs.first().map(|input| input.cause.id);
        tracing::error_span!("batch", batch = self.batches, inputs = inputs.len(), first = first.map(field::display))
    }

    /// Commits inputs, publishes what follows from them, and answers: what others may want to be woken for. `None`: asked to stop meanwhile.
    pub(super) async fn handle(&mut self, inputs: Vec<Input<S::Command>>) -> Option<Wakeups> {
        let begun = Instant::now();
        self.commit_publisher.publish_on(self.consumer.broker()).await;
        let span = self.batch_span(&inputs);
        let settled = async {
            let done = self.committer.commit_all(&inputs).await?;
            telemetry::batch(inputs.len(), &done.events, begun.elapsed());
            self.dispatcher.begin(done.calls);
            self.commit_publisher.send(done.events).await;
            Some((done.replies, done.wakeups, done.put_off))
        };
        let settled = settled.instrument(span);
        let (replies, wakeups, put_off) = while_telling(settled, &mut self.consumer, &self.health, &inputs).await?;
        self.answer(&inputs, replies, &put_off).await;
        self.beat_progress();
        Some(wakeups)
    }

    /// Answers whoever asked, and only then acknowledges: an answer that is lost is sent again with the message.
    async fn answer(&mut self, inputs: &[Input<S::Command>], replies: Vec<Option<Reply>>, put_off: &BTreeSet<usize>) {
        for (number, (input, reply)) in inputs.iter().zip(replies).enumerate() {
            if put_off.contains(&number) {
                // Whatever came from here comes again by itself.
                if let Origin::Message(message) = &input.origin {
                    broker::put_off(message).await;
                }
                continue;
            }
            if let (Some(to), Some(reply)) = (&input.reply_to, reply) {
                self.reply(to, reply).await;
            }
            if let Origin::Message(message) = &input.origin {
                consumer::acknowledge(message).await;
            }
        }
    }

    async fn reply(&mut self, to: &ReplyTo, reply: Reply) {
        const REPLY: &str = "holdfast.common.v1.CommandReply";
        // On the connection that is acknowledged on, so that the acknowledgement cannot overtake the answer.
        let broker = self.consumer.broker().unwrap_or(&self.context.broker);
        let json = to.json.then(|| proto::to_json(REPLY, &reply.bytes).ok()).flatten();
        let (content_type, payload) = match json {
            Some(json) => (JSON, json.to_string().into_bytes()),
            None => (PROTOBUF, reply.bytes),
        };
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::TYPE, REPLY);
        if reply.is_repeated {
            headers.insert(header::REPEATED, "true");
        }
        if let Err(error) = broker.client.publish_with_headers(to.subject.clone(), headers, payload.into()).await {
            tracing::debug!(%error, subject = to.subject, "could not answer");
        }
    }
}

/// Does a piece of work, and as long as it takes sees to it that the broker hands out nothing again that this process has.
pub(super) async fn while_telling<C, T>(
    work: impl Future<Output = T>,
    consumer: &mut Consumer,
    health: &Health,
    inputs: &[Input<C>],
) -> T {
    health.answered();
    tokio::select! {
        biased;
        done = work => done,
        never = tell(consumer, health, inputs) => match never {},
    }
}

async fn tell<C>(consumer: &mut Consumer, health: &Health, inputs: &[Input<C>]) -> Infallible {
    // What was fetched behind earlier batches may have waited for a while.
    let mut wait = consumer.until_tell();
    loop {
        clock::sleep(wait).await;
        wait = consumer.tell_every();
        // Not while the database does not answer: another replica may have a better way to it.
        if health.is_answered() {
            let messages = inputs.iter().filter_map(|input| match &input.origin {
                Origin::Message(message) => Some(message.as_ref()),
                Origin::Local(_) => None,
            });
            consumer.tell(messages).await;
        }
    }
}
