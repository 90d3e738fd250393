//! Lists as files: all that a list has, and not only a page of it, in CSV (RFC 4180), times in UTC.

use std::{borrow::Cow, io::Error, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use csv::{Terminator, WriterBuilder};
use futures::stream::unfold;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    frame::Signed,
    orders::{PLACES, given, pairs, query_of},
};
use crate::{
    Gateway,
    caller::Scope,
    catalog,
    commands::insert,
    orders::list::{self, OrderSummary},
    problem::Problem,
    read::Product,
    request::Query,
};

/// Rows of the longest file.
const ROWS_MAX: usize = 1_000_000;

/// Rows that are read at once.
const PAGE: &str = "100";

/// Files that are written at the same time: each reads the database all the while.
const FILES_MAX: usize = 4;

static FILES: Semaphore = Semaphore::const_new(FILES_MAX);

/// A list that can be had as a file.
#[derive(Debug, Clone, Copy)]
enum List {
    Orders,
    Stock,
}

impl List {
    const fn heading(self) -> &'static [&'static str] {
        match self {
            Self::Orders => &[
                "order_id",
                "reference",
                "customer_id",
                "status",
                "payment_status",
                "fulfillment_status",
                "placed_at",
                "total_minor_units",
                "currency",
            ],
            Self::Stock => &["sku", "name", "on_hand", "held", "available"],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders.csv",
            Self::Stock => "stock.csv",
        }
    }

    /// The rows that a query asks for, and behind which there are more.
    async fn page(self, gateway: &Gateway, query: &str) -> Result<(Vec<String>, Option<String>), Problem> {
        match self {
            Self::Orders => {
                let found = list::page(gateway, &Query::read(query, &list::PARAMETERS)?).await?;
                let last = found.data.last().filter(|_| found.has_more).map(|last| last.order_id.to_string());
                Ok((found.data.iter().map(order).collect(), last))
            }
            Self::Stock => {
                let found = catalog::page_of_products(gateway, &Query::read(query, &catalog::PARAMETERS)?).await?;
                let last = found.data.last().filter(|_| found.has_more).map(|last| last.sku.clone());
                Ok((found.data.iter().map(product).collect(), last))
            }
        }
    }
}

fn order(order: &OrderSummary) -> String {
    line(&[
        &order.order_id.to_string(),
        order.reference.as_deref().unwrap_or_default(),
        &order.customer_id,
        &order.status,
        &order.payment_status,
        &order.fulfillment_status,
        &order.placed_at,
        &order.total.minor_units,
        &order.total.currency,
    ])
}

fn product(product: &Product) -> String {
    line(&[&product.sku, &product.name, &product.on_hand, &product.held, &product.available])
}

fn line(cells: &[&str]) -> String {
    let mut line = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let written = line.write_record(cells.iter().map(|text| cell(text).into_owned()));
    let bytes = written.ok().and_then(|()| line.into_inner().ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// A cell that no program of sheets takes for a formula.
fn cell(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<i64>().is_err();
    if is_formula { format!("'{text}").into() } else { text.into() }
}

/// A file that is being written.
struct File {
    gateway: Arc<Gateway>,
    list: List,
    /// What was asked for.
    given: Vec<(String, String)>,
    /// The rows that are read next. `None`: the file is at its end.
    next: Option<String>,
    rows: usize,
    _room: SemaphorePermit<'static>,
}

impl File {
    /// The query of a page.
    fn query(&self, after: Option<&str>) -> String {
        query_of(pairs(&self.given).chain([("limit", PAGE)]).chain(after.map(|after| ("starting_after", after))))
    }

    /// What is written next. A file that is not whole breaks off, so that nobody takes it for one that is.
    async fn part(&mut self) -> Option<Result<String, Error>> {
        let query = self.next.take()?;
        let page = match self.rows >= ROWS_MAX {
            true => Err(format!("there are more than {ROWS_MAX} rows")),
            false => self.list.page(&self.gateway, &query).await.map_err(|problem| problem.detail),
        };
        match page {
            Ok((rows, last)) => {
                self.rows += rows.len();
                self.next = last.map(|last| self.query(Some(&last)));
                Some(Ok(rows.concat()))
            }
            Err(why) => {
                tracing::warn!(list = self.list.name(), why, "a list as a file breaks off");
                Some(Err(Error::other(why)))
            }
        }
    }
}

/// `GET /console/orders.csv`
pub(super) async fn orders(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    written(gateway, List::Orders, query.as_deref()).await
}

/// `GET /console/stock.csv`
pub(super) async fn stock(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    written(gateway, List::Stock, query.as_deref()).await
}

/// The whole of a list. What cannot be asked for is said before it begins.
async fn written(gateway: Arc<Gateway>, list: List, query: Option<&str>) -> Result<Response, Problem> {
    let mut given = given(query);
    given.retain(|(name, _)| !PLACES.contains(&name.as_str()));
    let is_one = given.iter().any(|(name, _)| name == "reference");
    let room = FILES.try_acquire();
    let room = room.map_err(|_full| Problem::own("OVERLOADED", "as many files are written as may be: come again"))?;
    let mut file = File { gateway, list, given, next: None, rows: 0, _room: room };
    let query = if is_one { query_of(pairs(&file.given)) } else { file.query(None) };
    let (rows, last) = list.page(&file.gateway, &query).await?;
    file.rows = rows.len();
    file.next = last.map(|last| file.query(Some(&last)));
    let first = line(list.heading()) + &rows.concat();
    let parts = unfold((Some(first), file), async |(first, mut file)| {
        let part = match first {
            Some(first) => Ok(first),
            None => file.part().await?,
        };
        Some((part.map(Bytes::from), (None, file)))
    });
    let mut response = (StatusCode::OK, Body::from_stream(parts)).into_response();
    insert(response.headers_mut(), header::CONTENT_TYPE, "text/csv; charset=utf-8");
    let name = format!("attachment; filename=\"{}\"", list.name());
    insert(response.headers_mut(), header::CONTENT_DISPOSITION, &name);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_cell_is_one_cell_and_no_formula() {
        let cells = ["=HYPERLINK(\"x\")", "a,b", "say \"so\"", "+1", "-5", "@x", "two\nlines", "Größe", ""];
        let expected = "\"'=HYPERLINK(\"\"x\"\")\",\"a,b\",\"say \"\"so\"\"\",+1,-5,'@x,\"two\nlines\",Größe,\r\n";
        assert_eq!(line(&cells), expected);
    }
}
