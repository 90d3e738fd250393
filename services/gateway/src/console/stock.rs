//! Products: how much there is of each, as an equation, and what has happened to it.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{RawPathParams, RawQuery, State},
    response::Response,
};
use domain::legible;

use super::{
    acts::{self, Offer},
    frame::{Frame, Signed, html, part},
    order::{self, Receipt, StreamEnd},
    orders::{given, pairs, query_of},
    words,
};
use crate::{
    Gateway,
    caller::Scope,
    catalog,
    problem::Problem,
    read::{self, Product, param},
    request::Query,
};

/// Products, and rounds, of a page.
pub(super) const ROWS: &str = "50";

/// Letters of the longest name that is shown.
pub(super) const NAME_CHARS_MAX: usize = 200;

#[derive(Template)]
#[template(path = "stock.html")]
struct Stock {
    frame: Frame,
    rows: Vec<Product>,
    /// The query of the next page. Empty: there is none.
    next: String,
}

/// The query of a page of what is on sale.
pub(super) fn page_of(query: Option<&str>) -> Result<Query, Problem> {
    let given = given(query);
    let more = (!given.iter().any(|(name, _)| name == "limit")).then_some(("limit", ROWS));
    Query::read(&query_of(pairs(&given).chain(more)), &catalog::PARAMETERS)
}

/// `GET /console/stock`
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let found = catalog::page_of_products(&gateway, &page_of(query.as_deref())?).await?;
    let last = found.data.last().filter(|_| found.has_more);
    let next = last.map(|last| query_of([("starting_after", last.sku.as_str())].into_iter()));
    html(&Stock {
        frame: Frame::of(&gateway, &visitor, "Stock").also("v1/products", "holdfast list products"),
        next: next.unwrap_or_default(),
        rows: found.data,
    })
}

#[derive(Template)]
#[template(path = "product.html")]
struct ProductPage {
    frame: Frame,
    product: Product,
    name: String,
    story: Option<StreamEnd>,
    offers: Vec<Offer>,
    receipt: Option<Receipt>,
}

/// `GET /console/stock/{sku}`
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    params: RawPathParams,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let sku = param(&params, "sku");
    let product = read::product_of(&gateway, sku).await?;
    let story = order::end_of_stream(&gateway, &visitor, &format!("product-{sku}")).await?;
    let command = format!("holdfast get product {}", words::shell(sku));
    html(&ProductPage {
        frame: Frame::of(&gateway, &visitor, sku).also(format!("v1/products/{}", part(sku)), command),
        name: legible(&product.name, NAME_CHARS_MAX),
        offers: acts::of_product(&visitor, sku),
        receipt: order::receipt(&gateway, query.as_deref()).await?,
        product,
        story,
    })
}
