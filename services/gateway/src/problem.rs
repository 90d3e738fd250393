//! Problems: whatever is not done is answered with one document (RFC 9457), for programs and for people.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::code::{CODES, Remedy, remedy};
use serde::Serialize;
use utoipa::ToSchema;

/// What was not done, and why.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) detail: String,
    /// The field, header or parameter that it is about.
    pub(crate) param: Option<String>,
    helps: Helps,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a worker says behind a reason of the id, which is said of keys here.
pub(crate) const STAYS_REFUSED: &str = "; this ce-id stays refused: the next try needs a new one";

/// And how that is said.
pub(crate) const NEEDS_NEW_KEY: &str = "; the next try needs a new Idempotency-Key";

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helps {
    /// The very same request, later, with the same `Idempotency-Key`.
    SameRequest,
    /// A request that is corrected, or comes later, with a key of its own.
    NewRequest,
    /// Nothing that is sent.
    Nothing,
}

/// A code of the gateway's own.
struct Own {
    word: &'static str,
    status: StatusCode,
    helps: Helps,
    meaning: &'static str,
}

macro_rules! own {
    ($($word:literal $status:ident $helps:ident $meaning:literal;)*) => {
        const OWN: &[Own] =
            &[$(Own { word: $word, status: StatusCode::$status, helps: Helps::$helps, meaning: $meaning }),*];
    };
}

own! {
    "BODY_TOO_SLOW" REQUEST_TIMEOUT SameRequest "the body of the request did not arrive in time";
    "BROKER_UNAVAILABLE" SERVICE_UNAVAILABLE SameRequest "the command could not be handed to the broker";
    "DATABASE_UNAVAILABLE" SERVICE_UNAVAILABLE SameRequest "the database cannot be read";
    "EVENTS_ARCHIVED" GONE Nothing "the events of this order have left the database for an archive";
    "FORBIDDEN" FORBIDDEN NewRequest "the caller's token is not good for this";
    "IDEMPOTENCY_KEY_MISSING" BAD_REQUEST NewRequest "a request that changes something has no Idempotency-Key";
    "IDEMPOTENCY_KEY_REUSED" UNPROCESSABLE_ENTITY NewRequest "the Idempotency-Key was used for a request with another body";
    "INTERNAL" INTERNAL_SERVER_ERROR SameRequest "a defect on our side; its log says more under the request's id";
    "INVALID_BODY" BAD_REQUEST NewRequest "the body is not the JSON that this resource takes";
    "INVALID_PARAMETER" BAD_REQUEST NewRequest "a parameter of the path, the query or a header cannot be read";
    "LINK_INVALID" FORBIDDEN NewRequest "a link to an order's events is not signed as it must be, or its time is over";
    "METHOD_NOT_ALLOWED" METHOD_NOT_ALLOWED NewRequest "the resource does not know this method";
    "NOT_FOUND" NOT_FOUND NewRequest "there is no such resource";
    "NOT_COMMITTED" SERVICE_UNAVAILABLE SameRequest "the worker has not said that it is committed";
    "NO_OPERATOR_LOGIN" NOT_FOUND Nothing "this gateway has no login of the database that may do what operators do";
    "OVERLOADED" SERVICE_UNAVAILABLE SameRequest "as many requests are under way as may be";
    "QUEUE_UNREADABLE" SERVICE_UNAVAILABLE SameRequest "whether a command waits for its worker cannot be said at the moment";
    "REPORT_REFUSED" SERVICE_UNAVAILABLE SameRequest "payments refused a webhook's report, which somebody must look at";
    "REQUEST_UNDER_WAY" CONFLICT SameRequest "a request with this Idempotency-Key is under way";
    "SIGNATURE_INVALID" BAD_REQUEST NewRequest "a webhook is not signed as it must be";
    "TIMED_OUT" GATEWAY_TIMEOUT SameRequest "the request took longer than any may take";
    "UNAUTHENTICATED" UNAUTHORIZED NewRequest "the request does not prove who asks";
    "UNKNOWN_ANSWER" NOT_FOUND SameRequest "this command was not answered, and does not wait for its worker";
    "UNKNOWN_CHARGE" SERVICE_UNAVAILABLE SameRequest "a webhook is about a charge that no payment is known to have";
}

