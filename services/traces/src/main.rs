//! The process `holdfast-traces`.

use std::process::ExitCode;

fn main() -> ExitCode {
    traces::run()
}
