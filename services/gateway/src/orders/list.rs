//! Orders of a customer or of all, of any time, the newest first, page by page; or the one that has a reference.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use sqlx::{FromRow, Row, postgres::PgRow};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{shape::Money, unknown};
use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    problem::Problem,
    request::Query,
};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 100;

/// The parameters of a list.
pub(crate) const PARAMETERS: [&str; 7] =
    ["customer_id", "reference", "placed_from", "placed_before", "starting_after", "ending_before", "limit"];

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderList {
    pub(crate) data: Vec<OrderSummary>,
    /// Whether there are more in the direction that was asked for.
    pub(crate) has_more: bool,
}

/// An order in few words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderSummary {
    pub(crate) order_id: Uuid,
    /// The shop's own number of the order, if it has one.
    pub(crate) reference: Option<String>,
    pub(crate) customer_id: String,
    pub(crate) status: String,
    pub(crate) payment_status: String,
    pub(crate) fulfillment_status: String,
    pub(crate) placed_at: String,
    pub(crate) total: Money,
}

impl FromRow<'_, PgRow> for OrderSummary {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let total = row.try_get::<i64, _>("total_minor")?;
        Ok(Self {
            order_id: row.try_get("order_id")?,
            reference: row.try_get("reference")?,
            customer_id: row.try_get("customer_id")?,
            status: row.try_get("status")?,
            payment_status: row.try_get("payment_status")?,
            fulfillment_status: row.try_get("fulfillment_status")?,
            placed_at: row.try_get("placed_at")?,
            total: Money { minor_units: total.to_string(), currency: row.try_get("currency")? },
        })
    }
}

/// Where a page begins: at the newest, or beside an order that was placed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Newest,
    After(Place),
    Before(Place),
}

type Place = (OffsetDateTime, Uuid);

macro_rules! summaries {
    ($($which:expr),+) => {
        concat!(
            "select order_id, reference, customer_id, status, payment_status, fulfillment_status,
                 to_jsonb(placed_at) #>> '{}' as placed_at, total_minor, currency
             from orders.orders o where ",
            $($which),+
        )
    };
}

/// The place beside which a page begins is a value and no part of the query: so an index leads to it, however many are before it.
macro_rules! page {
    ($whose:literal, $beside:literal, $order:literal) => {
        summaries!(
            "o.placed_at >= coalesce($2::timestamptz, '-infinity') and o.placed_at < coalesce($3::timestamptz, 'infinity')",
            $whose,
            $beside,
            " order by o.placed_at ",
            $order,
            ", order_id ",
            $order,
            " limit $1"
        )
    };
}

macro_rules! pages {
    ($whose:literal) => {
        [
            page!($whose, " and $4::timestamptz is null and $5::uuid is null", "desc"),
            page!($whose, " and (o.placed_at, order_id) < ($4::timestamptz, $5::uuid)", "desc"),
            page!($whose, " and (o.placed_at, order_id) > ($4::timestamptz, $5::uuid)", "asc"),
        ]
    };
}

const OF_ALL: [&str; 3] = pages!("");
const OF_CUSTOMER: [&str; 3] = pages!(" and customer_id = $6");

/// The order that has this reference, in a list of one; nobody is told that there is no such order but by a list of none.
async fn by_reference(gateway: &Gateway, query: &Query, reference: &str) -> Result<OrderList, Problem> {
    if let Some(other) = PARAMETERS.into_iter().find(|name| *name != "reference" && query.get(name).is_some()) {
        let detail = format!("a reference names one order: leave {other} out");
        return Err(Problem::own("INVALID_PARAMETER", detail).of(other));
    }
    if let Err(rejection) = domain::text("reference", reference, 1, 64) {
        return Err(Problem::own("INVALID_PARAMETER", rejection.reason).of("reference"));
    }
    let data: Vec<OrderSummary> =
        sqlx::query_as(summaries!("reference = $1")).bind(reference).fetch_all(&gateway.pool).await?;
    Ok(OrderList { data, has_more: false })
}

/// `GET /v1/orders`
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), &PARAMETERS)?;
    Ok(json_response(StatusCode::OK, &page(&gateway, &query).await?))
}

/// The page that is asked for.
///
/// # Errors
/// It is asked for in a way that cannot be.
pub(crate) async fn page(gateway: &Gateway, query: &Query) -> Result<OrderList, Problem> {
    if let Some(reference) = query.get("reference") {
        return by_reference(gateway, query, reference).await;
    }
    let customer_id = query.get("customer_id");
    if customer_id.is_some_and(str::is_empty) {
        let detail =
            "customer_id is the name that the customer had when the orders were placed: leave it out for those of all";
        return Err(Problem::own("INVALID_PARAMETER", detail).of("customer_id"));
    }
    let (placed_from, placed_before) = (query.time("placed_from")?, query.time("placed_before")?);
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let from = begin(gateway, query).await?;
    let [newest, after, before] = if customer_id.is_some() { OF_CUSTOMER } else { OF_ALL };
    let (sql, beside) = match from {
        From::Newest => (newest, None),
        From::After(place) => (after, Some(place)),
        From::Before(place) => (before, Some(place)),
    };
    // One more than asked for says whether there are more.
    let page = sqlx::query_as(sql).bind(limit + 1).bind(placed_from).bind(placed_before);
    let page = page.bind(beside.map(|(at, _)| at)).bind(beside.map(|(_, order_id)| order_id));
    let page = if let Some(customer_id) = customer_id { page.bind(customer_id) } else { page };
    let rows: Vec<OrderSummary> = page.fetch_all(&gateway.pool).await?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let has_more = rows.len() > limit;
    let mut data: Vec<OrderSummary> = rows.into_iter().take(limit).collect();
    if let From::Before(_) = from {
        data.reverse();
    }
    Ok(OrderList { data, has_more })
}

/// Where the page begins that is asked for.
///
/// # Errors
/// Beside two orders, or one that is not known.
async fn begin(gateway: &Gateway, query: &Query) -> Result<From, Problem> {
    let (order_id, is_after) = match (query.uuid("starting_after")?, query.uuid("ending_before")?) {
        (None, None) => return Ok(From::Newest),
        (Some(order_id), None) => (order_id, true),
        (None, Some(order_id)) => (order_id, false),
        (Some(_), Some(_)) => {
            let detail = "give starting_after for the next page, or ending_before for the one before it, not both";
            return Err(Problem::own("INVALID_PARAMETER", detail).of("ending_before"));
        }
    };
    let found = sqlx::query_as("select placed_at, order_id from orders.orders where order_id = $1");
    let place: Option<Place> = found.bind(order_id).fetch_optional(&gateway.pool).await?;
    let place = place.ok_or_else(|| unknown(order_id))?;
    Ok(if is_after { From::After(place) } else { From::Before(place) })
}
