//! Coupons as they stand.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, State},
    http::HeaderMap,
    response::Response,
};
use domain::CouponCode;
use serde::Serialize;
use sqlx::{Row, postgres::PgRow, types::Json};
use utoipa::ToSchema;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    orders::shape::Money,
    problem::Problem,
    read::{param, tagged},
};

/// A coupon. Numbers of 64 bits are texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Coupon {
    coupon_code: String,
    /// open or closed. More may come.
    status: String,
    /// What it takes off, in hundredths of a percent. Null: a fixed amount.
    basis_points: Option<i32>,
    /// What it takes off. Null: a percentage.
    fixed: Option<Money>,
    currency: String,
    /// The most that it takes off an order. Null: no such limit.
    discount_max: Option<Money>,
    /// What it is for must cost so much. Null: no such limit.
    spend_min: Option<Money>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    /// Uses in all. Null: no such limit.
    uses_max: Option<String>,
    /// Uses of one customer. Null: no such limit.
    uses_per_customer_max: Option<String>,
    /// Kept for orders that are not paid yet.
    held: String,
    /// Of paid orders.
    redeemed: String,
    /// `uses_max − held − redeemed`. Null: no such limit.
    available: Option<String>,
    /// The products that it is for. None: it is for everything.
    skus: Vec<String>,
    /// Events of its stream. It is also the ETag.
    version: String,
}

macro_rules! coupons {
    ($which:literal) => {
        concat!(
            "select code, status, basis_points, fixed_minor, currency, discount_max_minor, spend_min_minor,
                 to_jsonb(valid_from) #>> '{}' as valid_from, to_jsonb(valid_until) #>> '{}' as valid_until, uses_max,
                 uses_per_customer_max, held, redeemed, skus, version
             from payments.coupons where ",
            $which
        )
    };
}

const ONE: &str = coupons!("code = $1");

/// The next ones after a code.
pub(crate) const LIST: &str = coupons!("code > $1 order by code limit $2");

/// `GET /v1/coupons/{coupon_code}`
pub(crate) async fn coupon(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let code = CouponCode::parse(param(&params, "coupon_code"))
        .map_err(|rejection| Problem::rejected(&rejection.code, &rejection.reason))?;
    let found = sqlx::query(ONE).bind(code.as_str()).fetch_optional(&gateway.pool).await?;
    let missing = || Problem::rejected("UNKNOWN_COUPON", &format!("no coupon {code} is known"));
    let found = shown(&found.ok_or_else(missing)?)?;
    Ok(tagged(&headers, &found, &found.version))
}

/// A row as it is shown.
pub(crate) fn shown(row: &PgRow) -> Result<Coupon, sqlx::Error> {
    let currency: String = row.try_get("currency")?;
    let number = |name: &str| row.try_get::<Option<i64>, _>(name);
    let money = |name: &str| {
        let money = |minor_units: i64| Money { minor_units: minor_units.to_string(), currency: currency.clone() };
        Ok::<_, sqlx::Error>(number(name)?.map(money))
    };
    let (held, redeemed): (i64, i64) = (row.try_get("held")?, row.try_get("redeemed")?);
    let uses_max = number("uses_max")?;
    let Json(skus): Json<Vec<String>> = row.try_get("skus")?;
    Ok(Coupon {
        coupon_code: row.try_get("code")?,
        status: row.try_get("status")?,
        basis_points: row.try_get("basis_points")?,
        fixed: money("fixed_minor")?,
        discount_max: money("discount_max_minor")?,
        spend_min: money("spend_min_minor")?,
        valid_from: row.try_get("valid_from")?,
        valid_until: row.try_get("valid_until")?,
        uses_max: uses_max.map(|most| most.to_string()),
        uses_per_customer_max: number("uses_per_customer_max")?.map(|most| most.to_string()),
        held: held.to_string(),
        redeemed: redeemed.to_string(),
        available: uses_max.map(|most| (most - held - redeemed).to_string()),
        skus,
        version: row.try_get::<i64, _>("version")?.to_string(),
        currency,
    })
}
