//! The log as it grows: the last events of all services, the newest first, and those before them page by page.

use std::sync::Arc;

use askama::Template;
use audit::timeline;
use axum::{
    Extension,
    extract::{RawQuery, State},
    response::Response,
};

use super::{
    frame::{Frame, Signed, html},
    order::Event,
    orders::{given, pairs, query_of},
};
use crate::{Gateway, caller::Scope, log, problem::Problem, request::Query};

/// Events of a page.
const EVENTS: i64 = 100;

#[derive(Template)]
#[template(path = "log.html")]
struct Page {
    frame: Frame,
    /// The newest first, each with its stream.
    events: Vec<(Event, String)>,
    /// Whether it is the end of the log, which grows.
    is_end: bool,
    /// The query of the page before these. Empty: there is none.
    older: String,
}

/// `GET /console/log`
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::AuditRead)?;
    let query = Query::read(&query_of(pairs(&given(query.as_deref()))), &["before"])?;
    let before = query.number("before", 1, i64::MAX)?;
    let mut events = log::last_before(&gateway.pool, before, EVENTS).await?;
    let first = events.first().map(|first| first.position.get());
    events.reverse();
    // Each by itself: what others it belongs to may be on another page.
    let event = |event| {
        timeline::told(std::slice::from_ref(event)).iter().map(|entry| (Event::of(entry), entry.stream.clone())).next()
    };
    html(&Page {
        frame: Frame::of(&gateway, &visitor, "Log").also("v1/events", "holdfast tail"),
        is_end: before.is_none(),
        older: first.filter(|first| *first > 1).map(|first| format!("before={first}")).unwrap_or_default(),
        events: events.iter().filter_map(event).collect(),
    })
}
