//! Search: whatever somebody has copied from somewhere. What is found alone is gone to.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{RawQuery, State},
    response::Response,
};
use domain::legible;

use super::{
    frame::{Frame, Signed, html, part},
    orders::given,
    see_other, words,
};
use crate::{
    Gateway,
    caller::Scope,
    problem::Problem,
    search::{self, Hit},
};

/// Letters of what was looked for, and of what is said of a hit.
const CHARS_MAX: usize = 128;

struct Row {
    kind: &'static str,
    by: &'static str,
    id: String,
    says: String,
    /// Its page. Empty: it has none here.
    page: String,
}

#[derive(Template)]
#[template(path = "search.html")]
struct Search {
    frame: Frame,
    text: String,
    rows: Vec<Row>,
    has_more: bool,
    looked_at: Vec<&'static str>,
}

/// The page of what was found.
fn page_of(hit: &Hit) -> String {
    match (hit.kind, hit.order_id) {
        (_, Some(order_id)) => format!("orders/{order_id}"),
        ("product", None) => format!("stock/{}", part(&hit.id)),
        ("round", None) => format!("rounds/{}", hit.id),
        ("wallet", None) => format!("orders?customer_id={}", part(&hit.id)),
        (_, None) => String::new(),
    }
}

/// `GET /console/search`
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let given = given(query.as_deref());
    let text = given.iter().find(|(name, _)| name == "text").map_or("", |(_, text)| text.trim());
    let frame = Frame::of(&gateway, &visitor, "Search");
    let (found, has_more, looked_at) = match text {
        "" => (Vec::new(), false, Vec::new()),
        text => {
            let found = search::find(&gateway, text).await?;
            (found.hits, found.has_more, found.looked_at)
        }
    };
    if let ([hit], false) = (found.as_slice(), has_more)
        && !page_of(hit).is_empty()
    {
        return Ok(see_other(&page_of(hit)));
    }
    let row = |hit: &Hit| Row {
        kind: hit.kind,
        by: hit.by,
        id: legible(&hit.id, CHARS_MAX),
        says: legible(&hit.says, CHARS_MAX),
        page: page_of(hit),
    };
    let asked = part(text);
    html(&Search {
        frame: frame.also(format!("v1/search?text={asked}"), format!("holdfast search {}", words::shell(text))),
        text: text.to_owned(),
        rows: found.iter().map(row).collect(),
        has_more,
        looked_at,
    })
}
