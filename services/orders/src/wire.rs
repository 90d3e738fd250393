//! Orders' commands and events as messages of the contract, and back.

mod command;
mod event;
mod parts;

pub use command::{decode_command, payable};
pub use event::{decode_event, encode};
pub(crate) use parts::words;

const PACKAGE: &str = "holdfast.orders.v1.";
