//! An order: what was agreed, where it stands, and every decision about it.
//!
//! | event | status | payment | fulfilment |
//! |---|---|---|---|
//! | `OrderPlaced` | pending | pending | pending |
//! | `OrderReserved` | reserved | | |
//! | `OrderPaid` | paid | paid | ready |
//! | `OrderRejected`, `OrderExpired` | rejected, expired | cancelled | cancelled |
//! | `OrderCancelled` | cancelled | cancelled, or failed | cancelled |
//! | `OrderReinstated` | pending | pending, or paid or authorised (late) | pending |
//! | `PaidOrderCancelled` | | | cancelled |
//! | `CaptureRequested` | reserved | capturing | |
//! | `LatePaymentDeferred` | | paid or authorised (late) | |
//! | `VoidRequested` | | cancelled | |
//! | a refund event of a paid order | refunding, partially refunded, refunded, or paid again | the same | returned, once all is back |
//! | `OrderDisputed` | | | |
//! | a refund event of late money | | refunding, refunded, or paid (given up) | |

#[cfg(test)]
mod coupons;
mod decide;
mod disputes;
mod evolve;
mod holds;
mod payment;
mod refund;
#[cfg(test)]
pub(crate) mod spec;
mod state;
mod status;

pub use decide::{ATTEMPTS_MAX, decide};
pub use disputes::Disputed;
pub use evolve::evolve;
pub use payment::late_refund_id;
pub use refund::{REFUNDS_MAX, round_refund_id};
pub use state::{
    Everything, Line, Order, OrderTerms, Pieces, Referenced, Refund, RefundItems, Refundable, Shares, State,
};
pub use status::{
    CancelReason, Extent, FulfillmentStatus, HoldStatus, LatePaymentPolicy, PaymentStatus, Phase, RefundReason,
    RefundStatus, ReinstateReason, Resource, Status,
};
