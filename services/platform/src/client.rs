//! Sending commands, and waiting for their answers: the same command goes out again until it is answered, for the broker may
//! lose what it acknowledged and a worker may die between its commit and its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, HeaderMap, jetstream};
use futures::StreamExt;
use proto::{Message, Name, common::v1::CommandReply};
use tokio::{sync::oneshot, task::JoinHandle};
use uuid::Uuid;

use crate::{
    broker::{command_subject, servers},
    clock,
    message::header,
};

/// How long to wait for an answer before the same command is sent again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

type Waiting = Arc<Mutex<HashMap<Uuid, oneshot::Sender<CommandReply>>>>;

/// Sends commands. Many may be under way at once.
#[derive(Debug)]
pub struct CommandClient {
    client: Client,
    jetstream: jetstream::Context,
    inbox: String,
    waiting: Waiting,
    listener: JoinHandle<()>,
    give_up_after: Duration,
}

impl CommandClient {
    /// Connects to the broker.
    pub async fn connect(broker_url: &str, give_up_after: Duration) -> Result<Self> {
        let client = async_nats::ConnectOptions::new()
            .name("holdfast-cli")
            .subscription_capacity(65_536)
            .client_capacity(65_536)
            .connect(servers(broker_url))
            .await
            .with_context(|| format!("connecting to NATS at {broker_url}"))?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(AGAIN_AFTER)
            .max_ack_inflight(4_096)
            .backpressure_on_inflight(true)
            .build(client.clone());
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.*")).await?;
        let waiting = Waiting::default();
        let known = Arc::clone(&waiting);
        let listener = tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                let id = answer.subject.rsplit('.').next().and_then(|id| Uuid::try_parse(id).ok());
                let sender = id.and_then(|id| known.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
                if let (Some(sender), Ok(reply)) = (sender, CommandReply::decode(answer.payload)) {
                    // Whoever asked may have given up by now.
                    let _nobody_waits = sender.send(reply);
                }
            }
        });
        Ok(Self { client, jetstream, inbox, waiting, listener, give_up_after })
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
        let deadline = clock::now() + self.give_up_after;
        let data = bytes::Bytes::from(data);
        loop {
            let (sender, answer) = oneshot::channel();
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
            if let Err(error) = self.publish(id, message_type, data.clone()).await {
                tracing::debug!(%error, "a command did not reach the broker; sending it again");
                clock::sleep(Duration::from_millis(200)).await;
            } else if let Ok(Ok(reply)) = tokio::time::timeout(AGAIN_AFTER, answer).await {
                return Ok(reply);
            }
            if clock::now() >= deadline {
                self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                bail!(
                    "no answer to {message_type} {id} within {} s; are the workers running? (holdfast status)",
                    self.give_up_after.as_secs()
                );
            }
        }
    }

    async fn publish(&self, id: Uuid, message_type: &str, data: bytes::Bytes) -> Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ID, id.to_string());
        headers.insert(header::TYPE, message_type);
        headers.insert(header::SOURCE, "/holdfast/cli");
        headers.insert(header::SPEC_VERSION, "1.0");
        headers.insert(header::REPLY_TO, format!("{}.{id}", self.inbox));
        self.jetstream.publish_with_headers(command_subject(message_type), headers, data).await?.await?;
        Ok(())
    }
}

impl Drop for CommandClient {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
