//! The page of a round for everybody: how many shares are sold, and how its winner was drawn. It asks nobody who he is, sets no cookie, holds no
//! stream and may be cached, for thousands may look. There is one where the setting `gateway.public_rounds` says so.
//!
//! Why it is so: services/gateway/README.md#the-page-of-a-round

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use askama::Template;
use audit::draw::{self, List, Record, Seen, Winner};
use axum::{
    Router,
    extract::{RawPathParams, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use domain::{RoundId, Timestamp, legible};
use sha2::{Digest, Sha256};

use crate::{Gateway, commands::insert, console::assets, hex, problem::Problem, read::id};

/// How long a page that may change is good, and one that does not.
const SOON: &str = "public, max-age=5";
const KEPT: &str = "public, max-age=3600";

/// What the page may do: show and run what comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'none'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// How many lists of tickets are kept.
const LISTS_MAX: usize = 8;

/// The most characters of a prize.
const PRIZE_CHARS_MAX: usize = 256;

/// Lists of tickets that were asked for: once made, a list does not change.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<BTreeMap<RoundId, Arc<str>>>);

impl Lists {
    fn get(&self, round_id: RoundId) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&round_id).cloned()
    }

    fn keep(&self, round_id: RoundId, list: Arc<str>) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= LISTS_MAX {
            lists.pop_first();
        }
        lists.insert(round_id, list);
    }
}

/// The pages of rounds.
pub(crate) fn pages() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/rounds/{round_id}", get(page))
        .route("/rounds/{round_id}/draw.json", get(record))
        .route("/rounds/{round_id}/tickets.txt", get(tickets))
        .route("/rounds/assets/{name}", get(assets::asset))
}

#[derive(Template)]
#[template(path = "public_round.html")]
struct Page {
    id: String,
    prize: String,
    seen: Seen,
    price: String,
    closes_at: String,
    list: Option<List>,
    winner: Option<Winner>,
    record: Option<Record>,
    /// Where anybody may ask for the beacon's value.
    beacon: String,
    is_over: bool,
    style: String,
    script: String,
}

/// `GET /rounds/{round_id}`
async fn page(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let round_id = RoundId(id(&params, "round_id")?);
    let seen = seen(&gateway, round_id).await?;
    let record = seen.record.clone();
    let (list, winner) =
        (record.as_ref().and_then(|record| record.list.clone()), record.clone().and_then(|record| record.winner));
    let beacon =
        record.as_ref().zip(list.as_ref()).map(|(record, list)| record.terms.beacon.address(list.beacon_round));
    let page = Page {
        id: round_id.to_string(),
        prize: legible(&seen.prize, PRIZE_CHARS_MAX),
        price: seen.price.to_string(),
        closes_at: time(seen.closes_at),
        is_over: winner.is_some() || ["closed", "cancelled"].contains(&seen.status.as_str()),
        seen,
        list,
        winner,
        record,
        beacon: beacon.unwrap_or_default(),
        style: assets::STYLE.name(),
        script: assets::DRAW.name(),
    };
    let text = page.render().map_err(|error| Problem::own("INTERNAL", format!("the page cannot be made: {error}")))?;
    let mut response = answer(&headers, "text/html; charset=utf-8", SOON, text.into());
    insert(response.headers_mut(), header::CONTENT_SECURITY_POLICY, POLICY);
    insert(response.headers_mut(), header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    insert(response.headers_mut(), HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    Ok(response)
}

/// `GET /rounds/{round_id}/draw.json`
async fn record(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let round_id = RoundId(id(&params, "round_id")?);
    let record = seen(&gateway, round_id).await?.record.ok_or_else(|| undrawn(round_id))?;
    let kept = if record.winner.is_some() { KEPT } else { SOON };
    let text = serde_json::to_string_pretty(&record)
        .map_err(|error| Problem::own("INTERNAL", format!("the draw cannot be told: {error}")))?;
    Ok(answer(&headers, "application/json", kept, text.into()))
}

/// `GET /rounds/{round_id}/tickets.txt`
async fn tickets(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let round_id = RoundId(id(&params, "round_id")?);
    if let Some(list) = gateway.ticket_lists.get(round_id) {
        return Ok(answer(&headers, "text/plain; charset=utf-8", KEPT, list));
    }
    let record = seen(&gateway, round_id).await?.record.ok_or_else(|| undrawn(round_id))?;
    let unlisted = || Problem::own("NOT_FOUND", "its tickets are listed once it is sold out");
    let list = record.list.ok_or_else(unlisted)?;
    let read = async { draw::tickets(&mut *gateway.pool.session().await?, round_id).await };
    let found = gateway.pool.answered(read).await?;
    if found.digest() != list.tickets_sha256 {
        return Err(Problem::own(
            "INTERNAL",
            "the tickets are not those that were listed: holdfast verify-draw says what differs",
        ));
    }
    let text: Arc<str> = found.text().into();
    gateway.ticket_lists.keep(round_id, Arc::clone(&text));
    Ok(answer(&headers, "text/plain; charset=utf-8", KEPT, text))
}

async fn seen(gateway: &Gateway, round_id: RoundId) -> Result<Seen, Problem> {
    let read = async { draw::seen(&mut *gateway.pool.session().await?, round_id).await };
    let missing = || Problem::rejected("UNKNOWN_ROUND", &format!("no round {round_id} is known"));
    gateway.pool.answered(read).await?.ok_or_else(missing)
}

fn undrawn(round_id: RoundId) -> Problem {
    Problem::own("NOT_FOUND", format!("round {round_id} was opened without a draw"))
}

/// A time as people read it.
fn time(at: Timestamp) -> String {
    at.to_string().replace('T', " ").replace('Z', " UTC")
}

/// What may be cached, or that it is as it was.
fn answer(headers: &HeaderMap, kind: &'static str, kept: &'static str, text: Arc<str>) -> Response {
    let tag: String = hex::digits(&Sha256::digest(text.as_bytes())).chars().take(32).collect();
    let tag = format!("\"{tag}\"");
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => (StatusCode::OK, text.to_string()).into_response(),
    };
    insert(response.headers_mut(), header::CONTENT_TYPE, kind);
    insert(response.headers_mut(), header::CACHE_CONTROL, kept);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
