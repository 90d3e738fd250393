//! The `holdfast` command: the fleet on one machine, its load, its proofs, and its operators' verbs.

pub mod servers;
