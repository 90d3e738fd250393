//! A table as a Parquet file: written a group of rows at a time, and read back a few rows at a time, so that no table need fit memory.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fs::File,
    io::Write,
    mem,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use domain::Timestamp;
use parquet::{
    basic::{Compression, ZstdLevel},
    column::reader::ColumnReader,
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{
        metadata::KeyValue,
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
        writer::SerializedFileWriter,
    },
    schema::parser::parse_message_type,
};

/// Rows of a group, at most.
const GROUP_ROWS: usize = 100_000;

/// Bytes of the values of a group after which it is written.
const GROUP_BYTES: usize = 16 << 20;

/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 1_000;

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What its values are.
    pub holds: Holds,
}

impl Column {
    /// A column of this name.
    #[must_use]
    pub const fn new(name: &'static str, holds: Holds) -> Self {
        Self { name: Cow::Borrowed(name), holds }
    }
}

/// What the values of a column are. Each has one in every row, unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A whole number.
    Integer,
    /// The same, or nothing.
    MaybeInteger,
    /// A moment in UTC, to the microsecond.
    Time,
    /// The same, or nothing.
    MaybeTime,
    /// A text.
    Text,
    /// The same, or nothing.
    MaybeText,
    /// JSON.
    Json,
    /// Bytes as they are.
    Bytes,
}

