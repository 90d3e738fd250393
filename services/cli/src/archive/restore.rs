//! `holdfast archive restore`: a partition comes back from its files, row by row what it was.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use audit::archive::{Block, compare, find};
use clap::builder::NonEmptyStringValueParser;
use runtime::log::{
    archive::{Note, Part, Place, archived, attach, fill, make_table, place},
    event_store::StoredEvent,
};
use sqlx::PgConnection;

use super::{Done, Report, alone};

/// Events that are put in by one statement.
const PAGE: usize = 1_000;

/// Options of `holdfast archive restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::EXAMPLES)]
pub(super) struct Args {
    /// Where its files are: the directory that it was archived to, or to which that was moved.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Which partition, by its number: events_3 is 3.
    #[arg(value_name = "BLOCK")]
    block: i32,
    /// Why, for whoever reads it later.
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: String,
}

/// Restores: what was noted of the part, what its files say, and what the table has then are the same, or the log stays as it is.
pub(super) async fn restore(connection: &mut PgConnection, args: Args) -> Result<Report> {
    let Args { directory, block, reason } = args;
    alone(connection).await?;
    let archived = archived(connection).await.context("asking what of the log is archived")?;
    let Some(last) = archived.last() else { bail!("nothing of this log is archived: there is nothing to bring back") };
    if last.part.number != block {
        bail!(
            "block {block} is not the last that was archived: that is {}, with positions {} to {}. What is archived is always the \
             beginning of the log, so bring that one back first",
            last.part.number,
            last.part.first,
            last.part.last
        );
    }
    let part = last.part;
    let failed = || format!("bringing back positions {} to {} from {}", part.first, part.last, directory.display());
    let noted = last.copy.as_ref().map(|copy| copy.manifest_sha256.as_str());
    let block = bring_back(connection, part, &directory, noted, &reason).await.with_context(failed)?;
    let parts = vec![Done::of(part, Some(&block))];
    Ok(Report { what: "restore", dry_run: false, directory, parts, stays: None })
}

async fn bring_back(
    connection: &mut PgConnection,
    part: Part,
    directory: &Path,
    noted: Option<&str>,
    reason: &str,
) -> Result<Block> {
    let block = find(part, directory)?.context("its files are not there: name the directory that has them")?;
    block.is_as_noted(noted)?;
    match place(connection, part).await? {
        Place::Aside => {}
        Place::Gone => {
            make_table(connection, part).await.context("making its table")?;
            let mut page: Vec<StoredEvent> = Vec::new();
            for event in block.all() {
                page.push(event?);
                if page.len() >= PAGE {
                    fill(connection, part, &std::mem::take(&mut page)).await.context("filling its table")?;
                }
            }
            fill(connection, part, &page).await.context("filling its table")?;
            sqlx::raw_sql("commit").execute(&mut *connection).await.context("filling its table")?;
        }
        Place::Log | Place::Detaching | Place::Beside => {
            bail!("it is still being archived: run that to its end first")
        }
    }
    let table = part.table(Place::Aside).context("it has no table")?;
    compare(connection, &table, &block).await?;
    let named = directory.display().to_string();
    let (events, manifest_sha256) = (block.len(), block.manifest_sha256());
    let note = Note { part, events, manifest_sha256, directory: &named, reason };
    attach(connection, &note).await.context("putting it into the log's table")?;
    Ok(block)
}
