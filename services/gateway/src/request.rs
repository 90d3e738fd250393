//! What is read of a request before anything is done: its body, its key, and how long it will wait.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use platform::{config, config::ms, message::plain_text};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

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

/// The parameters behind the path.
#[derive(Debug)]
pub(crate) struct Query(BTreeMap<&'static str, String>);

impl Query {
    /// Reads them. What is not known is refused, for it may be a misspelt one.
    ///
    /// # Errors
    /// One that is not known, is there twice, or cannot be read.
    pub(crate) fn read(query: &str, known: &[&'static str]) -> Result<Self, Problem> {
        let mut given = BTreeMap::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let refused = |detail: String| Problem::own("INVALID_PARAMETER", detail).of(name);
            let name = known
                .iter()
                .find(|known| **known == name)
                .ok_or_else(|| refused(format!("there is no parameter {name:?}; there are {}", known.join(", "))))?;
            let value =
                decoded(value).ok_or_else(|| refused(format!("the value of {name} is not percent-encoded UTF-8")))?;
            if given.insert(*name, value).is_some() {
                return Err(refused(format!("the parameter {name} is there twice")));
            }
        }
        Ok(Self(given))
    }

    /// A parameter, if it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that is a number within these limits.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn number(&self, name: &'static str, least: i64, most: i64) -> Result<Option<i64>, Problem> {
        let read = |text: &str| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            let detail = || format!("{name} must be a whole number from {least} to {most}, not {text:?}");
            number.ok_or_else(|| Problem::own("INVALID_PARAMETER", detail()).of(name))
        };
        self.get(name).map(read).transpose()
    }

    /// A parameter that is `true` or `false`, and false unless it is given.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn is(&self, name: &'static str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                let detail = format!("{name} must be true or false, not {other:?}");
                Err(Problem::own("INVALID_PARAMETER", detail).of(name))
            }
        }
    }

    /// A parameter that is a point of time.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn time(&self, name: &'static str) -> Result<Option<OffsetDateTime>, Problem> {
        let read = |text: &str| {
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_not_one| {
                let shown: String = text.chars().take(64).collect();
                let detail = format!(
                    "{name} must be a time such as 2026-11-29T08:00:00Z, or with an offset whose plus is written %2B, not {shown:?}"
                );
                Problem::own("INVALID_PARAMETER", detail).of(name)
            })
        };
        self.get(name).map(read).transpose()
    }

    /// A parameter that is a UUID.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn uuid(&self, name: &'static str) -> Result<Option<Uuid>, Problem> {
        self.get(name).map(|text| uuid(name, text)).transpose()
    }
}

/// Whether a parameter of this name is a UUID. Two are names of others.
pub(crate) fn is_uuid(name: &str) -> bool {
    name.ends_with("_id") && !["provider_event_id", "customer_id"].contains(&name)
}

/// A part of a path as it is spelled here, so that one id is one request and one order, however its sender spells it.
pub(crate) fn spelled<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    let id = Some(value).filter(|_| is_uuid(name)).and_then(|value| Uuid::try_parse(value).ok());
    id.map_or(Cow::Borrowed(value), |id| Cow::Owned(id.to_string()))
}

/// The UUID that a parameter of the path or the query is.
///
/// # Errors
/// It is none.
pub(crate) fn uuid(name: &'static str, text: &str) -> Result<Uuid, Problem> {
    Uuid::try_parse(text).map_err(|_not_one| {
        let shown: String = text.chars().take(64).collect();
        Problem::own("INVALID_PARAMETER", format!("{name} must be a UUID, not {shown:?}")).of(name)
    })
}

/// What a query has percent-encoded, or with a plus for a space.
fn decoded(value: &str) -> Option<String> {
    plain_text(&value.replace('+', " ")).filter(|text| !text.contains('\0'))
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

/// The version that a request expects by `If-Match`: one strong tag, as `ETag` gave it. What follows a dash there is of no concern to
/// whoever changes something.
///
/// # Errors
/// It is none.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(given) = only(headers, "if-match")?.filter(|given| *given != "*") else { return Ok(None) };
    let tag = given.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let digits = tag.map(|tag| tag.split_once('-').map_or(tag, |(version, _)| version));
    let version = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let version = version.and_then(|digits| digits.parse::<i64>().ok()).filter(|version| *version > 0);
    version.map(Some).ok_or_else(|| {
        let shown: String = given.chars().take(64).collect();
        Problem::own("INVALID_PARAMETER", format!("If-Match must be one ETag of the resource, not {shown:?}"))
            .of("If-Match")
    })
}

/// The caller's trace, if it says one: the workers see whether it can be used.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    const CHARS_MAX: usize = 128;
    let said = only(headers, "traceparent").ok()??;
    (said.len() <= CHARS_MAX).then(|| said.to_owned())
}

