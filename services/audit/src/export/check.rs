//! Whether an export is what its manifest says, and whether its postings follow from its events: found out from its files alone.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use domain::{GlobalPosition, StreamVersion, Timestamp};
use runtime::log::identity::event_id;
use serde::Serialize;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::{
    Contents, Form, Listed, MANIFEST,
    blocks::{Extent, Hashed, Line, hex},
    columnar::{Cell, Column, Reader as Table},
    event::ExportedEvent,
    postings::{self, Posting, Postings},
};
use crate::archive;

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// Files that were read.
    pub files: u64,
    /// Events in them.
    pub events: u64,
    /// Postings in them.
    pub postings: u64,
    /// Whether the postings were compared with what the events move. They cannot be where the export does not begin with the log.
    pub postings_recomputed: bool,
    /// What is wrong, by file.
    pub findings: Vec<String>,
}

/// Findings that are told of one file.
const TOLD_MAX: usize = 5;

/// A line of a file, or a row.
pub(super) enum Row<'a> {
    Text(&'a str),
    Cells(Vec<Cell<'static>>),
}

/// What is known of the events so far.
#[derive(Default)]
struct Seen {
    position: GlobalPosition,
    /// Of the file that is read, the earliest time of an event and the latest.
    times: Option<(Timestamp, Timestamp)>,
    /// Of each stream, its last version.
    versions: BTreeMap<String, StreamVersion>,
    events: u64,
}

/// Where the files of an export are.
pub(super) enum Source {
    Dir(PathBuf),
    Zip(ZipArchive<File>),
}

impl Source {
    pub(super) fn open(&mut self, name: &str) -> Result<Box<dyn BufRead + '_>> {
        Ok(match self {
            Self::Dir(dir) => Box::new(BufReader::new(File::open(dir.join(name))?)),
            Self::Zip(zip) => Box::new(BufReader::new(zip.by_name(name)?)),
        })
    }

    /// A file that need not be read from its beginning to its end.
    fn whole(&mut self, name: &str) -> Result<File> {
        if let Self::Dir(dir) = self {
            return Ok(File::open(dir.join(name))?);
        }
        let mut file = tempfile::tempfile()?;
        io::copy(&mut self.open(name)?, &mut file)?;
        file.rewind()?;
        Ok(file)
    }
}

/// What a zip file begins with.
const ZIP: &[u8] = b"PK\x03\x04";

fn is_zip(path: &Path) -> bool {
    let mut first = [0; ZIP.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok_and(|()| first == ZIP)
}

/// Whether it looks like an export: a directory, a manifest, or a zip file.
#[must_use]
pub fn is_export(path: &Path) -> bool {
    path.is_dir() || path.file_name().is_some_and(|name| name == MANIFEST) || is_zip(path)
}

/// Checks an export, by its directory, its manifest or its zip file.
///
/// # Errors
/// There is no manifest, or it or a file cannot be read. What is wrong in them is in the answer.
pub fn check(path: &Path) -> Result<Checked> {
    if let Some(checked) = archive::check(path) {
        return checked;
    }
    let (mut source, contents) = find(path)?;
    let Contents { from, block, form, .. } = contents;
    let is_whole = from <= GlobalPosition::default().next();
    let has_postings = is_whole && contents.partition.is_none();
    let mut moved = if has_postings { Some(Postings::new(Extent { from, block, form }, None)?) } else { None };
    let (mut findings, mut seen) = (Vec::new(), Seen::default());
    for (name, sha256) in &contents.beside {
        check_beside(&mut source, (name, sha256), &mut findings)?;
    }
    let mut told;
    for listed in &contents.events {
        (seen.times, told) = (None, findings.len());
        let take =
            |row: Row<'_>| check_event(ExportedEvent::read(row, form)?, listed, is_whole, &mut seen, moved.as_mut());
        check_file(&mut source, (listed, ExportedEvent::COLUMNS, form), take, &mut findings)?;
        if findings.len() == told && seen.times != Some((listed.min_time, listed.max_time)) {
            findings.push(format!("{}: its events are of other times than the manifest says", listed.file));
        }
    }
    let (mut postings, mut texts) = (0, Vec::new());
    for listed in &contents.postings {
        postings += listed.lines;
        let mut text = Sha256::new();
        let take = |row: Row<'_>| match row {
            Row::Text(_) => Ok(()),
            Row::Cells(cells) => postings::text(&cells).map(|line| text.update(line)),
        };
        check_file(&mut source, (listed, Posting::COLUMNS, form), take, &mut findings)?;
        texts.push(if form == Form::Parquet { hex(&text.finalize()) } else { listed.sha256.clone() });
    }
    if findings.is_empty()
        && let Some(moved) = moved
    {
        findings.extend(postings_finding(&moved.end()?, &contents.postings, texts));
    }
    Ok(Checked {
        ok: findings.is_empty(),
        files: u64::try_from(contents.beside.len() + contents.events.len() + contents.postings.len())
            .unwrap_or(u64::MAX),
        events: seen.events,
        postings,
        postings_recomputed: has_postings,
        findings,
    })
}

