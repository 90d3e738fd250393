//! The imperative shell of every worker: consume, load, decide, commit, relay. Knows no business word.

pub mod service;
pub mod rows;
