//! The harness: what tests of the whole house share.

use std::path::PathBuf;

/// The root of the repository.
#[must_use]
pub fn house() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
