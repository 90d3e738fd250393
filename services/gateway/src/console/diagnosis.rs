//! What is wrong with the fleet: each finding with its cause, what is at stake, and what to do.

use std::sync::Arc;

use askama::Template;
use audit::diagnosis::{Code, Finding};
use axum::{Extension, extract::State, response::Response};

use super::{
    frame::{Frame, Signed, html},
    overview::Wrong,
    words,
};
use crate::{Gateway, caller::Scope, diagnosis::last_look, problem::Problem};

struct Card {
    wrong: Wrong,
    means: &'static str,
    at_stake: String,
    evidence: String,
    act: String,
    clears: String,
}

impl Card {
    fn of(finding: &Finding) -> Self {
        Self {
            wrong: Wrong::of(finding),
            means: finding.code.page().means,
            at_stake: finding.at_stake.clone(),
            evidence: finding.evidence.clone(),
            act: finding.act.clone(),
            clears: finding.clears.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "diagnosis.html")]
struct Page {
    frame: Frame,
    cards: Vec<Card>,
    /// Why some of it is not known, each with the codes.
    unknown: Vec<(String, String)>,
    /// How many checks found nothing.
    passed: usize,
    looked_at: String,
}

/// `GET /console/diagnosis`
pub(super) async fn page(State(gateway): State<Arc<Gateway>>, Extension(visitor): Signed) -> Result<Response, Problem> {
    visitor.caller.must(Scope::Operate)?;
    let look = last_look(&gateway).await;
    let found = &look.diagnosis;
    let unknown = |unknown: &audit::diagnosis::Unknown| {
        let codes: Vec<&str> = unknown.codes.iter().map(|code| code.page().word).collect();
        (unknown.why.clone(), codes.join(", "))
    };
    let is_bad = |code: &&Code| {
        found.findings.iter().any(|finding| finding.code == **code)
            || found.unknown.iter().any(|unknown| unknown.codes.contains(code))
    };
    html(&Page {
        frame: Frame::of(&gateway, &visitor, "Diagnosis").also("v1/admin/diagnosis", "holdfast diagnose"),
        cards: found.findings.iter().map(Card::of).collect(),
        unknown: found.unknown.iter().map(unknown).collect(),
        passed: Code::ALL.iter().filter(|code| !is_bad(code)).count(),
        looked_at: words::time(&found.at),
    })
}
