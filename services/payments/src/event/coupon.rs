//! What happened to coupons, and to what orders hold of them.

use domain::{CouponCode, Discount, HoldKey, Rejection, Timestamp};

use super::StreamId;
use crate::coupon::Offer;

/// A fact about a coupon, or about what an order holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CouponEvent {
    /// It can be used.
    Opened {
        /// Its code.
        code: CouponCode,
        /// What it is good for.
        offer: Offer,
        /// Who asked. Empty: it was not said.
        actor: String,
    },
    /// Nothing more is held of it.
    Closed {
        /// Its code.
        code: CouponCode,
        /// Who closed it.
        actor: String,
        /// Why.
        note: String,
        /// When.
        closed_at: Timestamp,
    },
    /// A use is held for an order.
    Held {
        /// The order and its attempt.
        key: HoldKey,
        /// The use.
        of: UseOf,
        /// What it takes off.
        discount: Discount,
    },
    /// An order cannot use it.
    Rejected {
        /// The order and its attempt.
        key: HoldKey,
        /// The coupon it asked for, which need not exist.
        code: CouponCode,
        /// Why not.
        rejection: Rejection,
    },
    /// A held use is used up.
    Redeemed {
        /// The order and its attempt.
        key: HoldKey,
        /// The use.
        of: UseOf,
    },
    /// A held use is free again.
    Released {
        /// The order and its attempt.
        key: HoldKey,
        /// The use. `None`: the release came before the hold.
        of: Option<UseOf>,
    },
}

/// A use of a coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseOf {
    /// Of this coupon.
    pub code: CouponCode,
    /// By this customer.
    pub customer_id: String,
}

impl CouponEvent {
    /// Whose stream it belongs to.
    #[must_use]
    pub fn owner(&self) -> StreamId {
        match self {
            Self::Opened { code, .. } | Self::Closed { code, .. } => StreamId::Coupon(code.clone()),
            Self::Held { key, .. }
            | Self::Rejected { key, .. }
            | Self::Redeemed { key, .. }
            | Self::Released { key, .. } => StreamId::Use(*key),
        }
    }

    /// The use that it moves, if it moves one.
    #[must_use]
    pub const fn moves(&self) -> Option<&UseOf> {
        match self {
            Self::Held { of, .. } | Self::Redeemed { of, .. } => Some(of),
            Self::Released { of, .. } => of.as_ref(),
            Self::Opened { .. } | Self::Closed { .. } | Self::Rejected { .. } => None,
        }
    }
}

/// The name of the row of what a customer has used of a coupon.
#[must_use]
pub fn customer_row(code: &CouponCode, customer_id: &str) -> String {
    format!("customer-{code}.{customer_id}")
}
