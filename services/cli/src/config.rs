//! `holdfast config`: are the settings right, and what are they. It connects to nothing.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use platform::{config, print};
use serde_json::json;

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast config check
  holdfast config show

Settings are those of a process with this environment: its variables, and the file that HOLDFAST_CONFIG names.

Exit codes: 0 they are right; 1 they are not.";

/// Options of `holdfast config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum What {
    /// Say all that is wrong with the settings.
    #[command(after_help = EXAMPLES)]
    Check,
    /// Print all settings as TOML, with where each is from that is no default. No secret is printed.
    #[command(after_help = EXAMPLES)]
    Show,
}

/// Checks or shows: exit code 1 if something is wrong.
pub fn run(args: &Args, global: &GlobalArgs) -> Result<ExitCode> {
    let (settings, mistakes) = config::shown();
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let is_right = mistakes.is_empty();
    match args.what {
        What::Check if global.json => print::json(&json!({ "ok": is_right, "mistakes": mistakes }))?,
        What::Check if is_right => print::out("the settings are right\n")?,
        What::Check => print::out(&mistakes.iter().map(|mistake| format!("{mistake}\n")).collect::<String>())?,
        What::Show => {
            print::out(&settings)?;
            mistakes.iter().for_each(|mistake| eprintln!("holdfast: {mistake}"));
        }
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
