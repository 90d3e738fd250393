//! The files of one part of the log, and reading them: whatever is read of a file in order is compared with the hash in the manifest.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
    vec,
};

use anyhow::{Context, Result, anyhow, bail};
use domain::{GlobalPosition, StreamVersion, Timestamp};
use runtime::log::{archive::Part, event_store::StoredEvent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::streams;
use crate::export::{Contents, Listed, MANIFEST, base64_text, hex};

/// What the manifest of a part says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Name and version of the program that wrote it.
    pub(super) program: String,
    /// Of which log.
    pub(super) installation: Uuid,
    pub(super) epoch: i32,
    /// The positions of the part.
    pub(super) first: GlobalPosition,
    pub(super) last: GlobalPosition,
    #[serde(flatten)]
    pub(super) contents: Contents,
}

/// The files of one part of the log.
#[derive(Debug, Clone)]
pub struct Block {
    dir: PathBuf,
    part: Part,
    manifest: Manifest,
    sha256: String,
}

/// A line of a file of events. What the event says in words is passed over: the bytes say it.
#[derive(Deserialize)]
struct Line {
    position: GlobalPosition,
    stream: String,
    version: StreamVersion,
    event_id: Uuid,
    service: String,
    #[serde(rename = "type")]
    message_type: String,
    correlation_id: Uuid,
    causation_id: Uuid,
    traceparent: Option<String>,
    recorded_at: Timestamp,
    #[serde(with = "base64_text")]
    data: Vec<u8>,
}

/// The event of a line.
pub(super) fn read_line(line: &str) -> Result<StoredEvent> {
    let line: Line = serde_json::from_str(line).context("it is no event")?;
    Ok(StoredEvent {
        position: line.position,
        stream: line.stream,
        version: line.version,
        event_id: line.event_id,
        service: line.service,
        message_type: line.message_type,
        data: line.data,
        correlation_id: line.correlation_id,
        causation_id: line.causation_id,
        traceparent: line.traceparent,
        recorded_at: line.recorded_at,
        is_handled: false,
    })
}

impl Block {
    /// The part whose manifest is in this directory. `None`: it is an export, which is no part.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(MANIFEST);
        let failed = || format!("reading {}", path.display());
        let bytes = fs::read(&path).with_context(failed)?;
        let contents: Contents = serde_json::from_slice(&bytes).with_context(failed)?;
        let Some(number) = contents.partition else { return Ok(None) };
        let manifest: Manifest = serde_json::from_slice(&bytes).with_context(failed)?;
        let part = Part { number, first: manifest.first, last: manifest.last };
        let sha256 = hex(&Sha256::digest(&bytes));
        Ok(Some(Self { dir: dir.to_owned(), part, manifest, sha256 }))
    }

    /// Which part it is.
    #[must_use]
    pub const fn part(&self) -> Part {
        self.part
    }

    /// SHA-256 of its manifest, in hexadecimal.
    #[must_use]
    pub fn manifest_sha256(&self) -> &str {
        &self.sha256
    }

    /// How many events it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.manifest.contents.events.iter().map(|listed| listed.lines).sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares its manifest with what was noted when the part was archived.
    ///
    /// # Errors
    /// It is another one.
    pub fn is_as_noted(&self, noted: Option<&str>) -> Result<()> {
        match noted {
            Some(noted) if noted != self.sha256 => bail!(
                "{} is not the manifest that was noted when positions {} to {} were archived: its SHA-256 is {}, and the noted one is {noted}",
                self.dir.join(MANIFEST).display(),
                self.part.first,
                self.part.last,
                self.sha256
            ),
            _ => Ok(()),
        }
    }

    /// Whether any of its events may be recorded at this time or before.
    pub(super) fn begins_by(&self, time: Timestamp) -> bool {
        self.manifest.contents.events.iter().any(|listed| listed.min_time <= time)
    }

    /// Its events behind one position and up to another, in order.
    #[must_use]
    pub fn events(&self, (after, up_to): (GlobalPosition, GlobalPosition)) -> Events {
        let mut files = self.manifest.contents.events.clone();
        files.retain(|listed| listed.last > after && listed.first <= up_to);
        Events { dir: self.dir.clone(), files: files.into_iter(), open: None, after, up_to, last: after }
    }

    /// All of them, in order.
    #[must_use]
    pub fn all(&self) -> Events {
        self.events((GlobalPosition::default(), GlobalPosition::MAX))
    }

    /// Those up to a position, from the beginning of the last file that has any of them.
    pub(super) fn events_from_file_before(&self, up_to: GlobalPosition) -> Events {
        let mut files = self.manifest.contents.events.clone();
        files.retain(|listed| listed.first <= up_to);
        let after = files.last().map(|listed| listed.first.previous()).unwrap_or_default();
        self.events((after, up_to))
    }

    /// The events of these streams, in no order.
    pub(super) fn of_streams(&self, streams: &[String]) -> Result<Vec<StoredEvent>> {
        let mut found = Vec::new();
        for listed in &self.manifest.contents.events {
            let path = self.dir.join(&listed.file);
            let failed = || format!("looking for streams in {}", path.display());
            let offsets = streams::find(&self.dir.join(streams::name(&listed.file)), streams).with_context(failed)?;
            if offsets.is_empty() {
                continue;
            }
            let mut file = BufReader::new(File::open(&path).with_context(failed)?);
            let mut line = String::new();
            for offset in offsets {
                line.clear();
                file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_line(&mut line)).with_context(failed)?;
                let event = read_line(&line).with_context(failed)?;
                // Names of which a part of the hash is the same are in the same place.
                if streams.contains(&event.stream) {
                    found.push(event);
                }
            }
        }
        Ok(found)
    }
}

