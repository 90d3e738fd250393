//! The harness: what all tests share.

mod clock;

pub mod collector;

mod consumers;

mod fleet;

pub mod gateway;
pub mod guarded;
pub mod guide;

mod messages;

mod people;

pub mod probes;

mod provider;

mod standing;

pub mod rubbish;

pub mod smtp;

pub mod stripe;

pub mod users;

use std::path::PathBuf;

pub use clock::SkewedClock;
pub use consumers::change_consumer;
pub use fleet::{TestFleet, eventually};
pub use messages::{Order, code, events, is_accepted, money, pieces, reason, remedy};
pub use people::second_thought;
pub use provider::{QUICK_CALLS, at, report, report_resolution, resolution};

/// The `holdfast` command that was built beside the tests.
///
/// # Panics
/// This program does not know its own file.
#[must_use]
#[expect(clippy::expect_used, reason = "a test that does not know its own file fails")]
pub fn holdfast() -> PathBuf {
    let this = std::env::current_exe().expect("a program knows its own file");
    // A test's program lies one directory below.
    this.ancestors().nth(2).map(|dir| dir.join("holdfast")).unwrap_or_default()
}

/// The Python that tests run scripts of others with.
#[must_use]
pub fn python() -> String {
    std::env::var("HOLDFAST_PYTHON").unwrap_or_else(|_unset| "python3".to_owned())
}

/// The root of the repository.
#[must_use]
pub fn repo_root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
