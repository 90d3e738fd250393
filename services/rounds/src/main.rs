//! The worker `holdfast-rounds`.

use std::process::ExitCode;

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::run(rounds::Rounds::set_up)
}
