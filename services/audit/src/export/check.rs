//! Whether an export is what its manifest says, and whether its postings follow from its events: found out from its files alone.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use domain::{GlobalPosition, StreamVersion};
use runtime::log::identity::event_id;
use serde::Serialize;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::{
    Contents, Form, Listed, MANIFEST, Taker,
    blocks::{Extent, hex},
    event::ExportedEvent,
};
use crate::{archive, replay::prefix::Reader};

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

/// What is known of the events so far.
#[derive(Default)]
struct Seen {
    position: GlobalPosition,
    /// Of each stream, its last version.
    versions: BTreeMap<String, StreamVersion>,
    events: u64,
}

/// Where the files of an export are.
enum Source {
    Dir(PathBuf),
    Zip(ZipArchive<File>),
}

impl Source {
    fn open(&mut self, name: &str) -> Result<Box<dyn BufRead + '_>> {
        Ok(match self {
            Self::Dir(dir) => Box::new(BufReader::new(File::open(dir.join(name))?)),
            Self::Zip(zip) => Box::new(BufReader::new(zip.by_name(name)?)),
        })
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
    let mut taker = if has_postings { Some(Taker::new(Extent { from, block, form }, None)?) } else { None };
    let (mut findings, mut seen) = (Vec::new(), Seen::default());
    for (name, sha256) in &contents.beside {
        check_beside(&mut source, (name, sha256), &mut findings)?;
    }
    for listed in &contents.events {
        let take = |line: &str| check_event(read_event(line, form)?, listed, is_whole, &mut seen, taker.as_mut());
        check_file(&mut source, listed, take, &mut findings)?;
    }
    let mut postings = 0;
    for listed in &contents.postings {
        postings += listed.lines;
        check_file(&mut source, listed, |_line| Ok(()), &mut findings)?;
    }
    if findings.is_empty()
        && let Some(taker) = taker
    {
        let again = taker.end()?;
        let differs = again.postings.iter().zip(&contents.postings).find(|(again, listed)| again != listed);
        if let Some((_, listed)) = differs {
            findings.push(format!("{}: its postings do not follow from the events", listed.file));
        } else if again.postings.len() != contents.postings.len() {
            findings.push(format!("{MANIFEST}: it does not name all postings that follow from the events"));
        }
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

/// The files of an export, and what its manifest says of them.
fn find(path: &Path) -> Result<(Source, Contents)> {
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

fn read_event(line: &str, form: Form) -> Result<ExportedEvent> {
    match form {
        Form::Jsonl => serde_json::from_str(line).context("it is no event"),
        Form::Csv => {
            let mut reader = csv::ReaderBuilder::new();
            let reader = reader.delimiter(b';').has_headers(false).buffer_capacity(line.len().max(1));
            let record = reader.from_reader(line.as_bytes()).into_records().next().context("it is no event")?;
            let values: Vec<String> = record.context("it is no event")?.iter().map(str::to_owned).collect();
            ExportedEvent::from_values(&values).context("it is no event")
        }
    }
}

/// Reads a file line by line, and compares it with what the manifest says of it.
fn check_file(
    source: &mut Source,
    listed: &Listed,
    mut take: impl FnMut(&str) -> Result<()>,
    findings: &mut Vec<String>,
) -> Result<()> {
    let failed = || format!("reading {}, which the manifest names", listed.file);
    let mut file = source.open(&listed.file).with_context(failed)?;
    let (mut hash, mut line, mut lines) = (Sha256::new(), String::new(), 0_u64);
    let mut wrong = Vec::new();
    while file.read_line(&mut line).with_context(failed)? > 0 {
        lines += 1;
        hash.update(line.as_bytes());
        if let Err(error) = take(line.trim_end_matches('\n')) {
            wrong.push(format!("{}, line {lines}: {error:#}", listed.file));
        }
        line.clear();
    }
    if lines != listed.lines {
        findings.push(format!("{}: it has {lines} lines, and the manifest says {}", listed.file, listed.lines));
    }
    if hex(&hash.finalize()) != listed.sha256 {
        findings.push(format!("{}: its SHA-256 is not the one in the manifest: it was changed", listed.file));
    }
    let more = wrong.len().saturating_sub(TOLD_MAX);
    wrong.truncate(TOLD_MAX);
    findings.append(&mut wrong);
    if more > 0 {
        findings.push(format!("{}: {more} more lines are wrong", listed.file));
    }
    Ok(())
}

fn check_event(
    event: ExportedEvent,
    listed: &Listed,
    is_whole: bool,
    seen: &mut Seen,
    taker: Option<&mut Taker>,
) -> Result<()> {
    seen.events += 1;
    let position = event.position;
    anyhow::ensure!(position > seen.position, "position {position} comes after position {}", seen.position);
    anyhow::ensure!(
        listed.first <= position && position <= listed.last,
        "position {position} is not between {} and {}",
        listed.first,
        listed.last
    );
    seen.position = position;
    let (id, of) = (event.event_id, event_id(event.causation_id, &event.stream, event.version));
    anyhow::ensure!(
        id == of,
        "the event at position {position} has the id {id}, and its cause and its place give {of}"
    );
    let before = seen.versions.get(&event.stream).copied();
    let follows = before.map_or(!is_whole || event.version.get() == 1, |before| event.version == before.next());
    anyhow::ensure!(
        follows,
        "version {} of {} comes after version {}: events of it are missing",
        event.version,
        event.stream,
        before.unwrap_or_default()
    );
    seen.versions.insert(event.stream.clone(), event.version);
    let data = event.bytes()?;
    let logged = event.as_logged(&data)?;
    anyhow::ensure!(logged.said()? == event.event, "the event at position {position} is not what its bytes say");
    taker.map_or(Ok(()), |taker| taker.take(&logged))
}
