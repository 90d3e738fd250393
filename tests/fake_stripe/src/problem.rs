//! Why a call is refused, as Stripe words it.

use serde_json::{Value, json};

/// Why the fake did not do what a test or a buyer wanted of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// The HTTP status Stripe would answer.
    pub status: u16,
    /// Stripe's error code, where it has one.
    pub code: Option<&'static str>,
    /// What is wrong.
    pub message: String,
}

/// An error object of Stripe's.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    kind: &'static str,
    pub(crate) code: Option<&'static str>,
    param: Option<String>,
    pub(crate) message: String,
    /// Whether the call had begun to run: only then is the answer kept under its idempotency key.
    pub(crate) has_begun: bool,
    payment_intent: Option<Value>,
}

impl Problem {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, code: None, param: None, message: message.into(), has_begun: false, payment_intent: None }
    }

    /// The parameters are wrong; nothing has begun.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// The parameters are in order, and the state of the account forbids it.
    pub(crate) fn forbidden_now(message: impl Into<String>) -> Self {
        Self { has_begun: true, ..Self::invalid(message) }
    }

    pub(crate) fn missing(what: &str, id: &str) -> Self {
        Self::forbidden_now(format!("No such {what}: '{id}'")).status(404).code("resource_missing")
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(401, "invalid_request_error", message)
    }

    pub(crate) fn no_permission() -> Self {
        let message = "The provided key does not have the required permissions for this endpoint on this account.";
        Self::new(403, "invalid_request_error", message)
    }

    pub(crate) fn unknown_url(method: &str, path: &str) -> Self {
        Self::new(404, "invalid_request_error", format!("Unrecognized request URL ({method}: {path})."))
    }

    pub(crate) fn idempotency(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, "idempotency_error", message)
    }

    pub(crate) fn busy(code: &'static str) -> Self {
        let message = if code == "lock_timeout" {
            "This object cannot be accessed right now because another API request or Stripe process is currently accessing it."
        } else {
            "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
        };
        Self::new(429, "invalid_request_error", message).code(code)
    }

    pub(crate) fn card_declined() -> Self {
        let declined = Self::new(402, "card_error", "Your card was declined.").code("card_declined");
        Self { has_begun: true, ..declined }
    }

    pub(crate) fn server_error() -> Self {
        let message = "An unknown error occurred. This error may be returned again under the same idempotency key.";
        Self { has_begun: true, ..Self::new(500, "api_error", message) }
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(crate) fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub(crate) fn about(self, payment_intent: Value) -> Self {
        Self { payment_intent: Some(payment_intent), ..self }
    }

    pub(crate) fn body(&self, request_id: &str) -> Value {
        let mut error = json!({
            "type": self.kind,
            "message": self.message,
            "request_log_url": format!("https://dashboard.stripe.com/test/logs/{request_id}"),
        });
        if let Some(fields) = error.as_object_mut() {
            if let Some(code) = self.code {
                fields.insert("code".to_owned(), json!(code));
                fields.insert("doc_url".to_owned(), json!(format!("https://stripe.com/docs/error-codes/{code}")));
            }
            if let Some(param) = &self.param {
                fields.insert("param".to_owned(), json!(param));
            }
            if let Some(intent) = &self.payment_intent {
                fields.insert("payment_intent".to_owned(), intent.clone());
            }
        }
        json!({ "error": error })
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { status: problem.status, code: problem.code, message: problem.message }
    }
}
