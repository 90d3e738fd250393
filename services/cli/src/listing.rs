//! Rows on their way to standard output or to a file, in each format.

use std::io::Write;

use anyhow::{Context, Result};
use audit::{questions, seal::Seal};
use clap::ValueEnum;
use platform::print::{self, Cell, Look, Paint, Table};
use serde::Serialize;

use crate::{evidence, global_args::GlobalArgs, new_file::NewFile, output::Output};

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
    /// The one that is asked for: `--json` and `-o` are others of its names. `None`: two are.
    pub(crate) fn asked(format: Option<Self>, global: &GlobalArgs) -> Option<Self> {
        let output = match global.output() {
            Output::Table => return Some(format.unwrap_or(Self::Table)),
            Output::Json => Self::Json,
            Output::Jsonl | Output::Name => Self::Jsonl,
        };
        if format.is_some_and(|format| format != output) {
            let said = if output == Self::Json { "--json is --format json" } else { "-o jsonl is --format jsonl" };
            eprintln!("holdfast: {said}: say one of them");
            return None;
        }
        Some(output)
    }
}

/// Lines that are aligned with each other, and printed at once.
const BLOCK: usize = 1_000;

/// Letters that are printed at once.
const BLOCK_BYTES: usize = 1 << 16;

/// Text on its way.
pub(crate) struct Out {
    pub(crate) text: String,
    to: To,
}

/// Where text goes.
#[derive(Debug)]
pub(crate) enum To {
    /// To standard output.
    Stdout,
    /// To a file.
    File(NewFile),
    /// Nowhere: only its hash is wanted.
    Hash(Seal),
}

impl Out {
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        self.text.push_str(line);
        self.text.push('\n');
        self.part()
    }

    /// Prints what there is, once it is enough.
    pub(crate) fn part(&mut self) -> Result<()> {
        if self.text.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        match &mut self.to {
            To::Stdout => print::out(&text),
            To::File(file) => file.write_all(text.as_bytes()).context("writing the file"),
            To::Hash(hash) => {
                hash.update(&text);
                Ok(())
            }
        }
    }

    /// The last of it.
    fn end(mut self) -> Result<()> {
        self.flush()?;
        if let To::File(file) = self.to { file.end() } else { Ok(()) }
    }

    /// The hash of what somebody writes.
    fn hash_of(write: impl FnOnce(&mut Self) -> Result<()>) -> Result<Seal> {
        let mut out = Self { text: String::new(), to: To::Hash(Seal::default()) };
        write(&mut out)?;
        out.flush()?;
        Ok(if let To::Hash(hash) = out.to { hash } else { Seal::default() })
    }
}

/// Writes lines of evidence and what stands below them. It is written twice: the first time for its hash, which stands between them.
pub(crate) fn sealed(
    to: To,
    evidence: &[String],
    paint: Paint,
    mut below: impl FnMut(&mut Out, Paint) -> Result<()>,
) -> Result<()> {
    let hash = Out::hash_of(|out| {
        evidence.iter().try_for_each(|line| out.line(line))?;
        below(out, Paint::Off)
    })?;
    let mut out = Out { text: String::new(), to };
    for line in evidence.iter().chain([&hash.line()]) {
        out.line(&paint.text(line, Look::Dim))?;
    }
    below(&mut out, paint)?;
    out.end()
}

/// The same as JSON: an object whose first member is the evidence, and what follows it.
pub(crate) fn sealed_json(
    to: To,
    evidence: &impl Serialize,
    mut behind: impl FnMut(&mut Out) -> Result<()>,
) -> Result<()> {
    let evidence = serde_json::to_string(evidence)?;
    let evidence = evidence.strip_suffix('}').unwrap_or(&evidence);
    let mut write = |out: &mut Out, member: &str| {
        out.text.push_str(&format!("{{\"evidence\":{evidence}{member}}}"));
        behind(out)
    };
    let hash = Out::hash_of(|out| write(out, ""))?;
    let mut out = Out { text: String::new(), to };
    write(&mut out, &hash.member())?;
    out.end()
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
pub(crate) struct Blocks<'a> {
    heading: Vec<Cell>,
    block: Table,
    rows: usize,
    paint: Paint,
    out: &'a mut Out,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(heading: impl IntoIterator<Item = String>, paint: Paint, out: &'a mut Out) -> Self {
        let heading = heading.into_iter().map(|name| Cell::new(name, Look::Bold)).collect();
        Self { heading, block: Table::default(), rows: 0, paint, out }
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
        self.out.text.push_str(&std::mem::take(&mut self.block).text(self.paint));
        self.out.part()
    }
}

/// Writes an answer that is all there to standard output; a row's values are in the order of the heading.
pub(crate) fn write<R: Serialize>(
    answer: &questions::Answer<R>,
    heading: &[&str],
    format: Format,
    values: impl Fn(&R) -> Vec<String>,
) -> Result<()> {
    let comments = evidence::of_question(&answer.evidence);
    let names = || heading.iter().map(|name| (*name).to_owned());
    match format {
        Format::Json => sealed_json(To::Stdout, &answer.evidence, |out| {
            out.line(&format!(",\"rows\":{}}}", serde_json::to_string(&answer.rows)?))
        }),
        Format::Jsonl => sealed_json(To::Stdout, &answer.evidence, |out| {
            out.line("}")?;
            answer.rows.iter().try_for_each(|row| out.line(&serde_json::json!({ "row": row }).to_string()))
        }),
        Format::Csv => sealed(To::Stdout, &comments, Paint::Off, |out, _plain| {
            out.line(&fields(names()))?;
            answer.rows.iter().try_for_each(|row| out.line(&fields(values(row))))
        }),
        Format::Table => sealed(To::Stdout, &comments, Paint::for_stdout(), |out, paint| {
            let mut blocks = Blocks::new(names(), paint, out);
            answer.rows.iter().try_for_each(|row| blocks.row(values(row).into_iter().map(Cell::from).collect()))?;
            blocks.flush()
        }),
    }
}
