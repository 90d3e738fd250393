//! Sending commands, and waiting for their answers: the same command goes out again until it is answered, for the broker may
//! lose what it acknowledged and a worker may die between its commit and its answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, HeaderMap, jetstream};
use futures::StreamExt;
use proto::{Message, Name, common::v1::CommandReply};
use tokio::{sync::oneshot, task::JoinHandle};
use uuid::Uuid;

use crate::{
    broker::{self, command_subject, servers},
    clock, config,
    message::header,
};

/// How long to wait for an answer before the same command is sent again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Who waits for which answer; several may wait for the same.
#[derive(Debug, Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<Uuid, Vec<oneshot::Sender<Answer>>>>>);

impl Waiting {
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Uuid, Vec<oneshot::Sender<Answer>>>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, id: Uuid) -> oneshot::Receiver<Answer> {
        let (sender, answer) = oneshot::channel();
        self.change(|waiting| waiting.entry(id).or_default().push(sender));
        answer
    }

    fn end(&self, id: Uuid, answer: &Answer) {
        for sender in self.change(|waiting| waiting.remove(&id)).unwrap_or_default() {
            // Whoever asked may have given up by now.
            let _nobody_waits = sender.send(answer.clone());
        }
    }

    /// Forgets those who have given up.
    fn forget(&self, id: Uuid) {
        self.change(|waiting| {
            if let Some(senders) = waiting.get_mut(&id) {
                senders.retain(|sender| !sender.is_closed());
                if senders.is_empty() {
                    waiting.remove(&id);
                }
            }
        });
    }
}

/// Forgets those who have given up, at its end.
struct Forget<'a>(&'a Waiting, Uuid);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.forget(self.1);
    }
}

/// A command as it goes out.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// Names the command for ever.
    pub id: Uuid,
    /// Its full type name.
    pub message_type: &'a str,
    /// Its protobuf bytes.
    pub data: bytes::Bytes,
    /// What all events of its story are to bear; its id by default.
    pub correlation_id: Option<Uuid>,
    /// The trace of whoever asks for it, as W3C Trace Context writes it.
    pub traceparent: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What the worker said.
    pub reply: CommandReply,
    /// Whether it was answered before, and this is the same answer again.
    pub is_repeated: bool,
}

/// What became of a command within the time that it was given.
#[derive(Debug, Clone)]
pub enum Sent {
    /// It was answered.
    Answered(Answer),
    /// The broker has it; it will be done, or refused.
    Unanswered,
    /// Nobody has said that he has it. It may be done all the same.
    Undelivered,
}

/// Sends commands. Many may be under way at once.
#[derive(Debug)]
pub struct CommandClient {
    client: Client,
    jetstream: jetstream::Context,
    source: &'static str,
    inbox: String,
    waiting: Waiting,
    listener: JoinHandle<()>,
    give_up_after: Duration,
}

impl CommandClient {
    /// Connects to a broker that asks nobody who he is.
    pub async fn connect(broker_url: &str, give_up_after: Duration) -> Result<Self> {
        Self::begin(async_nats::ConnectOptions::new(), broker_url, give_up_after).await
    }

    /// Connects to the broker as the settings say.
    pub async fn connect_as(settings: &config::Broker, give_up_after: Duration) -> Result<Self> {
        Self::begin(broker::options(settings)?, &settings.url, give_up_after).await
    }

    async fn begin(options: async_nats::ConnectOptions, broker_url: &str, give_up_after: Duration) -> Result<Self> {
        let client = options
            .name("holdfast-cli")
            .subscription_capacity(65_536)
            .client_capacity(65_536)
            .connect(servers(broker_url))
            .await
            .with_context(|| format!("connecting to NATS at {broker_url}"))?;
        Self::over(client, "/holdfast/cli", give_up_after).await
    }

