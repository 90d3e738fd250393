//! The imperative shell of every worker: consume, load, decide, commit, relay. Knows no business word.
//!
//! Read it in this order: [`service`] is what a service implements; [`worker`] runs it; `consumer` takes messages in, `job`
//! reads them, `draft` decides, `batch` commits, with `append` and `inbox` for what every service writes, `races` for what it
//! loses, and `doubt` for whose fault a failure is; `publish` brings what was committed to the broker, and `relay` what nobody has brought there;
//! `refusals` and `notices` say what does not get there. [`simulation`] runs the
//! same decisions without the surroundings.

pub mod service;

pub mod worker;

mod consumer;

mod pace;

mod quarantine;

mod ingest;
mod job;

mod message;

mod doubt;
mod draft;
mod positions;

mod batch;

mod inbox;

mod races;

mod append;

pub mod event_store;

mod gap;

pub mod simulation;

mod people;
mod publish;

mod refusals;

mod notices;

mod ranges;

mod marks;

mod relay;

mod window;

pub mod divergence;

pub mod lineage;

pub mod recovery;

mod telemetry;

mod timers;

mod effects;

mod dead_letter;

pub use worker::{Context, run};