/// Whether the caller has what bears this tag, as `If-None-Match` says.
pub(crate) fn has(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all("if-none-match").iter().filter_map(|value| value.to_str().ok());
    let mut tags = given.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
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
    let bytes = bytes(body, settings.body_bytes_max, settings.read_ms).await?;
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

/// The body of a request as it came.
///
/// # Errors
/// It has too many bytes, or comes too slowly.
pub(crate) async fn bytes(body: Body, most: usize, within_ms: u64) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(ms(within_ms), Limited::new(body, most).collect()).await;
    let collected = collected.map_err(|_elapsed| {
        Problem::own("BODY_TOO_SLOW", format!("the body of the request did not arrive within {within_ms} ms"))
    })?;
    collected.map(|collected| collected.to_bytes()).map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            return Problem::rejected("MESSAGE_TOO_LARGE", &format!("a body has at most {most} bytes"));
        }
        Problem::own("INVALID_BODY", format!("the body of the request broke off: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::{HeaderMap, HeaderValue};
    use platform::config::Config;

    use super::{Query, Wait, has, idempotency_key, if_match, spelled, wait};

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_key_is_the_same_bare_and_in_quotes() {
        let key = |values: &[&'static str]| {
            let headers = headers("idempotency-key", values);
            idempotency_key(&headers).map(str::to_owned).map_err(|problem| problem.code)
        };
        assert_eq!(key(&["a-7"]), Ok("a-7".to_owned()));
        assert_eq!(key(&["\"a-7\""]), Ok("a-7".to_owned()));
        for nothing in [&[][..], &[""], &["\"\""]] {
            assert_eq!(key(nothing), Err("IDEMPOTENCY_KEY_MISSING".to_owned()), "{nothing:?}");
        }
        assert_eq!(key(&["a", "b"]), Err("INVALID_PARAMETER".to_owned()));
    }

    #[test]
    fn an_id_is_spelled_in_one_way_and_a_name_is_left_as_it_is() {
        let id = "7b1f0a52-3c8e-4d3a-9a51-0e9f6f2d8c11";
        for other in [id.to_uppercase(), id.replace('-', ""), format!("urn:uuid:{id}"), format!("{{{id}}}")] {
            assert_eq!(spelled("order_id", &other), id);
            for name in ["customer_id", "provider_event_id", "sku"] {
                assert_eq!(spelled(name, &other), other, "{name}");
            }
        }
        assert_eq!(spelled("order_id", "seven"), "seven");
    }

    #[test]
    fn a_tag_says_which_version_the_caller_has_seen() {
        let version = |given: &[&'static str]| if_match(&headers("if-match", given)).map_err(|problem| problem.code);
        assert_eq!(version(&[]), Ok(None));
        assert_eq!(version(&["*"]), Ok(None));
        assert_eq!(version(&["\"7\""]), Ok(Some(7)));
        assert_eq!(version(&["\"7-5d41402abc4b2a76\""]), Ok(Some(7)));
        for wrong in
            ["7", "\"\"", "W/\"7\"", "\"+7\"", "\"-7\"", "\"0\"", "\"7\", \"8\"", "\"9223372036854775808\"", "\"x\""]
        {
            assert_eq!(version(&[wrong]), Err("INVALID_PARAMETER".to_owned()), "{wrong}");
        }
        let has = |given: &[&'static str]| has(&headers("if-none-match", given), "\"7-a\"");
        assert!(
            has(&["\"7-a\""])
                && has(&["W/\"7-a\""])
                && has(&["*"])
                && has(&["\"6\", \"7-a\""])
                && has(&["x", "\"7-a\""])
        );
        assert!(!has(&[]) && !has(&["\"7\""]) && !has(&["7-a"]) && !has(&["\"8-a\""]));
    }

    #[test]
    fn a_caller_says_how_long_he_waits() {
        let settings = Config::read(&std::collections::BTreeMap::new()).unwrap().gateway;
        let limit = |values: &[&'static str]| wait(&headers("prefer", values), &settings);
        let told = |seconds| Wait { limit: Duration::from_secs(seconds), is_preferred: true };
        assert_eq!(limit(&[]), Wait { limit: Duration::from_secs(5), is_preferred: false });
        assert_eq!(limit(&["handling=lenient"]), limit(&[]));
        assert_eq!(limit(&["respond-async"]), told(0));
        assert_eq!(limit(&["respond-async, wait=2"]), told(2));
        assert_eq!(limit(&["respond-async", "Wait = 2"]), told(2));
        assert_eq!(limit(&["wait=86400"]), told(30));
    }

    #[test]
    fn a_parameter_that_is_not_known_is_refused() {
        let read = |query| Query::read(query, &["customer_id", "limit"]).map_err(|problem| problem.detail);
        let read_time = |query: &str| Query::read(query, &["placed_from", "placed_before"]);
        let query = read("customer_id=M%26x+7&limit=5").unwrap();
        assert_eq!((query.get("customer_id"), query.number("limit", 1, 100).unwrap()), (Some("M&x 7"), Some(5)));
        assert!(query.number("limit", 1, 4).is_err() && query.uuid("customer_id").is_err());
        let query = read_time("placed_from=2026-11-29T08:00:00%2B01:00&placed_before=2026-11-29T08:00:00Z").unwrap();
        let hour = query.time("placed_before").unwrap().unwrap() - query.time("placed_from").unwrap().unwrap();
        assert_eq!(hour.whole_minutes(), 60);
        for wrong in ["2026-11-29", "2026-11-29T08:00:00+01:00", "2026-02-30T08:00:00Z", "now", ""] {
            let query = read_time(&format!("placed_from={wrong}")).unwrap();
            assert!(query.time("placed_from").is_err(), "{wrong}");
        }
        for (query, word) in [
            ("customer=7", "customer_id"),
            ("limit=1&limit=1", "twice"),
            ("limit=%f", "percent"),
            ("limit=%00", "percent"),
        ] {
            let detail = read(query).unwrap_err();
            assert!(detail.contains(word), "{detail}");
        }
    }
}
