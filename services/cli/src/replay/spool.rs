//! Movements, kept in a file without a name until what stands above them is known: a product may have moved more often than fits memory.

use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Seek, Write},
};

use anyhow::{Context, Result};
use audit::replay::{Movement, Movements};

/// Movements, one JSON object a line.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    file: Option<BufWriter<File>>,
}

impl Movements for Spool {
    fn take(&mut self, movement: Movement) -> Result<()> {
        let failed = "keeping movements in a temporary file";
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(tempfile::tempfile().context(failed)?)),
        };
        serde_json::to_writer(&mut *file, &movement).context(failed)?;
        file.write_all(b"\n").context(failed)
    }
}

impl Spool {
    /// All of them again, in their order, as often as it is asked for.
    pub(super) fn read(&mut self) -> Result<impl Iterator<Item = Result<String>> + use<>> {
        let failed = "reading movements from a temporary file";
        let file = match &mut self.file {
            Some(file) => {
                file.flush().context(failed)?;
                let mut file = file.get_ref().try_clone().context(failed)?;
                file.rewind().context(failed)?;
                Some(BufReader::new(file))
            }
            None => None,
        };
        Ok(file.into_iter().flat_map(BufRead::lines).map(move |line| line.context(failed)))
    }
}
