//! What orders can be asked: from outside, by the policy, and by a timer.

use std::time::Duration;

use domain::{
    ContactEmail, Discount, Dispute, HoldKey, Lines, Money, OrderId, PaymentId, RefundId, Rejection, RoundId,
    StreamVersion,
};

use crate::order::{OrderTerms, Resource};

/// An intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Place an order and hold what it needs while the buyer pays.
    PlaceOrder {
        /// Named by the sender.
        order_id: OrderId,
        /// What was agreed.
        terms: OrderTerms,
        /// Where the buyer gets mail about it.
        contact: Option<ContactEmail>,
        /// Who asks. Empty: it is not said.
        actor: String,
    },
    /// Close an unpaid order, or refund a paid one in full.
    CancelOrder {
        /// The order.
        order_id: OrderId,
        /// Names the refund, should one be needed.
        refund_id: RefundId,
        /// Who asks.
        actor: String,
        /// Why.
        note: String,
    },
    /// Expire an order that nobody has paid, now.
    ExpireOrder {
        /// The order.
        order_id: OrderId,
        /// Who asks.
        actor: String,
        /// Why.
        note: String,
    },
    /// Give back money of a paid order, and what was bought with it.
    RequestRefund(RefundRequest),
    /// Open an expired or cancelled order again.
    ReinstateOrder {
        /// The order.
        order_id: OrderId,
        /// New time to pay.
        time_to_pay: Duration,
        /// Who asks.
        actor: String,
        /// Why.
        note: String,
    },
    /// Another of these, if the order is still as its sender has seen it.
    AtVersion {
        /// The version that he has seen.
        version: StreamVersion,
        /// What he wants.
        command: Box<Command>,
    },
    /// Timer: the time to pay may have run out.
    Expire {
        /// The order.
        order_id: OrderId,
    },
    /// Policy: the owners of resources hold them.
    ConfirmHolds {
        /// For this attempt.
        key: HoldKey,
        /// What is held.
        resources: Vec<Resource>,
        /// What the coupon takes off, if it is among them.
        discount: Option<Discount>,
    },
    /// Policy: the owner of a resource cannot hold it.
    RefuseHold {
        /// For this attempt.
        key: HoldKey,
        /// What is not held.
        resource: Resource,
        /// Why.
        rejection: Rejection,
    },
    /// Policy: the owners of resources hold them no more.
    ConfirmReleases {
        /// The attempt that was closed.
        key: HoldKey,
        /// What is free again.
        resources: Vec<Resource>,
    },
    /// Policy: the buyer's money is there, in time or late.
    RecordPayment {
        /// The attempt it was asked for.
        key: HoldKey,
        /// The payment.
        payment_id: PaymentId,
        /// What was paid.
        amount: Money,
    },
    /// Policy: the buyer's money is set aside, in time or late.
    RecordAuthorisation {
        /// The attempt it was asked for.
        key: HoldKey,
        /// The payment.
        payment_id: PaymentId,
        /// How much.
        amount: Money,
    },
    /// Policy: money that was set aside was let go, or has lapsed.
    RecordVoid {
        /// The attempt it was asked for.
        key: HoldKey,
        /// The payment.
        payment_id: PaymentId,
        /// Why.
        reason: String,
    },
    /// Policy: the provider could not get the buyer's money.
    RecordPaymentFailure {
        /// The attempt it was asked for.
        key: HoldKey,
        /// The provider's words.
        reason: String,
    },
    /// Policy: the provider has given a refund back.
    RecordRefund {
        /// The order.
        order_id: OrderId,
        /// The refund.
        refund_id: RefundId,
        /// What was given back.
        amount: Money,
    },
    /// Policy: money went back that nobody asked for here.
    RecordRefundElsewhere {
        /// The attempt that the payment was asked for.
        key: HoldKey,
        /// What it was taken from.
        payment_id: PaymentId,
        /// The refund, as payments names it.
        refund_id: RefundId,
        /// What was given back.
        amount: Money,
        /// How it is known, in words.
        note: String,
    },
    /// Policy: a payment is disputed, or there is news of that.
    RecordDispute {
        /// The attempt that the payment was asked for.
        key: HoldKey,
        /// The payment.
        payment_id: PaymentId,
        /// The provider's own id of the dispute.
        dispute_id: String,
        /// As it stands.
        dispute: Dispute,
    },
    /// Policy: the provider gave nothing back, and will not.
    AbandonRefund {
        /// The order.
        order_id: OrderId,
        /// The refund.
        refund_id: RefundId,
        /// Why.
        rejection: Rejection,
    },
    /// Policy: the round failed, so the shares are to be refunded.
    RefundShares {
        /// The attempt that bought them.
        key: HoldKey,
        /// The round.
        round_id: RoundId,
        /// How it failed, in words.
        note: String,
    },
}

/// What somebody wants back. Without lines, shares and an amount: everything that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// Of this order.
    pub order_id: OrderId,
    /// Names the refund for ever.
    pub refund_id: RefundId,
    /// Pieces to take back.
    pub lines: Lines,
    /// Whether to take back all of the order's shares.
    pub return_shares: bool,
    /// Money to give back. `None`: the price of what is taken back.
    pub amount: Option<Money>,
    /// Who asks.
    pub actor: String,
    /// Why.
    pub note: String,
}

impl Command {
    /// The order it is about.
    #[must_use]
    pub fn order_id(&self) -> OrderId {
        match self {
            Self::AtVersion { command, .. } => command.order_id(),
            Self::PlaceOrder { order_id, .. }
            | Self::CancelOrder { order_id, .. }
            | Self::ExpireOrder { order_id, .. }
            | Self::RequestRefund(RefundRequest { order_id, .. })
            | Self::ReinstateOrder { order_id, .. }
            | Self::Expire { order_id }
            | Self::RecordRefund { order_id, .. }
            | Self::AbandonRefund { order_id, .. } => *order_id,
            Self::ConfirmHolds { key, .. }
            | Self::RefuseHold { key, .. }
            | Self::ConfirmReleases { key, .. }
            | Self::RecordPayment { key, .. }
            | Self::RecordAuthorisation { key, .. }
            | Self::RecordVoid { key, .. }
            | Self::RecordPaymentFailure { key, .. }
            | Self::RecordRefundElsewhere { key, .. }
            | Self::RecordDispute { key, .. }
            | Self::RefundShares { key, .. } => key.order_id,
        }
    }
}
