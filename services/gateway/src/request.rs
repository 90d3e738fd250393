//! What is read of a request before anything is done: its body, its key, and how long it will wait.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use platform::{config, config::ms};

use crate::problem::Problem;

/// The most characters of a key.
const KEY_CHARS_MAX: usize = 255;

/// The only value of a header.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (value, another) = (values.next(), values.next());
    if another.is_some() {
        return Err(Problem::own("INVALID_PARAMETER", format!("the header {name} is there twice")).of(name));
    }
    let text = |value: &'a axum::http::HeaderValue| {
        let unreadable =
            |_error| Problem::own("INVALID_PARAMETER", format!("the header {name} is no plain text")).of(name);
        value.to_str().map(str::trim).map_err(unreadable)
    };
    value.map(text).transpose()
}

/// The key under which a request is done once: bare, or in the quotes of a structured field.
///
/// # Errors
/// There is none, or none that can be read.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    const NAME: &str = "Idempotency-Key";
    let given = only(headers, "idempotency-key")?;
    let key = given.map(|key| key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key));
    match key {
        None | Some("") => {
            let detail = "give each request that changes something a header Idempotency-Key of its own, such as a UUID, and \
                          send it again with the same one if no answer comes";
            Err(Problem::own("IDEMPOTENCY_KEY_MISSING", detail).of(NAME))
        }
        Some(key) if key.chars().count() > KEY_CHARS_MAX => {
            let detail = format!("an Idempotency-Key has at most {KEY_CHARS_MAX} characters");
            Err(Problem::own("INVALID_PARAMETER", detail).of(NAME))
        }
        Some(key) => Ok(key),
    }
}

/// How long the caller will wait for the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// Zero: only until the broker has the command.
    pub(crate) limit: Duration,
    /// Whether the caller has said so.
    pub(crate) is_preferred: bool,
}

/// Reads `Prefer: respond-async` and `Prefer: wait=SECONDS` (RFC 7240). What else is preferred is passed over, as that standard has it.
pub(crate) fn wait(headers: &HeaderMap, settings: &config::Gateway) -> Wait {
    let given = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wait = Wait { limit: ms(settings.wait_ms), is_preferred: false };
    let (mut is_async, mut seconds) = (false, None);
    for preference in given.flat_map(|value| value.split(',')).map(str::trim) {
        match preference.split_once('=') {
            None if preference.eq_ignore_ascii_case("respond-async") => is_async = true,
            Some((name, value)) if name.trim().eq_ignore_ascii_case("wait") => {
                seconds = seconds.or_else(|| value.trim().parse::<u64>().ok());
            }
            None | Some(_) => {}
        }
    }
    if is_async || seconds.is_some() {
        let limit = seconds.map_or(Duration::ZERO, Duration::from_secs).min(ms(settings.wait_max_ms));
        wait = Wait { limit, is_preferred: true };
    }
    wait
}

/// The body of a request in JSON; nothing at all is an empty object.
///
/// # Errors
/// It is not said to be JSON, has too many bytes, or comes too slowly.
pub(crate) async fn body(headers: &HeaderMap, body: Body, settings: &config::Gateway) -> Result<Bytes, Problem> {
    let (most, within) = (settings.body_bytes_max, ms(settings.read_ms));
    let collected = tokio::time::timeout(within, Limited::new(body, most).collect()).await.map_err(|_elapsed| {
        Problem::own("BODY_TOO_SLOW", format!("the body of the request did not arrive within {} ms", settings.read_ms))
    })?;
    let bytes = collected.map(|collected| collected.to_bytes()).map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            return Problem::rejected("MESSAGE_TOO_LARGE", &format!("a body has at most {most} bytes"));
        }
        Problem::own("INVALID_BODY", format!("the body of the request broke off: {error}"))
    })?;
    if bytes.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let kind = only(headers, "content-type")?.unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let mut problem = Problem::rejected(
            "UNSUPPORTED_CONTENT_TYPE",
            &format!("the body must be JSON, with the header Content-Type: application/json, not {kind:?}"),
        );
        problem.status = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(problem.of("Content-Type"));
    }
    if let Some(encoding) = only(headers, header::CONTENT_ENCODING.as_str())
        .ok()
        .flatten()
        .filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    {
        let mut problem = Problem::rejected(
            "UNSUPPORTED_CONTENT_TYPE",
            &format!("the body must not be encoded, and is said to be {encoding:?}"),
        );
        problem.status = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(problem.of("Content-Encoding"));
    }
    Ok(bytes)
}
