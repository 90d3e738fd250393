//! Where an order, its payment, its fulfilment, its holds and its refunds can stand, in the words of tables and reports.

use domain::words;

words!(
    /// Where an order stands.
    Status {
        /// Waits for its holds.
        Pending = "pending",
        /// Everything is held: the buyer can pay.
        Reserved = "reserved",
        /// Paid.
        Paid = "paid",
        /// The time to pay ran out.
        Expired = "expired",
        /// Cancelled before it was paid, or the payment failed.
        Cancelled = "cancelled",
        /// A hold was rejected.
        Rejected = "rejected",
        /// Paid; a refund is under way.
        Refunding = "refunding",
        /// Paid; a part was given back.
        PartiallyRefunded = "partially_refunded",
        /// Paid; everything was given back.
        Refunded = "refunded",
    }
);

words!(
    /// Where the latest attempt's payment stands.
    PaymentStatus {
        /// Nothing was paid.
        Pending = "pending",
        /// The money is set aside, and the order cannot be paid with it yet.
        Authorised = "authorised",
        /// The money is set aside, and is being taken.
        Capturing = "capturing",
        /// The money is there. On a closed order: it came late, and giving it back was refused.
        Paid = "paid",
        /// The provider could not get the money.
        Failed = "failed",
        /// Nobody waits for it any more.
        Cancelled = "cancelled",
        /// The money was set aside when the order had expired, and was let go. So it is not asked for if it is heard of again.
        Voided = "voided",
        /// A refund is under way.
        Refunding = "refunding",
        /// A part was given back.
        PartiallyRefunded = "partially_refunded",
        /// Everything was given back.
        Refunded = "refunded",
    }
);

words!(
    /// Where what was bought stands.
    FulfillmentStatus {
        /// Not paid yet.
        Pending = "pending",
        /// To be handed over.
        Ready = "ready",
        /// Will not be handed over, or is to come back.
        Cancelled = "cancelled",
        /// All of it came back.
        Returned = "returned",
    }
);

words!(
    /// What an order holds for a while.
    Resource {
        /// Pieces of products, held by inventory.
        Stock = "stock",
        /// Shares of a round, held by rounds.
        Shares = "shares",
        /// One use of a coupon, held by payments.
        Coupon = "coupon",
    }
);

words!(
    /// What is known here of a hold. Its own state machine runs at its owner; what happens to it after the payment stays there.
    HoldStatus {
        /// Asked for, unanswered.
        Asked = "asked",
        /// There.
        Held = "held",
        /// Could not be had: there is nothing to release.
        Rejected = "rejected",
        /// Given back.
        Released = "released",
    }
);

words!(
    /// Where a refund stands.
    RefundStatus {
        /// Under way.
        Requested = "requested",
        /// The money went back.
        Refunded = "refunded",
        /// The provider gave nothing back.
        Abandoned = "abandoned",
    }
);

words!(
    /// What to do with money that arrives after the order was closed.
    LatePaymentPolicy {
        /// Give it back.
        Refund = "refund",
        /// Hold again what an expired order held; if that is refused, give the money back.
        Rehold = "rehold",
    }
);

words!(
    /// Why money is given back.
    RefundReason {
        /// Somebody asked for it.
        Requested = "requested",
        /// A paid order was cancelled.
        OrderCancelled = "order_cancelled",
        /// The money arrived when the order was closed.
        LatePayment = "late_payment",
        /// The round was called off, or closed without selling out.
        RoundFailed = "round_failed",
        /// It was made elsewhere, such as in the provider's dashboard.
        Elsewhere = "elsewhere",
    }
);

words!(
    /// How much somebody asked to be given back: what a repetition is compared with.
    Extent {
        /// Everything that is left.
        Everything = "everything",
        /// The price of what comes back.
        Price = "price",
        /// So much.
        Amount = "amount",
    }
);

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Somebody asked for it.
    Requested,
    /// The provider could not get the money.
    PaymentFailed,
}

/// Why a closed order is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReinstateReason {
    /// An operator asked for it.
    Requested,
    /// Its money arrived late, and its policy is to hold again.
    LatePayment,
}

/// What an order's status comes to, for whoever decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It can still be paid, or closed.
    Open,
    /// It was closed unpaid. What it asked for is owed back until it is released.
    Closed,
    /// It was paid, and never is open again.
    Paid,
}

impl Status {
    /// What it comes to.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Pending | Self::Reserved => Phase::Open,
            Self::Expired | Self::Cancelled | Self::Rejected => Phase::Closed,
            Self::Paid | Self::Refunding | Self::PartiallyRefunded | Self::Refunded => Phase::Paid,
        }
    }
}

impl HoldStatus {
    /// Whether its owner still has to say, once the order is closed, that nothing is held.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Asked | Self::Held => true,
            Self::Rejected | Self::Released => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Extent, FulfillmentStatus, HoldStatus, LatePaymentPolicy, PaymentStatus, RefundReason, RefundStatus, Resource,
        Status,
    };

    #[test]
    fn every_word_reads_back() {
        assert!(Status::ALL.iter().all(|word| Status::parse(word.as_str()) == Some(*word)));
        assert!(PaymentStatus::ALL.iter().all(|word| PaymentStatus::parse(word.as_str()) == Some(*word)));
        assert!(HoldStatus::ALL.iter().all(|word| HoldStatus::parse(word.as_str()) == Some(*word)));
        assert!(RefundStatus::ALL.iter().all(|word| RefundStatus::parse(word.as_str()) == Some(*word)));
        assert!(RefundReason::ALL.iter().all(|word| RefundReason::parse(word.as_str()) == Some(*word)));
        assert!(LatePaymentPolicy::ALL.iter().all(|word| LatePaymentPolicy::parse(word.as_str()) == Some(*word)));
        assert!(FulfillmentStatus::ALL.iter().all(|word| FulfillmentStatus::parse(word.as_str()) == Some(*word)));
        assert!(Extent::ALL.iter().all(|word| Extent::parse(word.as_str()) == Some(*word)));
        assert!(Resource::ALL.iter().all(|word| Resource::parse(word.as_str()) == Some(*word)));
        assert_eq!(Status::parse("lost"), None);
    }
}
