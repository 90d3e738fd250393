//! The words all services share: ids, money, time, rejections, and the one state machine of a hold. Knows no IO.

pub mod code;
mod contact;
mod coupon;
mod currency;
mod decider;
mod dispute;
pub mod hold;
mod id;
mod json;
mod memory;
mod message;
mod money;
mod position;
mod product;
mod rejection;
pub mod spec;

mod table;
mod text;
mod timestamp;
mod words;

pub use contact::ContactEmail;
pub use coupon::{CouponCode, Discount};
pub use decider::{Decider, Effect, EncodedEvent, Timer};
pub use dispute::{Dispute, DisputeStanding};
#[doc(hidden)]
pub use serde;

pub use id::{Attempt, HoldKey, OrderId, PaymentId, RefundId, RoundId, WalletId, derived, may_derive};
pub use memory::{Memory, Rows};
pub use message::{decode, is_unknown_type, unknown_type};
pub use money::{AMOUNT_MAX, Currency, Money, minor_units, written};
pub use position::{BrokerSequence, GlobalPosition, StreamVersion};
pub use product::{Lines, QUANTITY_MAX, Sku, lines_from_wire, lines_to_wire};
pub use rejection::{DecideError, Rejection};
pub use table::{Revised, Table};

pub use text::{legible, text};
pub use timestamp::Timestamp;
