//! What is on sale, page by page: products, rounds and coupons, in the order of what they are called by, which has an index and never changes.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use sqlx::{FromRow, postgres::PgRow};
use utoipa::ToSchema;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    coupons::{self, Coupon},
    problem::Problem,
    read::{self, Product, Round},
    request::Query,
};

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 100;

/// The parameters of these lists.
pub(crate) const PARAMETERS: [&str; 2] = ["starting_after", "limit"];

/// A page of products.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProductList {
    pub(crate) data: Vec<Product>,
    /// Whether there are more behind them.
    pub(crate) has_more: bool,
}

/// A page of rounds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoundList {
    pub(crate) data: Vec<Round>,
    /// Whether there are more behind them.
    pub(crate) has_more: bool,
}

/// A page of coupons.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CouponList {
    data: Vec<Coupon>,
    /// Whether there are more behind them.
    has_more: bool,
}

/// What is asked for, by whoever may.
fn asked(gateway: &Gateway, headers: &HeaderMap, query: Option<&str>) -> Result<Query, Problem> {
    authorize(gateway, headers, Scope::OrdersRead)?;
    Query::read(query.unwrap_or_default(), &PARAMETERS)
}

fn limit(query: &Query) -> Result<i64, Problem> {
    Ok(query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT))
}

/// What was found of one more than was asked for, and whether there are more.
fn page<T>(
    rows: &[PgRow],
    limit: i64,
    shown: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
) -> Result<(Vec<T>, bool), Problem> {
    let limit = usize::try_from(limit).unwrap_or_default();
    let data = rows.iter().take(limit).map(shown).collect::<Result<Vec<T>, sqlx::Error>>()?;
    Ok((data, rows.len() > limit))
}

/// `GET /v1/products`
pub(crate) async fn products(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = asked(&gateway, &headers, query.as_deref())?;
    Ok(json_response(StatusCode::OK, &page_of_products(&gateway, &query).await?))
}

/// The products that are asked for.
///
/// # Errors
/// They are asked for in a way that cannot be.
pub(crate) async fn page_of_products(gateway: &Gateway, query: &Query) -> Result<ProductList, Problem> {
    let (limit, after) = (limit(query)?, query.get("starting_after").unwrap_or_default());
    let rows = sqlx::query(read::PRODUCTS).bind(after).bind(limit + 1).fetch_all(&gateway.pool).await?;
    let (data, has_more) = page(&rows, limit, |row| Product::from_row(row))?;
    Ok(ProductList { data, has_more })
}

/// `GET /v1/rounds`
pub(crate) async fn rounds(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = asked(&gateway, &headers, query.as_deref())?;
    Ok(json_response(StatusCode::OK, &page_of_rounds(&gateway, &query).await?))
}

/// The rounds that are asked for.
///
/// # Errors
/// They are asked for in a way that cannot be.
pub(crate) async fn page_of_rounds(gateway: &Gateway, query: &Query) -> Result<RoundList, Problem> {
    let (limit, after) = (limit(query)?, query.uuid("starting_after")?.unwrap_or_default());
    let rows = sqlx::query(read::ROUNDS).bind(after).bind(limit + 1).fetch_all(&gateway.pool).await?;
    let (data, has_more) = page(&rows, limit, read::shown_round)?;
    Ok(RoundList { data, has_more })
}

/// `GET /v1/coupons`
pub(crate) async fn coupons(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = asked(&gateway, &headers, query.as_deref())?;
    let (limit, after) = (limit(&query)?, query.get("starting_after").unwrap_or_default());
    let rows = sqlx::query(coupons::LIST).bind(after).bind(limit + 1).fetch_all(&gateway.pool).await?;
    let (data, has_more) = page(&rows, limit, coupons::shown)?;
    Ok(json_response(StatusCode::OK, &CouponList { data, has_more }))
}
