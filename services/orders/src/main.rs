//! The worker `holdfast-orders`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run(|_context| orders::Orders)
}
