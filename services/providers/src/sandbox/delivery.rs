//! Delivers the sandbox's reports, as a webhook would: when each is due, again and again until payments has answered.
//!
//! What is to be reported lives in the broker's stream of events, on a durable consumer: an event is acknowledged only
//! once its report was answered. A process that dies, or a broker that loses its disk, therefore loses no report; one
//! that is delivered twice has the same id and changes nothing.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, HeaderMap,
    jetstream::{AckKind, Message, consumer::pull},
};
use domain::{Rejection, Timestamp, decode};
use futures::StreamExt;
use platform::{
    broker::{self, Broker, EVENTS, command_subject, subjects_of},
    clock,
    error::Error,
    message::header,
    retry,
};
use proto::{
    Message as _,
    common::v1::{CommandReply, command_reply::Outcome},
    payments::v1::{PaymentRefunded, PaymentRequested},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{sync::oneshot, task::JoinSet};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    Sandbox, failing_refund_key,
    ledger::Ledger,
    report::{self, Report},
};
use crate::ProviderContext;

/// Durable consumer of the events that are reported on, shared by all replicas.
const CONSUMER: &str = "payments-sandbox";

const COMMAND: &str = "holdfast.payments.v1.RecordProviderEvent";

/// Reports under way at once, in all replicas: what the broker may have handed out unacknowledged. Each is confirmed again and
/// again until it is answered, so more would keep the broker from its work just when answers are slow.
const UNDER_WAY_MAX: u16 = 8_000;

/// Events fetched ahead.
const PREFETCH_MAX: usize = 1_000;

/// An event that nobody confirms for so long goes to another replica.
const ACK_WAIT_MS: u64 = 4_000;

/// How often the broker is told that an event is still being worked on, and the longest wait for a report to become
/// due. What is due later is handed back to the broker until then, for no process lives long enough to be relied on.
const CONFIRM_EVERY: Duration = Duration::from_millis(1_500);

/// A report without an answer is sent again after so many confirmations, then after twice as many, and so on.
const REPEAT_AFTER: u32 = 3;

/// Delivers reports until the shutdown is pulled.
pub async fn deliver(context: ProviderContext, sandbox: Sandbox) {
    let mut shutdown = context.shutdown.clone();
    let mut waits = retry::backoff(Duration::from_millis(50), Duration::from_secs(1));
    while !shutdown.is_requested() {
        let ended = tokio::select! {
            ended = attend(&context, &sandbox) => ended,
            () = shutdown.requested() => return,
        };
        match ended {
            Ok(()) => waits = retry::backoff(Duration::from_millis(50), Duration::from_secs(1)),
            Err(error) => {
                tracing::warn!(error = error.chain(), "the sandbox cannot listen for payments yet");
                tokio::select! {
                    () = clock::sleep(waits.next().unwrap_or(Duration::from_secs(1))) => {}
                    () = shutdown.requested() => {}
                }
            }
        }
    }
}

/// Hands out events to tasks until the consumer breaks, which it does when the broker has lost it.
///
/// All that is under way ends with the connection it came on: the broker hands it out again, and an acknowledgement of what an
/// earlier broker had handed out could be taken for another event's.
async fn attend(context: &ProviderContext, sandbox: &Sandbox) -> Result<(), Error> {
    let broker = broker::connect_without_reconnect(&context.broker, CONSUMER).await?;
    let courier = Arc::new(Courier {
        inbox: broker.client.new_inbox(),
        client: broker.client.clone(),
        ledger: sandbox.ledger.clone(),
        is_enabled: sandbox.is_enabled,
        under_way: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&courier).listen().in_current_span());
    let mut messages = tokio::select! {
        messages = fetch(context, &broker) => messages?,
        () = broker.lost() => return Ok(()),
    };
    loop {
        tokio::select! {
            () = broker.lost() => return Ok(()),
            Some(_ended) = tasks.join_next(), if !tasks.is_empty() => {}
            next = messages.next(), if tasks.len() < usize::from(UNDER_WAY_MAX) => match next {
                Some(Ok(message)) => {
                    tasks.spawn(Arc::clone(&courier).handle(message).in_current_span());
                }
                Some(Err(error)) => {
                    tracing::info!(%error, "the sandbox's consumer broke; making it again");
                    return Ok(());
                }
                None => return Ok(()),
            },
        }
    }
}

/// Makes the consumer, and the stream of events that it is on, unless they are there.
async fn fetch(context: &ProviderContext, broker: &Broker) -> Result<pull::Stream, Error> {
    let subjects = ["PaymentRequested", "PaymentRefunded"].map(|event| subjects_of("payments", event)).concat();
    let settings = platform::config::Consumer {
        ack_wait_ms: ACK_WAIT_MS,
        ack_pending_max: context.consumer.ack_pending_max.min(UNDER_WAY_MAX.into()),
        ..context.consumer.clone()
    };
    broker.ensure_streams(context.installation).await?;
    let consumer = broker.ensure_consumer(EVENTS, CONSUMER, subjects, &settings).await?;
    consumer
        .stream()
        .max_messages_per_batch(PREFETCH_MAX)
        .expires(Duration::from_secs(10))
        .heartbeat(Duration::from_secs(1))
        .messages()
        .await
        .map_err(|error| Error::transient("fetching events for the sandbox", error))
}

/// Brings reports to payments and waits for the answers.
struct Courier {
    client: Client,
    ledger: Ledger,
    /// Whether anybody pays.
    is_enabled: bool,
    /// Subject on which all answers arrive.
    inbox: String,
    /// Reports that are not answered yet, by id of the command.
    under_way: Mutex<BTreeMap<Uuid, oneshot::Sender<CommandReply>>>,
}

