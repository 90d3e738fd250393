//! An export as the log that it is of: its events, once all that its files say of themselves was found to be so.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use domain::{GlobalPosition, Timestamp};
use serde::Deserialize;

use super::{
    MANIFEST,
    blocks::Line,
    check::{Row, check, check_file, find},
    event::ExportedEvent,
};
use crate::replay::{Cut, Database, Skew, fold::LogEvent};

/// An export that was proved, and begins with the log.
pub(crate) struct Exported {
    path: PathBuf,
    head: Head,
}

/// What the manifest says beside its files.
#[derive(Deserialize)]
struct Head {
    database: Database,
    cut: Cut,
    skew: Skew,
}

impl Exported {
    /// Proves an export, by its directory, its manifest or its zip file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let checked = check(path)?;
        if let Some(finding) = checked.findings.first() {
            bail!("{} is not what was exported: {finding}; `holdfast check` says all that is wrong", path.display());
        }
        let (mut source, contents) = find(path)?;
        if contents.partition.is_some() {
            bail!(
                "{} is a part of an archive and no export: read it with --archive, beside its database",
                path.display()
            );
        }
        if contents.from > GlobalPosition::default().next() {
            let from = contents.from;
            bail!(
                "{} begins at position {from}: only an export that begins with the log can be replayed",
                path.display()
            );
        }
        let manifest = source.open(MANIFEST)?;
        let head =
            serde_json::from_reader(manifest).with_context(|| format!("reading what {MANIFEST} says of its log"))?;
        Ok(Self { path: path.to_owned(), head })
    }

    /// Of which database it was made, when and by whom.
    pub(crate) fn database(&self) -> Database {
        self.head.database.clone()
    }

    /// Where it ends.
    pub(crate) const fn cut(&self) -> Cut {
        self.head.cut
    }

    /// Up to when it has all that was recorded.
    pub(crate) fn known_until(&self) -> Timestamp {
        let Head { database, cut, skew } = &self.head;
        if cut.position == cut.log_ended { database.at } else { skew.time }
    }

    /// Gives each event to somebody, in order of position.
    pub(crate) fn each(&self, mut take: impl FnMut(&LogEvent<'_>) -> Result<()>) -> Result<()> {
        let (mut source, contents) = find(&self.path)?;
        let (form, mut findings) = (contents.form, Vec::new());
        for listed in &contents.events {
            let mut failed = None;
            let read = |row: Row<'_>| {
                if failed.is_none() {
                    failed = ExportedEvent::read(row, form).and_then(|event| take(&event.as_logged())).err();
                }
                Ok(())
            };
            check_file(&mut source, (listed, ExportedEvent::COLUMNS, form), read, &mut findings)?;
            if let Some(error) = failed {
                return Err(error);
            }
            if let Some(finding) = findings.pop() {
                return Err(anyhow!("{} was changed while it was read: {finding}", self.path.display()));
            }
        }
        Ok(())
    }
}
