//! The imperative shell of every worker: consume, load, decide, commit, publish. Knows no business word.
//!
//! Read it in this order: [`service`] is what a service implements, [`worker`] runs it. One message goes through `inbound`, which takes
//! it from the broker and reads it; `batch`, which decides, and commits many at once; `outbound`, which brings what was
//! committed to the broker; and `relay`, which publishes what nobody has brought there. `effects` makes outside calls, [`log`] is
//! the event store. [`letters`] are what could not be handled. [`simulation`] runs the same decisions without the surroundings.

mod batch;
mod context;
mod effects;
mod inbound;
pub mod letters;
pub mod log;
mod outbound;
mod relay;
pub mod service;
pub mod simulation;
mod telemetry;
mod waiting;
pub mod worker;

pub use batch::foresee;
pub use context::Context;
pub use outbound::notices;
pub use telemetry::METRICS;
pub use worker::{Process, run, run_together};
