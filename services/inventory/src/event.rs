//! What happened in inventory, and to which stream it belongs.

use std::fmt;

use domain::{HoldKey, Lines, RefundId, Rejection, Sku};

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A product is known.
    ProductRegistered {
        /// The product.
        sku: Sku,
        /// For people.
        name: String,
        /// Who asked. Empty: it was not said.
        actor: String,
    },
    /// Pieces arrived.
    StockReceived {
        /// The product.
        sku: Sku,
        /// Pieces.
        quantity: i64,
        /// The sender's.
        reference: String,
        /// Who asked. Empty: it was not said.
        actor: String,
    },
    /// Stock was corrected.
    StockAdjusted {
        /// The product.
        sku: Sku,
        /// Pieces added or, when negative, taken away.
        delta: i64,
        /// Who asked.
        actor: String,
        /// Why.
        reason: String,
    },
    /// All lines of an order are held.
    StockHeld {
        /// For this attempt of the order.
        key: HoldKey,
        /// What is held.
        lines: Lines,
    },
    /// Nothing is held: at least one line could not be.
    StockRejected {
        /// The attempt that gets nothing.
        key: HoldKey,
        /// Why.
        rejection: Rejection,
    },
    /// Held pieces are sold and leave the stock.
    StockCommitted {
        /// The attempt that held them.
        key: HoldKey,
        /// What was held.
        lines: Lines,
    },
    /// Held pieces are free again.
    StockReleased {
        /// The attempt that held them.
        key: HoldKey,
        /// What was held. Nothing, if the release came before the hold.
        lines: Lines,
    },
    /// Sold pieces came back with a refund.
    StockReturned {
        /// The attempt that had bought them.
        key: HoldKey,
        /// Each refund returns once.
        refund_id: RefundId,
        /// What came back.
        lines: Lines,
    },
}

/// What has a stream, and a row: a product or a hold. Its text is the name of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamId<'a> {
    /// A product and its stock.
    Product(&'a Sku),
    /// What one attempt of an order holds.
    Hold(HoldKey),
}

impl fmt::Display for StreamId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product(sku) => write!(f, "product-{sku}"),
            Self::Hold(key) => write!(f, "stock-{key}"),
        }
    }
}

impl Event {
    /// Whose stream it belongs to.
    #[must_use]
    pub const fn owner(&self) -> StreamId<'_> {
        match self {
            Self::ProductRegistered { sku, .. } | Self::StockReceived { sku, .. } | Self::StockAdjusted { sku, .. } => {
                StreamId::Product(sku)
            }
            Self::StockHeld { key, .. }
            | Self::StockRejected { key, .. }
            | Self::StockCommitted { key, .. }
            | Self::StockReleased { key, .. }
            | Self::StockReturned { key, .. } => StreamId::Hold(*key),
        }
    }

    /// What it moves in the stock of products.
    #[must_use]
    pub const fn lines(&self) -> Option<&Lines> {
        match self {
            Self::StockHeld { lines, .. }
            | Self::StockCommitted { lines, .. }
            | Self::StockReleased { lines, .. }
            | Self::StockReturned { lines, .. } => Some(lines),
            Self::ProductRegistered { .. }
            | Self::StockReceived { .. }
            | Self::StockAdjusted { .. }
            | Self::StockRejected { .. } => None,
        }
    }
}
