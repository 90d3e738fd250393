//! Lines in files, one file for so many positions, each with its hash.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use domain::GlobalPosition;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub file: String,
    /// The position of its first line.
    pub first: GlobalPosition,
    /// And of its last.
    pub last: GlobalPosition,
    /// How many lines it has.
    pub lines: u64,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Which positions are written, how, and how many of them into one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) from: GlobalPosition,
    pub(crate) block: NonZeroU64,
    pub(crate) form: Form,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// Values in the order of columns, without a heading: as tax auditors take them.
    Csv,
}

impl Form {
    /// As `serde` asks for it.
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::Jsonl
    }
}

/// A line of a table.
pub(crate) trait Line: Serialize {
    /// Its values, in the order of the columns that describe the table.
    fn values(&self) -> Vec<String>;
}

/// A line of values: all of them in quotes, so that none of them can end one.
pub(super) fn csv(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("\"{}\"", value.replace('"', "\"\""))).collect();
    quoted.join(";") + "\r\n"
}

/// The files of one table.
pub(crate) struct Blocks {
    table: &'static str,
    extent: Extent,
    dir: Option<PathBuf>,
    open: Option<Open>,
    done: Vec<Listed>,
}

/// The file that lines go to now.
struct Open {
    number: u64,
    out: Box<dyn Write + Send>,
    hash: Sha256,
    listed: Listed,
}

impl Blocks {
    /// Files in this directory. Without one, they are written nowhere: what would be in them is known all the same.
    pub(crate) fn new(table: &'static str, extent: Extent, dir: Option<&Path>) -> Self {
        Self { table, extent, dir: dir.map(Path::to_owned), open: None, done: Vec::new() }
    }

    /// Writes the next line, in order of position. What is before the extent is passed over.
    pub(crate) fn line(&mut self, position: GlobalPosition, line: &impl Line) -> Result<()> {
        if position < self.extent.from {
            return Ok(());
        }
        let number = u64::try_from(position.get().saturating_sub(1)).unwrap_or(0) / self.extent.block;
        if self.open.as_ref().is_some_and(|open| open.number != number) {
            self.close()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::new(self.table, (number, self.extent), self.dir.as_deref(), position)?),
        };
        let bytes = match self.extent.form {
            Form::Jsonl => {
                let mut bytes = serde_json::to_vec(line).context("writing a line")?;
                bytes.push(b'\n');
                bytes
            }
            Form::Csv => csv(&line.values()).into_bytes(),
        };
        open.hash.update(&bytes);
        open.listed.lines += 1;
        open.listed.bytes += u64::try_from(bytes.len()).unwrap_or(0);
        open.listed.last = position;
        open.out.write_all(&bytes).with_context(|| format!("writing {}", open.listed.file))
    }

    fn close(&mut self) -> Result<()> {
        let Some(Open { number: _, mut out, hash, mut listed }) = self.open.take() else { return Ok(()) };
        out.flush().with_context(|| format!("writing {}", listed.file))?;
        listed.sha256 = hex(&hash.finalize());
        self.done.push(listed);
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<Vec<Listed>> {
        self.close()?;
        Ok(self.done)
    }
}

impl Open {
    fn new(
        table: &str,
        (number, Extent { block, form, .. }): (u64, Extent),
        dir: Option<&Path>,
        position: GlobalPosition,
    ) -> Result<Self> {
        let first = number.saturating_mul(block.get()).saturating_add(1);
        let last = number.saturating_add(1).saturating_mul(block.get());
        let ending = match form {
            Form::Jsonl => "jsonl",
            Form::Csv => "csv",
        };
        let file = format!("{table}-{first:012}-{last:012}.{ending}");
        let out: Box<dyn Write + Send> = match dir {
            None => Box::new(io::sink()),
            Some(dir) => {
                let file = File::create_new(dir.join(&file)).with_context(|| format!("making {file}"))?;
                Box::new(BufWriter::new(file))
            }
        };
        let (lines, bytes, sha256) = (0, 0, String::new());
        let listed = Listed { file, first: position, last: position, lines, bytes, sha256 };
        Ok(Self { number, out, hash: Sha256::new(), listed })
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
