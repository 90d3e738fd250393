//! Writing a part of the log into files, and comparing what is in them with its table, event by event and byte by byte.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result, bail};
use domain::GlobalPosition;
use runtime::log::archive::{Part, read};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    block::{Block, Manifest},
    streams,
};
use crate::{
    export::{BLOCK, Blocks, Contents, ExportedEvent, Extent, Form, MANIFEST, hex},
    replay::{PROGRAM, fold::LogEvent},
};

/// Events of one page, read by one statement.
const PAGE: i64 = 10_000;

/// The files of a part in this directory, if they are there.
///
/// # Errors
/// What is there in its place is of something else.
pub fn find(part: Part, directory: &Path) -> Result<Option<Block>> {
    let dir = directory.join(part.name());
    if !dir.exists() {
        return Ok(None);
    }
    match Block::open(&dir)? {
        Some(block) if block.part() == part => Ok(Some(block)),
        _ => bail!(
            "{} is there, and is not of positions {} to {} of a log: name another directory",
            dir.display(),
            part.first,
            part.last
        ),
    }
}

/// Writes what a table has of a part into files, in a directory of the part's name in this one: all of it is there, and is on the disk, or
/// none is.
///
/// # Errors
/// The table cannot be read, the files cannot be written, or an event cannot be read by this release.
pub async fn write(connection: &mut PgConnection, (part, table): (Part, &str), directory: &Path) -> Result<Block> {
    let (dir, new) = (directory.join(part.name()), directory.join(format!(".{}.new", part.name())));
    let failed = || format!("writing {}", new.display());
    // What a try has left that was broken off.
    if new.exists() {
        fs::remove_dir_all(&new).with_context(failed)?;
    }
    fs::create_dir_all(&new).with_context(failed)?;
    let query = "select id, (select max(epoch) from log.epochs) from log.installation";
    let (installation, epoch): (Uuid, i32) =
        sqlx::query_as(query).fetch_one(&mut *connection).await.context("reading which log this is")?;

    let (from, block, form) = (part.first, BLOCK, Form::Jsonl);
    let mut files = Blocks::new("events", Extent { from, block, form }, Some(&new));
    let mut after = part.first.previous();
    loop {
        let page = read(connection, table, after, PAGE).await.with_context(|| format!("reading {table}"))?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for event in &page {
            files.line(&ExportedEvent::of(&LogEvent::of(event))?)?;
        }
    }
    let events = files.end()?;
    let mut contents = Contents { partition: Some(part.number), ..Contents::new(Extent { from, block, form }) };
    for listed in &events {
        let name = streams::name(&listed.file);
        streams::write(&new.join(&listed.file), &new.join(&name))?;
        let bytes = fs::read(new.join(&name)).with_context(failed)?;
        contents.beside.insert(name, hex(&Sha256::digest(&bytes)));
    }
    contents.events = events;
    let manifest =
        Manifest { program: PROGRAM.to_owned(), installation, epoch, first: part.first, last: part.last, contents };
    fs::write(new.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?).with_context(failed)?;
    put(&new, &dir).with_context(|| format!("putting {} into its place", dir.display()))?;
    find(part, directory)?.with_context(|| format!("{} is not there any more", dir.display()))
}

/// Brings all files to the disk, and their directory into its place.
fn put(new: &Path, dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(new)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(new)?.sync_all()?;
    fs::rename(new, dir)?;
    dir.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Compares the files of a part with a table: every column of every event.
///
/// # Errors
/// One of both has an event that the other has not, or has otherwise; or one of both cannot be read.
pub async fn compare(connection: &mut PgConnection, table: &str, block: &Block) -> Result<()> {
    let mut events = block.all();
    let mut after = GlobalPosition::default();
    loop {
        let page = read(connection, table, after, PAGE).await.with_context(|| format!("reading {table}"))?;
        let Some(last) = page.last() else { break };
        after = last.position;
        for event in &page {
            match events.next().transpose()? {
                Some(read) if read == *event => {}
                Some(read) => bail!(
                    "the files have another event at position {} than {table} has at position {}",
                    read.position,
                    event.position
                ),
                None => bail!("the files lack the event at position {}, which {table} has", event.position),
            }
        }
    }
    match events.next().transpose()? {
        Some(event) => bail!("the files have an event at position {}, and {table} has none there", event.position),
        None => Ok(()),
    }
}
