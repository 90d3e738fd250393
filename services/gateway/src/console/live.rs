//! What tells a page that something has changed, while somebody looks.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    Extension,
    extract::{RawPathParams, RawQuery, State},
    http::HeaderMap,
    response::Response,
};

use super::frame::Signed;
use crate::{
    Gateway,
    caller::Scope,
    events::{self, Heard},
    problem::Problem,
    read::id,
    request::Query,
};

/// `GET /console/orders/{order_id}/live`: the last position of the order, each time that there is another.
pub(super) async fn of_order(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    params: RawPathParams,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), &["after"])?;
    let after = events::after(&headers, &query)?.unwrap_or_default();
    events::listen(&gateway, Heard::News(id(&params, "order_id")?), after, VecDeque::new())
}
