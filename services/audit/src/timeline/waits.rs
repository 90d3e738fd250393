//! What a story waits for: which event begins a wait, and which ends it.

use std::collections::BTreeMap;

use domain::GlobalPosition;
use serde::Serialize;
use serde_json::Value;

use super::Entry;

/// What was waited for, until the event came that this stands at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// Whom or what.
    pub on: &'static str,
    /// Since this event.
    pub since: GlobalPosition,
    /// How long, in milliseconds.
    pub ms: u64,
}

/// A wait that an event begins.
#[derive(Debug, Clone, Copy)]
struct Begun {
    on: &'static str,
    /// The field that begin and end name alike.
    of: &'static str,
    /// The events that end it.
    ends: &'static [&'static str],
}

const BUYER: Begun = Begun {
    on: "the buyer",
    of: "paymentId",
    ends: &["PaymentSucceeded", "PaymentAuthorised", "PaymentFailed", "PaymentCancelled", "CheckoutAbandoned"],
};

/// The wait that an event begins, if it begins one.
fn begun(name: &str, data: &Value) -> Option<Begun> {
    let wait = |on, of, ends| Some(Begun { on, of, ends });
    match name {
        "OrderPlaced" | "OrderReinstated" => wait(
            "its holds",
            "orderId",
            &["OrderReserved", "OrderRejected", "OrderPaid", "OrderExpired", "OrderCancelled"],
        ),
        "OrderExpired" | "OrderCancelled" | "OrderRejected" => wait("what it held", "orderId", &["OrderReleased"]),
        "LatePaymentDeferred" => wait("what it held", "orderId", &["OrderReleased"]),
        // With a reference there is a page already.
        "PaymentRequested" if field(data, "providerReference").is_some() => Some(BUYER),
        "CheckoutOpened" => Some(BUYER),
        "PaymentRequested" | "CheckoutRequested" => wait(
            "the provider",
            "paymentId",
            &["CheckoutOpened", "CheckoutFailed", "PaymentSucceeded", "PaymentFailed", "PaymentCancelled"],
        ),
        "CaptureSubmitted" | "VoidSubmitted" => {
            wait("the provider", "paymentId", &["PaymentSucceeded", "PaymentVoided", "PaymentFailed"])
        }
        "CheckoutAbandoned" => wait("the provider", "paymentId", &["CheckoutClosed"]),
        "RefundDeferred" => wait("another report or refund", "refundId", &["RefundSubmitted", "RefundRejected"]),
        "RefundSubmitted" => {
            wait("the provider", "refundId", &["PaymentRefunded", "RefundRejected", "RefundOutcomeUnknown"])
        }
        "RefundOutcomeUnknown" | "RefundReversed" => {
            wait("an operator", "refundId", &["RefundResolved", "PaymentRefunded", "RefundRejected"])
        }
        "ProviderReportUnmatched" => wait("an operator", "providerEventId", &["ProviderReportResolved"]),
        "PaymentDisputed" => wait("the buyer's bank", "disputeId", &["DisputeClosed"]),
        "RoundOpened" => wait("its buyers", "roundId", &["RoundSoldOut", "RoundClosed", "RoundCancelled"]),
        _ => None,
    }
}

/// What an event says in a field, at its top or in the report or dispute that it tells of.
fn field<'data>(data: &'data Value, name: &str) -> Option<&'data str> {
    let parts = [Some(data), data.get("report"), data.get("dispute")];
    parts.into_iter().flatten().find_map(|part| part.get(name)?.as_str()).filter(|text| !text.is_empty())
}

/// A wait that no event has ended yet.
struct Open {
    begun: Begun,
    /// Which entry began it.
    entry: usize,
    since: GlobalPosition,
    ms: u64,
}

/// Says at each entry what was waited for until it came, or what is still waited for since: of everything, or of one thing only.
pub(super) fn label(entries: &mut [Entry], only_of: Option<&str>) {
    let mut open: BTreeMap<(&'static str, String), Open> = BTreeMap::new();
    for (number, entry) in entries.iter_mut().enumerate() {
        let name = proto::short_name(&entry.message_type).to_owned();
        let ended: Vec<_> = open
            .extract_if(.., |(_, key), wait| {
                wait.begun.ends.contains(&name.as_str()) && field(&entry.data, wait.begun.of) == Some(key.as_str())
            })
            .map(|(_, wait)| Wait { on: wait.begun.on, since: wait.since, ms: entry.ms.saturating_sub(wait.ms) })
            .collect();
        entry.waited.extend(ended);
        if let Some(begun) = begun(&name, &entry.data)
            && let Some(key) = field(&entry.data, begun.of)
            && only_of.is_none_or(|only| only == key)
        {
            let wait = Open { begun, entry: number, since: entry.position, ms: entry.ms };
            // News of what is waited for already is no new wait.
            open.entry((begun.on, key.to_owned())).or_insert(wait);
        }
    }
    for wait in open.into_values() {
        if let Some(entry) = entries.get_mut(wait.entry) {
            entry.waits_for = Some(wait.begun.on);
        }
    }
}
