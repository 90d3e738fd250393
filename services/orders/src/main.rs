//! The worker `holdfast-orders`.

use std::process::ExitCode;

use orders::Orders;
use providers::Enabled;

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::run(|context| Ok(Orders::new(Enabled::of(&context.config))))
}
