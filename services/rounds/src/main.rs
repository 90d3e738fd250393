//! The worker `holdfast-rounds`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run(|_context| rounds::Rounds)
}
