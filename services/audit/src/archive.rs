//! The archive: parts of the log that are in files instead of its table, read before the table as one log.
//!
//! Read it in this order: `plan` says which parts may go, `copy` writes one into files and compares both, `block` reads them again, `streams`
//! finds the events of a stream in them.
//!
//! Why it is so: services/audit/README.md#an-archive-is-the-beginning-of-the-log

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use domain::{GlobalPosition, Timestamp};
use runtime::log::{
    archive::{Archived, archived},
    event_store::StoredEvent,
};
use sqlx::PgConnection;
use tokio::{sync::mpsc, task::spawn_blocking};

mod block;
mod copy;
mod plan;
mod streams;

pub use block::{Block, Events};
pub use copy::{compare, find, write};
pub use plan::{Plan, Stays, plan};

use crate::export::{Checked, MANIFEST};

/// Events that go from one thread to the other at once.
const PAGE: usize = 1_000;

/// Where a log is: in a database, and in directories what was archived of it.
#[derive(Debug, Clone, Copy)]
pub struct LogAt<'a> {
    /// The database.
    pub database_url: &'a str,
    /// The directories. None: a log of which nothing was archived needs none.
    pub archive: &'a [PathBuf],
}

impl<'a> From<&'a str> for LogAt<'a> {
    fn from(database_url: &'a str) -> Self {
        Self { database_url, archive: &[] }
    }
}

impl<'a> From<&'a String> for LogAt<'a> {
    fn from(database_url: &'a String) -> Self {
        Self { database_url, archive: &[] }
    }
}

/// What was archived of a log: always its beginning.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    parts: Vec<Archived>,
    blocks: Vec<Block>,
}

impl Archive {
    /// Asks what was archived, and finds it in these directories. Without any, it is there for whoever does not need it.
    pub(crate) async fn open(connection: &mut PgConnection, directories: &[PathBuf]) -> Result<Arc<Self>> {
        let parts = archived(connection).await.context("asking what of the log is archived")?;
        let mut next = GlobalPosition::default().next();
        for Archived { part, .. } in &parts {
            if part.first != next {
                bail!(
                    "positions {} to {} of the log are archived, and {next} to {} are not: only what is at its beginning can be read from \
                     files. Bring them back with `holdfast archive restore`",
                    part.first,
                    part.last,
                    part.first.previous()
                );
            }
            next = part.last.next();
        }
        let mut archive = Self { parts, blocks: Vec::new() };
        if !directories.is_empty() {
            archive.blocks = archive.parts.iter().map(|part| locate(part, directories)).collect::<Result<_>>()?;
        }
        Ok(Arc::new(archive))
    }

    /// The last position that is archived.
    pub(crate) fn ends(&self) -> GlobalPosition {
        self.parts.last().map(|archived| archived.part.last).unwrap_or_default()
    }

    /// That nothing was archived or brought back since it was opened: else what was read is not all of the log.
    pub(crate) async fn unchanged(&self, connection: &mut PgConnection) -> Result<()> {
        let now = archived(connection).await.context("asking what of the log is archived")?;
        if now != self.parts {
            bail!("a part of the log was archived, or brought back, while it was read: read it again");
        }
        Ok(())
    }

