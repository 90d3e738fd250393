//! What waits for a person: refunds, reports, disputes and money that nobody but a person can decide about, each with its evidence.

use std::sync::Arc;

use askama::Template;
use audit::timeline;
use axum::{
    Extension,
    extract::{RawPathParams, State},
    response::Response,
};
use domain::legible;
use platform::clock;
use uuid::Uuid;

use super::{
    acts::{self, Offer},
    frame::{Frame, Signed, html},
    order::Story,
    session::Visitor,
    words,
};
use crate::{
    Gateway,
    caller::Scope,
    events,
    orders::{self, shape::Refund},
    problem::Problem,
    read::id,
    waiting::{self, Waiting},
};

/// Letters of what was said about something.
const SAID_CHARS_MAX: usize = 400;

/// Something that waits.
struct Card {
    waiting: Waiting,
    money: String,
    since: String,
    reason: String,
    id: String,
    order_id: String,
    /// Its page with the evidence. Empty: the order has it.
    page: String,
    offers: Vec<Offer>,
}

#[derive(Template)]
#[template(path = "decide.html")]
struct Decide {
    frame: Frame,
    cards: Vec<Card>,
    total: String,
}

impl Card {
    fn of(visitor: &Visitor, waiting: Waiting) -> Self {
        let text = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        let (order_id, payment_id) = (text(waiting.order_id), text(waiting.payment_id));
        let money = waiting.amount.as_ref().map(words::money).unwrap_or_default();
        let (page, offers) = match waiting.kind {
            "refund_unknown" | "refund_undecided" => (
                format!("orders/{order_id}/refunds/{}", waiting.id),
                acts::of_refund(visitor, (&order_id, &payment_id, &waiting.id), &money),
            ),
            "report" => (String::new(), acts::of_report(visitor, &payment_id, &waiting.id, &money)),
            _ => (String::new(), Vec::new()),
        };
        Self {
            money,
            since: waiting.since.as_deref().map(|since| words::distance(since, clock::now())).unwrap_or_default(),
            reason: legible(&waiting.reason, SAID_CHARS_MAX),
            id: legible(&waiting.id, SAID_CHARS_MAX),
            order_id,
            page,
            offers,
            waiting,
        }
    }
}

/// `GET /console/decide`
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, Extension(visitor): Signed) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let found = waiting::look(&gateway).await?;
    html(&Decide {
        frame: Frame::of(&gateway, &visitor, "To decide").also("v1/waiting", "holdfast diagnose"),
        cards: found.data.into_iter().map(|waiting| Card::of(&visitor, waiting)).collect(),
        total: found.total,
    })
}

#[derive(Template)]
#[template(path = "refund.html")]
struct RefundPage {
    frame: Frame,
    refund: Refund,
    step: words::State,
    amount: String,
    deadline: String,
    next_try: String,
    story: Option<Story>,
    /// Why there is no story.
    untold: String,
    offers: Vec<Offer>,
}

/// `GET /console/orders/{order_id}/refunds/{refund_id}`: a refund with all that is known of it.
pub(super) async fn refund(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    params: RawPathParams,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let (order_id, refund_id) = (id(&params, "order_id")?, id(&params, "refund_id")?);
    let refund = orders::refund_of(&gateway, order_id, refund_id).await?;
    let (story, untold) = match events::of_order(&gateway.pool, order_id).await {
        Ok((_, events)) => {
            let mut story = timeline::told(&events);
            story.retain(|entry| timeline::names(&entry.data, &refund_id.to_string()));
            (Some(Story::of(&story)), String::new())
        }
        Err(problem) => (None, problem.detail),
    };
    let (step, amount) = (refund.step.as_deref().unwrap_or(&refund.status), words::money(&refund.amount));
    let ids = (order_id.to_string(), refund.payment_id.to_string(), refund_id.to_string());
    let offers = match ["unknown", "reversed", "deferred"].contains(&step) {
        true => acts::of_refund(&visitor, (&ids.0, &ids.1, &ids.2), &amount),
        false => Vec::new(),
    };
    let (now, path) = (clock::now(), format!("v1/orders/{order_id}/refunds/{refund_id}"));
    let command = format!("holdfast get refund {refund_id} --order {order_id}");
    html(&RefundPage {
        frame: Frame::of(&gateway, &visitor, format!("Refund of {amount}")).also(path, command),
        step: words::state(step),
        amount,
        deadline: refund.deadline.as_deref().map(|at| words::distance(at, now)).unwrap_or_default(),
        next_try: refund.call.as_ref().map(|call| words::distance(&call.next_try_at, now)).unwrap_or_default(),
        story,
        untold,
        offers,
        refund,
    })
}
