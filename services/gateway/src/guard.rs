//! What every request goes through: an id of its own, room for it, and one form for whatever goes wrong.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use metrics::{counter, histogram};
use platform::{
    config::ms,
    metric::{Label, Metric},
};
use uuid::Uuid;

use crate::{Gateway, caller::bearer, console, problem::Problem};

const REQUESTS: &str = "holdfast_gateway_requests_total";
const REQUEST_SECONDS: &str = "holdfast_gateway_request_seconds";
const SECONDS: &[f64] = &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

pub(crate) const ANSWERED: Metric = Metric::counter(
    REQUESTS,
    &[Label::open("route"), Label::open("status")],
    "requests that were answered, by status of HTTP",
);
pub(crate) const TOOK: Metric =
    Metric::histogram(REQUEST_SECONDS, SECONDS, &[Label::open("route")], "from a request to its answer");

/// The id of a request, on its answer, in its problem, and on all events that it caused.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Names a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(pub(crate) Uuid);

/// Answers every request in one form, whatever happens to it.
pub(crate) async fn guard(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = RequestId(new_id());
    request.extensions_mut().insert(id);
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let response = match gateway.requests.try_acquire() {
        Ok(_room) => {
            let answered = AssertUnwindSafe(run(&gateway, request, next)).catch_unwind().await;
            answered.unwrap_or_else(|_panic| {
                tracing::error!(request_id = %id.0, path, "a request met a defect");
                Problem::own("INTERNAL", "it met a defect on our side: try again, and tell us the request's id")
                    .into_response()
            })
        }
        Err(_full) => {
            Problem::own("OVERLOADED", "as many requests are under way as may be: come again").into_response()
        }
    };
    let mut response = match console::has(&path) {
        true => console::in_one_form(&gateway, response, &path),
        false => in_one_form(response, &id.0.to_string(), &path),
    };
    if let Ok(value) = HeaderValue::from_str(&id.0.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    counter!(REQUESTS, "route" => route.clone(), "status" => status.to_string()).increment(1);
    histogram!(REQUEST_SECONDS, "route" => route).record(begun.elapsed().as_secs_f64());
    tracing::debug!(request_id = %id.0, path, status, ms = begun.elapsed().as_millis(), "answered");
    response
}

/// Whatever a request waits for, it gets an answer in time. What it has sent by then is not undone: the same key asks again.
async fn run(gateway: &Gateway, request: Request, next: Next) -> Response {
    let answered = async {
        if let (Some(jwt), Ok(token)) = (&gateway.jwt, bearer(request.headers())) {
            jwt.learn(token).await;
        }
        next.run(request).await
    };
    let within_ms = gateway.settings.request_ms;
    tokio::time::timeout(ms(within_ms), answered).await.unwrap_or_else(|_elapsed| {
        let detail = format!(
            "it took longer than the {within_ms} ms that a request may take; what it asks for may be done all the same: send it again, \
             with the same Idempotency-Key"
        );
        Problem::own("TIMED_OUT", detail).into_response()
    })
}

/// Whatever was refused becomes a problem document, also what the router and the readers of a request refuse by themselves.
fn in_one_form(response: Response, request_id: &str, path: &str) -> Response {
    let problem = response.extensions().get::<Problem>().cloned().or_else(|| refused(response.status()));
    let Some(problem) = problem else { return response };
    // Of a method that is not allowed, which are; of an answer, whether it was given before.
    let kept = response.headers().clone();
    let mut document = problem.document(request_id, path);
    for (name, value) in &kept {
        if !document.headers().contains_key(name) && *name != header::CONTENT_LENGTH {
            document.headers_mut().insert(name, value.clone());
        }
    }
    document
}

/// What the router and the readers of a request refuse by themselves.
pub(crate) fn refused(status: StatusCode) -> Option<Problem> {
    let (code, detail) = match status.as_u16() {
        0..400 => return None,
        404 => ("NOT_FOUND", "there is no such resource; /openapi.json lists all there are"),
        405 => {
            ("METHOD_NOT_ALLOWED", "the resource does not know this method; the header Allow names those that it knows")
        }
        400..500 => ("INVALID_PARAMETER", "the path or the query cannot be read"),
        _ => ("INTERNAL", "it met a defect on our side: try again, and tell us the request's id"),
    };
    Some(Problem::own(code, detail))
}

#[expect(clippy::disallowed_methods, reason = "a request is an edge: its id names it, and derives from nothing")]
pub(crate) fn new_id() -> Uuid {
    Uuid::now_v7()
}
