//! Sends commands as fast as they may go: each is acknowledged by JetStream, none waits for the one before it.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result};
use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        context::{ContextBuilder, PublishAckFuture},
        message::PublishMessage,
    },
};
use domain::Timestamp;
use platform::{broker::command_subject, clock, message::header};
use proto::{Message, Name};
use tokio::sync::watch;
use uuid::Uuid;

/// Commands that JetStream has not acknowledged yet.
const UNACKNOWLEDGED_MAX: usize = 2_048;

/// Commands that may be on their way on one connection. Who sends more waits.
pub(super) const IN_FLIGHT_MAX: usize = 65_536;

/// A machine that is busy takes its time.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(30);

/// A command on its way.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    /// The command's id, and the order it is about.
    pub(super) id: Uuid,
    subject: String,
    body: Vec<u8>,
}

impl Outgoing {
    pub(super) fn new<M: Message + Name>(id: Uuid, command: &M) -> Self {
        Self { id, subject: command_subject(&M::full_name()), body: command.encode_to_vec() }
    }

    /// Sends it, and does not wait until it is acknowledged.
    pub(super) async fn send(self, jetstream: &jetstream::Context) -> Result<PublishAckFuture> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ID, self.id.to_string());
        let message = PublishMessage::build().payload(self.body.into()).headers(headers);
        Ok(jetstream.send_publish(self.subject, message).await?)
    }
}

/// What was sent, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// The command's id.
    pub(super) id: Uuid,
    /// When it went out.
    pub(super) at: Timestamp,
}

/// How far those are who do what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Commands whose work is done.
    pub(super) done: u64,
    /// Whether to send no more.
    pub(super) stop: bool,
}

/// Sends commands to JetStream.
#[derive(Debug)]
pub(super) struct PipelinedClient {
    jetstream: jetstream::Context,
    unacknowledged: VecDeque<PublishAckFuture>,
}

/// Connects to the broker, with room for many commands that it has not acknowledged yet.
pub(super) async fn connect(broker_url: &str, acknowledged_within: Duration) -> Result<jetstream::Context> {
    let client = async_nats::ConnectOptions::new()
        .name("holdfast-bench")
        .client_capacity(IN_FLIGHT_MAX)
        .connect(broker_url)
        .await
        .with_context(|| format!("connecting to NATS at {broker_url}"))?;
    Ok(ContextBuilder::new().timeout(acknowledged_within).max_ack_inflight(IN_FLIGHT_MAX).build(client))
}

impl PipelinedClient {
    /// Connects to the broker.
    pub(super) async fn connect(broker_url: &str) -> Result<Self> {
        Ok(Self { jetstream: connect(broker_url, ACKNOWLEDGED_WITHIN).await?, unacknowledged: VecDeque::new() })
    }

    /// Sends one command. Waits only if too many are not acknowledged.
    pub(super) async fn send(&mut self, command: Outgoing) -> Result<Sent> {
        let (id, at) = (command.id, clock::now());
        self.unacknowledged.push_back(command.send(&self.jetstream).await?);
        while self.unacknowledged.len() > UNACKNOWLEDGED_MAX {
            self.acknowledge_oldest().await?;
        }
        Ok(Sent { id, at })
    }

    /// Waits until JetStream has all that was sent.
    pub(super) async fn flush(&mut self) -> Result<()> {
        while !self.unacknowledged.is_empty() {
            self.acknowledge_oldest().await?;
        }
        Ok(())
    }

    async fn acknowledge_oldest(&mut self) -> Result<()> {
        if let Some(oldest) = self.unacknowledged.pop_front() {
            oldest.await.context("JetStream did not acknowledge a command")?;
        }
        Ok(())
    }

    /// Sends what `next` makes, until that ends or it is told to stop, keeping `in_flight` commands under way.
    pub(super) async fn run(
        mut self,
        mut next: impl FnMut() -> Option<Outgoing>,
        in_flight: u64,
        mut progress: watch::Receiver<Progress>,
    ) -> Result<Vec<Sent>> {
        let (mut sent, mut count) = (Vec::new(), 0);
        loop {
            let Progress { done, stop } = *progress.borrow_and_update();
            if stop {
                break;
            }
            if count >= done + in_flight {
                if progress.changed().await.is_err() {
                    break;
                }
                continue;
            }
            let Some(command) = next() else { break };
            sent.push(self.send(command).await?);
            count += 1;
        }
        self.flush().await?;
        Ok(sent)
    }
}
