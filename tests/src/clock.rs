//! Makes a worker's clock wrong, by a library that is loaded before its C library.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

const SOURCE: &str = include_str!("clock/skewed.rs");

/// The library.
#[derive(Debug)]
pub struct SkewedClock {
    library: PathBuf,
}

impl SkewedClock {
    /// Builds it in a directory, with the Rust compiler.
    pub fn build(dir: &Path) -> Result<Self> {
        let (source, library) = (dir.join("skewed_clock.rs"), dir.join("libskewed_clock.so"));
        fs::write(&source, SOURCE)?;
        let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(&compiler);
        command.args(["--edition", "2024", "--crate-type", "cdylib", "-C", "opt-level=2", "-o"]);
        let built = command.arg(&library).arg(&source).output();
        let built = built.with_context(|| format!("running {} to build a wrong clock", compiler.display()))?;
        if !built.status.success() {
            bail!("building a wrong clock failed: {}", String::from_utf8_lossy(&built.stderr));
        }
        Ok(Self { library })
    }

    /// Settings that make the clock of a process wrong by as many seconds as a file says, at any time.
    #[must_use]
    pub fn settings_of_file(&self, file: &Path) -> BTreeMap<String, String> {
        let mut settings = self.settings(0);
        settings.insert("CLOCK_OFF_BY_FILE".to_owned(), file.to_string_lossy().into_owned());
        settings
    }

    /// Settings that make the clock of a process which starts with them wrong by so many seconds.
    #[must_use]
    pub fn settings(&self, seconds: i64) -> BTreeMap<String, String> {
        let library = self.library.to_string_lossy().into_owned();
        let settings = [("LD_PRELOAD", library), ("CLOCK_OFF_BY_SECONDS", seconds.to_string())];
        settings.map(|(name, value)| (name.to_owned(), value)).into()
    }
}
