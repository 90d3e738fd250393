//! Taking messages in: the consumers and how much they ask for, what each message says, and what no client can read.

pub(crate) mod consumer;
pub(crate) mod input;
pub(crate) mod message;
pub(crate) mod pace;
pub(crate) mod quarantine;
