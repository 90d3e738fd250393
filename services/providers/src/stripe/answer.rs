//! What an answer of Stripe means.
//!
//! | answer                                                    | meaning                                              |
//! |-----------------------------------------------------------|------------------------------------------------------|
//! | 2xx                                                       | the object says                                      |
//! | 4xx with `lock_timeout` or `rate_limit`, 429              | busy: it never came as far as the idempotency key    |
//! | 400, 402 with a code of [`FINAL`], or about the amount    | declined                                             |
//! | 400 `idempotency_error`                                   | stuck: the key was used for something else, by a defect of ours |
//! | 402                                                       | declined, unless the account has no money for it     |
//! | 408, 409, 424                                             | unknown: the same call is under way                  |
//! | all other 3xx and 4xx                                     | misconfigured: a person must look, and nothing was done |
//! | 5xx that is replayed                                      | stuck: it comes again for ever                       |
//! | all other 5xx, and what is no answer of HTTP's            | unknown                                              |

use bytes::Bytes;
use domain::legible;
use hyper::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};

use crate::ProviderError;

/// Codes of a no that stays one.
const FINAL: [&str; 7] = [
    "amount_too_large",
    "amount_too_small",
    "charge_already_refunded",
    "charge_disputed",
    "charge_not_refundable",
    "payment_intent_unexpected_state",
    "refund_disputed_payment",
];

/// Codes that say that others are at it.
const BUSY: [&str; 2] = ["lock_timeout", "rate_limit"];

/// Codes that say that the account has no money to give back. It will have some again.
const NO_MONEY: [&str; 2] = ["balance_insufficient", "insufficient_funds"];

/// What a no is about that stays one, whatever its code: what is to be refunded is more than is left, and a page's time only gets shorter.
const FINAL_PARAMS: [&str; 2] = ["amount", "expires_at"];

/// The longest text of Stripe's that is repeated.
const WORDS_CHARS_MAX: usize = 400;

/// An answer, whatever it says.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Whether it was given before, under the same key.
    pub(super) is_replayed: bool,
    /// What Stripe knows the call by.
    pub(super) request_id: String,
    pub(super) body: Bytes,
}

#[derive(Debug, Default, Deserialize)]
struct Envelope {
    error: Problem,
}

/// Stripe's error object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    message: Option<String>,
}

impl Answer {
    /// The object that it brings.
    ///
    /// # Errors
    /// Stripe refused, or what it says cannot be read, so that nobody knows what was done.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ProviderError> {
        if !self.status.is_success() {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let found = match error.classify() {
                serde_json::error::Category::Data => "another object than was asked for",
                serde_json::error::Category::Io
                | serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof => "no JSON",
            };
            let words = format!("{} is {found} at line {line}, column {column}", self.title());
            ProviderError::OutcomeUnknown(words)
        })
    }

    /// What it means that Stripe did not do it.
    fn refusal(&self) -> ProviderError {
        let problem = serde_json::from_slice::<Envelope>(&self.body).unwrap_or_default().error;
        let words = self.words(&problem);
        let has_code = |codes: &[&str]| problem.code.as_deref().is_some_and(|code| codes.contains(&code));
        match self.status.as_u16() {
            429 => ProviderError::Busy(words),
            400..=499 if has_code(&BUSY) => ProviderError::Busy(words),
            400 | 402 if has_code(&NO_MONEY) => ProviderError::Misconfigured(words),
            400 if problem.kind.as_deref() == Some("idempotency_error") => ProviderError::Stuck(words),
            400 | 402 if has_code(&FINAL) || problem.is_final() => ProviderError::Declined(words),
            402 => ProviderError::Declined(words),
            408 | 409 | 424 => ProviderError::OutcomeUnknown(words),
            300..=499 => ProviderError::Misconfigured(words),
            500..=599 if self.is_replayed => {
                ProviderError::Stuck(format!("{words}; it is replayed, as it will be however often this key is sent"))
            }
            _ => ProviderError::OutcomeUnknown(words),
        }
    }

    fn title(&self) -> String {
        let request_id = if self.request_id.is_empty() { "without a request id" } else { &self.request_id };
        format!("answer {} ({request_id})", self.status.as_u16())
    }

    fn words(&self, problem: &Problem) -> String {
        let Problem { kind, code, decline_code, param, message } = problem;
        let about = param.as_ref().map(|param| format!("about {param}"));
        let parts = [kind, code, decline_code, &about, message].into_iter().flatten();
        let said = parts.fold(String::new(), |said, part| format!("{said} {part}"));
        let said = if said.is_empty() { "nothing that can be read" } else { &said };
        format!("{}: {}", self.title(), legible(said, WORDS_CHARS_MAX))
    }
}

