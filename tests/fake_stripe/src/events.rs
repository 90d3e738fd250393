//! Events: those there were, and those that are still to be delivered, and when.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{account::Emitted, faults::EventFaults};

/// Where events go, and what signs them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Webhook {
    /// Plain HTTP only.
    pub url: String,
    /// Each signs; two while one is being replaced.
    pub secrets: Vec<String>,
}

/// Delivered events that can still be read.
const DELIVERED_KEPT: usize = 20_000;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    created: i64,
    /// What is sent.
    body: String,
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `refund.failed`
    pub kind: String,
    /// What is sent, byte by byte.
    pub body: String,
}

/// One try to deliver an event.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) event: u64,
    pub(crate) tries: u32,
    pub(crate) body: String,
    pub(crate) webhook: Webhook,
}

/// Which events a list is of.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) types: Vec<String>,
    pub(crate) is_delivered: Option<bool>,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Events by their number; the last is the newest.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) webhook: Option<Webhook>,
    count: u64,
    delivered: BTreeMap<u64, Event>,
    undelivered: BTreeMap<u64, Event>,
    numbers: BTreeMap<String, u64>,
    /// When which is to be tried next, and how often it was; the middle number keeps equal times apart.
    queue: BTreeMap<(Instant, u64), (u64, u32)>,
    tickets: u64,
    under_way: usize,
}

impl Events {
    pub(crate) fn add(&mut self, id: String, emitted: &Emitted, is_live: bool, faults: EventFaults) {
        let body = envelope(&id, emitted, is_live);
        self.add_body(id, emitted.kind, emitted.cause.now, body, faults);
    }

    /// An event whose body may be anything.
    pub(crate) fn add_body(&mut self, id: String, kind: &str, created: i64, body: String, faults: EventFaults) {
        self.count = self.count.saturating_add(1);
        let number = self.count;
        self.numbers.insert(id.clone(), number);
        let event = Event { id, kind: kind.to_owned(), created, body };
        if self.webhook.is_none() {
            self.delivered.insert(number, event);
            self.forget();
            return;
        }
        self.undelivered.insert(number, event);
        if faults.is_lost {
            return;
        }
        let at = Instant::now() + faults.delay;
        self.queue_at(at, number, 0);
        if faults.is_sent_twice {
            self.queue_at(at, number, 0);
        }
    }

    fn queue_at(&mut self, at: Instant, event: u64, tries: u32) {
        self.tickets = self.tickets.saturating_add(1);
        self.queue.insert((at, self.tickets), (event, tries));
    }

    fn forget(&mut self) {
        while self.delivered.len() > DELIVERED_KEPT {
            if let Some((_, event)) = self.delivered.pop_first() {
                self.numbers.remove(&event.id);
            }
        }
    }

    /// What is to be tried now, and when there is more.
    pub(crate) fn take_due(&mut self, now: Instant, most: usize) -> (Vec<Attempt>, Option<Instant>) {
        let mut due = Vec::new();
        while due.len() < most && self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let Some((_, (event, tries))) = self.queue.pop_first() else { break };
            let found = self.undelivered.get(&event).or_else(|| self.delivered.get(&event));
            if let (Some(found), Some(webhook)) = (found, self.webhook.clone()) {
                due.push(Attempt { event, tries, body: found.body.clone(), webhook });
                self.under_way = self.under_way.saturating_add(1);
            }
        }
        (due, self.queue.first_key_value().map(|((at, _), _)| *at))
    }

    /// An attempt is over.
    pub(crate) fn tried(&mut self, event: u64, tries: u32, is_taken: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        if !is_taken {
            let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries.min(10))).min(LONGEST_PAUSE);
            self.queue_at(Instant::now() + pause, event, tries.saturating_add(1));
        } else if let Some(taken) = self.undelivered.remove(&event) {
            self.delivered.insert(event, taken);
            self.forget();
        }
    }

    /// Sends an event again, as somebody may from the dashboard. Whether there is one by this id.
    pub(crate) fn resend(&mut self, id: &str) -> bool {
        let Some(number) = self.numbers.get(id).copied() else { return false };
        self.queue_at(Instant::now(), number, 0);
        true
    }

    /// Deliveries that are still to be made.
    pub(crate) fn to_deliver(&self) -> usize {
        self.queue.len().saturating_add(self.under_way)
    }

    /// All that there still are, the oldest first.
    pub(crate) fn told(&self) -> Vec<Told> {
        let all: BTreeMap<&u64, &Event> = self.delivered.iter().chain(&self.undelivered).collect();
        all.values().map(|event| Told { kind: event.kind.clone(), body: event.body.clone() }).collect()
    }

    pub(crate) fn find(&self, id: &str) -> Option<Value> {
        let number = self.numbers.get(id)?;
        let delivered = self.delivered.get(number).map(|event| shown(event, true));
        delivered.or_else(|| self.undelivered.get(number).map(|event| shown(event, false)))
    }

    /// Ids, the newest first.
    pub(crate) fn list(&self, wanted: &Wanted) -> Vec<String> {
        let delivered = self.delivered.iter().map(|(number, event)| (number, event, true));
        let undelivered = self.undelivered.iter().map(|(number, event)| (number, event, false));
        let mut found: Vec<_> = delivered
            .chain(undelivered)
            .filter(|(_, event, is_delivered)| {
                wanted.is_delivered.is_none_or(|wanted| wanted == *is_delivered)
                    && (wanted.types.is_empty() || wanted.types.contains(&event.kind))
                    && (wanted.from..=wanted.to).contains(&event.created)
            })
            .collect();
        found.sort_by_key(|(number, _, _)| std::cmp::Reverse(**number));
        found.into_iter().map(|(_, event, _)| event.id.clone()).collect()
    }
}

fn envelope(id: &str, emitted: &Emitted, is_live: bool) -> String {
    let mut data = json!({ "object": emitted.object });
    if let (Some(previous), Some(fields)) = (&emitted.previous, data.as_object_mut()) {
        fields.insert("previous_attributes".to_owned(), previous.clone());
    }
    let event = json!({
        "id": id,
        "object": "event",
        "api_version": crate::API_VERSION,
        "created": emitted.cause.now,
        "data": data,
        "livemode": is_live,
        "pending_webhooks": 1,
        "request": { "id": emitted.cause.request_id, "idempotency_key": emitted.cause.key },
        "type": emitted.kind,
    });
    event.to_string()
}

fn shown(event: &Event, is_delivered: bool) -> Value {
    let mut shown: Value = serde_json::from_str(&event.body).unwrap_or(Value::Null);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("pending_webhooks".to_owned(), json!(i32::from(!is_delivered)));
    }
    shown
}
