//! An order: where it stands, what it holds, its money, and its story as a picture and as a table.

use std::sync::Arc;

use askama::Template;
use audit::timeline::{
    self, Entry,
    picture::{self, Picture},
    readable,
};
use axum::{
    Extension,
    extract::{RawPathParams, RawQuery, State},
    response::Response,
};
use domain::legible;
use platform::clock;
use serde_json::Value;
use uuid::Uuid;

use super::{
    acts::{self, Offer},
    frame::{Frame, Signed, html, part},
    session::Visitor,
    words,
};
use crate::{
    Gateway,
    caller::Scope,
    events,
    orders::{self, shape::Order},
    outcome::CommandOutcome,
    problem::Problem,
    read::{self, id},
};

/// Letters of what an event says that are shown.
const SAID_CHARS_MAX: usize = 2_000;

/// Of what happened in a stream, so many events are shown.
const EVENTS_MAX: i64 = 50;

/// The deepest that an event stands below its cause.
const DEPTH_MAX: usize = 6;

/// An event of a story.
pub(super) struct Event {
    pub(super) position: String,
    pub(super) at: String,
    pub(super) since: String,
    pub(super) service: String,
    pub(super) name: String,
    pub(super) depth: usize,
    pub(super) waits: String,
    /// What it says, each field by itself.
    pub(super) says: Vec<(String, String)>,
    pub(super) event_id: String,
}

impl Event {
    pub(super) fn of(entry: &Entry) -> Self {
        let data = readable::data(&entry.data);
        let says = match data.as_object() {
            Some(fields) => fields.iter().map(|(name, value)| (name.clone(), said(value))).collect(),
            None => vec![("unreadable".to_owned(), said(&data))],
        };
        Self {
            position: entry.position.to_string(),
            at: words::time(&entry.recorded_at),
            since: readable::time(entry.ms),
            service: entry.service.clone(),
            name: entry.name().to_owned(),
            depth: entry.depth.min(DEPTH_MAX),
            waits: readable::waits(entry),
            says,
            event_id: entry.event_id.to_string(),
        }
    }
}

/// A value as people read it.
fn said(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    legible(&text, SAID_CHARS_MAX)
}

/// What happened, with its picture.
pub(super) struct Story {
    pub(super) sentence: String,
    pub(super) picture: Picture,
    pub(super) events: Vec<Event>,
}

impl Story {
    pub(super) fn of(entries: &[Entry]) -> Self {
        Self {
            sentence: readable::sentence(entries),
            picture: picture::draw(entries),
            events: entries.iter().map(Event::of).collect(),
        }
    }
}

/// What happened last in a stream, the newest first.
pub(super) struct StreamEnd {
    pub(super) events: Vec<Event>,
    /// Whether there are older events than these.
    pub(super) has_more: bool,
}

/// The last events of a stream. `None`: the visitor may not read the log.
pub(super) async fn end_of_stream(
    gateway: &Gateway,
    visitor: &Visitor,
    stream: &str,
) -> Result<Option<StreamEnd>, Problem> {
    if !visitor.caller.may(Scope::AuditRead) {
        return Ok(None);
    }
    let (events, has_more) = events::last_of_stream(&gateway.pool, stream, EVENTS_MAX).await?;
    let mut events: Vec<Event> = timeline::told(&events).iter().map(Event::of).collect();
    events.reverse();
    Ok(Some(StreamEnd { events, has_more }))
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderPage {
    frame: Frame,
    order: Order,
    short: String,
    status: words::State,
    placed_ago: String,
    expires: String,
    story: Option<Story>,
    /// Behind which position news is waited for.
    heard: String,
    /// Why there is no story.
    untold: String,
    offers: Vec<Offer>,
    receipt: Option<Receipt>,
}

/// What came of an act.
pub(super) struct Receipt {
    pub(super) outcome: CommandOutcome,
    pub(super) command_id: String,
    /// The events that it caused. Empty: it was so already, or they are not known.
    pub(super) written: String,
}

/// What came of the command that a query names as its receipt.
pub(super) async fn receipt(gateway: &Gateway, query: Option<&str>) -> Result<Option<Receipt>, Problem> {
    let given = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(name, _)| name == "receipt");
    let Some(command_id) = given.and_then(|(_, id)| Uuid::try_parse(&id).ok()) else { return Ok(None) };
    let outcome = read::outcome_of(gateway, command_id).await?;
    let outcome = outcome.unwrap_or_else(|| CommandOutcome::pending(command_id));
    let written = outcome.events.iter().flatten().map(|event| proto::short_name(event)).collect::<Vec<_>>().join(", ");
    Ok(Some(Receipt { outcome, command_id: command_id.to_string(), written }))
}

/// `GET /console/orders/{order_id}`
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    params: RawPathParams,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let order_id = id(&params, "order_id")?;
    let order = orders::of_id(&gateway, order_id).await?;
    let mut heard = String::new();
    let (story, untold) = match events::of_order(&gateway.pool, order_id).await {
        Ok((published, events)) => {
            // What is shown beyond that may be followed by what has an earlier position.
            heard = events.last().map_or(published, |last| last.position.min(published)).to_string();
            (Some(Story::of(&timeline::told(&events))), String::new())
        }
        Err(problem) => (None, problem.detail),
    };
    let is_waiting = ["pending", "reserved"].contains(&order.status.as_str());
    let (now, expires) = (clock::now(), order.expires_at.as_deref().filter(|_| is_waiting));
    let name = order.reference.clone().unwrap_or_else(|| words::id(&order_id.to_string()));
    let frame = Frame::of(&gateway, &visitor, format!("Order {}", legible(&name, 64)));
    html(&OrderPage {
        frame: frame.also(format!("v1/orders/{order_id}"), format!("holdfast get order {order_id}")),
        short: words::id(&order_id.to_string()),
        status: words::state(&order.status),
        placed_ago: words::distance(&order.placed_at, now),
        expires: expires.map(|at| words::distance(at, now)).unwrap_or_default(),
        offers: acts::of_order(&visitor, &order),
        receipt: receipt(&gateway, query.as_deref()).await?,
        story,
        heard,
        untold,
        order,
    })
}
