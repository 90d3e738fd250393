//! How the fleet goes on: the log and its relay, what consumers have before them, and work that is due.

use std::sync::Arc;

use audit::{
    diagnosis::{Fleet, Work},
    status::{
        broker::{Broker, Consumer},
        database::Log,
    },
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    diagnosis::Look,
    problem::Problem,
};

pub(crate) const PATH: &str = "/v1/admin/fleet";

/// How the fleet goes on. Numbers of 64 bits are texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FleetState {
    /// When it was looked.
    pub(crate) at: String,
    /// Null: it could not be looked at.
    pub(crate) log: Option<LogState>,
    pub(crate) consumers: Vec<ConsumerState>,
    /// Streams of the broker that are not there.
    pub(crate) streams_missing: Vec<String>,
    pub(crate) due: Vec<DueWork>,
    /// Why some of it could not be looked at.
    pub(crate) unknown: Vec<String>,
}

/// The log, and how far the relay is with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogState {
    /// The last position.
    pub(crate) last: String,
    /// All up to here is published.
    pub(crate) published: String,
    /// All up to here is handled by all services.
    pub(crate) handled: String,
    /// Events that wait to be published, counted up to 10,000.
    pub(crate) waiting: String,
    /// How long the first of them has waited, in milliseconds.
    pub(crate) waiting_ms: String,
    /// The position that the relay waits for. Null: it waits for none.
    pub(crate) gap_at: Option<String>,
}

/// A consumer at the broker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsumerState {
    pub(crate) consumer: String,
    pub(crate) stream: String,
    /// Messages that nobody has taken yet.
    pub(crate) waiting: String,
    /// Messages that were taken and not acknowledged yet.
    pub(crate) under_way: String,
    /// Of those, what came more than once.
    pub(crate) again: String,
    /// How old the oldest is that is not acknowledged, in milliseconds. Null: there is none.
    pub(crate) oldest_ms: Option<String>,
    /// goes, paused, edited (it asks for something else than it should), missing, or others (it is not ours).
    pub(crate) state: &'static str,
}

/// Work that comes to be done by itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DueWork {
    pub(crate) service: &'static str,
    /// timers or outside calls.
    pub(crate) what: &'static str,
    /// All there is, also that is not due yet.
    pub(crate) waiting: String,
    /// What should have been done by now.
    pub(crate) overdue: String,
    /// How late the first of that is, in milliseconds.
    pub(crate) overdue_ms: String,
}

impl LogState {
    fn of(log: &Log) -> Self {
        Self {
            last: log.head.to_string(),
            published: log.published.to_string(),
            handled: log.handled.to_string(),
            waiting: log.lag.to_string(),
            waiting_ms: log.lag_ms.to_string(),
            gap_at: log.gap_at.map(|gap| gap.to_string()),
        }
    }
}

impl ConsumerState {
    fn of(consumer: &Consumer) -> Self {
        Self {
            consumer: consumer.durable.clone(),
            stream: consumer.stream.clone(),
            waiting: consumer.pending.to_string(),
            under_way: consumer.ack_pending.to_string(),
            again: consumer.redelivered.to_string(),
            oldest_ms: consumer.oldest_ms.map(|ms| ms.to_string()),
            state: match (consumer.ours, consumer.paused, consumer.edited) {
                (false, _, _) => "others",
                (true, true, _) => "paused",
                (true, false, true) => "edited",
                (true, false, false) => "goes",
            },
        }
    }

    fn missing(name: &str) -> Self {
        let nothing = || "0".to_owned();
        Self {
            consumer: name.to_owned(),
            stream: String::new(),
            waiting: nothing(),
            under_way: nothing(),
            again: nothing(),
            oldest_ms: None,
            state: "missing",
        }
    }
}

impl DueWork {
    fn of(work: &Work) -> Self {
        Self {
            service: work.service,
            what: work.what,
            waiting: work.due.waiting.to_string(),
            overdue: work.due.overdue.to_string(),
            overdue_ms: work.due.oldest_ms.to_string(),
        }
    }
}

impl FleetState {
    pub(crate) fn of(look: &Look) -> Self {
        let Fleet { log, due, broker } = &look.fleet;
        let consumers = |broker: &Broker| {
            let there = broker.consumers.iter().map(ConsumerState::of);
            there.chain(broker.consumers_missing.iter().map(|name| ConsumerState::missing(name))).collect()
        };
        let unknown = [log.as_ref().err(), due.as_ref().err(), broker.as_ref().err()];
        Self {
            at: look.diagnosis.at.clone(),
            log: log.as_ref().ok().map(LogState::of),
            consumers: broker.as_ref().map(consumers).unwrap_or_default(),
            streams_missing: broker.as_ref().map(|broker| broker.missing.clone()).unwrap_or_default(),
            due: due.as_ref().map(|due| due.iter().map(DueWork::of).collect()).unwrap_or_default(),
            unknown: unknown.into_iter().flatten().cloned().collect(),
        }
    }
}

/// `GET /v1/admin/fleet`
pub(crate) async fn fleet(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::Operate)?;
    Ok(json_response(StatusCode::OK, &FleetState::of(&*gateway.looks.look().await)))
}
