//! What happened to an order.

use domain::{
    CouponCode, Discount, Dispute, HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, RoundId, Timestamp,
};

use crate::order::{CancelReason, Extent, Line, OrderTerms, RefundItems, ReinstateReason, Resource, Shares};

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The order exists and waits for its holds.
    OrderPlaced {
        /// The order.
        order_id: OrderId,
        /// What was agreed.
        terms: OrderTerms,
        /// When. It expires its time to pay later.
        placed_at: Timestamp,
        /// Whether the buyer can be reached by mail. Where is in no event.
        has_contact: bool,
        /// Who asked. Empty: it was not said.
        actor: String,
    },
    /// The order wants what its coupon takes off.
    CouponRequested {
        /// For this attempt.
        key: HoldKey,
        /// Its coupon.
        coupon: CouponCode,
        /// Whose use it is.
        customer_id: String,
        /// What it is to be taken off.
        lines: Vec<Line>,
        /// What it is to be taken off.
        shares: Option<Shares>,
        /// How the buyer pays what is left.
        payment_method: String,
    },
    /// One of several holds is there; others are still owed.
    OrderHoldConfirmed {
        /// For this attempt.
        key: HoldKey,
        /// What is held.
        resource: Resource,
        /// What the coupon takes off, if it is what is held.
        discount: Option<Discount>,
    },
    /// All holds are there: the buyer can pay.
    OrderReserved {
        /// This attempt.
        key: HoldKey,
        /// What there is to pay.
        amount: Money,
        /// Until when.
        expires_at: Option<Timestamp>,
        /// Passed on to the provider.
        payment_method: String,
        /// What its coupon takes off.
        discount: Option<Discount>,
        /// The shop's own number of the order, passed on to the provider too.
        reference: Option<String>,
    },
    /// A hold was refused, so the order is closed.
    OrderRejected {
        /// This attempt.
        key: HoldKey,
        /// Which hold was refused.
        resource: Resource,
        /// Why.
        rejection: Rejection,
        /// What the attempt asked for.
        holds: Vec<Resource>,
    },
    /// The order is paid; its holds are to be committed.
    OrderPaid {
        /// This attempt.
        key: HoldKey,
        /// By this payment, which may have been asked for an older attempt; by none, where nothing was left to pay.
        payment_id: PaymentId,
        /// What was paid.
        amount: Money,
        /// What the attempt holds.
        holds: Vec<Resource>,
        /// What its coupon has taken off.
        discount: Option<Discount>,
    },
    /// The buyer's money is set aside and everything is held: the money is to be taken.
    CaptureRequested {
        /// This attempt.
        key: HoldKey,
        /// The payment, which may have been asked for an older attempt.
        payment_id: PaymentId,
        /// How much.
        amount: Money,
    },
    /// The buyer's money is set aside and of no use: it is to be let go.
    VoidRequested {
        /// This attempt.
        key: HoldKey,
        /// The payment.
        payment_id: PaymentId,
        /// Why.
        note: String,
    },
    /// The order is paid with the help of its coupon.
    RedemptionRequested {
        /// This attempt.
        key: HoldKey,
        /// Its coupon.
        coupon: CouponCode,
    },
    /// The time to pay ran out, or an operator ended it.
    OrderExpired {
        /// This attempt.
        key: HoldKey,
        /// When it was due.
        due_at: Timestamp,
        /// When and by what it was expired.
        note: String,
        /// What the attempt asked for.
        holds: Vec<Resource>,
        /// Who ended it by hand; empty: its timer.
        actor: String,
    },
    /// The order was cancelled before it was paid.
    OrderCancelled {
        /// This attempt.
        key: HoldKey,
        /// What for.
        reason: CancelReason,
        /// Who asked.
        actor: String,
        /// Why.
        note: String,
        /// What the attempt asked for.
        holds: Vec<Resource>,
    },
    /// One of several releases is done; others are still owed.
    OrderReleaseConfirmed {
        /// Of this attempt.
        key: HoldKey,
        /// What is free again.
        resource: Resource,
    },
    /// The receipt: whatever the closed attempt held is given back.
    OrderReleased {
        /// This attempt.
        key: HoldKey,
    },
    /// A closed order is open again and waits for its holds.
    OrderReinstated(Reinstated),
    /// A paid order was cancelled: it is not to be handed over, and what is left goes back.
    PaidOrderCancelled {
        /// This attempt.
        key: HoldKey,
        /// Names the refund of what is left.
        refund_id: RefundId,
        /// Who asked.
        actor: String,
        /// Why.
        note: String,
    },
    /// Late money waits for the receipt of the expired attempt, and then holds everything again.
    LatePaymentDeferred {
        /// This attempt.
        key: HoldKey,
        /// The late payment.
        payment_id: PaymentId,
        /// What was paid.
        amount: Money,
        /// Whether the money is set aside only.
        is_authorised: bool,
    },
    /// Money is to be given back.
    RefundRequested {
        /// The order.
        order_id: OrderId,
        /// Names the refund for ever.
        refund_id: RefundId,
        /// What it is taken from.
        payment_id: PaymentId,
        /// What comes back.
        claim: RefundItems,
        /// How much was asked for. `None`: the event is too old to say.
        extent: Option<Extent>,
        /// Who asked.
        actor: String,
        /// Why.
        note: String,
    },
    /// All of the payment is given back.
    OrderRefunded {
        /// The order.
        order_id: OrderId,
        /// The refund that gave the last of it back.
        refund_id: RefundId,
        /// What came back with this refund.
        claim: RefundItems,
    },
    /// A part of the payment is given back.
    OrderPartiallyRefunded {
        /// The order.
        order_id: OrderId,
        /// The refund.
        refund_id: RefundId,
        /// What came back with this refund.
        claim: RefundItems,
    },
    /// The round failed while another refund was under way: the refund of the shares waits for how that one ends.
    ShareRefundDeferred {
        /// The attempt that bought them.
        key: HoldKey,
        /// The round.
        round_id: RoundId,
        /// How it failed.
        note: String,
    },
    /// A payment of the order is disputed, or there is news of that: what the order knows of it from now on.
    OrderDisputed {
        /// The attempt that the payment is of.
        key: HoldKey,
        /// The payment.
        payment_id: PaymentId,
        /// The provider's own id of the dispute.
        dispute_id: String,
        /// As payments tells it.
        dispute: Dispute,
    },
    /// The provider refused the refund: order and payment are as they were before it.
    RefundAbandoned {
        /// The attempt that the refund was of.
        key: HoldKey,
        /// The refund.
        refund_id: RefundId,
        /// Why.
        rejection: Rejection,
    },
}

