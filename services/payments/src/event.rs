//! What happened in payments. All events of a payment and of its refunds belong to the payment's stream.

use domain::{HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Timestamp};

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The buyer is asked to pay.
    PaymentRequested {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that it pays.
        key: HoldKey,
        /// How much.
        amount: Money,
        /// Where, and with which provider.
        checkout: Checkout,
        /// How the buyer pays.
        payment_method: String,
        /// Until when.
        expires_at: Timestamp,
    },
    /// The provider has the money, in time or late.
    PaymentSucceeded {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that it pays.
        key: HoldKey,
        /// How much: what was asked for.
        amount: Money,
        /// The provider's own id of its report.
        provider_event_id: String,
    },
    /// The provider could not get the money.
    PaymentFailed {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that it was to pay.
        key: HoldKey,
        /// Why.
        reason: String,
        /// The provider's own id of its report.
        provider_event_id: String,
    },
    /// The buyer is not asked any more, or never will be.
    PaymentCancelled {
        /// The payment.
        payment_id: PaymentId,
        /// The attempt that is closed.
        key: HoldKey,
    },
    /// A refund is to be sent to the provider.
    PaymentRefunding {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// What the provider recognises a repetition by.
        idempotency_key: String,
        /// After this its outcome counts as unknown.
        deadline: Timestamp,
        /// The provider that took the money.
        provider: String,
        /// What the provider knows the payment by.
        payment_reference: String,
    },
    /// The buyer has the money back.
    PaymentRefunded {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// What the provider knows the refund by; empty if nobody said.
        provider_reference: String,
    },
    /// The money was not given back and will not be.
    RefundRejected {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// Why.
        rejection: Rejection,
    },
    /// Nobody knows whether the money went back: an operator decides.
    RefundOutcomeUnknown {
        /// The refund.
        of: RefundOf,
        /// What was tried and what was heard.
        evidence: String,
    },
    /// The order counts as refunded, but the buyer does not have the money: an operator decides.
    RefundReversed {
        /// The refund.
        of: RefundOf,
        /// How much.
        amount: Money,
        /// Why.
        reason: String,
    },
    /// An operator decided; the next event is what follows from it.
    RefundResolved {
        /// The refund.
        of: RefundOf,
        /// What was decided.
        resolution: Resolution,
        /// By whom.
        actor: String,
        /// On what evidence.
        note: String,
    },
}

/// Where the buyer pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The provider's name.
    pub provider: String,
    /// What the provider knows the payment by.
    pub reference: String,
    /// The page for the buyer.
    pub url: String,
}

/// What names a refund in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefundOf {
    /// The payment whose money goes back.
    pub payment_id: PaymentId,
    /// The order that it had paid.
    pub order_id: OrderId,
    /// The refund.
    pub refund_id: RefundId,
}

/// What an operator can decide about a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Send it again, under a new key.
    Retry,
    /// The buyer has the money.
    Refunded,
    /// The buyer does not have the money, and it is not given back.
    Abandon,
}

impl Resolution {
    /// The verb, as in the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "RETRY",
            Self::Refunded => "REFUNDED",
            Self::Abandon => "ABANDON",
        }
    }
}

impl Event {
    /// The payment whose stream it belongs to.
    #[must_use]
    pub const fn payment_id(&self) -> PaymentId {
        match self {
            Self::PaymentRequested { payment_id, .. }
            | Self::PaymentSucceeded { payment_id, .. }
            | Self::PaymentFailed { payment_id, .. }
            | Self::PaymentCancelled { payment_id, .. } => *payment_id,
            Self::PaymentRefunding { of, .. }
            | Self::PaymentRefunded { of, .. }
            | Self::RefundRejected { of, .. }
            | Self::RefundOutcomeUnknown { of, .. }
            | Self::RefundReversed { of, .. }
            | Self::RefundResolved { of, .. } => of.payment_id,
        }
    }
}

/// Name of a payment's stream, and of its row.
#[must_use]
pub fn stream(payment_id: PaymentId) -> String {
    format!("payment-{payment_id}")
}
