//! Throws rubbish of every kind at a real fleet, and sees how long good commands wait beside it.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use holdfast_tests::{
    TestFleet,
    rubbish::{self, Options},
};

/// A good command is answered within this time.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What a worker may have resident.
const RESIDENT_MAX_MIB: u64 = 128;

/// Throws rubbish of every kind at a real fleet, and sees how long good commands wait beside it. Exit code 1: too long, too much
/// memory, or something was lost.
#[derive(Debug, Parser)]
struct Args {
    /// How long to throw.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Messages of rubbish a second.
    #[arg(long, default_value_t = 1_500)]
    rate: u64,
    /// Good commands a second, at each service.
    #[arg(long, default_value_t = 10)]
    good_rate: u64,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A kind of rubbish to leave out, for whoever looks for the cause of something: one_id_at_two_services, huge_bodies, ...
    #[arg(long, value_name = "KIND")]
    without: Vec<String>,
    /// How many seconds to wait for the last answers, when all is sent, and then until nothing is under way.
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Args { seconds, rate, good_rate, seed, without, patience } = Args::parse();
    let options = Options { seconds, rate, good_rate, without, seed, patience: Duration::from_secs(patience) };
    let fleet = TestFleet::start().await?;
    let report = rubbish::run(&fleet, &options).await?;
    print!("{}", report.text());
    let found: Vec<String> = report.faults().into_iter().chain(report.excesses(ANSWER_MAX, RESIDENT_MAX_MIB)).collect();
    for one in &found {
        println!("violation: {one}");
    }
    println!("{}", if found.is_empty() { "every good command was answered in time" } else { "NOT WELL" });
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
