//! Settings with which a private fleet draws winners.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result};

use super::gateway::{hex, private};

/// The settings of workers of rounds, and of nobody else: a secret of the fleet's own, which is kept in a file in `dir`, and the sandbox for a beacon.
///
/// # Errors
/// The file cannot be written.
pub fn settings(dir: &Path, delay: Duration) -> Result<BTreeMap<String, String>> {
    let path = dir.join("draw-secrets");
    // One that is there is what rounds were opened with.
    if !path.exists() {
        private(&path, &hex(&rand::random::<[u8; 32]>()))?;
    }
    let path = fs::canonicalize(&path).with_context(|| format!("finding {}", path.display()))?;
    Ok(BTreeMap::from([
        ("HOLDFAST_ROUNDS_DRAW_SECRETS".to_owned(), path.to_string_lossy().into_owned()),
        ("HOLDFAST_ROUNDS_DRAW_BEACON".to_owned(), "sandbox".to_owned()),
        ("HOLDFAST_ROUNDS_DRAW_DELAY_MS".to_owned(), delay.as_millis().to_string()),
    ]))
}
