//! A file that is not there yet, and is there when all of it is written.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// A file on its way.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    part: NamedTempFile,
}

impl NewFile {
    /// Begins it, beside where it will be.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        if path.exists() {
            bail!("{} is there already: name a file that is not", path.display());
        }
        let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // As any other program would make it.
        let as_usual = Permissions::from_mode(0o666);
        let part = tempfile::Builder::new().permissions(as_usual).tempfile_in(beside);
        let part = part.with_context(|| format!("making a file in {}", beside.display()))?;
        Ok(Self { path, part })
    }

    /// It, to be written at will.
    pub(crate) fn file(&mut self) -> &mut File {
        self.part.as_file_mut()
    }

    /// Puts it where it belongs.
    pub(crate) fn end(self) -> Result<()> {
        let Self { path, part } = self;
        let ended = part.as_file().sync_all().and_then(|()| part.persist_noclobber(&path).map_err(io::Error::from));
        ended.map(drop).with_context(|| format!("writing {}", path.display()))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.part.flush()
    }
}
