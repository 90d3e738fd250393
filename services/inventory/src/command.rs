//! What inventory can be asked: from outside, and by the policy.

use domain::{HoldKey, Lines, RefundId, Sku};

/// An intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make a product known.
    RegisterProduct {
        /// The product.
        sku: Sku,
        /// For people.
        name: String,
        /// Who asks. Empty: it is not said.
        actor: String,
    },
    /// Add pieces that arrived.
    ReceiveStock {
        /// The product.
        sku: Sku,
        /// Pieces, at least 1.
        quantity: i64,
        /// The sender's.
        reference: String,
        /// Who asks. Empty: it is not said.
        actor: String,
    },
    /// Correct the stock after a count.
    AdjustStock {
        /// The product.
        sku: Sku,
        /// Pieces to add or, when negative, to take away.
        delta: i64,
        /// Who asks.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Policy: keep these pieces while the buyer pays, all or none.
    Hold {
        /// For this attempt of an order.
        key: HoldKey,
        /// What it needs.
        lines: Lines,
    },
    /// Policy: the order is paid, so what it holds is sold.
    Commit {
        /// The attempt that was paid.
        key: HoldKey,
    },
    /// Policy: the order is closed unpaid, so what it holds is free.
    Release {
        /// The attempt that was closed.
        key: HoldKey,
    },
    /// Policy: sold pieces come back with a refund.
    Return {
        /// The attempt that had bought them.
        key: HoldKey,
        /// What makes it happen once.
        refund_id: RefundId,
        /// What comes back.
        lines: Lines,
    },
}
