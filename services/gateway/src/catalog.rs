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
    data: Vec<Product>,
    /// Whether there are more behind them.
    has_more: bool,
}

/// A page of rounds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoundList {
    data: Vec<Round>,
    /// Whether there are more behind them.
    has_more: bool,
}

/// A page of coupons.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CouponList {
    data: Vec<Coupon>,
    /// Whether there are more behind them.
    has_more: bool,
}

/// How many are asked for, and who asks for them.
fn asked(gateway: &Gateway, headers: &HeaderMap, query: Option<&str>) -> Result<(Query, i64), Problem> {
    authorize(gateway, headers, Scope::OrdersRead)?;
    let query = Query::read(query.unwrap_or_default(), &PARAMETERS)?;
    let limit = query.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    Ok((query, limit))
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
    let (query, limit) = asked(&gateway, &headers, query.as_deref())?;
    let after = query.get("starting_after").unwrap_or_default();
    let rows = sqlx::query(read::PRODUCTS).bind(after).bind(limit + 1).fetch_all(&gateway.pool).await?;
    let (data, has_more) = page(&rows, limit, |row| Product::from_row(row))?;
    Ok(json_response(StatusCode::OK, &ProductList { data, has_more }))
}

/// `GET /v1/rounds`
pub(crate) async fn rounds(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (query, limit) = asked(&gateway, &headers, query.as_deref())?;
    let after = query.uuid("starting_after")?.unwrap_or_default();
    let rows = sqlx::query(read::ROUNDS).bind(after).bind(limit + 1).fetch_all(&gateway.pool).await?;
    let (data, has_more) = page(&rows, limit, read::shown_round)?;
    Ok(json_response(StatusCode::OK, &RoundList { data, has_more }))
}

/// `GET /v1/coupons`
pub(crate) async fn coupons(
    State(gateway): State<Arc<Gateway>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (query, limit) = asked(&gateway, &headers, query.as_deref())?;
    let after = query.get("starting_after").unwrap_or_default();
    let rows = sqlx::query(coupons::LIST).bind(after).bind(limit + 1).fetch_all(&gateway.pool).await?;
    let (data, has_more) = page(&rows, limit, coupons::shown)?;
    Ok(json_response(StatusCode::OK, &CouponList { data, has_more }))
}
