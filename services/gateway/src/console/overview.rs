//! The first page: what needs somebody, and what came in last.

use std::sync::Arc;

use askama::Template;
use audit::diagnosis::Finding;
use axum::{Extension, extract::State, response::Response};
use platform::clock;

use super::{
    frame::{Frame, Signed, html},
    orders::Row,
    words,
};
use crate::{Gateway, caller::Scope, diagnosis::last_look, orders::list, problem::Problem, request::Query};

/// Orders that are shown.
const LAST: &str = "limit=10";

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    /// What is wrong. `None`: the visitor may not see it.
    findings: Option<Vec<Wrong>>,
    /// When that was looked at.
    looked_at: String,
    /// What could not be looked at.
    unknown: Vec<String>,
    orders: Vec<Row>,
}

/// Something that is wrong, in few words.
pub(super) struct Wrong {
    pub(super) severity: words::State,
    pub(super) code: &'static str,
    pub(super) subject: String,
    pub(super) since: String,
    pub(super) cause: String,
}

impl Wrong {
    pub(super) fn of(finding: &Finding) -> Self {
        Self {
            severity: words::state(finding.severity.word()),
            code: finding.code.page().word,
            subject: finding.subject.clone(),
            since: finding.since.as_deref().map(|since| words::distance(since, clock::now())).unwrap_or_default(),
            cause: finding.cause.clone(),
        }
    }
}

/// `GET /console/`
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, Extension(visitor): Signed) -> Result<Response, Problem> {
    visitor.caller.must(Scope::OrdersRead)?;
    let orders = list::page(&gateway, &Query::read(LAST, &list::PARAMETERS)?).await?;
    let now = clock::now();
    let known = match visitor.caller.may(Scope::Operate) {
        true => Some(last_look(&gateway).await),
        false => None,
    };
    let frame = Frame::of(&gateway, &visitor, "Overview").also("v1/admin/diagnosis", "holdfast diagnose");
    let unknown = known.iter().flat_map(|known| &known.diagnosis.unknown).map(|unknown| unknown.why.clone());
    html(&Overview {
        frame,
        looked_at: known.as_ref().map(|known| words::time(&known.diagnosis.at)).unwrap_or_default(),
        unknown: unknown.collect(),
        findings: known.as_deref().map(|known| known.diagnosis.findings.iter().map(Wrong::of).collect()),
        orders: orders.data.iter().map(|order| Row::of(order, now)).collect(),
    })
}
