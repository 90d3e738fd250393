//! Orders, the newest first, page by page: of a customer, of a time, or the one with a reference.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{RawQuery, State},
    response::Response,
};
use domain::{Timestamp, legible};
use platform::clock;

use super::{
    frame::{Frame, Signed, html},
    words,
};
use crate::{
    Gateway,
    caller::Scope,
    orders::list::{self, OrderSummary},
    problem::Problem,
    request::Query,
};

/// Letters of the longest name of a customer or an order that a list shows.
const NAME_CHARS_MAX: usize = 40;

/// Orders of a page.
const ROWS: &str = "50";

/// Parameters that say which page of a list it is.
pub(super) const PLACES: [&str; 3] = ["starting_after", "ending_before", "limit"];

/// An order in a list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) short: String,
    pub(super) reference: String,
    pub(super) customer: String,
    pub(super) status: words::State,
    pub(super) payment: words::State,
    pub(super) total: String,
    pub(super) placed_at: String,
    pub(super) ago: String,
}

impl Row {
    pub(super) fn of(order: &OrderSummary, now: Timestamp) -> Self {
        let id = order.order_id.to_string();
        Self {
            short: words::id(&id),
            id,
            reference: legible(order.reference.as_deref().unwrap_or_default(), NAME_CHARS_MAX),
            customer: legible(&order.customer_id, NAME_CHARS_MAX),
            status: words::state(&order.status),
            payment: words::state(&order.payment_status),
            total: words::money(&order.total),
            placed_at: words::time(&order.placed_at),
            ago: words::distance(&order.placed_at, now),
        }
    }
}

/// What was asked for, as the form shows it again.
#[derive(Default)]
struct Asked {
    customer_id: String,
    reference: String,
    placed_from: String,
    placed_before: String,
}

#[derive(Template)]
#[template(path = "orders.html")]
struct Orders {
    frame: Frame,
    asked: Asked,
    is_filtered: bool,
    rows: Vec<Row>,
    /// The query of the whole list, as a file.
    all: String,
    /// The query of the page before. Empty: there is none.
    newer: String,
    /// The query of the next page. Empty: there is none.
    older: String,
}

/// The parameters that were given: a field of a form that is left empty is none.
pub(super) fn given(query: Option<&str>) -> Vec<(String, String)> {
    let all = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned();
    all.filter(|(_, value)| !value.trim().is_empty()).collect()
}

/// The same, to be read.
pub(super) fn pairs(given: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    given.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Parameters as a query.
pub(super) fn query_of<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// `GET /console/orders`
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let given = given(query.as_deref());
    let has = |name: &str| given.iter().any(|(known, _)| known == name);
    let more = (!has("limit") && !has("reference")).then_some(("limit", ROWS));
    let query = Query::read(&query_of(pairs(&given).chain(more)), &list::PARAMETERS)?;
    let found = list::page(&gateway, &query).await?;
    let kept = || pairs(&given).filter(|(name, _)| !PLACES.contains(name));
    let page = |name: &str, order: Option<&OrderSummary>| {
        let kept = query_of(kept());
        let beside = order.map(|order| format!("{name}={}", order.order_id));
        [kept, beside.unwrap_or_default()].join("&").trim_start_matches('&').to_owned()
    };
    let (is_after, is_before) = (has("starting_after"), has("ending_before"));
    // Whoever came from a page can go back to it; whether there is one in the other direction was asked.
    let has_newer = is_after || (is_before && found.has_more);
    let has_older = is_before || found.has_more;
    let now = clock::now();
    let word = |name: &str| query.get(name).unwrap_or_default().to_owned();
    let asked = Asked {
        customer_id: word("customer_id"),
        reference: word("reference"),
        placed_from: word("placed_from"),
        placed_before: word("placed_before"),
    };
    let api = format!("v1/orders?{}", query_of(pairs(&given)));
    html(&Orders {
        frame: Frame::of(&gateway, &visitor, "Orders").also(api, command(&asked)),
        is_filtered: kept().next().is_some(),
        all: query_of(kept()),
        newer: if has_newer { page("ending_before", found.data.first()) } else { String::new() },
        older: if has_older { page("starting_after", found.data.last()) } else { String::new() },
        rows: found.data.iter().map(|order| Row::of(order, now)).collect(),
        asked,
    })
}

/// The list as a command.
fn command(asked: &Asked) -> String {
    if !asked.reference.is_empty() {
        return format!("holdfast get order {}", words::shell(&asked.reference));
    }
    let option = |name: &str, value: &str| match value.is_empty() {
        true => String::new(),
        false => format!(" --{name} {}", words::shell(value)),
    };
    let (customer, since, until) = (
        option("customer", &asked.customer_id),
        option("since", &asked.placed_from),
        option("until", &asked.placed_before),
    );
    format!("holdfast list orders{customer}{since}{until}")
}
