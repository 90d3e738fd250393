//! Rounds: how many shares are sold, and what has happened.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{RawPathParams, RawQuery, State},
    response::Response,
};
use domain::legible;
use platform::clock;

use super::{
    acts::{self, Offer},
    frame::{Frame, Signed, html},
    order::{self, Receipt, StreamEnd},
    orders::query_of,
    stock::{NAME_CHARS_MAX, page_of},
    words,
};
use crate::{
    Gateway,
    caller::Scope,
    catalog,
    problem::Problem,
    read::{self, Round, id},
};

/// A round in a list.
struct Row {
    id: String,
    short: String,
    prize: String,
    status: words::State,
    price: String,
    closes: String,
    round: Round,
}

impl Row {
    fn of(round: Round) -> Self {
        let id = round.round_id.to_string();
        Self {
            short: words::id(&id),
            id,
            prize: legible(&round.prize, NAME_CHARS_MAX),
            status: words::state(&round.status),
            price: words::money(&round.share_price),
            closes: words::distance(&round.closes_at, clock::now()),
            round,
        }
    }
}

#[derive(Template)]
#[template(path = "rounds.html")]
struct Rounds {
    frame: Frame,
    rows: Vec<Row>,
    /// The query of the next page. Empty: there is none.
    next: String,
}

/// `GET /console/rounds`
pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let found = catalog::page_of_rounds(&gateway, &page_of(query.as_deref())?).await?;
    let last = found.data.last().filter(|_| found.has_more).map(|last| last.round_id.to_string());
    let next = last.map(|last| query_of([("starting_after", last.as_str())].into_iter()));
    html(&Rounds {
        frame: Frame::of(&gateway, &visitor, "Rounds").also("v1/rounds", "holdfast list rounds"),
        next: next.unwrap_or_default(),
        rows: found.data.into_iter().map(Row::of).collect(),
    })
}

#[derive(Template)]
#[template(path = "round.html")]
struct RoundPage {
    frame: Frame,
    row: Row,
    closes_at: String,
    /// Whether there is a page of it for everybody.
    public: bool,
    story: Option<StreamEnd>,
    offers: Vec<Offer>,
    receipt: Option<Receipt>,
}

/// `GET /console/rounds/{round_id}`
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    params: RawPathParams,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let round_id = id(&params, "round_id")?;
    let round = read::round_of(&gateway, round_id).await?;
    let story = order::end_of_stream(&gateway, &visitor, &format!("round-{round_id}")).await?;
    let frame = Frame::of(&gateway, &visitor, format!("Round {}", words::id(&round_id.to_string())));
    html(&RoundPage {
        frame: frame.also(format!("v1/rounds/{round_id}"), format!("holdfast get round {round_id}")),
        closes_at: words::time(&round.closes_at),
        public: gateway.settings.public_rounds,
        offers: acts::of_round(&visitor, &round),
        receipt: order::receipt(&gateway, query.as_deref()).await?,
        row: Row::of(round),
        story,
    })
}
