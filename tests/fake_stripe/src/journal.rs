//! Every call and how it was answered, for whoever judges the fake, or its callers.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::{Value, json};

/// One call and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Exchange {
    /// When, by the fake's clock.
    pub at: i64,
    /// The fake's id of the call.
    pub request_id: String,
    /// `GET` or `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Query or form, as a tree of texts.
    pub params: Value,
    /// The idempotency key.
    pub key: Option<String>,
    /// The API version that the caller named.
    pub version: Option<String>,
    /// The status that was answered, or would have been.
    pub status: u16,
    /// The body that was answered, or would have been.
    #[serde(serialize_with = "as_json")]
    pub body: String,
    /// Whether it is what was answered before under this key.
    pub replayed: bool,
    /// Which fault struck, by its name in [`crate::Faults`].
    pub fault: Option<&'static str>,
    /// What a real Stripe would let pass and should not be.
    pub notes: Vec<String>,
}

impl Exchange {
    /// The body as JSON; nothing if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

fn as_json<S: serde::Serializer>(body: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str(body).unwrap_or_else(|_not_json| json!(body)).serialize(serializer)
}

/// The newest exchanges, the oldest first.
#[derive(Debug)]
pub(crate) struct Journal {
    most: usize,
    exchanges: VecDeque<Exchange>,
}

impl Journal {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, exchanges: VecDeque::new() }
    }

    pub(crate) fn add(&mut self, exchange: Exchange) {
        self.exchanges.push_back(exchange);
        while self.exchanges.len() > self.most {
            self.exchanges.pop_front();
        }
    }

    pub(crate) fn all(&self) -> Vec<Exchange> {
        self.exchanges.iter().cloned().collect()
    }
}
