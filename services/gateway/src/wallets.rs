//! The wallets of a customer as they stand.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use domain::text;
use serde::Serialize;
use sqlx::{Row, postgres::PgRow};
use utoipa::ToSchema;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    orders::shape::Money,
    problem::Problem,
    read::param,
};

/// All wallets of a customer. Numbers of 64 bits are texts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WalletList {
    customer_id: String,
    /// One for each currency, in the order of their codes.
    wallets: Vec<Wallet>,
}

/// What a customer has in one currency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Wallet {
    currency: String,
    /// What can be spent or withdrawn.
    available: Money,
    /// What is set aside for orders that are not paid yet.
    held: Money,
    /// Events of its stream.
    version: String,
}

/// `GET /v1/wallets/{customer_id}`
pub(crate) async fn wallets(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let customer_id = text("customer_id", param(&params, "customer_id"), 1, 128)
        .map_err(|rejection| Problem::rejected(&rejection.code, &rejection.reason))?;
    let found = sqlx::query(
        "select currency, available_minor, held_minor, version from payments.wallets where customer_id = $1
         order by currency collate \"C\"",
    )
    .bind(&customer_id)
    .fetch_all(&gateway.pool)
    .await?;
    if found.is_empty() {
        let reason = format!("{customer_id:?} has no wallet: the first top-up makes one");
        return Err(Problem::rejected("UNKNOWN_WALLET", &reason));
    }
    let wallets = found.iter().map(shown).collect::<Result<Vec<Wallet>, sqlx::Error>>()?;
    Ok(json_response(StatusCode::OK, &WalletList { customer_id, wallets }))
}

fn shown(row: &PgRow) -> Result<Wallet, sqlx::Error> {
    let currency: String = row.try_get("currency")?;
    let money = |name: &str| {
        let minor_units = row.try_get::<i64, _>(name)?.to_string();
        Ok::<_, sqlx::Error>(Money { minor_units, currency: currency.clone() })
    };
    let (available, held) = (money("available_minor")?, money("held_minor")?);
    Ok(Wallet { available, held, version: row.try_get::<i64, _>("version")?.to_string(), currency })
}
