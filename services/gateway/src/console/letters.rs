//! Dead letters, and what can be done about each.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{RawPathParams, RawQuery, State},
    response::Response,
};
use domain::legible;
use platform::clock;
use serde_json::Value;

use super::{
    acts::{self, Offer},
    frame::{Frame, Signed, html},
    orders::{given, pairs, query_of},
    words,
};
use crate::{
    Gateway,
    caller::Scope,
    letters::{self, DeadLetter},
    problem::Problem,
    read::param,
    request::Query,
};

/// Characters of what a letter says.
const SAID_CHARS_MAX: usize = 4_000;

struct Row {
    name: String,
    code: String,
    subject: String,
    key: String,
    reason: String,
    received: String,
}

impl Row {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            name: letter.letter.clone(),
            code: letter.code.clone(),
            subject: legible(&letter.subject, SAID_CHARS_MAX),
            key: legible(letter.key.as_deref().unwrap_or_default(), SAID_CHARS_MAX),
            reason: legible(&letter.reason, SAID_CHARS_MAX),
            received: words::distance(&letter.received_at, clock::now()),
        }
    }
}

#[derive(Template)]
#[template(path = "letters.html")]
struct Letters {
    frame: Frame,
    rows: Vec<Row>,
    /// Whether there are more than are shown.
    has_more: bool,
}

/// `GET /console/letters`
pub(super) async fn page(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::Operate)?;
    let asked = query_of(pairs(&given(query.as_deref())));
    let found = letters::list(&gateway, &Query::read(&asked, &letters::PARAMETERS)?).await?;
    html(&Letters {
        frame: Frame::of(&gateway, &visitor, "Dead letters").also("v1/admin/letters", "holdfast diagnose"),
        has_more: found.has_more,
        rows: found.data.iter().map(Row::of).collect(),
    })
}

/// A line as it is indented.
fn indented(line: &str) -> String {
    let said = line.trim_start_matches(' ');
    " ".repeat(line.len() - said.len()) + &legible(said, SAID_CHARS_MAX)
}

#[derive(Template)]
#[template(path = "letter.html")]
struct LetterPage {
    frame: Frame,
    row: Row,
    received_at: String,
    /// Since when it is over. Empty: it is open.
    settled: String,
    kind: &'static str,
    headers: Vec<(String, String)>,
    says: String,
    offers: Vec<Offer>,
}

/// `GET /console/letters/{letter}`
pub(super) async fn letter(
    State(gateway): State<Arc<Gateway>>,
    Extension(visitor): Signed,
    params: RawPathParams,
) -> Result<Response, Problem> {
    visitor.caller.must(Scope::Operate)?;
    let letter = letters::of_name(&gateway, param(&params, "letter")).await?;
    let name = &letter.letter;
    let header = |(name, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.clone(), legible(&value, SAID_CHARS_MAX))
    };
    let says = letter.data.as_str().map_or_else(|| format!("{:#}", letter.data), str::to_owned);
    let says = format!("{} {says}", letter.message_type.as_deref().unwrap_or_default());
    let (api, command) = (format!("v1/admin/letters/{name}"), format!("holdfast redrive {name} --dry-run"));
    html(&LetterPage {
        frame: Frame::of(&gateway, &visitor, format!("Letter {name}")).also(api, command),
        row: Row::of(&letter),
        received_at: words::time(&letter.received_at),
        settled: letter.settled_at.as_deref().map(words::time).unwrap_or_default(),
        kind: match letter.kind {
            "never" => "message that can never be handled",
            "call" => "call of somebody outside",
            kind => kind,
        },
        headers: letter.headers.as_object().into_iter().flatten().map(header).collect(),
        says: says.trim().lines().map(indented).collect::<Vec<_>>().join("\n"),
        offers: if letter.settled_at.is_none() { acts::of_letter(&visitor, name) } else { Vec::new() },
    })
}
