//! Feeds every decoder that faces the outside with what nobody should send, and looks whether what comes out is what was meant.
//! There is no instrumentation: an input that ends in another way than all before is one to go on from.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fuzzer that breaks has found something, if only in itself"
)]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, builder::PossibleValuesParser};
use testbed::load::figures::grouped;

mod attempt;
mod corpus;
mod engine;
mod fields;
mod memory;
mod mutate;
mod shrink;
mod targets;

use engine::{Tally, Until, fuzz};
use targets::{TARGETS, Target};

/// Feeds every decoder that faces the outside with what nobody should send.
#[derive(Debug, Parser)]
struct Args {
    /// What to fuzz; all if not given.
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
    targets: Vec<String>,
    /// How long, in seconds; the targets share it.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    seconds: u64,
    /// Where chance begins. Chosen by chance if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// So many inputs for each target instead, the same ones for the same seed.
    #[arg(long, conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    inputs: Option<u64>,
    /// Only this input, for one target.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "seed", "inputs"])]
    input: Option<PathBuf>,
}

/// The workers' allocator. It gives nothing back at once, so what an input has taken shows right after it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let is_chosen = |target: &&Target| args.targets.is_empty() || args.targets.iter().any(|name| name == target.name);
    let chosen: Vec<&Target> = TARGETS.into_iter().filter(is_chosen).collect();
    if let Some(file) = &args.input {
        return once(&chosen, file);
    }
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}");
    let share = Duration::from_millis(args.seconds * 1_000 / u64::try_from(chosen.len()).unwrap());
    let until = args.inputs.map_or(Until::Over(share), Until::Inputs);
    println!("{}", row(["target", "inputs", "inputs/s", "signatures", "failures", "digest"].map(str::to_owned)));
    let mut failures = 0;
    for target in chosen {
        let tally = fuzz(target, &corpus::read(target.name), seed, until);
        println!("{}", told(&tally));
        failures += tally.failures.len();
        for failure in &tally.failures {
            let path = corpus::keep(&corpus::folder(target.name), &failure.input);
            println!("\n{}: {}\n{}", target.name, failure.what, shown(&failure.input));
            println!("again: just fuzz {} --input {}\n", target.name, path.display());
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one input again.
fn once(chosen: &[&Target], file: &PathBuf) -> ExitCode {
    let ([target], Ok(input)) = (chosen, fs::read(file)) else {
        eprintln!("give one target, and a file that can be read, not {}", file.display());
        return ExitCode::from(2);
    };
    println!("{}", shown(&input));
    match attempt::attempt(target, &input) {
        Ok(signature) => {
            println!("nothing is wrong: {signature}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("{}: {what}", target.name);
            ExitCode::FAILURE
        }
    }
}

fn told(tally: &Tally) -> String {
    let milliseconds = u64::try_from(tally.lasted.as_millis()).unwrap().max(1);
    row([
        tally.target.to_owned(),
        grouped(tally.inputs),
        grouped(tally.inputs * 1_000 / milliseconds),
        grouped(u64::try_from(tally.signatures).unwrap()),
        tally.failures.len().to_string(),
        format!("{:016x}", tally.digest),
    ])
}

fn row([target, inputs, rate, signatures, failures, digest]: [String; 6]) -> String {
    format!("{target:<10} {inputs:>12} {rate:>10} {signatures:>10} {failures:>8}  {digest}")
}

/// An input's first bytes, to be recognised by.
fn shown(input: &[u8]) -> String {
    let rest = input.len().saturating_sub(400);
    let more = if rest > 0 { format!(" … and {rest} bytes more") } else { String::new() };
    format!("\"{}\"{more}", input[..input.len() - rest].escape_ascii())
}

#[cfg(test)]
mod tests;