impl Holds {
    /// As Parquet says it.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Integer => ("required", "int64", ""),
            Self::MaybeInteger => ("optional", "int64", ""),
            Self::Time => ("required", "int64", "(TIMESTAMP(MICROS,true))"),
            Self::MaybeTime => ("optional", "int64", "(TIMESTAMP(MICROS,true))"),
            Self::Text => ("required", "binary", "(STRING)"),
            Self::MaybeText => ("optional", "binary", "(STRING)"),
            Self::Json => ("required", "binary", "(JSON)"),
            Self::Bytes => ("required", "binary", ""),
        }
    }

    /// A value of it from a number.
    fn number(self, number: i64) -> Cell<'static> {
        match self {
            Self::Time | Self::MaybeTime => Cell::Time(Timestamp::from_micros(number)),
            Self::Integer | Self::MaybeInteger | Self::Text | Self::MaybeText | Self::Json | Self::Bytes => {
                Cell::Integer(number)
            }
        }
    }

    /// A value of it from bytes.
    fn bytes(self, bytes: &[u8]) -> Result<Cell<'static>> {
        if self == Self::Bytes {
            return Ok(Cell::Bytes(Cow::Owned(bytes.to_vec())));
        }
        let text = String::from_utf8(bytes.to_vec()).context("a text is no UTF-8")?;
        Ok(Cell::Text(Cow::Owned(text)))
    }

    const fn may_lack(self) -> bool {
        match self {
            Self::MaybeInteger | Self::MaybeTime | Self::MaybeText => true,
            Self::Integer | Self::Time | Self::Text | Self::Json | Self::Bytes => false,
        }
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell<'a> {
    /// There is none.
    Nothing,
    /// A whole number.
    Integer(i64),
    /// A moment.
    Time(Timestamp),
    /// A text, or JSON.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

impl Cell<'_> {
    /// The number that it is.
    pub(super) fn number(self) -> Result<i64> {
        let Self::Integer(number) = self else { bail!("{self:?} is no number") };
        Ok(number)
    }

    /// The text that it is.
    pub(super) fn text(self) -> Result<String> {
        let Self::Text(text) = self else { bail!("{self:?} is no text") };
        Ok(text.into_owned())
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// Parquet's own description of a table.
fn schema(columns: &[Column]) -> String {
    let mut text = "message rows {".to_owned();
    for Column { name, holds } in columns {
        let (repeats, of, means) = holds.words();
        text.push_str(&format!(" {repeats} {of} {name} {means};"));
    }
    text + " }"
}

/// A table that is being written.
pub struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Values>,
    rows: usize,
    bytes: usize,
}

/// The values of a column in the group that is not written yet.
struct Values {
    holds: Holds,
    numbers: Vec<i64>,
    texts: Vec<ByteArray>,
    /// Of each row, whether it has a value: as Parquet counts, 1 or 0.
    there: Vec<i16>,
}

impl Values {
    const fn new(holds: Holds) -> Self {
        Self { holds, numbers: Vec::new(), texts: Vec::new(), there: Vec::new() }
    }

    /// Takes a value in, and gives how many bytes it is.
    fn push(&mut self, cell: Cell<'_>) -> Result<usize> {
        let is_text = self.holds.words().1 == "binary";
        let there = i16::from(cell != Cell::Nothing);
        ensure!(there == 1 || self.holds.may_lack(), "a value is missing where one must be");
        self.there.push(there);
        let bytes = match cell {
            Cell::Nothing => return Ok(1),
            Cell::Integer(number) if !is_text => {
                self.numbers.push(number);
                return Ok(8);
            }
            Cell::Time(time) if !is_text => {
                self.numbers.push(time.as_micros());
                return Ok(8);
            }
            Cell::Text(text) if is_text => text.into_owned().into_bytes(),
            Cell::Bytes(bytes) if is_text => bytes.into_owned(),
            Cell::Integer(_) | Cell::Time(_) | Cell::Text(_) | Cell::Bytes(_) => {
                bail!("{cell:?} is no value of a column that holds {:?}", self.holds)
            }
        };
        let length = bytes.len();
        self.texts.push(ByteArray::from(bytes));
        Ok(length)
    }
}

impl<W: Write + Send> Writer<W> {
    /// Begins a table. What is said of it stands at the end of the file, by name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(out: W, columns: &[Column], said: &[(&str, String)]) -> Result<Self> {
        let said = said.iter().map(|(name, text)| KeyValue::new((*name).to_owned(), text.clone())).collect();
        let properties = WriterProperties::builder()
            .set_created_by(crate::replay::PROGRAM.to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_key_value_metadata(Some(said))
            .build();
        let schema = parse_message_type(&schema(columns)).context("describing the table")?;
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).context("beginning")?;
        let columns = columns.iter().map(|column| Values::new(column.holds)).collect();
        Ok(Self { file, columns, rows: 0, bytes: 0 })
    }

    /// Writes the next row: a value for each column.
    ///
    /// # Errors
    /// A value is not what its column holds, or it cannot be written.
    pub fn row(&mut self, cells: Vec<Cell<'_>>) -> Result<()> {
        ensure!(cells.len() == self.columns.len(), "a row has {} values, not {}", cells.len(), self.columns.len());
        for (values, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += values.push(cell)?;
        }
        self.rows += 1;
        if self.rows == GROUP_ROWS || self.bytes >= GROUP_BYTES { self.group() } else { Ok(()) }
    }

    /// Writes what is in memory.
    fn group(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for values in &mut self.columns {
            let Values { holds, numbers, texts, there } = mem::replace(values, Values::new(values.holds));
            let there = holds.may_lack().then_some(there.as_slice());
            let mut column = group.next_column()?.context("there are more values than columns")?;
            if holds.words().1 == "binary" {
                column.typed::<ByteArrayType>().write_batch(&texts, there, None)?;
            } else {
                column.typed::<Int64Type>().write_batch(&numbers, there, None)?;
            }
            column.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    /// Ends the file, and gives back what it was written to.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(mut self) -> Result<W> {
        self.group()?;
        Ok(self.file.into_inner()?)
    }
}

/// A table that is being read.
pub struct Reader {
    file: SerializedFileReader<File>,
    columns: Vec<Column>,
    /// The group of rows that comes next.
    next: usize,
    /// The columns of the one before that, and how many rows of it are left.
    open: Vec<ColumnReader>,
    left: usize,
    ready: VecDeque<Vec<Cell<'static>>>,
}

impl Reader {
    /// Opens a file, whose columns must be these.
    ///
    /// # Errors
    /// It is no Parquet file, or has other columns.
    pub fn open(file: File, columns: &[Column]) -> Result<Self> {
        let file = guarded(|| Ok(SerializedFileReader::new(file)?))?;
        let wanted = parse_message_type(&schema(columns)).context("describing the table")?;
        let has = file.metadata().file_metadata().schema();
        ensure!(*has == wanted, "its columns are not those that it should have");
        let (open, ready) = (Vec::new(), VecDeque::new());
        Ok(Self { file, columns: columns.to_vec(), next: 0, open, left: 0, ready })
    }

    /// The next row. `None`: there is no more.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn row(&mut self) -> Result<Option<Vec<Cell<'static>>>> {
        while self.ready.is_empty() {
            if self.left > 0 {
                guarded(|| self.rows())?;
            } else if self.next < self.file.num_row_groups() {
                guarded(|| self.group())?;
            } else {
                return Ok(None);
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Opens the next group.
    fn group(&mut self) -> Result<()> {
        let group = self.file.get_row_group(self.next)?;
        self.left = usize::try_from(group.metadata().num_rows()).context("it has less than no rows")?;
        self.open = (0..self.columns.len()).map(|column| group.get_column_reader(column)).collect::<Result<_, _>>()?;
        self.next += 1;
        Ok(())
    }

    /// Reads some rows of the group.
    fn rows(&mut self) -> Result<()> {
        let count = self.left.min(ROWS_AT_ONCE);
        let mut rows: Vec<Vec<Cell<'static>>> = vec![Vec::with_capacity(self.columns.len()); count];
        for (column, reader) in self.columns.iter().zip(&mut self.open) {
            let cells = cells(reader, column.holds, count)?;
            ensure!(cells.len() == count, "column {} ends before others do", column.name);
            rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
        }
        self.left -= count;
        self.ready.extend(rows);
        Ok(())
    }
}

/// Reads what may have been written by somebody who means harm: the crate panics at some numbers that no file should have.
fn guarded<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    let read = panic::catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_panic| bail!("a number in it is none that such a file has"))
        .context("it cannot be read as Parquet")
}

/// The next values of a column.
fn cells(reader: &mut ColumnReader, holds: Holds, count: usize) -> Result<Vec<Cell<'static>>> {
    let mut there = Vec::new();
    let mut values: VecDeque<Cell<'static>> = if let ColumnReader::Int64ColumnReader(reader) = reader {
        let mut numbers = Vec::new();
        reader.read_records(count, Some(&mut there), None, &mut numbers)?;
        numbers.into_iter().map(|number| holds.number(number)).collect()
    } else if let ColumnReader::ByteArrayColumnReader(reader) = reader {
        let mut texts = Vec::new();
        reader.read_records(count, Some(&mut there), None, &mut texts)?;
        texts.iter().map(|text| holds.bytes(text.data())).collect::<Result<_>>()?
    } else {
        bail!("a column is neither of numbers nor of bytes");
    };
    if !holds.may_lack() {
        return Ok(values.into());
    }
    let cell = |there| if there == 1 { values.pop_front() } else { Some(Cell::Nothing) };
    there.into_iter().map(cell).collect::<Option<_>>().context("a column has fewer values than it says")
}

#[cfg(test)]
mod tests;
