//! What every page has: the environment it is of, the ways to the others, who looks, and when it was so.

use std::sync::Arc;

use askama::Template;
use audit::diagnosis::{Code, Diagnosis};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use platform::clock;

use super::{PREFIX, assets, session::Visitor, words};
use crate::{Gateway, caller::Scope, commands::insert, problem::Problem};

/// A way to a page.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    /// How much waits there. Empty: nothing, or it is not known.
    pub(super) count: String,
    pub(super) is_here: bool,
}

/// What stands around a page.
#[derive(Debug)]
pub(super) struct Frame {
    /// The console's root, as seen from the page: `../`.
    pub(super) root: String,
    pub(super) title: String,
    /// What the operator calls this installation.
    pub(super) environment: String,
    /// Who looks. Empty: nobody has signed in.
    pub(super) user: String,
    pub(super) ways: Vec<Way>,
    /// When it was so.
    pub(super) at: String,
    pub(super) style: String,
    pub(super) script: String,
    pub(super) htmx: String,
    /// The page as the API answers it, below the gateway's own address. Empty: it has none.
    pub(super) api: String,
    /// The same as a command. Empty: there is none.
    pub(super) command: String,
}

/// The pages that one can go to, and what one needs for them.
const WAYS: [(&str, &str, Scope); 9] = [
    ("", "Overview", Scope::OrdersRead),
    ("orders", "Orders", Scope::OrdersRead),
    ("decide", "To decide", Scope::OrdersRead),
    ("stock", "Stock", Scope::OrdersRead),
    ("rounds", "Rounds", Scope::OrdersRead),
    ("letters", "Dead letters", Scope::Operate),
    ("fleet", "Fleet", Scope::Operate),
    ("diagnosis", "Diagnosis", Scope::Operate),
    ("log", "Log", Scope::AuditRead),
];

/// What waits for a person.
const DECIDED_BY_PEOPLE: [Code; 6] = [
    Code::RefundUnknown,
    Code::RefundUndecided,
    Code::MoneyUnmatched,
    Code::MoneyOwed,
    Code::MoneyCallStuck,
    Code::DisputeOpen,
];

impl Frame {
    /// Around a page for somebody who has signed in.
    pub(super) fn of(gateway: &Gateway, visitor: &Visitor, title: impl Into<String>) -> Self {
        let known = gateway.looks.known();
        let here = visitor.path.split(['/', '?']).next().unwrap_or_default();
        let way = |(path, name, _): (&'static str, &'static str, Scope)| Way {
            path,
            name,
            count: known.as_deref().map(|known| waiting(&known.diagnosis, path)).unwrap_or_default(),
            is_here: path == here,
        };
        let ways = WAYS.into_iter().filter(|(_, _, scope)| visitor.caller.may(*scope)).map(way).collect();
        Self { user: visitor.caller.name.clone(), ways, ..Self::outside(gateway, &visitor.root, title) }
    }

    /// Around a page for anybody.
    pub(super) fn outside(gateway: &Gateway, root: &str, title: impl Into<String>) -> Self {
        Self {
            root: root.to_owned(),
            title: title.into(),
            environment: gateway.settings.console_environment.clone(),
            user: String::new(),
            ways: Vec::new(),
            at: words::time(&clock::now().to_string()),
            style: assets::STYLE.name(),
            script: assets::SCRIPT.name(),
            htmx: assets::HTMX.name(),
            api: String::new(),
            command: String::new(),
        }
    }

    /// The same as the API answers it, and as a command.
    pub(super) fn also(self, api: impl Into<String>, command: impl Into<String>) -> Self {
        Self { api: api.into(), command: command.into(), ..self }
    }
}

/// How much waits on a page.
fn waiting(known: &Diagnosis, path: &str) -> String {
    let of = |codes: &[Code]| -> i64 {
        let found = known.findings.iter().filter(|finding| codes.contains(&finding.code));
        found.map(|finding| finding.numbers.get("count").copied().unwrap_or(1)).sum()
    };
    let count = match path {
        "decide" => of(&DECIDED_BY_PEOPLE),
        "letters" => of(&[Code::DeadLetters]),
        "diagnosis" => i64::try_from(known.findings.len()).unwrap_or(i64::MAX),
        _ => 0,
    };
    if count > 0 { count.to_string() } else { String::new() }
}

/// A page as an answer.
///
/// # Errors
/// It cannot be written, which is a defect.
pub(super) fn html(page: &impl Template) -> Result<Response, Problem> {
    let text = page.render().map_err(|error| {
        tracing::error!(%error, "a page of the console cannot be written");
        Problem::own("INTERNAL", "the page cannot be written, which is a defect on our side")
    })?;
    let mut response = (StatusCode::OK, text).into_response();
    insert(response.headers_mut(), header::CONTENT_TYPE, "text/html; charset=utf-8");
    Ok(response)
}

#[derive(Template)]
#[template(path = "refused.html")]
struct Refused<'a> {
    frame: Frame,
    code: &'a str,
    detail: &'a str,
}

/// What was not done, as a page.
pub(super) fn refused(gateway: &Gateway, visitor: Option<&Visitor>, root: &str, problem: &Problem) -> Response {
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        _ => "Not possible now",
    };
    let frame = match visitor {
        Some(visitor) => Frame::of(gateway, visitor, title),
        None => Frame::outside(gateway, root, title),
    };
    let page = html(&Refused { frame, code: &problem.code, detail: &problem.detail });
    let mut response = page.unwrap_or_else(|_unwritten| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    *response.status_mut() = problem.status;
    response
}

/// The console's root, as seen from a page beside it.
pub(super) const HERE: &str = "./";

/// The console's root, as seen from a path.
pub(super) fn root_of(path: &str) -> String {
    let depth = path.strip_prefix(PREFIX).map_or(0, |rest| rest.matches('/').count());
    match depth.saturating_sub(1) {
        0 => HERE.to_owned(),
        more => "../".repeat(more),
    }
}

/// A path and its query, below that root.
pub(super) fn within(path: &str, query: Option<&str>) -> String {
    let path = path.strip_prefix(PREFIX).unwrap_or_default().trim_start_matches('/');
    match query {
        Some(query) if !query.is_empty() => format!("{path}?{query}"),
        Some(_) | None => path.to_owned(),
    }
}

/// A part of a path or a query.
pub(super) fn part(text: &str) -> String {
    crate::commands::encoded(text)
}

/// A visitor, in a handler.
pub(super) type Signed = axum::Extension<Arc<Visitor>>;

#[cfg(test)]
mod tests {
    use super::{root_of, within};

    #[test]
    fn every_page_knows_the_way_to_the_root() {
        for (path, root) in [
            ("/console/", "./"),
            ("/console/orders", "./"),
            ("/console/orders/7", "../"),
            ("/console/orders/7/refunds/8", "../../../"),
        ] {
            assert_eq!(root_of(path), root, "{path}");
        }
        assert_eq!(within("/console/orders", Some("limit=1")), "orders?limit=1");
        assert_eq!(within("/console/", None), "");
    }
}
