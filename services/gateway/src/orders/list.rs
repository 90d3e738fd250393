//! Orders of a customer, the newest first, page by page; or the one that has a reference.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use sqlx::{FromRow, Row, postgres::PgRow};
use utoipa::ToSchema;
use uuid::Uuid;

use super::shape::Money;
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
pub(crate) const PARAMETERS: [&str; 5] = ["customer_id", "reference", "starting_after", "ending_before", "limit"];

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderList {
    data: Vec<OrderSummary>,
    /// Whether there are more in the direction that was asked for.
    has_more: bool,
}

/// An order in few words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderSummary {
    order_id: Uuid,
    /// The shop's own number of the order, if it has one.
    reference: Option<String>,
    customer_id: String,
    status: String,
    payment_status: String,
    fulfillment_status: String,
    placed_at: String,
    total: Money,
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

/// Where a page begins: at the newest, or beside an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Newest,
    After(Uuid),
    Before(Uuid),
}

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

macro_rules! page {
    ($condition:literal, $order:literal) => {
        summaries!(
            "customer_id = $1 and ",
            $condition,
            " order by customer_id, o.placed_at ",
            $order,
            ", order_id ",
            $order,
            " limit $3"
        )
    };
}

/// The order that has this reference, in a list of one; nobody is told that there is no such order but by a list of none.
async fn by_reference(gateway: &Gateway, query: &Query, reference: &str) -> Result<Response, Problem> {
    if let Some(other) = PARAMETERS.into_iter().find(|name| *name != "reference" && query.get(name).is_some()) {
        let detail = format!("a reference names one order: leave {other} out");
        return Err(Problem::own("INVALID_PARAMETER", detail).of(other));
    }
    if let Err(rejection) = domain::text("reference", reference, 1, 64) {
        return Err(Problem::own("INVALID_PARAMETER", rejection.reason).of("reference"));
    }
    let data: Vec<OrderSummary> =
        sqlx::query_as(summaries!("reference = $1")).bind(reference).fetch_all(&gateway.pool).await?;
    Ok(json_response(StatusCode::OK, &OrderList { data, has_more: false }))
}

/// `GET /v1/orders`
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), &PARAMETERS)?;
    if let Some(reference) = query.get("reference") {
        return by_reference(&gateway, &query, reference).await;
    }
    let customer_id = query.get("customer_id").filter(|customer| !customer.is_empty()).ok_or_else(|| {
        let detail =
            "which orders? Give the parameter customer_id, with the name that the customer had when they were placed, or a \
             reference";
        Problem::own("INVALID_PARAMETER", detail).of("customer_id")
    })?;
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let from = match (query.uuid("starting_after")?, query.uuid("ending_before")?) {
        (None, None) => From::Newest,
        (Some(order_id), None) => From::After(order_id),
        (None, Some(order_id)) => From::Before(order_id),
        (Some(_), Some(_)) => {
            let detail = "give starting_after for the next page, or ending_before for the one before it, not both";
            return Err(Problem::own("INVALID_PARAMETER", detail).of("ending_before"));
        }
    };
    let (sql, beside) = match from {
        From::Newest => (page!("$2::uuid is null", "desc"), None),
        From::After(order_id) => (
            page!(
                "(o.placed_at, order_id) < (select placed_at, order_id from orders.orders where order_id = $2)",
                "desc"
            ),
            Some(order_id),
        ),
        From::Before(order_id) => (
            page!(
                "(o.placed_at, order_id) > (select placed_at, order_id from orders.orders where order_id = $2)",
                "asc"
            ),
            Some(order_id),
        ),
    };
    // One more than asked for says whether there are more.
    let rows: Vec<OrderSummary> =
        sqlx::query_as(sql).bind(customer_id).bind(beside).bind(limit + 1).fetch_all(&gateway.pool).await?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let has_more = rows.len() > limit;
    let mut data: Vec<OrderSummary> = rows.into_iter().take(limit).collect();
    if let From::Before(_) = from {
        data.reverse();
    }
    Ok(json_response(StatusCode::OK, &OrderList { data, has_more }))
}