    /// Sends over a connection that is there, in the name of this source.
    pub async fn over(client: Client, source: &'static str, give_up_after: Duration) -> Result<Self> {
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(AGAIN_AFTER)
            .max_ack_inflight(4_096)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.*")).await?;
        let waiting = Waiting::default();
        let known = waiting.clone();
        let listener = tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                let id = answer.subject.rsplit('.').next().and_then(|id| Uuid::try_parse(id).ok());
                if let (Some(id), Ok(reply)) = (id, CommandReply::decode(answer.payload)) {
                    let is_repeated = answer.headers.is_some_and(|headers| headers.get(header::REPEATED).is_some());
                    known.end(id, &Answer { reply, is_repeated });
                }
            }
        });
        Ok(Self { client, jetstream, source, inbox, waiting, listener, give_up_after })
    }

    /// Core NATS, on the same connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a command until it is answered.
    pub async fn send<M: Message + Name>(&self, id: Uuid, command: &M) -> Result<CommandReply> {
        self.send_bytes(id, &M::full_name(), command.encode_to_vec()).await
    }

    /// Sends a command, given its type and its protobuf bytes, until it is answered.
    pub async fn send_bytes(&self, id: Uuid, message_type: &str, data: Vec<u8>) -> Result<CommandReply> {
        let command = Outgoing { id, message_type, data: data.into(), correlation_id: None, traceparent: None };
        match self.send_within(&command, self.give_up_after).await {
            Sent::Answered(answer) => Ok(answer.reply),
            Sent::Unanswered | Sent::Undelivered => bail!(
                "no answer to {message_type} {id} within {} s; are the workers running? (holdfast status)",
                self.give_up_after.as_secs()
            ),
        }
    }

    /// Sends a command until it is answered, or until so much time has passed.
    pub async fn send_within(&self, command: &Outgoing<'_>, limit: Duration) -> Sent {
        // Also if whoever asked goes away, and this is never done.
        let _forgotten = Forget(&self.waiting, command.id);
        let is_delivered = AtomicBool::new(false);
        match tokio::time::timeout(limit, self.send_until_answered(command, &is_delivered)).await {
            Ok(answer) => Sent::Answered(answer),
            Err(_elapsed) if is_delivered.into_inner() => Sent::Unanswered,
            Err(_elapsed) => Sent::Undelivered,
        }
    }

    /// Sends a command once, and waits for no answer: whether the broker has it.
    pub async fn deliver(&self, command: &Outgoing<'_>) -> bool {
        match self.publish(command).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "a command did not reach the broker");
                false
            }
        }
    }

    async fn send_until_answered(&self, command: &Outgoing<'_>, is_delivered: &AtomicBool) -> Answer {
        loop {
            let answer = self.waiting.begin(command.id);
            if !self.deliver(command).await {
                clock::sleep(Duration::from_millis(200)).await;
                continue;
            }
            is_delivered.store(true, Ordering::Relaxed);
            if let Ok(Ok(answer)) = tokio::time::timeout(AGAIN_AFTER, answer).await {
                return answer;
            }
        }
    }

    async fn publish(&self, command: &Outgoing<'_>) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ID, command.id.to_string());
        headers.insert(header::TYPE, command.message_type);
        headers.insert(header::SOURCE, self.source);
        headers.insert(header::SPEC_VERSION, "1.0");
        headers.insert(header::REPLY_TO, format!("{}.{}", self.inbox, command.id));
        if let Some(correlation_id) = command.correlation_id {
            headers.insert(header::CORRELATION_ID, correlation_id.to_string());
        }
        if let Some(traceparent) = &command.traceparent {
            headers.insert(header::TRACEPARENT, traceparent.as_str());
        }
        let subject = command_subject(command.message_type);
        self.jetstream.publish_with_headers(subject, headers, command.data.clone()).await?.await?;
        Ok(())
    }
}

impl Drop for CommandClient {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[cfg(test)]
mod tests {
    use proto::common::v1::CommandReply;
    use uuid::Uuid;

    use super::{Answer, Forget, Waiting};

    #[tokio::test]
    async fn all_who_wait_for_an_answer_hear_it_and_nobody_who_has_gone_is_remembered() {
        let (waiting, id) = (Waiting::default(), Uuid::from_u128(7));
        let (first, second) = (waiting.begin(id), waiting.begin(id));
        waiting.end(id, &Answer { reply: CommandReply::default(), is_repeated: true });
        assert!(first.await.unwrap().is_repeated && second.await.unwrap().is_repeated);

        let stays = waiting.begin(id);
        let gone = (Forget(&waiting, id), waiting.begin(id));
        // In the order in which the parts of a future that is given up are dropped.
        drop(gone.1);
        drop(gone.0);
        assert_eq!(waiting.change(|waiting| waiting[&id].len()), 1);
        drop((stays, Forget(&waiting, id)));
        assert!(waiting.change(|waiting| waiting.is_empty()));
    }
}
