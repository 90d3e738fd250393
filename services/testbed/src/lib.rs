//! A fleet on this machine: private servers, workers as child processes, and orders to send them.

pub mod fleet;
pub mod http;
pub mod load;
pub mod servers;
