//! Taking events in: a durable consumer that all replicas share. A mail is queued in the ledger before its event is acknowledged, and an
//! event that comes twice queues nothing more.
//!
//! Its connection is never made again once it is lost, as those of workers: services/runtime/README.md#messages-come-in-on-connections-that-are-never-made-again

use std::sync::Arc;

use async_nats::jetstream::Message;
use domain::BrokerSequence;
use futures::{StreamExt, future::join_all};
use platform::{
    broker::{self, EVENTS, events_consumer, subjects_of},
    clock,
    config::{Config, ms},
    error::Error,
    health::Health,
    retry,
    shutdown::Shutdown,
};
use runtime::log::{
    divergence::{self, PublishedEvent},
    lineage::Lineage,
};

use crate::{
    NAME,
    about::{CAUSES, Wanted, caused_by},
    sender::Post,
    store::{self, Caused},
};

/// What the probes call this part.
const TAKING: &str = "taking events in";

/// Events of one statement.
const BATCH_MAX: usize = 500;

/// Takes events in until asked to stop, and begins anew whenever that fails.
pub(crate) async fn run(
    config: Config,
    lineage: Arc<Lineage>,
    post: Arc<Post>,
    health: Health,
    mut shutdown: Shutdown,
) {
    let mut waits = retry::backoff(ms(50), ms(2_000));
    while !shutdown.is_requested() {
        let failed = tokio::select! {
            failed = take_in(&config, &lineage, &post, &health) => failed,
            () = shutdown.requested() => return,
        };
        let Err(error) = failed else {
            waits = retry::backoff(ms(50), ms(2_000));
            continue;
        };
        let error = error.chain();
        tracing::warn!(error, "cannot take events in");
        health.stuck(TAKING, error);
        clock::sleep(waits.next().unwrap_or_default()).await;
    }
}

/// Takes events in for as long as the connection lasts.
async fn take_in(config: &Config, lineage: &Lineage, post: &Post, health: &Health) -> Result<(), Error> {
    let broker = broker::connect_without_reconnect(&config.broker, NAME).await?;
    let subjects = CAUSES.map(|cause| subjects_of("orders", cause)).concat();
    let consumer = broker.ensure_consumer(EVENTS, &events_consumer(NAME), subjects, &config.consumer).await?;
    let messages = consumer.stream().max_messages_per_batch(BATCH_MAX).messages().await;
    let messages = messages.map_err(|error| Error::transient("fetching events", error))?;
    health.goes_on(TAKING);
    let mut batches = messages.ready_chunks(BATCH_MAX);
    while let Some(batch) = batches.next().await {
        let batch: Result<Vec<Message>, _> = batch.into_iter().collect();
        let batch = batch.map_err(|error| Error::transient("fetching events", error))?;
        handle(&batch, config, lineage, post).await?;
    }
    Ok(())
}

/// Queues what these events cause, and acknowledges them once that is committed.
async fn handle(batch: &[Message], config: &Config, lineage: &Lineage, post: &Post) -> Result<(), Error> {
    let (mut events, mut handled) = (Vec::new(), Vec::new());
    for message in batch {
        let sequence =
            message.info().map_or_else(|_| BrokerSequence::default(), |info| BrokerSequence::new(info.stream_sequence));
        let headers = message.headers.as_ref();
        match headers.and_then(|headers| PublishedEvent::read(sequence, headers, &message.payload)) {
            Some(event) if lineage.is_given_up(event.epoch, event.event.position) => {}
            Some(event) if !CAUSES.contains(&event.event.message_type.as_str()) => {
                tracing::warn!(subject = %message.subject, "an event is left to a process of a newer release");
                broker::put_off(message).await;
                continue;
            }
            Some(event) => events.push(event),
            None => tracing::warn!(subject = %message.subject, "a message that no worker has sent is passed over"),
        }
        handled.push(message);
    }
    let lacks = async { divergence::lacks(&mut *post.pool.session().await?, lineage, &events).await };
    let lacks = post.pool.answered(lacks).await?;
    if let Some(lacking) = lacks.first() {
        let why = format!("the log has no event at position {}, which the broker has", lacking.event.position);
        return Err(Error::transient("comparing events with the log", why));
    }
    let wanted = Wanted { late_payments: config.mail.late_payments, elsewhere: config.mail.elsewhere };
    let mut caused = Vec::new();
    for PublishedEvent { event, .. } in &events {
        let about = caused_by(&event.message_type, &event.data, wanted).map_err(|rejection| Error::Permanent {
            what: "reading an event",
            source: format!("{} at position {}: {}", event.message_type, event.position, rejection.reason).into(),
        })?;
        caused.extend(about.map(|about| Caused { about, position: event.position, happened_at: event.recorded_at }));
    }
    if !caused.is_empty() && store::queue(&post.pool, &caused, ms(config.mail.give_up_ms)).await? > 0 {
        post.bell.notify_one();
    }
    for acknowledged in join_all(handled.into_iter().map(Message::ack)).await {
        if let Err(error) = acknowledged {
            tracing::debug!(%error, "could not acknowledge; the event comes again and queues nothing more");
        }
    }
    Ok(())
}
