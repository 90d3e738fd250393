//! placeholder

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::surroundings::Surroundings;

/// Options of `holdfast demo`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_args: Args, _surroundings: &Surroundings) -> Result<ExitCode> {
    bail!("being written")
}
