//! The process `holdfast-mail`.

use std::process::ExitCode;

/// Rows and templates are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mail::run()
}
