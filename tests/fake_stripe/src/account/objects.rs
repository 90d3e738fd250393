//! The objects of an account, with what the fake keeps of them.

use serde::{Deserialize, Serialize};

use crate::{
    params::Metadata,
    requests::{Capture, Line, Off},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionStatus {
    Open,
    Complete,
    Expired,
}

impl SessionStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Complete => "complete",
            Self::Expired => "expired",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) expires_at: i64,
    pub(crate) status: SessionStatus,
    /// Whether the money is there, as opposed to authorised only.
    pub(crate) is_paid: bool,
    pub(crate) lines: Vec<Line>,
    pub(crate) currency: String,
    pub(crate) subtotal: i64,
    pub(crate) discount: i64,
    pub(crate) coupon: Option<String>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) intent_metadata: Metadata,
    pub(crate) intent_description: Option<String>,
    pub(crate) capture: Capture,
    pub(crate) success_url: Option<String>,
    pub(crate) cancel_url: Option<String>,
    pub(crate) adaptive_pricing: bool,
    pub(crate) allowed_methods: Vec<String>,
    /// Whether a debit is offered beside what is allowed.
    pub(crate) offers_debit: bool,
    pub(crate) customer_email: Option<String>,
    pub(crate) locale: Option<String>,
    pub(crate) submit_type: Option<&'static str>,
    /// Nothing until a buyer has confirmed.
    pub(crate) intent: Option<String>,
}

impl Session {
    pub(crate) fn total(&self) -> i64 {
        self.subtotal.saturating_sub(self.discount)
    }

    /// What the account offers, or what of the filter it knows. Delayed methods cannot be held.
    pub(crate) fn methods(&self) -> Vec<&'static str> {
        if self.allowed_methods.is_empty() {
            return vec!["card", "link"];
        }
        let is_allowed = |method: &&str| {
            let is_offered = *method == "sepa_debit" && self.offers_debit;
            (is_offered || self.allowed_methods.iter().any(|allowed| allowed == method))
                && (*method != "sepa_debit" || self.capture != Capture::Manual)
        };
        ["card", "link", "sepa_debit"].into_iter().filter(is_allowed).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntentStatus {
    RequiresPaymentMethod,
    Processing,
    RequiresCapture,
    Succeeded,
    Canceled,
}

impl IntentStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::Processing => "processing",
            Self::RequiresCapture => "requires_capture",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) session: String,
    pub(crate) status: IntentStatus,
    pub(crate) amount: i64,
    pub(crate) received: i64,
    pub(crate) currency: String,
    pub(crate) capture: Capture,
    pub(crate) metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) methods: Vec<&'static str>,
    /// All tries, the last one last.
    pub(crate) charges: Vec<String>,
    pub(crate) canceled_at: Option<i64>,
    pub(crate) cancellation_reason: Option<&'static str>,
    pub(crate) is_declined: bool,
}

/// What a buyer pays by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Card,
    SepaDebit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChargeStatus {
    Pending,
    Succeeded,
    Failed,
}

impl ChargeStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) intent: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) metadata: Metadata,
    pub(crate) description: Option<String>,
    pub(crate) method: Method,
    pub(crate) status: ChargeStatus,
    pub(crate) is_captured: bool,
    pub(crate) captured: i64,
    /// Authorised and never captured.
    pub(crate) released: i64,
    /// Until when it may be captured.
    pub(crate) capture_before: Option<i64>,
    pub(crate) balance_transaction: Option<String>,
    pub(crate) refunds: Vec<String>,
    pub(crate) disputes: Vec<String>,
}

/// How far a refund is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Accepted; the money is not back yet.
    Pending,
    /// The buyer must answer a mail.
    RequiresAction,
    /// Done, although it may still fail.
    Succeeded,
    /// The money came back to the account.
    Failed,
    /// Taken back before it was done.
    Canceled,
}

impl RefundStatus {
    /// Stripe's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::RequiresAction => "requires_action",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether the money counts as given back.
    #[must_use]
    pub fn holds(self) -> bool {
        match self {
            Self::Pending | Self::RequiresAction | Self::Succeeded => true,
            Self::Failed | Self::Canceled => false,
        }
    }

    pub(crate) fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => next != Self::Pending,
            Self::RequiresAction => next != Self::RequiresAction,
            Self::Succeeded => matches!(next, Self::RequiresAction | Self::Failed),
            Self::Failed | Self::Canceled => false,
        }
    }
}

/// Why there is a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundOrigin {
    /// Somebody called the API.
    Api,
    /// Somebody clicked in the dashboard.
    Dashboard,
    /// What was authorised and not captured: no money moved.
    Release,
}

#[derive(Debug, Clone)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) origin: RefundOrigin,
    pub(crate) status: RefundStatus,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) intent: String,
    pub(crate) charge: String,
    pub(crate) metadata: Metadata,
    pub(crate) reason: Option<&'static str>,
    pub(crate) balance_transaction: Option<String>,
    pub(crate) failure_balance_transaction: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DisputeStatus {
    NeedsResponse,
    Won,
    Lost,
}

impl DisputeStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NeedsResponse => "needs_response",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Dispute {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) status: DisputeStatus,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) intent: String,
    pub(crate) charge: String,
    /// Balance transactions: the withdrawal, and what came back.
    pub(crate) moves: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Coupon {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) off: Off,
    pub(crate) name: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) max_redemptions: Option<i64>,
    pub(crate) redeem_by: Option<i64>,
    pub(crate) times_redeemed: i64,
}

impl Coupon {
    pub(crate) fn is_valid(&self, now: i64) -> bool {
        self.max_redemptions.is_none_or(|most| self.times_redeemed < most) && self.redeem_by.is_none_or(|end| now < end)
    }
}

/// A balance transaction.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    /// Negative: leaves the balance.
    pub(crate) amount: i64,
    pub(crate) fee: i64,
    pub(crate) currency: String,
    pub(crate) source: String,
    pub(crate) created: i64,
}