impl Problem {
    /// Whether it is a no that stays one, though no code says so.
    fn is_final(&self) -> bool {
        let is_about = |params: &[&str]| self.param.as_deref().is_some_and(|param| params.contains(&param));
        self.code.is_none() && is_about(&FINAL_PARAMS)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::StatusCode;
    use serde_json::{Value, json};

    use super::Answer;
    use crate::ProviderError;

    fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            is_replayed: false,
            request_id: "req_7".to_owned(),
            body: body.into(),
        }
    }

    fn refused(status: u16, error: &Value) -> ProviderError {
        answer(status, json!({ "error": error }).to_string()).read::<Value>().unwrap_err()
    }

    fn kind(error: &ProviderError) -> &'static str {
        match error {
            ProviderError::Declined(_) => "declined",
            ProviderError::Unavailable(_) => "unavailable",
            ProviderError::Busy(_) => "busy",
            ProviderError::Misconfigured(_) => "misconfigured",
            ProviderError::Stuck(_) => "stuck",
            ProviderError::OutcomeUnknown(_) => "unknown",
        }
    }

    #[test]
    fn every_answer_has_its_meaning() {
        let invalid = |code: &str| json!({ "type": "invalid_request_error", "code": code });
        let about = |param: &str| json!({ "type": "invalid_request_error", "param": param });
        for (status, error, meaning) in [
            (400, json!({ "type": "idempotency_error" }), "stuck"),
            (400, invalid("charge_already_refunded"), "declined"),
            (402, invalid("charge_already_refunded"), "declined"),
            (400, invalid("charge_disputed"), "declined"),
            (400, invalid("refund_disputed_payment"), "declined"),
            (400, invalid("charge_not_refundable"), "declined"),
            (400, invalid("payment_intent_unexpected_state"), "declined"),
            (400, invalid("amount_too_small"), "declined"),
            (400, invalid("amount_too_large"), "declined"),
            (400, about("amount"), "declined"),
            (400, about("expires_at"), "declined"),
            (402, json!({ "type": "card_error", "code": "card_declined" }), "declined"),
            (400, invalid("balance_insufficient"), "misconfigured"),
            (402, invalid("insufficient_funds"), "misconfigured"),
            (400, json!({ "code": "parameter_invalid_integer", "param": "amount" }), "misconfigured"),
            (400, invalid("parameter_unknown"), "misconfigured"),
            (400, invalid("parameter_missing"), "misconfigured"),
            (400, invalid("livemode_mismatch"), "misconfigured"),
            (400, invalid("a_code_of_next_year"), "misconfigured"),
            (400, json!({}), "misconfigured"),
            (401, json!({ "type": "invalid_request_error" }), "misconfigured"),
            (403, json!({ "type": "invalid_request_error" }), "misconfigured"),
            (404, invalid("resource_missing"), "misconfigured"),
            (302, json!({}), "misconfigured"),
            (408, json!({}), "unknown"),
            (409, json!({ "type": "idempotency_error", "code": "idempotency_key_in_use" }), "unknown"),
            (409, invalid("lock_timeout"), "busy"),
            (400, invalid("lock_timeout"), "busy"),
            (429, invalid("lock_timeout"), "busy"),
            (429, invalid("rate_limit"), "busy"),
            (429, json!({}), "busy"),
            (500, json!({ "type": "api_error" }), "unknown"),
            (500, invalid("lock_timeout"), "unknown"),
            (502, json!({}), "unknown"),
            (503, json!({}), "unknown"),
            (504, json!({}), "unknown"),
        ] {
            assert_eq!(kind(&refused(status, &error)), meaning, "{status} {error}");
        }
    }

    #[test]
    fn what_is_no_error_object_means_what_its_status_means() {
        for body in ["", "<html>", "{}", "[]", "{\"error\":\"oops\"}", "{\"error\":{\"code\":7}}", "null"] {
            for (status, meaning) in [(400, "misconfigured"), (401, "misconfigured"), (429, "busy"), (502, "unknown")] {
                let error = answer(status, body).read::<Value>().unwrap_err();
                assert_eq!(kind(&error), meaning, "{status} {body}");
                assert!(error.to_string().contains("nothing that can be read"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_object_that_was_asked_for_is_an_outcome_that_nobody_knows() {
        for body in ["", "<html>", "{\"a\":", "7"] {
            let error = answer(200, body).read::<std::collections::BTreeMap<String, String>>().unwrap_err();
            assert_eq!(kind(&error), "unknown", "{body}");
            assert!(error.to_string().contains("answer 200 (req_7)"), "{error}");
        }
    }

    #[test]
    fn a_replayed_failure_says_that_it_comes_for_ever() {
        let replayed = Answer { is_replayed: true, ..answer(500, "{}") };
        let error = replayed.read::<Value>().unwrap_err();
        assert_eq!(kind(&error), "stuck");
        assert!(error.to_string().contains("replayed"), "{error}");
        assert!(!refused(500, &json!({})).to_string().contains("replayed"));
    }

    #[test]
    fn the_words_say_what_stripe_said_and_no_more_than_is_legible() {
        let error = json!({
            "type": "card_error", "code": "card_declined", "decline_code": "do_not_honor", "param": "amount",
            "message": format!("No.\u{202e}\n{}", "x".repeat(9_000)),
        });
        let text = refused(402, &error).to_string();
        for part in
            ["answer 402 (req_7)", "card_error", "card_declined", "do_not_honor", "about amount", "No.\\u{202e}"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.chars().count() < 500 && !text.contains('\n'), "{text}");
    }
}
