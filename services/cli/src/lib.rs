//! The `holdfast` command: the fleet on one machine, orders for it, its proofs, and its operators' verbs.

pub mod asyncapi;
mod bar;
pub mod check;
pub mod config;
pub mod contact;
pub mod demo;
pub mod diagnose;
pub mod expire;
pub mod explain;
pub mod export;
pub mod global_args;
pub mod load;
pub mod mail;
pub mod migrate;
pub mod order;
pub mod recover;
pub mod replay;
pub mod send;
pub mod status;
pub mod up;
pub mod verify;
mod waiting;
