//! What happened to disputes of a payment's charge.

use domain::{Dispute, HoldKey, PaymentId};

use super::Reported;

/// A fact about a dispute of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeEvent {
    /// The payment whose charge it is.
    pub payment_id: PaymentId,
    /// The attempt that the payment is of.
    pub key: HoldKey,
    /// The provider's own id of the dispute.
    pub dispute_id: String,
    /// What happened.
    pub step: DisputeStep,
    /// The dispute, as it stands after it.
    pub dispute: Dispute,
    /// The report that says so.
    pub reported: Reported,
}

/// What happened to a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisputeStep {
    /// There is one, or news of it.
    Disputed,
    /// It has taken money.
    FundsWithdrawn,
    /// What it had taken came back.
    FundsReinstated,
    /// It is over.
    Closed,
}
