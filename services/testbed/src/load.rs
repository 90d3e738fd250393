//! Orders for a fleet, made up from a seed or read from a trace.

pub mod books;
pub mod driver;
pub mod figures;
pub mod kill_worker;
pub mod outcomes;
pub mod progress;
pub mod scenario;
pub mod shop;
pub mod statuses;
pub mod synthetic;
pub mod target_fleet;
pub mod trace;
pub mod workload;
