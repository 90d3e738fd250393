//! Lines in files, one file for so many positions, each with its hash.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use domain::{GlobalPosition, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::columnar::{Cell, Column, Writer};

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub file: String,
    /// The position of its first line.
    pub first: GlobalPosition,
    /// And of its last.
    pub last: GlobalPosition,
    /// The earliest time at which an event of it is recorded. Clocks differ, so it need not be the first one's.
    pub min_time: Timestamp,
    /// And the latest.
    pub max_time: Timestamp,
    /// How many lines it has: of Parquet rows.
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
    /// A row group after the other, column by column.
    Parquet,
}

impl Form {
    /// As `serde` asks for it.
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::Jsonl
    }

    /// How its files end.
    const fn ending(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// A line of a table.
pub(crate) trait Line: Serialize {
    /// The columns of Parquet.
    const COLUMNS: &'static [Column];

    /// Where its event stands.
    fn position(&self) -> GlobalPosition;

    /// When that was recorded.
    fn recorded_at(&self) -> Timestamp;

    /// Its values, in the order of the columns of csv.
    fn values(&self) -> Vec<String>;

    /// Its values, in the order of the columns of Parquet.
    fn cells(&self) -> Vec<Cell<'_>>;

    /// It as text. Of Parquet there is none: then as jsonl has it.
    fn text(&self, form: Form) -> Result<Vec<u8>> {
        Ok(match form {
            Form::Csv => csv(&self.values()).into_bytes(),
            Form::Jsonl | Form::Parquet => {
                let mut bytes = serde_json::to_vec(self).context("writing a line")?;
                bytes.push(b'\n');
                bytes
            }
        })
    }
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
    out: Out,
    listed: Listed,
}

/// How lines go to a file.
enum Out {
    Text(Hashed),
    Parquet(Box<Writer<Hashed>>),
}

/// A file, and what is known of its bytes so far.
pub(super) struct Hashed {
    out: Box<dyn Write + Send>,
    hash: Sha256,
    bytes: u64,
}

impl Hashed {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, hash: Sha256::new(), bytes: 0 }
    }

    /// How long it is, and its SHA-256.
    pub(super) fn end(self) -> (u64, String) {
        (self.bytes, hex(&self.hash.finalize()))
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Blocks {
    /// Files in this directory. Without one, they are written nowhere: what would be in them is known all the same.
    pub(crate) fn new(table: &'static str, extent: Extent, dir: Option<&Path>) -> Self {
        Self { table, extent, dir: dir.map(Path::to_owned), open: None, done: Vec::new() }
    }

    /// Writes the next line, in order of position. What is before the extent is passed over.
    pub(crate) fn line<L: Line>(&mut self, line: &L) -> Result<()> {
        let (position, recorded_at) = (line.position(), line.recorded_at());
        if position < self.extent.from {
            return Ok(());
        }
        let number = u64::try_from(position.get().saturating_sub(1)).unwrap_or(0) / self.extent.block;
        if self.open.as_ref().is_some_and(|open| open.number != number) {
            self.close()?;
        }
        let Open { out, listed, .. } = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::new::<L>(self.table, (number, self.extent), self.dir.as_deref(), line)?),
        };
        match out {
            Out::Text(out) => out.write_all(&line.text(self.extent.form)?).map_err(Into::into),
            Out::Parquet(out) => out.row(line.cells()),
        }
        .with_context(|| format!("writing {}", listed.file))?;
        listed.lines += 1;
        listed.last = position;
        listed.min_time = listed.min_time.min(recorded_at);
        listed.max_time = listed.max_time.max(recorded_at);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let Some(Open { number: _, out, mut listed }) = self.open.take() else { return Ok(()) };
        let failed = || format!("writing {}", listed.file);
        let mut out = match out {
            Out::Text(out) => out,
            Out::Parquet(out) => out.end().with_context(failed)?,
        };
        out.flush().with_context(failed)?;
        (listed.bytes, listed.sha256) = out.end();
        self.done.push(listed);
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<Vec<Listed>> {
        self.close()?;
        Ok(self.done)
    }
}

impl Open {
    /// The file of a block, to begin with this line.
    fn new<L: Line>(
        table: &str,
        (number, Extent { block, form, .. }): (u64, Extent),
        dir: Option<&Path>,
        line: &L,
    ) -> Result<Self> {
        let first = number.saturating_mul(block.get()).saturating_add(1);
        let last = number.saturating_add(1).saturating_mul(block.get());
        let file = format!("{table}-{first:012}-{last:012}.{}", form.ending());
        let out: Box<dyn Write + Send> = match dir {
            None => Box::new(io::sink()),
            Some(dir) => {
                let file = File::create_new(dir.join(&file)).with_context(|| format!("making {file}"))?;
                Box::new(BufWriter::new(file))
            }
        };
        let out = Hashed::new(out);
        let out = match form {
            // What is written nowhere is compared as text.
            Form::Parquet if dir.is_some() => {
                let out = Writer::new(out, L::COLUMNS, &[]).with_context(|| format!("beginning {file}"))?;
                Out::Parquet(Box::new(out))
            }
            Form::Jsonl | Form::Csv | Form::Parquet => Out::Text(out),
        };
        let (first, time) = (line.position(), line.recorded_at());
        let (lines, bytes, sha256) = (0, 0, String::new());
        let listed = Listed { file, first, last: first, min_time: time, max_time: time, lines, bytes, sha256 };
        Ok(Self { number, out, listed })
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