/// What the files of postings are not that follow from the events; of each the hash of its text is given.
fn postings_finding(again: &[Listed], listed: &[Listed], texts: Vec<String>) -> Option<String> {
    let as_text = listed.iter().zip(texts).map(|(listed, sha256)| Listed { sha256, bytes: 0, ..listed.clone() });
    let again_as_text = again.iter().map(|again| Listed { bytes: 0, ..again.clone() });
    if let Some((listed, _)) = as_text.zip(again_as_text).find(|(listed, again)| listed != again) {
        return Some(format!("{}: its postings do not follow from the events", listed.file));
    }
    (again.len() != listed.len())
        .then(|| format!("{MANIFEST}: it does not name all postings that follow from the events"))
}

/// The files of an export, and what its manifest says of them.
pub(super) fn find(path: &Path) -> Result<(Source, Contents)> {
    let failed = || format!("reading the manifest of {}; without a manifest there is no export", path.display());
    let mut source = if is_zip(path) {
        Source::Zip(ZipArchive::new(File::open(path).with_context(failed)?).with_context(failed)?)
    } else if path.is_dir() {
        Source::Dir(path.to_owned())
    } else {
        Source::Dir(path.parent().unwrap_or(Path::new(".")).to_owned())
    };
    let contents = source.open(MANIFEST).with_context(failed)?;
    let contents = serde_json::from_reader(contents).with_context(failed)?;
    Ok((source, contents))
}

/// Reads a file that describes others, and compares it with what the manifest says of it.
fn check_beside(source: &mut Source, (name, sha256): (&str, &str), findings: &mut Vec<String>) -> Result<()> {
    let failed = || format!("reading {name}, which the manifest names");
    let mut bytes = Vec::new();
    source.open(name).with_context(failed)?.read_to_end(&mut bytes).with_context(failed)?;
    if hex(&Sha256::digest(&bytes)) != sha256 {
        findings.push(format!("{name}: its SHA-256 is not the one in the manifest: it was changed"));
    }
    Ok(())
}