/// A problem, as RFC 9457 has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Document {
    /// The page of its code, on this gateway: `/problems/UNKNOWN_ORDER`.
    #[serde(rename = "type")]
    kind: String,
    /// What the code means.
    title: String,
    status: u16,
    /// What was tried, with what, and what to do.
    detail: String,
    /// The path that was asked for.
    instance: String,
    /// A word for programs. More may come.
    code: String,
    /// The field, header or parameter that it is about.
    param: Option<String>,
    request_id: String,
    /// Whether the very same request, with the same `Idempotency-Key`, may succeed later.
    retryable: bool,
}

impl Problem {
    /// One of the gateway's own codes.
    pub(crate) fn own(word: &'static str, detail: impl Into<String>) -> Self {
        let (status, helps) =
            own(word).map_or((StatusCode::INTERNAL_SERVER_ERROR, Helps::SameRequest), |own| (own.status, own.helps));
        let mut problem = Self::new(status, word, detail, helps);
        let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT, StatusCode::CONFLICT];
        if later.contains(&status) {
            problem.headers.push((header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        problem
    }

    fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>, helps: Helps) -> Self {
        Self { status, code: code.into(), detail: detail.into(), param: None, helps, headers: Vec::new() }
    }

    /// What it is about.
    pub(crate) fn of(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn unauthenticated(detail: &str) -> Self {
        let mut problem = Self::own("UNAUTHENTICATED", detail);
        problem.headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        problem
    }

    pub(crate) fn forbidden(caller: &str, scope: &str) -> Self {
        Self::own("FORBIDDEN", format!("{caller:?} has no scope {scope}; whoever keeps the tokens can give it"))
    }

    /// What a worker refused.
    pub(crate) fn rejected(code: &str, reason: &str) -> Self {
        let detail = match reason.strip_suffix(STAYS_REFUSED) {
            Some(reason) => format!("{reason}{NEEDS_NEW_KEY}"),
            None => reason.to_owned(),
        };
        if code == "COMMAND_ID_REUSED" {
            let detail = "this Idempotency-Key was used for a request with another body: give each request its own";
            return Self::own("IDEMPOTENCY_KEY_REUSED", detail).of("Idempotency-Key");
        }
        Self::new(status(code), code, detail, helps(code))
    }

    /// As an answer to the request with this id, for this path.
    pub(crate) fn document(self, request_id: &str, path: &str) -> Response {
        let document = Document {
            kind: format!("/problems/{}", self.code),
            title: meaning(&self.code).unwrap_or("it was refused").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            instance: path.to_owned(),
            code: self.code,
            param: self.param,
            request_id: request_id.to_owned(),
            retryable: self.helps == Helps::SameRequest,
        };
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::warn!(%error, "cannot read the database");
        Self::own("DATABASE_UNAVAILABLE", "the database cannot be read at the moment: try again")
    }
}

/// Left for [`crate::guard`], which knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn own(code: &str) -> Option<&'static Own> {
    OWN.iter().find(|own| own.word == code)
}

/// What the caller can do about a code, the gateway's own or a worker's.
fn helps(code: &str) -> Helps {
    own(code).map(|own| own.helps).unwrap_or_else(|| match remedy(code) {
        Remedy::SameId => Helps::SameRequest,
        Remedy::NewId => Helps::NewRequest,
        Remedy::None | Remedy::Unspecified => Helps::Nothing,
    })
}

/// What a code means, in one line.
fn meaning(code: &str) -> Option<&'static str> {
    let own = own(code).map(|own| own.meaning);
    own.or_else(|| CODES.iter().find(|known| known.word == code).map(|known| known.meaning))
}

