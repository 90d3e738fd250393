//! End to end: real worker processes on a real Postgres and a real nats-server. Each test has its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that does not find what it looks for fails")]

mod arrival;
mod bad_input;
mod bounds;
mod clients;
mod command;
mod config;
mod coupons;
mod currencies;
mod delivery;
mod disputes;
mod export;
mod gateway;
mod happy_path;
mod holds;
mod identity;
mod links;
mod logs;
mod mail;
mod mail_states;
mod order_of_commands;
mod patience;
mod permissions;
mod poison;
mod probes;
mod questions;
mod race;
mod reading;
mod rebuild;
mod reconcile;
mod references;
mod refunds;
mod replay;
mod reports;
mod rounds;
mod saga;
mod second_charges;
mod stripe;
mod timelines;
mod versions;
mod wallets;
mod webhooks;
mod what_if;
mod wishes;
