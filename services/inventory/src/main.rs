//! The worker `holdfast-inventory`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::run(|_context| inventory::Inventory)
}
