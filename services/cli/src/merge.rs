//! `holdfast merge`: one answer from those of all shards of a replay. It needs no database.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use audit::replay::merge;

use crate::{
    global_args::GlobalArgs,
    replay::{Form, Output, Spool},
};

const EXAMPLES: &str = "\
Examples:
  holdfast merge orders-*.jsonl
  holdfast merge /answer
  holdfast merge stock-*.jsonl --format parquet --out stock.parquet

Exit codes: 0 all is told; 2 wrong usage; 3 these files are not all shards of one answer, and the sentence says why.";

/// Options of `holdfast merge`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The files of all shards, as `holdfast replay --shard` has written them, in any order; or a directory, of which those ending in .jsonl
    /// are meant.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to print. csv and parquet have one table: the movements, if they were asked for, else the rows.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Form>,
    /// Into this file, which is not there yet, and appears when it is whole.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Merges.
pub fn run(args: &Args, global: &GlobalArgs) -> Result<ExitCode> {
    let Args { files, format, out } = args;
    let Some(form) = Form::asked(*format, global) else { return Ok(ExitCode::from(2)) };
    let Some(output) = Output::begin(form, out.as_deref())? else { return Ok(ExitCode::from(2)) };
    let (question, mut answer) = merge(files, Spool::default())?;
    output.write(&question, &mut answer)?;
    Ok(ExitCode::SUCCESS)
}
