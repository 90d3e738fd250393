//! What every process needs, worker or not: settings, the broker and the database as they are connected to, time, errors and what
//! they mean, probes, logs and metrics, and one client that sends commands. Decides nothing and keeps no rows.

pub mod broker;
pub mod client;
pub mod clock;
pub mod config;
pub mod database;
pub mod error;
pub mod health;
pub mod message;
pub mod metric;
pub mod migrations;
pub mod print;
pub mod process;
pub mod retry;
pub mod secret_file;
pub mod shutdown;
pub mod statement;
pub mod telemetry;
pub mod web;
