//! HTTP: the API, the buyer's page, and the controls.

use std::{convert::Infallible, io, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State as Extracted},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    call::{Answer, Call, Manner},
    control, page,
    state::Shared,
};

/// What a call may carry.
const BODY_MAX: usize = 1 << 20;

/// Marks an answer that nobody gets: the connection is closed instead.
#[derive(Debug, Clone, Copy)]
struct NoAnswer;

#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
struct Lost;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().merge(control::routes()).merge(page::routes()).fallback(api).with_state(shared)
}

/// Accepts until it is dropped, and then ends all connections.
pub(crate) async fn listen(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, router.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    stream.set_nodelay(true).ok();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = TowerToHyperService::new(router.clone());
        async move { seen(router.call(request).await) }
    });
    // A connection that breaks is the client's to notice.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

/// An error makes hyper close the connection without an answer.
fn seen(answered: Result<Response, Infallible>) -> Result<Response, Lost> {
    match answered {
        Ok(response) if response.extensions().get::<NoAnswer>().is_some() => Err(Lost),
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

async fn api(Extracted(shared): Extracted<Arc<Shared>>, request: Request) -> Response {
    let Ok(call) = read(request).await else { return text(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", String::new()) };
    let answer = shared.with(|state| state.serve(&call));
    match answer.manner {
        Manner::AtOnce => respond(answer, call.key),
        Manner::After(time) => {
            sleep_until(Instant::now() + time).await;
            respond(answer, call.key)
        }
        Manner::Never => no_answer(),
        Manner::NeverAfter(time) => {
            sleep_until(Instant::now() + time).await;
            no_answer()
        }
    }
}

async fn read(request: Request) -> Result<Call, axum::Error> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await?;
    let form =
        if parts.method == Method::GET { Bytes::from(parts.uri.query().unwrap_or_default().to_owned()) } else { body };
    Ok(Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        form,
        content_type: header(&parts.headers, "content-type"),
        authorization: header(&parts.headers, "authorization"),
        key: header(&parts.headers, "idempotency-key"),
        version: header(&parts.headers, "stripe-version"),
    })
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}

fn respond(answer: Answer, key: Option<String>) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if answer.body.starts_with('<') { "text/html" } else { "application/json" };
    let mut response = text(status, kind, answer.body);
    let is_replayed = answer.original.is_some();
    let named = [
        ("request-id", Some(answer.request_id)),
        ("stripe-version", Some(crate::API_VERSION.to_owned())),
        ("idempotency-key", key),
        ("original-request", answer.original),
        ("idempotent-replayed", is_replayed.then(|| "true".to_owned())),
        ("stripe-should-retry", answer.should_retry.map(|should| should.to_string())),
    ];
    for (name, value) in named {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn no_answer() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(NoAnswer);
    response
}

pub(crate) fn text(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Listens on this machine only.
pub(crate) async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).await
}
