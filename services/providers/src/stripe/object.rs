//! Stripe's objects, as far as they are read. A word that is not known is no error: there are new ones every month.

use std::collections::BTreeMap;

use domain::{DisputeStanding, legible};
use serde::Deserialize;

use super::form;

/// The longest text of Stripe's that is repeated.
const WORDS_CHARS_MAX: usize = 400;

/// What we said about an object when we made it; of others' objects, whatever they said.
pub(super) type Metadata = BTreeMap<String, String>;

/// A page to pay on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    /// Only while it is open.
    pub(super) url: Option<String>,
    /// open, complete, expired.
    #[serde(default)]
    pub(super) status: Option<String>,
    /// paid, unpaid, `no_payment_required`.
    #[serde(default)]
    pub(super) payment_status: String,
    pub(super) amount_total: Option<i64>,
    pub(super) currency: Option<String>,
    /// None before the buyer has confirmed, and if there is nothing to pay.
    pub(super) payment_intent: Option<String>,
    pub(super) metadata: Option<Metadata>,
}

impl Session {
    /// Whether its money is there, or none is needed.
    pub(super) fn is_paid(&self) -> bool {
        matches!(self.payment_status.as_str(), "paid" | "no_payment_required")
    }

    /// What its charge is known by. Where nothing is to pay there is none, and the page stands for it.
    pub(super) fn charge(&self) -> &str {
        self.payment_intent.as_deref().unwrap_or(&self.id)
    }
}

/// What is known of the charges of one page, of which one at most brings money.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    #[serde(default)]
    pub(super) amount: i64,
    #[serde(default)]
    pub(super) amount_received: i64,
    /// What is set aside of it.
    #[serde(default)]
    pub(super) amount_capturable: i64,
    #[serde(default)]
    pub(super) currency: String,
    /// `requires_capture`, succeeded, canceled, and others of no concern.
    #[serde(default)]
    pub(super) status: Option<String>,
    pub(super) cancellation_reason: Option<String>,
    /// The last try, if it came as far as the card's bank.
    pub(super) latest_charge: Option<String>,
    pub(super) last_payment_error: Option<Failure>,
    pub(super) metadata: Option<Metadata>,
}

impl Intent {
    /// Why it was let go.
    pub(super) fn cancellation(&self) -> String {
        format!("Stripe's {} is canceled: {}", self.id, self.cancellation_reason.as_deref().unwrap_or("not said why"))
    }

    /// Why nothing is set aside by it any more.
    pub(super) fn refusal(&self) -> String {
        let failure = self.last_payment_error.as_ref();
        let said = failure.into_iter().flat_map(|failure| [&failure.code, &failure.decline_code, &failure.message]);
        let said: Vec<&str> = said.flatten().map(String::as_str).collect();
        let why = if said.is_empty() { "not said why".to_owned() } else { legible(&said.join(" "), WORDS_CHARS_MAX) };
        format!("Stripe's {} could not be taken: {why}", self.id)
    }
}

/// Why a try at paying failed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Failure {
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    pub(super) message: Option<String>,
}

/// A refund, ours or not.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Refund {
    pub(super) id: String,
    #[serde(default)]
    pub(super) amount: i64,
    #[serde(default)]
    pub(super) currency: String,
    /// pending, `requires_action`, succeeded, failed, canceled.
    #[serde(default)]
    pub(super) status: Option<String>,
    pub(super) failure_reason: Option<String>,
    pub(super) payment_intent: Option<String>,
    pub(super) metadata: Option<Metadata>,
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RefundStanding {
    /// The buyer does not have the money and will not have it.
    Failed,
    /// It is under way, or in a state that is not known here.
    UnderWay,
    /// The buyer has the money.
    Succeeded,
}

impl Refund {
    pub(super) fn standing(&self) -> RefundStanding {
        match self.status.as_deref() {
            Some("succeeded") => RefundStanding::Succeeded,
            Some("failed" | "canceled") => RefundStanding::Failed,
            Some(_) | None => RefundStanding::UnderWay,
        }
    }

    /// Its status, as Stripe has it.
    pub(super) fn status(&self) -> &str {
        self.status.as_deref().unwrap_or("pending")
    }

    /// Why it failed.
    pub(super) fn failure(&self) -> String {
        match &self.failure_reason {
            Some(reason) => format!("Stripe's refund {} is {}: {reason}", self.id, self.status()),
            None => format!("Stripe's refund {} is {}", self.id, self.status()),
        }
    }
}

/// A buyer who wants money back from their bank.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Dispute {
    pub(super) id: String,
    /// How much is disputed: not always what was charged.
    #[serde(default)]
    pub(super) amount: i64,
    #[serde(default)]
    pub(super) currency: String,
    #[serde(default)]
    pub(super) reason: String,
    /// `needs_response`, `under_review`, the same after `warning_` and `appeal_`, won, lost, and others.
    #[serde(default)]
    pub(super) status: String,
    pub(super) evidence_details: Option<Evidence>,
    /// Whether the charge can be refunded all the same.
    #[serde(default)]
    pub(super) is_charge_refundable: bool,
    /// What was withdrawn, and what of that was reinstated: one of each at most.
    #[serde(default)]
    pub(super) balance_transactions: Vec<Movement>,
    pub(super) payment_intent: Option<String>,
}

/// What a shop can say to a dispute.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Evidence {
    /// Until when, in seconds since 1970.
    pub(super) due_by: Option<i64>,
}

/// Money that a dispute has moved; negative: from the shop.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Movement {
    #[serde(default)]
    pub(super) amount: i64,
    #[serde(default)]
    pub(super) currency: String,
}

impl Dispute {
    /// What its status comes to. A word that is not known is no end.
    pub(super) fn standing(&self) -> DisputeStanding {
        match self.status.as_str() {
            "won" => DisputeStanding::Won,
            "lost" => DisputeStanding::Lost,
            "warning_closed" | "prevented" | "charge_refunded" => DisputeStanding::Ended,
            _ => DisputeStanding::Open,
        }
    }

    /// How much has moved in this direction, 1 or -1. It is what is disputed, unless Stripe's own books say something else in the same
    /// currency.
    pub(super) fn moved(&self, direction: i64) -> i64 {
        let booked = self.balance_transactions.iter().filter(|movement| movement.currency == self.currency);
        let booked: i64 =
            booked.map(|movement| movement.amount.saturating_mul(direction)).filter(|units| *units > 0).sum();
        if booked > 0 { booked } else { self.amount }
    }
}

/// One page of a list.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// A field of metadata; empty if it is not there.
pub(super) fn field<'a>(metadata: &'a Option<Metadata>, name: &str) -> &'a str {
    metadata.as_ref().and_then(|metadata| metadata.get(name)).map_or("", String::as_str)
}

/// Whose it is, by its metadata; empty if it does not say so.
pub(super) fn fleet(metadata: &Option<Metadata>) -> &str {
    field(metadata, form::FLEET)
}

/// What names the fact that the money of this charge is set aside. Frozen, as [`paid`] is.
pub(super) fn authorised(charge: &str) -> String {
    format!("{charge} authorised")
}

/// What names the fact that this charge brought its money, however it is told. Frozen: payments knows what it has heard by it.
pub(super) fn paid(charge: &str) -> String {
    format!("{charge} succeeded")
}