/// How a closed order was opened again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reinstated {
    /// The new attempt.
    pub key: HoldKey,
    /// What it needs, for those who hold it.
    pub lines: Vec<Line>,
    /// What it needs, for those who hold it.
    pub shares: Option<Shares>,
    /// The coupon that it asks for again.
    pub coupon: Option<CouponCode>,
    /// Until when to pay. `None`: it is paid already.
    pub expires_at: Option<Timestamp>,
    /// What for.
    pub reason: ReinstateReason,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub note: String,
    /// The late payment that pays for it, when that is the reason.
    pub payment_id: Option<PaymentId>,
    /// Whether that money is set aside only.
    pub is_authorised: bool,
}

impl Event {
    /// The order whose stream it belongs to.
    #[must_use]
    pub const fn order_id(&self) -> OrderId {
        match self {
            Self::OrderPlaced { order_id, .. }
            | Self::RefundRequested { order_id, .. }
            | Self::OrderRefunded { order_id, .. }
            | Self::OrderPartiallyRefunded { order_id, .. } => *order_id,
            Self::CouponRequested { key, .. }
            | Self::RedemptionRequested { key, .. }
            | Self::CaptureRequested { key, .. }
            | Self::VoidRequested { key, .. }
            | Self::OrderDisputed { key, .. }
            | Self::OrderHoldConfirmed { key, .. }
            | Self::OrderReserved { key, .. }
            | Self::OrderRejected { key, .. }
            | Self::OrderPaid { key, .. }
            | Self::OrderExpired { key, .. }
            | Self::OrderCancelled { key, .. }
            | Self::OrderReleaseConfirmed { key, .. }
            | Self::OrderReleased { key }
            | Self::OrderReinstated(Reinstated { key, .. })
            | Self::PaidOrderCancelled { key, .. }
            | Self::LatePaymentDeferred { key, .. }
            | Self::ShareRefundDeferred { key, .. }
            | Self::RefundAbandoned { key, .. } => key.order_id,
        }
    }

    /// The name of its stream, which is also the name of its row.
    #[must_use]
    pub fn stream(&self) -> String {
        stream(self.order_id())
    }
}

/// The name of an order's stream, which is also the name of its row.
#[must_use]
pub fn stream(order_id: OrderId) -> String {
    format!("order-{order_id}")
}
