//! The worker `holdfast-payments`.

use std::{process::ExitCode, time::Duration};

use payments::{Payments, sandbox::Sandbox};

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::run(|context| {
        // Less than the runtime allows, so that payments decides what a silence means.
        let try_time_max = Duration::from_millis(context.config.effects.call_ms / 2);
        Payments::new(Sandbox::new(&context.pool), try_time_max)
    })
}
