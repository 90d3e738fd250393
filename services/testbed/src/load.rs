//! Orders for a fleet, made up from a seed or read from a trace.

pub mod bars;
pub mod driver;
pub mod figures;
pub mod mix;
pub mod outcomes;
pub mod story;
pub mod synthetic;
pub mod trace;
pub mod venue;
