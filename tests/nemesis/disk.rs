//! A disk that can be full: a file system in memory whose size is cut down to what is on it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Room enough for a run.
const SIZE_MB: u64 = 8_192;

const FILL_TRIES: u64 = 60;

/// A mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct Disk {
    at: PathBuf,
    stays: bool,
}

impl Disk {
    /// Mounts one at a directory, which is made; `None` where this process may not (it takes root).
    pub(crate) fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at).with_context(|| format!("making the directory {}", at.display()))?;
        let size = format!("size={SIZE_MB}m,mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "holdfast-faults"]).arg(at).output();
        Ok(mounted.is_ok_and(|output| output.status.success()).then(|| Self { at: at.to_owned(), stays: false }))
    }

    /// Leaves no room for another byte, as far as pages allow.
    pub(crate) fn fill(&self) -> Result<()> {
        // It is written to all the while, so what was used may be more by now, and a disk cannot have less than that.
        let mut filled = Ok(());
        for room in 1..=FILL_TRIES {
            filled = self.resize(&format!("size={}k", (self.used_pages()? + room * room) * 4));
            if filled.is_ok() {
                break;
            }
        }
        filled
    }

    fn used_pages(&self) -> Result<u64> {
        let used = Command::new("df").args(["--output=used", "--block-size=4096"]).arg(&self.at).output()?;
        let used = String::from_utf8_lossy(&used.stdout);
        used.lines().last().unwrap_or_default().trim().parse().context("reading what df says")
    }

    /// Stays mounted after its drop, for whoever wants to read what is on it.
    pub(crate) fn stay(&mut self) {
        self.stays = true;
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
        if self.stays {
            return;
        }
        // Lazily, for a server that is just ending may still have a file open.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.at).output();
        if !unmounted.is_ok_and(|output| output.status.success()) {
            eprintln!("{} is still mounted", self.at.display());
        }
    }
}