/// Reads a file row by row, and compares it with what the manifest says of it.
pub(super) fn check_file(
    source: &mut Source,
    (listed, columns, form): (&Listed, &[Column], Form),
    take: impl FnMut(Row<'_>) -> Result<()>,
    findings: &mut Vec<String>,
) -> Result<()> {
    let failed = || format!("reading {}, which the manifest names", listed.file);
    let mut rows = Rows { file: &listed.file, take, read: 0, wrong: Vec::new(), more: 0 };
    let mut hashed = Hashed::new(Box::new(io::sink()));
    if form == Form::Parquet {
        let mut file = source.whole(&listed.file).with_context(failed)?;
        io::copy(&mut file, &mut hashed).with_context(failed)?;
        file.rewind().with_context(failed)?;
        let (_, sha256) = hashed.end();
        // A line has its meaning by itself; a part of a Parquet file has none.
        if sha256 != listed.sha256 {
            findings.push(changed(&listed.file));
            return Ok(());
        }
        if let Err(error) = rows.parquet(file, columns) {
            findings.push(format!("{}: {error:#}", listed.file));
        }
    } else {
        rows.text(source.open(&listed.file).with_context(failed)?, &mut hashed).with_context(failed)?;
        let (_, sha256) = hashed.end();
        if sha256 != listed.sha256 {
            findings.push(changed(&listed.file));
        }
    }
    if rows.read != listed.lines {
        findings.push(format!("{}: it has {} lines, and the manifest says {}", listed.file, rows.read, listed.lines));
    }
    findings.append(&mut rows.wrong);
    if rows.more > 0 {
        findings.push(format!("{}: {} more lines are wrong", listed.file, rows.more));
    }
    Ok(())
}

fn changed(file: &str) -> String {
    format!("{file}: its SHA-256 is not the one in the manifest: it was changed")
}

/// The rows of a file, and what is wrong with them.
struct Rows<'a, F> {
    file: &'a str,
    take: F,
    read: u64,
    wrong: Vec<String>,
    /// What is wrong and not told.
    more: u64,
}

impl<F: FnMut(Row<'_>) -> Result<()>> Rows<'_, F> {
    fn text(&mut self, mut file: Box<dyn BufRead + '_>, hashed: &mut Hashed) -> io::Result<()> {
        let mut line = String::new();
        while file.read_line(&mut line)? > 0 {
            hashed.write_all(line.as_bytes())?;
            self.take(Row::Text(line.trim_end_matches('\n')));
            line.clear();
        }
        Ok(())
    }

    fn parquet(&mut self, file: File, columns: &[Column]) -> Result<()> {
        let mut table = Table::open(file, columns)?;
        while let Some(cells) = table.row()? {
            self.take(Row::Cells(cells));
        }
        Ok(())
    }

    fn take(&mut self, row: Row<'_>) {
        self.read += 1;
        let Err(error) = (self.take)(row) else { return };
        if self.wrong.len() < TOLD_MAX {
            self.wrong.push(format!("{}, line {}: {error:#}", self.file, self.read));
        } else {
            self.more += 1;
        }
    }
}

fn check_event(
    event: ExportedEvent,
    listed: &Listed,
    is_whole: bool,
    seen: &mut Seen,
    moved: Option<&mut Postings>,
) -> Result<()> {
    seen.events += 1;
    let (position, at) = (event.position, event.recorded_at);
    seen.times = Some(seen.times.map_or((at, at), |(min, max)| (min.min(at), max.max(at))));
    ensure!(position > seen.position, "position {position} comes after position {}", seen.position);
    ensure!(
        listed.first <= position && position <= listed.last,
        "position {position} is not between {} and {}",
        listed.first,
        listed.last
    );
    seen.position = position;
    let (id, of) = (event.event_id, event_id(event.causation_id, &event.stream, event.version));
    ensure!(id == of, "the event at position {position} has the id {id}, and its cause and its place give {of}");
    let before = seen.versions.get(&event.stream).copied();
    let follows = before.map_or(!is_whole || event.version.get() == 1, |before| event.version == before.next());
    ensure!(
        follows,
        "version {} of {} comes after version {}: events of it are missing",
        event.version,
        event.stream,
        before.unwrap_or_default()
    );
    seen.versions.insert(event.stream.clone(), event.version);
    let logged = event.as_logged();
    ensure!(logged.said()? == event.event, "the event at position {position} is not what its bytes say");
    moved.map_or(Ok(()), |moved| moved.take(&logged))
}

#[cfg(test)]
mod tests;