/// Events of a part, read from its files in order. The first that is wrong ends them.
#[derive(Debug)]
pub struct Events {
    dir: PathBuf,
    files: vec::IntoIter<Listed>,
    open: Option<Reading>,
    after: GlobalPosition,
    up_to: GlobalPosition,
    last: GlobalPosition,
}

#[derive(Debug)]
struct Reading {
    listed: Listed,
    file: BufReader<File>,
    hash: Sha256,
    lines: u64,
}

impl Events {
    /// The next event. `None`: that was all.
    ///
    /// # Errors
    /// A file is not what its manifest says.
    fn read(&mut self) -> Result<Option<StoredEvent>> {
        loop {
            let Some(reading) = &mut self.open else {
                let Some(listed) = self.files.next() else { return Ok(None) };
                let path = self.dir.join(&listed.file);
                let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
                self.open = Some(Reading { listed, file: BufReader::new(file), hash: Sha256::new(), lines: 0 });
                continue;
            };
            let path = self.dir.join(&reading.listed.file);
            let mut line = String::new();
            reading.file.read_line(&mut line).with_context(|| format!("reading {}", path.display()))?;
            if line.is_empty() {
                let Some(Reading { listed, hash, lines, .. }) = self.open.take() else { continue };
                if lines != listed.lines || hex(&hash.finalize()) != listed.sha256 {
                    bail!("{} is not what its manifest says: it was changed", path.display());
                }
                continue;
            }
            reading.hash.update(line.as_bytes());
            reading.lines += 1;
            let lines = reading.lines;
            let wrong = || format!("{}, line {lines}", path.display());
            let event = read_line(&line).with_context(wrong)?;
            if event.position <= self.after || event.position > self.up_to {
                continue;
            }
            if event.position <= self.last {
                return Err(anyhow!("position {} comes after position {}", event.position, self.last))
                    .with_context(wrong);
            }
            self.last = event.position;
            return Ok(Some(event));
        }
    }
}

impl Iterator for Events {
    type Item = Result<StoredEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read();
        if next.is_err() {
            (self.open, self.files) = (None, Vec::new().into_iter());
        }
        next.transpose()
    }
}
