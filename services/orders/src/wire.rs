//! Orders' commands and events as messages of the contract, and back.

mod command;
mod event;
mod parts;

pub use command::command;
pub use event::{encode, event};
pub(crate) use parts::words;

const PACKAGE: &str = "holdfast.orders.v1.";
