//! Rows on their way to standard output, in each format.

use anyhow::Result;
use audit::questions;
use clap::ValueEnum;
use platform::print::{self, Cell, Look, Paint, Table};
use serde::Serialize;

use crate::evidence;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// Comma-separated values below comment lines.
    Csv,
    /// One JSON object.
    Json,
    /// One JSON object a line, the evidence first.
    Jsonl,
}

impl Format {
    /// The one that is asked for: `--json` is one of them. `None`: two are.
    pub(crate) fn asked(format: Option<Self>, json: bool) -> Option<Self> {
        match (format, json) {
            (Some(Self::Json) | None, true) => Some(Self::Json),
            (Some(_), true) => {
                eprintln!("holdfast: --json is --format json: say one of them");
                None
            }
            (format, false) => Some(format.unwrap_or(Self::Table)),
        }
    }
}

/// Lines that are aligned with each other, and printed at once.
const BLOCK: usize = 1_000;

/// Letters that are printed at once.
const BLOCK_BYTES: usize = 1 << 16;

/// Text on its way to standard output.
#[derive(Default)]
pub(crate) struct Out(pub(crate) String);

impl Out {
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        self.0.push_str(line);
        self.0.push('\n');
        self.part()
    }

    /// Prints what there is, once it is enough.
    pub(crate) fn part(&mut self) -> Result<()> {
        if self.0.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        print::out(&std::mem::take(&mut self.0))
    }
}

/// A line of comma-separated values (RFC 4180).
pub(crate) fn fields(values: impl IntoIterator<Item = String>) -> String {
    let quoted = values.into_iter().map(|value| {
        // A line that begins with a # is a comment.
        let needs_quotes = value.contains([',', '"', '\n', '\r']) || value.starts_with('#');
        if needs_quotes { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
    });
    quoted.collect::<Vec<_>>().join(",")
}

/// Rows of a table, a block at a time.
pub(crate) struct Blocks {
    heading: Vec<Cell>,
    block: Table,
    rows: usize,
    paint: Paint,
}

impl Blocks {
    pub(crate) fn new(heading: impl IntoIterator<Item = String>, paint: Paint) -> Self {
        let heading = heading.into_iter().map(|name| Cell::new(name, Look::Bold)).collect();
        Self { heading, block: Table::default(), rows: 0, paint }
    }

    pub(crate) fn row(&mut self, cells: Vec<Cell>) -> Result<()> {
        if self.rows == 0 {
            self.block.cells(self.heading.clone());
        }
        self.block.cells(cells);
        self.rows += 1;
        if self.rows == BLOCK { self.flush() } else { Ok(()) }
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.rows = 0;
        print::out(&std::mem::take(&mut self.block).text(self.paint))
    }
}

/// Writes an answer that is all there to standard output; a row's values are in the order of the heading.
pub(crate) fn write<R: Serialize>(
    answer: &questions::Answer<R>,
    heading: &[&str],
    format: Format,
    values: impl Fn(&R) -> Vec<String>,
) -> Result<()> {
    let (mut out, paint) = (Out::default(), Paint::for_stdout());
    let comments = evidence::of_question(&answer.evidence);
    let names = heading.iter().map(|name| (*name).to_owned());
    match format {
        Format::Json => print::json(answer)?,
        Format::Jsonl => {
            out.line(&serde_json::json!({ "evidence": answer.evidence }).to_string())?;
            for row in &answer.rows {
                out.line(&serde_json::json!({ "row": row }).to_string())?;
            }
        }
        Format::Csv => {
            comments.iter().try_for_each(|line| out.line(line))?;
            out.line(&fields(names))?;
            answer.rows.iter().try_for_each(|row| out.line(&fields(values(row))))?;
        }
        Format::Table => {
            for line in &comments {
                print::out(&paint.text(&format!("{line}\n"), Look::Dim))?;
            }
            let mut blocks = Blocks::new(names, paint);
            answer.rows.iter().try_for_each(|row| blocks.row(values(row).into_iter().map(Cell::from).collect()))?;
            blocks.flush()?;
        }
    }
    out.flush()
}
