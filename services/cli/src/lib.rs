//! The `holdfast` command: the fleet on one machine, orders for it, its proofs, and its operators' verbs.

pub mod actions;
pub mod asyncapi;
mod bar;
pub mod check;
pub mod config;
pub mod contact;
pub mod cutoff;
pub mod demo;
pub mod diagnose;
mod evidence;
pub mod expire;
pub mod explain;
pub mod export;
pub mod global_args;
mod listing;
pub mod load;
pub mod mail;
pub mod migrate;
pub mod order;
pub mod rebuild;
pub mod recover;
pub mod replay;
pub mod send;
pub mod status;
pub mod up;
pub mod verify;
mod waiting;
