//! The `holdfast` command: the fleet on one machine, its load, its proofs, and its operators' verbs.

pub mod servers;

pub mod migrations;

pub mod fleet;

pub mod publisher;

pub mod surroundings;

mod print;

mod snapshot;

pub mod up;

pub mod load;

pub mod demo;

pub mod status;

pub mod waiting;

pub mod verify;

pub mod order;

pub mod recover;

pub mod send;

pub mod bench;
