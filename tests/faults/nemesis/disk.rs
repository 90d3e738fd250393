//! A disk that can be full: a file system in memory whose size is cut down to what is on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Room enough for a run.
const SIZE_MB: u64 = 8_192;

/// A mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Mounts one at a directory, which is made; `None` where this process may not (it takes root).
    pub(crate) fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at).with_context(|| format!("making the directory {}", at.display()))?;
        let size = format!("size={SIZE_MB}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "holdfast-faults"]).arg(at).output();
        Ok(mounted.is_ok_and(|output| output.status.success()).then(|| Self { at: at.to_owned() }))
    }

    /// Leaves no room for another byte, as far as pages allow.
    pub(crate) fn fill(&self) -> Result<()> {
        let used = Command::new("df").args(["--output=used", "--block-size=4096"]).arg(&self.at).output()?;
        let used = String::from_utf8_lossy(&used.stdout);
        let pages: u64 = used.lines().last().unwrap_or_default().trim().parse().context("reading what df says")?;
        self.resize(&format!("size={}k", (pages + 4) * 4))
    }

    /// Has room again.
    pub(crate) fn clear(&self) -> Result<()> {
        self.resize(&format!("size={SIZE_MB}m"))
    }

    fn resize(&self, size: &str) -> Result<()> {
        let resized = Command::new("mount").args(["-o", &format!("remount,{size}")]).arg(&self.at).output()?;
        if !resized.status.success() {
            bail!(
                "the disk at {} could not be given {size}: {}",
                self.at.display(),
                String::from_utf8_lossy(&resized.stderr)
            );
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, for a server that is just ending may still have a file open.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.at).output();
        if !unmounted.is_ok_and(|output| output.status.success()) {
            eprintln!("{} is still mounted", self.at.display());
        }
    }
}
