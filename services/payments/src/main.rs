//! The worker `holdfast-payments`.

use std::{process::ExitCode, time::Duration};

use payments::Payments;
use providers::{Adapter, Registry, sandbox::Sandbox};

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::run(|context| {
        // Less than the runtime allows, so that payments decides what a silence means.
        let try_time_max = Duration::from_millis(context.config.effects.call_ms / 2);
        let providers = Registry::new(vec![Adapter::Sandbox(Sandbox::new(&context.pool))]);
        Payments::new(providers, try_time_max)
    })
}
