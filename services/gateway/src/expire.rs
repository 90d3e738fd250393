//! Expiring many orders at once, by hand: what is due, or what a filter names.

use std::{
    collections::{HashMap, HashSet},
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
use proto::{Message, orders::v1::ExpireOrder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::{REPLAYED, command_id, insert, json_response},
    guard::RequestId,
    hex,
    outcome::{hear, hear_answer, said},
    problem::Problem,
    request,
};

pub(crate) const PATH: &str = "/v1/admin/expire";

/// The most orders of one request, and how many unless it says so.
const LIMIT_MAX: u16 = 1_000;
const LIMIT_DEFAULT: u16 = 100;

/// Orders that are asked for at the same time.
const AT_ONCE: usize = 64;

/// How long a worker may take for one. All of them together have as long as any request.
const WITHIN: Duration = Duration::from_secs(10);

/// Which orders to expire: these, or those of a customer that wait for their money, or, if neither is named, those whose time is over.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
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
    /// The shop's own number of the order, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
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
    let mut report = ExpiredOrders { dry_run: asked.dry_run, ..ExpiredOrders::default() };
    if asked.dry_run {
        let orders = find(&gateway, &asked, limit, None).await?;
        report.orders = orders.into_iter().map(|order_id| ExpiredOrder::new(order_id, "due")).collect();
        return reported(&gateway, report, begun).await;
    }
    let (owner, actor, traceparent) =
        (caller.owner_of_keys().into_owned(), caller.actor(), request::traceparent(&headers));
    let request = Request { key, owner, actor, request_id, traceparent };
    let _begun = gateway.under_way.begin(request.id())?;
    let known = request.begin(&gateway, &asked).await?;
    let orders = find(&gateway, &asked, limit, known.as_deref()).await?;
    let expire_one = |order_id: Uuid| request.expire(&gateway, order_id, &asked.note);
    report.orders = stream::iter(orders).map(expire_one).buffered(AT_ONCE).collect().await;
    let count = |outcome: &str| report.orders.iter().filter(|order| order.outcome == outcome).count();
    (report.released, report.skipped, report.failed) = (count("released"), count("skipped"), count("failed"));
    let mut response = reported(&gateway, report, begun).await?;
    if known.is_some() {
        insert(response.headers_mut(), REPLAYED, "true");
    }
    Ok(response)
}

/// The report, with the shop's own numbers of its orders.
async fn reported(gateway: &Gateway, mut report: ExpiredOrders, begun: Instant) -> Result<Response, Problem> {
    let ids: Vec<Uuid> = report.orders.iter().map(|order| order.order_id).collect();
    let references: Vec<(Uuid, String)> = sqlx::query_as(REFERENCES).bind(ids).fetch_all(&gateway.pool).await?;
    let references: HashMap<Uuid, String> = references.into_iter().collect();
    for order in &mut report.orders {
        order.reference = references.get(&order.order_id).cloned();
    }
    report.milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(json_response(StatusCode::OK, &report))
}

const REFERENCES: &str =
    "select order_id, reference from orders.orders where order_id = any($1) and reference is not null";

/// Who asks, and under which key.
struct Request<'a> {
    key: &'a str,
    owner: String,
    actor: String,
    request_id: RequestId,
    traceparent: Option<String>,
}

impl Request<'_> {
    fn id(&self) -> Uuid {
        command_id(&self.owner, PATH, &[], self.key)
    }

    /// Has the inbox of orders keep under this key what is asked for, by a command that changes nothing: it is about an order that cannot be.
    /// When it was asked for first, if it was before: a filter names no order then that has come since.
    ///
    /// # Errors
    /// The key was used for something else.
    async fn begin(&self, gateway: &Gateway, asked: &ExpireOrders) -> Result<Option<String>, Problem> {
        let id = self.id();
        let asked = serde_json::to_vec(asked).unwrap_or_default();
        let order_id = Uuid::new_v5(&id, b"no order").to_string();
        let note = format!("a request to {PATH}, SHA-256 {}", hex::digits(&Sha256::digest(asked)));
        let command = ExpireOrder { order_id, actor: self.actor.clone(), note, expected_version: 0 };
        let answer = hear_answer(gateway, &self.outgoing(id, &command), WITHIN).await?;
        let is_repeated = answer.is_repeated;
        match said(answer.reply)? {
            Err(rejection) if rejection.code != "UNKNOWN_ORDER" => {
                Err(Problem::rejected(&rejection.code, &rejection.reason))
            }
            Ok(_) | Err(_) if is_repeated => {
                let query = "select to_jsonb(handled_at) #>> '{}' from orders.inbox where command_id = $1";
                Ok(sqlx::query_scalar(query).bind(id).fetch_optional(&gateway.pool).await?)
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    async fn expire(&self, gateway: &Gateway, order_id: Uuid, note: &str) -> ExpiredOrder {
        let id = command_id(&self.owner, PATH, &[("order_id", &order_id.to_string())], self.key);
        let (order, actor, note) = (order_id.to_string(), self.actor.clone(), note.to_owned());
        let command = ExpireOrder { order_id: order, actor, note, expected_version: 0 };
        let failed = |code: &str, reason: String| ExpiredOrder {
            code: Some(code.to_owned()),
            reason: Some(reason),
            ..ExpiredOrder::new(order_id, "failed")
        };
        match hear(gateway, &self.outgoing(id, &command), WITHIN).await {
            Ok(Ok(accepted)) if accepted.events.is_empty() => ExpiredOrder::new(order_id, "skipped"),
            Ok(Ok(_)) => ExpiredOrder::new(order_id, "released"),
            Ok(Err(rejection)) => failed(&rejection.code, rejection.reason),
            Err(problem) => failed(&problem.code, problem.detail),
        }
    }

    fn outgoing(&self, id: Uuid, command: &ExpireOrder) -> Outgoing<'static> {
        Outgoing {
            id,
            message_type: "holdfast.orders.v1.ExpireOrder",
            data: command.encode_to_vec().into(),
            correlation_id: Some(self.request_id.0),
            traceparent: self.traceparent.clone(),
        }
    }
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
const DUE: &str = "select substr(stream, 7)::uuid from orders.timers
    where due_at <= coalesce($2::timestamptz, now()) order by due_at limit $1";

const OF_CUSTOMER: &str = "select order_id from orders.orders
    where customer_id = $3 and placed_at <= coalesce($2::timestamptz, now()) and status in ('pending', 'reserved')
    order by placed_at limit $1";

/// The orders that are asked for. A filter names those that it names now, or did by then.
async fn find(gateway: &Gateway, asked: &ExpireOrders, limit: u16, by: Option<&str>) -> Result<Vec<Uuid>, Problem> {
    if !asked.order_ids.is_empty() {
        // One that is named twice is one command: sent twice at once, it is heard of once.
        let mut named = HashSet::new();
        return Ok(asked.order_ids.iter().copied().filter(|order_id| named.insert(*order_id)).collect());
    }
    let limit = i64::from(limit);
    let found = match &asked.customer_id {
        Some(customer_id) => {
            sqlx::query_scalar(OF_CUSTOMER).bind(limit).bind(by).bind(customer_id).fetch_all(&gateway.pool).await
        }
        None => sqlx::query_scalar(DUE).bind(limit).bind(by).fetch_all(&gateway.pool).await,
    };
    Ok(found?)
}

impl ExpiredOrder {
    const fn new(order_id: Uuid, outcome: &'static str) -> Self {
        Self { order_id, reference: None, outcome, code: None, reason: None }
    }
}
