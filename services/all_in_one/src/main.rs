//! All four services in one process, `holdfast-all-in-one`: for shops that one machine carries.

use std::process::ExitCode;

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    runtime::run_together("all-in-one", |process| {
        vec![
            process.service(|context| Ok(orders::Orders::new(providers::Enabled::of(&context.config)))),
            process.service(|_context| Ok(inventory::Inventory)),
            process.service(rounds::Rounds::set_up),
            process.service(payments::with_providers),
        ]
    })
}
