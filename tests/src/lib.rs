//! The harness: what tests of the whole house share.

mod fleet;

mod messages;

use std::path::PathBuf;

pub use fleet::{TestFleet, eventually};
pub use messages::{Order, code, events, is_accepted, money};

/// The root of the repository.
#[must_use]
pub fn house() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
