//! How the fleet goes on: lag in events and in time, work that is due, consumers that stand still.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{Extension, extract::State, response::Response};
use platform::print::short;

use super::{
    acts::{self, Offer},
    frame::{Frame, Signed, html},
    words,
};
use crate::{
    Gateway,
    caller::Scope,
    diagnosis::last_look,
    fleet::{ConsumerState, FleetState},
    problem::Problem,
};

struct Row {
    consumer: ConsumerState,
    state: words::State,
    oldest: String,
    offers: Vec<Offer>,
}

#[derive(Template)]
#[template(path = "fleet.html")]
struct Page {
    frame: Frame,
    fleet: FleetState,
    looked_at: String,
    rows: Vec<Row>,
}

/// So many milliseconds, in words.
fn lasting(ms: &str) -> String {
    short(Duration::from_millis(ms.parse().unwrap_or_default()))
}

/// `GET /console/fleet`
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, Extension(visitor): Signed) -> Result<Response, Problem> {
    visitor.caller.must(Scope::Operate)?;
    let mut fleet = FleetState::of(&*last_look(&gateway).await);
    let row = |consumer: ConsumerState| Row {
        state: words::state(consumer.state),
        oldest: consumer.oldest_ms.as_deref().map(lasting).unwrap_or_default(),
        offers: acts::of_consumer(&visitor, &consumer),
        consumer,
    };
    let rows = std::mem::take(&mut fleet.consumers).into_iter().map(row).collect();
    html(&Page {
        frame: Frame::of(&gateway, &visitor, "Fleet").also("v1/admin/fleet", "holdfast status"),
        looked_at: words::time(&fleet.at),
        rows,
        fleet,
    })
}