/// The page of a code: what it means, and what helps.
pub(crate) fn page(code: &str) -> Option<String> {
    let helps = match helps(code) {
        Helps::SameRequest => "Send the very same request again later, with the same Idempotency-Key.",
        Helps::NewRequest => {
            "Correct the request, or wait for what the detail names, and send it with a new Idempotency-Key."
        }
        Helps::Nothing => "Nothing that is sent changes it.",
    };
    Some(format!("{code}\n\nIt means: {}.\n\nWhat helps: {helps}\n", meaning(code)?))
}

/// The status of a worker's refusal.
fn status(code: &str) -> StatusCode {
    match code {
        "NOT_HANDLED" | "BROKEN_INVARIANT" => StatusCode::INTERNAL_SERVER_ERROR,
        "INVALID_ID"
        | "INVALID_TEXT"
        | "INVALID_SKU"
        | "INVALID_COUPON_CODE"
        | "INVALID_CONTACT_EMAIL"
        | "UNKNOWN_FIELD"
        | "UNDECODABLE" => StatusCode::BAD_REQUEST,
        "MESSAGE_TOO_LARGE" => StatusCode::PAYLOAD_TOO_LARGE,
        "UNKNOWN_ORDER" | "UNKNOWN_PAYMENT" | "UNKNOWN_PRODUCT" | "UNKNOWN_REFUND" | "UNKNOWN_REPORT"
        | "UNKNOWN_ROUND" | "UNKNOWN_COUPON" | "UNKNOWN_WALLET" => StatusCode::NOT_FOUND,
        "WRONG_VERSION" => StatusCode::PRECONDITION_FAILED,
        "ORDER_EXISTS"
        | "REFERENCE_TAKEN"
        | "PRODUCT_EXISTS"
        | "ROUND_EXISTS"
        | "COUPON_EXISTS"
        | "REFUND_EXISTS"
        | "WRONG_STATE"
        | "ORDER_NOT_PAID"
        | "ORDER_NOT_RELEASED"
        | "PAYMENT_DISPUTED"
        | "PAYMENT_IN_DOUBT"
        | "PAYMENT_UNDER_WAY"
        | "NOT_PAYABLE"
        | "WOULD_BREAK_HOLDS"
        | "NOTHING_TO_REFUND"
        | "REFUND_EXCEEDS_LINES"
        | "REFUND_EXCEEDS_PAYMENT"
        | "REFUND_EXCEEDS_SHARES"
        | "TOO_MANY_ATTEMPTS"
        | "TOO_MANY_REFUNDS"
        | "NOT_PAID"
        | "INSUFFICIENT_FUNDS"
        | "WALLET_LIMIT"
        | "TOTAL_TOO_LARGE" => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::StatusCode;
    use domain::code::CODES;

    use super::{Helps, OWN, Problem, page};

    #[test]
    fn every_code_has_a_page_and_the_gateways_own_are_nobody_elses() {
        let own: BTreeSet<&str> = OWN.iter().map(|own| own.word).collect();
        assert_eq!(own.len(), OWN.len());
        for code in CODES {
            assert!(page(code.word).is_some_and(|page| page.contains(code.meaning)), "{}", code.word);
            assert!(!own.contains(code.word), "{}", code.word);
        }
        assert!(page("SUCH_A_CODE").is_none());
    }

    #[test]
    fn a_refusal_speaks_of_keys_and_not_of_ids() {
        let reason = "no order 7 is known here; this ce-id stays refused: the next try needs a new one";
        let problem = Problem::rejected("UNKNOWN_ORDER", reason);
        assert_eq!((problem.status, problem.helps), (StatusCode::NOT_FOUND, Helps::NewRequest));
        assert_eq!(problem.detail, "no order 7 is known here; the next try needs a new Idempotency-Key");
        let reused = Problem::rejected("COMMAND_ID_REUSED", "command 7 was answered already");
        assert_eq!((reused.code.as_str(), reused.status.as_u16()), ("IDEMPOTENCY_KEY_REUSED", 422));
    }
}
