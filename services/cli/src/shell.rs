//! `holdfast completions` and `holdfast manual`: what a shell and `man` know of the command.

use std::{fs, io, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::{Shell, generate};

const COMPLETIONS_HELP: &str = "\
Examples:
  holdfast completions bash > ~/.local/share/bash-completion/completions/holdfast

Or, in ~/.bashrc: source <(holdfast completions bash)

Exit codes: 0 they are printed; 2 there is no such shell.";

const MANUAL_HELP: &str = "\
Examples:
  holdfast manual ~/.local/share/man/man1

Then: man holdfast-replay

Exit codes: 0 its pages are written; 2 wrong usage; 3 they could not be.";

/// Options of `holdfast completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Options of `holdfast manual`.
#[derive(Debug, clap::Args)]
#[command(after_help = MANUAL_HELP)]
pub struct ManualArgs {
    /// Where the pages go: one of the command, and one of each of its commands. It is made if it is not there.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints what a shell runs to complete the command's words.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> ExitCode {
    let name = command.get_name().to_owned();
    generate(args.shell, &mut command, name, &mut io::stdout());
    ExitCode::SUCCESS
}

/// Writes the manual's pages.
///
/// # Errors
/// The directory cannot be written to.
pub fn manual(args: &ManualArgs, command: Command) -> Result<ExitCode> {
    let directory = &args.directory;
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .with_context(|| format!("writing the manual to {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