/// Why nothing is reported about an event.
enum Unreported {
    /// Its script says so.
    Scripted,
    /// It is malformed, which no event of the log should be.
    Malformed(Rejection),
    /// The ledger could not be asked; the event comes again.
    Ledger(sqlx::Error),
}

impl Courier {
    /// Takes answers in.
    async fn listen(self: Arc<Self>) {
        let mut answers = match self.client.subscribe(self.inbox.clone()).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::error!(%error, "the sandbox cannot hear answers, so it will repeat its reports for ever");
                return;
            }
        };
        while let Some(message) = answers.next().await {
            let Ok(reply) = CommandReply::decode(message.payload) else { continue };
            let waiting = Uuid::try_parse(&reply.command_id).ok().and_then(|id| self.lock().remove(&id));
            if let Some(waiting) = waiting {
                // An error means that nobody waits any more.
                let _gone = waiting.send(reply);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, oneshot::Sender<CommandReply>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn handle(self: Arc<Self>, message: Message) {
        let ended = match self.report(&message).await {
            Ok(report) => {
                let early = report.due.since(clock::now());
                if early > CONFIRM_EVERY {
                    return acknowledge(&message, AckKind::Nak(Some(early))).await;
                }
                clock::sleep(early).await;
                self.deliver(&message, &report).await
            }
            Err(reason) => Err(reason),
        };
        match ended {
            Ok(()) => {}
            Err(Unreported::Scripted) => acknowledge(&message, AckKind::Ack).await,
            Err(Unreported::Malformed(rejection)) => {
                tracing::error!(subject = %message.subject, %rejection, "the sandbox cannot read an event");
                acknowledge(&message, AckKind::Term).await;
            }
            Err(Unreported::Ledger(error)) => tracing::warn!(%error, "the sandbox's ledger cannot be asked"),
        }
    }

    /// What an event makes the sandbox report.
    async fn report(&self, message: &Message) -> Result<Report, Unreported> {
        let at = time_of(message);
        if message.subject.split('.').nth(2) == Some("PaymentRequested") {
            let payment: PaymentRequested = decode(&message.payload).map_err(Unreported::Malformed)?;
            let of_payment = if self.is_enabled { report::of_payment } else { report::of_payment_not_taken };
            return of_payment(&payment, at).ok_or(Unreported::Scripted);
        }
        let refund: PaymentRefunded = decode(&message.payload).map_err(Unreported::Malformed)?;
        let key = failing_refund_key(&refund.provider_reference).ok_or(Unreported::Scripted)?;
        let after = self.ledger.fails_after(key).await.map_err(Unreported::Ledger)?;
        after.map(|after| report::of_failing_refund(&refund, at, after)).ok_or(Unreported::Scripted)
    }

    /// Repeats a report, less and less often, until it is answered; then the event is done with.
    async fn deliver(&self, message: &Message, report: &Report) -> Result<(), Unreported> {
        if let Some(key) = failing_refund_key(&report.command.provider_reference) {
            self.ledger.note_failed(key).await.map_err(Unreported::Ledger)?;
        }
        let (sender, mut answer) = oneshot::channel();
        match self.lock().entry(report.id) {
            Entry::Vacant(free) => free.insert(sender),
            // Handed out again while it is under way.
            Entry::Occupied(_) => return Ok(()),
        };
        let mut confirmed: u32 = 0;
        let reply = loop {
            let turns = confirmed / REPEAT_AFTER;
            let is_time = turns.is_power_of_two() || turns.is_multiple_of(8);
            if confirmed.is_multiple_of(REPEAT_AFTER) && is_time {
                self.publish(message, report).await;
            }
            confirmed = confirmed.saturating_add(1);
            match tokio::time::timeout(CONFIRM_EVERY, &mut answer).await {
                Ok(Ok(reply)) => break reply,
                Ok(Err(_dropped)) => return Ok(()),
                Err(_elapsed) => acknowledge(message, AckKind::Progress).await,
            }
        };
        if let Some(Outcome::Rejected(rejection)) = reply.outcome {
            tracing::warn!(
                payment_id = report.command.payment_id,
                code = rejection.code,
                reason = rejection.reason,
                "payments refused a report of the sandbox"
            );
        }
        acknowledge(message, AckKind::Ack).await;
        Ok(())
    }

    async fn publish(&self, message: &Message, report: &Report) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ID, report.id.to_string());
        headers.insert(header::TYPE, COMMAND);
        headers.insert(header::REPLY_TO, self.inbox.as_str());
        // So that an order's story can be told to its end.
        for name in [header::CORRELATION_ID, header::TRACEPARENT] {
            if let Some(value) = message.headers.as_ref().and_then(|headers| headers.get(name)) {
                headers.insert(name, value.clone());
            }
        }
        let payload = report.command.encode_to_vec();
        if let Err(error) = self.client.publish_with_headers(command_subject(COMMAND), headers, payload.into()).await {
            tracing::debug!(%error, "the sandbox could not send a report; it will try again");
        }
    }
}

/// When an event was written. Without that its reports are due at once.
fn time_of(message: &Message) -> Timestamp {
    let text = message.headers.as_ref().and_then(|headers| headers.get(header::TIME));
    text.and_then(|text| OffsetDateTime::parse(text.as_str(), &Rfc3339).ok()).map(Timestamp::from).unwrap_or_default()
}

async fn acknowledge(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "the sandbox could not acknowledge an event; it comes again and changes nothing");
    }
}
