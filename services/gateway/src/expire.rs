//! Expiring many orders at once, by hand: what is due, or what a filter names.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use futures::{StreamExt, stream};
use platform::client::Outgoing;
use proto::{Message, Name, orders::v1::ExpireOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::{command_id, json_response},
    guard::RequestId,
    outcome::hear,
    problem::Problem,
    request,
};

pub(crate) const PATH: &str = "/v1/admin/expire";

/// The most orders of one request, and how many unless it says so.
const LIMIT_MAX: u16 = 1_000;
const LIMIT_DEFAULT: u16 = 100;

/// Orders that are asked for at the same time.
const AT_ONCE: usize = 64;

/// How long a worker may take for one.
const WITHIN: Duration = Duration::from_secs(10);

/// Which orders to expire: these, or those of a customer that wait for their money, or, if neither is named, those whose time is over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpireOrders {
    /// Why, in words.
    #[schema(min_length = 1, max_length = 512)]
    note: String,
    /// One that is named twice is expired once.
    #[serde(default)]
    #[schema(max_items = 1000)]
    order_ids: Vec<Uuid>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    customer_id: Option<String>,
    /// How many at most: 1 to 1,000, and 100 unless it is said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
    /// Only says which they are.
    #[serde(default)]
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ExpiredOrders {
    /// Whether nothing was done.
    dry_run: bool,
    /// Expired: what each held is given back.
    released: usize,
    /// Expired before, or by somebody else meanwhile.
    skipped: usize,
    /// Not expired: each says why.
    failed: usize,
    /// How long it took.
    milliseconds: u64,
    orders: Vec<ExpiredOrder>,
}

/// What came of one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExpiredOrder {
    order_id: Uuid,
    /// released, skipped or failed; due in a dry run.
    outcome: &'static str,
    /// Of one that failed, why: a word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// And a sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// `POST /v1/admin/expire`
pub(crate) async fn expire(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = authorize(&gateway, &headers, Scope::Operate)?;
    let key = request::idempotency_key(&headers)?;
    let body = request::body(&headers, body, &gateway.settings).await?;
    let asked: ExpireOrders =
        serde_json::from_slice(&body).map_err(|error| Problem::own("INVALID_BODY", error.to_string()))?;
    let limit = asked.limit()?;
    let begun = Instant::now();
    let orders = find(&gateway, &asked, limit).await?;
    let mut report = ExpiredOrders { dry_run: asked.dry_run, ..ExpiredOrders::default() };
    if asked.dry_run {
        report.orders = orders.into_iter().map(|order_id| ExpiredOrder::new(order_id, "due")).collect();
        report.milliseconds = milliseconds(begun);
        return Ok(json_response(StatusCode::OK, &report));
    }
    let (actor, gateway) = (caller.actor(), &gateway);
    let expire_one = |order_id: Uuid| {
        let id = command_id(&caller.owner_of_keys(), PATH, &[("order_id", &order_id.to_string())], key);
        let (actor, note) = (actor.clone(), asked.note.clone());
        let command = ExpireOrder { order_id: order_id.to_string(), actor, note, expected_version: 0 };
        async move { send(gateway, id, request_id, order_id, &command).await }
    };
    report.orders = stream::iter(orders).map(expire_one).buffered(AT_ONCE).collect().await;
    let count = |outcome: &str| report.orders.iter().filter(|order| order.outcome == outcome).count();
    (report.released, report.skipped, report.failed) = (count("released"), count("skipped"), count("failed"));
    report.milliseconds = milliseconds(begun);
    Ok(json_response(StatusCode::OK, &report))
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl ExpireOrders {
    /// How many at most, if what is asked for can be.
    fn limit(&self) -> Result<u16, Problem> {
        let refuse = |field: &'static str, detail: String| Err(Problem::own("INVALID_BODY", detail).of(field));
        if self.note.trim().is_empty() {
            return refuse("note", "note is missing: say why, in words".to_owned());
        }
        // What no order could have is refused also where there is nothing to expire.
        let customer_id = self.customer_id.as_deref().map(|customer_id| ("customer_id", customer_id, 128));
        for (field, given, most) in [("note", self.note.as_str(), 512)].into_iter().chain(customer_id) {
            if let Err(rejection) = domain::text(field, given, 1, most) {
                return refuse(field, rejection.reason);
            }
        }
        if !self.order_ids.is_empty() && self.customer_id.is_some() {
            return refuse("customer_id", "name order_ids or a customer_id, and not both".to_owned());
        }
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return refuse("limit", format!("limit must be 1 to {LIMIT_MAX}, not {limit}"));
        }
        match self.order_ids.len() {
            0 => Ok(limit),
            count if count <= usize::from(LIMIT_MAX) => Ok(LIMIT_MAX),
            count => {
                refuse("order_ids", format!("{count} orders are too many for one request: {LIMIT_MAX} is the most"))
            }
        }
    }
}

/// What is due is found by its timer, which has an index.
const DUE: &str = "select substr(stream, 7)::uuid from orders.timers where due_at <= now() order by due_at limit $1";

const OF_CUSTOMER: &str = "select order_id from orders.orders
    where customer_id = $2 and status in ('pending', 'reserved') order by placed_at limit $1";

async fn find(gateway: &Gateway, asked: &ExpireOrders, limit: u16) -> Result<Vec<Uuid>, Problem> {
    if !asked.order_ids.is_empty() {
        // One that is named twice is one command: sent twice at once, it is heard of once.
        let mut named = HashSet::new();
        return Ok(asked.order_ids.iter().copied().filter(|order_id| named.insert(*order_id)).collect());
    }
    let limit = i64::from(limit);
    let found = match &asked.customer_id {
        Some(customer_id) => {
            sqlx::query_scalar(OF_CUSTOMER).bind(limit).bind(customer_id).fetch_all(&gateway.pool).await
        }
        None => sqlx::query_scalar(DUE).bind(limit).fetch_all(&gateway.pool).await,
    };
    Ok(found?)
}

async fn send(
    gateway: &Gateway,
    id: Uuid,
    request_id: RequestId,
    order_id: Uuid,
    command: &ExpireOrder,
) -> ExpiredOrder {
    let outgoing = Outgoing {
        id,
        message_type: &ExpireOrder::full_name(),
        data: command.encode_to_vec().into(),
        correlation_id: Some(request_id.0),
    };
    let failed = |code: &str, reason: String| ExpiredOrder {
        code: Some(code.to_owned()),
        reason: Some(reason),
        ..ExpiredOrder::new(order_id, "failed")
    };
    match hear(gateway, &outgoing, WITHIN).await {
        Ok(Ok(accepted)) if accepted.events.is_empty() => ExpiredOrder::new(order_id, "skipped"),
        Ok(Ok(_)) => ExpiredOrder::new(order_id, "released"),
        Ok(Err(rejection)) => failed(&rejection.code, rejection.reason),
        Err(problem) => failed(&problem.code, problem.detail),
    }
}

impl ExpiredOrder {
    const fn new(order_id: Uuid, outcome: &'static str) -> Self {
        Self { order_id, outcome, code: None, reason: None }
    }
}