    /// Has its files read on a thread that may wait for them.
    async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let archive = Arc::clone(self);
        spawn_blocking(move || read(&archive)).await.context("reading the archive")?
    }

    /// Its blocks.
    ///
    /// # Errors
    /// Nobody has said where they are.
    fn blocks(&self) -> Result<&[Block]> {
        match self.parts.as_slice() {
            [first, .., last] | [first @ last] if self.blocks.is_empty() => Err(self.wanted(first, last)),
            _ => Ok(&self.blocks),
        }
    }

    fn wanted(&self, first: &Archived, last: &Archived) -> anyhow::Error {
        let (from, to) = (first.part.first, last.part.last);
        let directories: BTreeSet<&str> =
            self.parts.iter().filter_map(|part| part.copy.as_ref()).map(|copy| copy.directory.as_str()).collect();
        let directories: Vec<&str> = directories.into_iter().collect();
        let went = match &last.copy {
            Some(copy) => format!("were archived to {}, the last of them at {}", directories.join(" and "), copy.at),
            None => "are not in its table, and no note says where they went".to_owned(),
        };
        anyhow!(
            "positions {from} to {to} of the log {went}: say where that is with --archive DIR, or bring them back with \
             `holdfast archive restore`"
        )
    }

    /// Whether the files are needed to read on behind this position, and at hand.
    ///
    /// # Errors
    /// They are needed, and nobody has said where they are.
    pub(crate) fn needed_behind(&self, after: GlobalPosition) -> Result<bool> {
        Ok(after < self.ends() && !self.blocks()?.is_empty())
    }

    /// Takes all events behind one position and up to another, in order.
    pub(crate) fn each(
        &self,
        (after, up_to): (GlobalPosition, GlobalPosition),
        mut take: impl FnMut(StoredEvent) -> Result<()>,
    ) -> Result<()> {
        if after >= self.ends() {
            return Ok(());
        }
        for block in self.blocks()?.iter().filter(|block| block.part().last > after && block.part().first <= up_to) {
            for event in block.events((after, up_to)) {
                take(event?)?;
            }
        }
        Ok(())
    }

    /// Sends all events behind a position, page by page. That nobody takes the pages is no error: whoever stopped knows why.
    pub(crate) async fn send_after(
        self: &Arc<Self>,
        after: GlobalPosition,
        pages: &mpsc::Sender<Vec<StoredEvent>>,
    ) -> Result<()> {
        let pages = pages.clone();
        self.reading(move |archive| {
            let mut page = Vec::new();
            archive.each((after, GlobalPosition::MAX), |event| {
                page.push(event);
                if page.len() >= PAGE {
                    pages.blocking_send(std::mem::take(&mut page)).unwrap_or_default();
                }
                Ok(())
            })?;
            if !page.is_empty() {
                pages.blocking_send(page).unwrap_or_default();
            }
            Ok(())
        })
        .await
    }

    /// The events behind one position and up to another that are chosen.
    pub(crate) async fn some(
        self: &Arc<Self>,
        between: (GlobalPosition, GlobalPosition),
        choose: impl Fn(&StoredEvent) -> bool + Send + 'static,
    ) -> Result<Vec<StoredEvent>> {
        self.reading(move |archive| {
            let mut chosen = Vec::new();
            archive.each(between, |event| {
                if choose(&event) {
                    chosen.push(event);
                }
                Ok(())
            })?;
            Ok(chosen)
        })
        .await
    }

    /// The events of these streams up to a position, in order.
    pub(crate) async fn of_streams(
        self: &Arc<Self>,
        streams: &[String],
        up_to: GlobalPosition,
    ) -> Result<Vec<StoredEvent>> {
        if self.parts.is_empty() || streams.is_empty() {
            return Ok(Vec::new());
        }
        let streams = streams.to_vec();
        self.reading(move |archive| {
            let mut found = Vec::new();
            for block in archive.blocks()?.iter().filter(|block| block.part().first <= up_to) {
                found.extend(block.of_streams(&streams)?);
            }
            found.retain(|event: &StoredEvent| event.position <= up_to);
            found.sort_by_key(|event| event.position);
            Ok(found)
        })
        .await
    }

    /// How many of the events behind one position and up to another are recorded at this time or before, of so many at most, and of how many.
    pub(crate) async fn behind(
        self: &Arc<Self>,
        (after, up_to): (GlobalPosition, GlobalPosition),
        time: Timestamp,
        most: u32,
    ) -> Result<(u32, u32)> {
        if after >= self.ends() {
            return Ok((0, 0));
        }
        self.reading(move |archive| {
            let (mut earlier, mut looked_at) = (0, 0);
            let events = archive.blocks()?.iter().flat_map(|block| block.events((after, up_to)));
            for event in events.take(usize::try_from(most).unwrap_or(usize::MAX)) {
                looked_at += 1;
                earlier += u32::from(event?.recorded_at <= time);
            }
            Ok((earlier, looked_at))
        })
        .await
    }

    /// The last event up to a position, if one is archived.
    pub(crate) async fn last_up_to(self: &Arc<Self>, up_to: GlobalPosition) -> Result<Option<StoredEvent>> {
        self.reading(move |archive| {
            for block in archive.blocks()?.iter().rev().filter(|block| block.part().first <= up_to) {
                let mut last = None;
                for event in block.events_from_file_before(up_to) {
                    last = Some(event?);
                }
                if last.is_some() {
                    return Ok(last);
                }
            }
            Ok(None)
        })
        .await
    }

    /// The last position up to another whose event is recorded at this time or before.
    pub(crate) async fn last_at(
        self: &Arc<Self>,
        time: Timestamp,
        up_to: GlobalPosition,
    ) -> Result<Option<GlobalPosition>> {
        self.reading(move |archive| {
            let is_before = |block: &&Block| block.part().first <= up_to && block.begins_by(time);
            for block in archive.blocks()?.iter().rev().filter(is_before) {
                let mut last = None;
                for event in block.events((GlobalPosition::default(), up_to)) {
                    let event = event?;
                    if event.recorded_at <= time {
                        last = Some(event.position);
                    }
                }
                if last.is_some() {
                    return Ok(last);
                }
            }
            Ok(None)
        })
        .await
    }
}

/// Finds the files of a part: in a directory of that name, or in the directory itself.
fn locate(Archived { part, copy }: &Archived, directories: &[PathBuf]) -> Result<Block> {
    let noted = copy.as_ref().map(|copy| copy.manifest_sha256.as_str());
    for directory in directories {
        for candidate in [directory.join(part.name()), directory.clone()] {
            if candidate.join(MANIFEST).exists()
                && let Some(block) = Block::open(&candidate)?
                && block.part() == *part
            {
                block.is_as_noted(noted)?;
                return Ok(block);
            }
        }
    }
    let all: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
    let noted = copy.as_ref().map(|copy| format!("; it was archived to {} at {}", copy.directory, copy.at));
    bail!(
        "{} has no files of positions {} to {}{}",
        all.join(" and "),
        part.first,
        part.last,
        noted.unwrap_or_default()
    )
}

/// The directories of parts in a directory, in order. None: it is not one in which parts were put.
fn parts_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<(i32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix("events_")?.parse().ok()?;
            entry.path().join(MANIFEST).exists().then(|| (number, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Checks all parts in a directory. `None`: no part was put there.
///
/// # Errors
/// A file cannot be read. What is wrong in them is in the answer.
pub(crate) fn check(directory: &Path) -> Option<Result<Checked>> {
    let parts = parts_in(directory);
    if directory.join(MANIFEST).exists() || parts.is_empty() {
        return None;
    }
    let mut all =
        Checked { ok: true, files: 0, events: 0, postings: 0, postings_recomputed: false, findings: Vec::new() };
    for path in parts {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let checked = match crate::export::check(&path) {
            Ok(checked) => checked,
            Err(error) => return Some(Err(error)),
        };
        all.ok &= checked.ok;
        all.files += checked.files;
        all.events += checked.events;
        all.findings.extend(checked.findings.into_iter().map(|finding| format!("{name}/{finding}")));
    }
    Some(Ok(all))
}
