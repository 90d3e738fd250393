//! What waits for a person, with the order that each of it is about.

use std::{collections::BTreeMap, sync::Arc};

use audit::waiting::{self, Item, Kind};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    orders::shape::Money,
    problem::Problem,
};

pub(crate) const PATH: &str = "/v1/waiting";

/// The orders of payments.
const ORDERS: &str = "select payment_id, order_id from payments.payments where payment_id = any($1)";

/// What waits for a person. Of each kind the first 20 are told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WaitingList {
    pub(crate) data: Vec<Waiting>,
    /// How many there are of all kinds, also those that are not told.
    pub(crate) total: String,
}

/// Something that waits for a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// report, `refund_unknown`, `refund_undecided`, dispute, owed, call or draw. More may come.
    pub(crate) kind: &'static str,
    /// The same with where it stands: `refund unknown`, `dispute needs_response`.
    pub(crate) what: String,
    /// What it is called by: a report, a refund, a dispute or the key of a call. Empty: the order is what waits.
    pub(crate) id: String,
    /// The order that it is about. Null: no payment of ours is known to have it.
    pub(crate) order_id: Option<Uuid>,
    /// The shop's own number of that order, if it has one.
    pub(crate) reference: Option<String>,
    /// The payment that it is about. Null: it is about the order itself.
    pub(crate) payment_id: Option<Uuid>,
    /// Null: it is not known.
    pub(crate) amount: Option<Money>,
    /// What was said about it.
    pub(crate) reason: String,
    /// Since when, if that is known.
    pub(crate) since: Option<String>,
}

/// The id in `payment-<uuid>` or `order-<uuid>`.
fn id_in(subject: &str, kind: &str) -> Option<Uuid> {
    Uuid::try_parse(subject.strip_prefix(kind)?).ok()
}

impl Waiting {
    fn of(item: Item, orders: &BTreeMap<Uuid, Uuid>) -> Self {
        let payment_id = id_in(&item.subject, "payment-");
        let of_payment = payment_id.and_then(|payment| orders.get(&payment).copied());
        Self {
            kind: match item.kind {
                Kind::Report => "report",
                Kind::RefundUnknown => "refund_unknown",
                Kind::RefundUndecided => "refund_undecided",
                Kind::Dispute => "dispute",
                Kind::Owed => "owed",
                Kind::Call => "call",
                Kind::Draw => "draw",
            },
            what: item.what,
            id: item.id,
            order_id: of_payment.or_else(|| id_in(&item.subject, "order-")),
            reference: item.reference,
            payment_id,
            amount: item.amount_minor.map(|minor| Money { minor_units: minor.to_string(), currency: item.currency }),
            reason: item.reason,
            since: item.since.map(|since| since.to_string()),
        }
    }
}

/// What waits now.
///
/// # Errors
/// The database cannot be read.
pub(crate) async fn look(gateway: &Gateway) -> Result<WaitingList, Problem> {
    let looked = gateway.pool.answered(async {
        let mut connection = gateway.pool.session().await?;
        let found = waiting::look(&mut connection).await?;
        let payments = found.items.iter().filter_map(|item| id_in(&item.subject, "payment-"));
        let payments: Vec<Uuid> = payments.collect();
        let orders: Vec<(Uuid, Uuid)> = sqlx::query_as(ORDERS).bind(payments).fetch_all(&mut *connection).await?;
        Ok::<_, sqlx::Error>((found, orders))
    });
    let (found, orders) = looked.await?;
    let orders = orders.into_iter().collect();
    let data = found.items.into_iter().map(|item| Waiting::of(item, &orders)).collect();
    Ok(WaitingList { data, total: found.total.to_string() })
}

/// `GET /v1/waiting`
pub(crate) async fn waiting(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    Ok(json_response(StatusCode::OK, &look(&gateway).await?))
}
