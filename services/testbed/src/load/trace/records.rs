//! Records of a CSV file of any kind, as RFC 4180 has them: a field in quotes may hold commas, doubled quotes and line breaks. Each
//! is kept up to a limit, so that no file needs more memory than one record may have.
//!
//! Where a quotation mark stands that RFC 4180 has no place for, nobody can tell any more what is inside quotes and what is not, so
//! all from that record on is one record, and unreadable: a line of a description must never be read as a row.

use std::{
    fmt,
    io::{self, BufRead},
};

/// A longer record is no row.
pub(super) const RECORD_BYTES_MAX: usize = 65_536;

/// What some programs begin a file of UTF-8 with.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The number of its first line, from 1.
    pub(super) line: u64,
    /// How many lines it takes.
    pub(super) lines: u64,
    /// What it says.
    pub(super) fields: Result<Vec<Vec<u8>>, Fault>,
}

/// Why a record has no fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has more than [`RECORD_BYTES_MAX`]; what it says is dropped.
    TooLong,
    /// A carriage return that no line feed follows, outside quotes.
    CarriageReturn,
    /// A quotation mark never closes.
    OpenQuote,
    /// A quotation mark where there may be none: the record is all the rest of the file.
    StrayQuote,
}

impl Fault {
    /// What should have been there.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::TooLong => "a record of at most 65536 bytes",
            Self::CarriageReturn => "lines that end in LF or CR LF, and no other CR outside quotes",
            Self::OpenQuote => "a quotation mark that closes; from this line on all is inside quotes",
            Self::StrayQuote => {
                "quotes around a whole field, and doubled inside; from this line on nothing can be told apart"
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it is too long",
            Self::CarriageReturn => "there is a carriage return without a line feed",
            Self::OpenQuote => "a quotation mark never closes",
            Self::StrayQuote => "a quotation mark is where none may be",
        })
    }
}

/// The records of a file, one after another.
#[derive(Debug)]
pub(super) struct Records<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> Records<R> {
    pub(super) const fn new(input: R) -> Self {
        Self { input, line: 1 }
    }

    /// Reads the next record. `None`: there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        let mut reader = Reader::new(self.line);
        let mut is_there = false;
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            is_there = true;
            let end = buffer.iter().position(|byte| reader.takes(*byte));
            let taken = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        self.line += reader.lines;
        Ok(is_there.then(|| reader.record()))
    }
}

/// Where in a record a byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a field.
    Start,
    /// In a field without quotes.
    Plain,
    /// Inside quotes.
    Quoted,
    /// Behind a quotation mark inside quotes: it closes them, or is the first of two.
    Closing,
    /// Behind a quotation mark that has no place.
    Lost,
}

/// Reads one record.
struct Reader {
    line: u64,
    lines: u64,
    fields: Vec<Vec<u8>>,
    field: Vec<u8>,
    bytes: usize,
    place: Place,
    /// The last byte was a carriage return, which may belong to the line's end.
    has_return: bool,
    /// The last byte was a line feed inside quotes.
    has_feed: bool,
    /// A field without quotes has a quotation mark, as in `7" PLATE`.
    has_inches: bool,
    fault: Option<Fault>,
}

impl Reader {
    const fn new(line: u64) -> Self {
        Self {
            line,
            lines: 1,
            fields: Vec::new(),
            field: Vec::new(),
            bytes: 0,
            place: Place::Start,
            has_return: false,
            has_feed: false,
            has_inches: false,
            fault: None,
        }
    }

    /// Takes the next byte, and tells whether it was the record's last.
    fn takes(&mut self, byte: u8) -> bool {
        self.lines += u64::from(std::mem::take(&mut self.has_feed));
        if byte == b'\n' && self.ends() {
            return true;
        }
        self.bytes += 1;
        if self.bytes > RECORD_BYTES_MAX {
            self.fail(Fault::TooLong);
        }
        if std::mem::take(&mut self.has_return) {
            match self.place {
                Place::Closing => self.lose(),
                Place::Start | Place::Plain | Place::Quoted | Place::Lost => self.fail(Fault::CarriageReturn),
            }
        }
        match (self.place, byte) {
            (Place::Start | Place::Plain | Place::Closing, b'\r') => self.has_return = true,
            (Place::Start | Place::Plain | Place::Closing, b',') => self.end_field(),
            (Place::Start | Place::Plain, b'"') => self.open(),
            (Place::Quoted, b'"') => self.place = Place::Closing,
            (Place::Closing, b'"') => {
                self.place = Place::Quoted;
                self.keep(byte);
            }
            (Place::Closing, _) => self.lose(),
            (Place::Start, _) => {
                self.place = Place::Plain;
                self.keep(byte);
            }
            (Place::Plain | Place::Quoted, _) => self.keep(byte),
            (Place::Lost, _) => {}
        }
        false
    }

    /// Whether a line feed here ends the record. It does not inside quotes.
    fn ends(&mut self) -> bool {
        // A quotation mark amid a field is taken as it is where nothing depends on it; beside a line break it may be what opened.
        if self.has_inches && self.lines > 1 {
            self.lose();
        }
        let ends = matches!(self.place, Place::Start | Place::Plain | Place::Closing);
        self.has_feed = !ends;
        ends
    }

    fn open(&mut self) {
        let is_mark = self.line == 1 && self.fields.is_empty() && self.field == BYTE_ORDER_MARK;
        if self.place == Place::Start || is_mark {
            self.field.clear();
            self.place = Place::Quoted;
        } else if self.field.trim_ascii().is_empty() {
            // Blanks before it: who wrote this may have meant it to open.
            self.lose();
        } else {
            self.has_inches = true;
            self.keep(b'"');
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.fault.is_none() {
            self.field.push(byte);
        }
    }

    fn end_field(&mut self) {
        self.place = Place::Start;
        if self.fault.is_none() {
            self.fields.push(std::mem::take(&mut self.field));
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        (self.fields, self.field) = (Vec::new(), Vec::new());
    }

    fn lose(&mut self) {
        self.place = Place::Lost;
        self.fail(Fault::StrayQuote);
    }

    fn record(mut self) -> Record {
        if self.has_inches && self.lines > 1 {
            self.lose();
        }
        let fault = match self.place {
            Place::Lost => Some(Fault::StrayQuote),
            Place::Quoted => Some(Fault::OpenQuote),
            Place::Start | Place::Plain | Place::Closing => self.fault,
        };
        self.fields.push(self.field);
        Record { line: self.line, lines: self.lines, fields: fault.map_or(Ok(self.fields), Err) }
    }
}

#[cfg(test)]
mod tests;
