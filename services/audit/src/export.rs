//! Export: the log as files that other programs read, with the very bytes of every event, and what each event moved as postings, whose sums
//! are the figures at any position.
//!
//! Read it in this order: [`export`] writes, [`check`] proves an export without a database, `read` gives its events to a replay, `event` is a
//! line of the one table and `postings` makes the lines of the other, on a thread of its own (`aside`), `blocks` puts lines into files,
//! [`columnar`] is a table as Parquet, [`sealed`] the hash that an
//! answer in Parquet carries, `gdpdu` describes files for tax auditors.
//!
//! Why it is so: services/audit/README.md#an-export-proves-itself

use std::{
    collections::BTreeMap,
    fs::{self, File},
    num::{NonZeroU32, NonZeroU64},
    path::Path,
};

use anyhow::{Context, Result, bail};
use domain::{GlobalPosition, Timestamp};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

mod aside;
mod blocks;
mod check;
pub mod columnar;
mod event;
mod gdpdu;
mod postings;
mod read;
pub mod sealed;

pub(crate) use blocks::{Blocks, Extent, hex};
pub use blocks::{Form, Listed};
pub use check::{Checked, check, is_export};
pub(crate) use event::{ExportedEvent, base64_text};
pub(crate) use read::Exported;

use crate::{
    archive::LogAt,
    replay::{
        At, Cut, Database, PROGRAM, Progress, Skew,
        fold::LogEvent,
        prefix::{Log, Reader},
    },
};
use aside::Aside;

/// The file that names all others of an export. It is written last: without it, what is there is no export.
pub const MANIFEST: &str = "manifest.json";

/// Positions of one file, unless the caller says otherwise.
pub const BLOCK: NonZeroU64 = NonZeroU64::new(1_000_000).expect("not zero");

/// What is to be exported.
#[derive(Debug, Clone)]
pub struct Order {
    /// From this position on, or from this time on. What was before is read too, for what later events move follows from it.
    pub from: At,
    /// Up to this moment. `None`: to the end of the log.
    pub to: Option<At>,
    /// Positions of one file.
    pub block: NonZeroU64,
    /// How lines are written.
    pub form: Form,
    /// The most events to read in a second.
    pub max_rate: Option<NonZeroU32>,
}

/// What was exported, and from where.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// The command, with all that was left to be understood.
    pub command: String,
    /// Name and version of the program.
    pub program: &'static str,
    /// Of which database, when and by whom.
    pub database: Database,
    /// Where the log was cut.
    pub cut: Cut,
    /// What clocks disagree about.
    pub skew: Skew,
    /// What the files are, and what is in them.
    #[serde(flatten)]
    pub contents: Contents,
}

/// The files of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Events from this position on.
    pub from: GlobalPosition,
    /// Positions of one file.
    pub block: NonZeroU64,
    /// How lines are written.
    #[serde(default, skip_serializing_if = "Form::is_usual")]
    pub form: Form,
    /// The partition that was archived in them: it has events alone. None: they are an export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// The log, one event a line, or a row.
    pub events: Vec<Listed>,
    /// What each event moved, one figure a line, or a row.
    pub postings: Vec<Listed>,
    /// Files that describe those: each with its SHA-256.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, String>,
}

impl Contents {
    /// None yet.
    pub(crate) fn new(Extent { from, block, form }: Extent) -> Self {
        let (events, postings, beside) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { from, block, form, partition: None, events, postings, beside }
    }
}

/// Who writes the events of an export.
struct Writer {
    extent: Extent,
    events: Blocks,
    postings: Aside,
}

impl Writer {
    /// Into files in this directory.
    fn new(extent: Extent, dir: &Path) -> Result<Self> {
        Ok(Self { extent, events: Blocks::new("events", extent, Some(dir)), postings: Aside::begin(extent, dir)? })
    }

    fn end(self) -> Result<Contents> {
        let (events, postings) = (self.events.end()?, self.postings.end()?);
        Ok(Contents { events, postings, ..Contents::new(self.extent) })
    }
}

impl Reader for Writer {
    fn take(&mut self, event: &LogEvent<'_>) -> Result<()> {
        if event.position >= self.extent.from {
            self.events.line(&ExportedEvent::of(event)?)?;
        }
        self.postings.take(event)
    }
}

/// Writes an export into a directory that is not there yet, or is empty. Traffic may run.
///
/// # Errors
/// The directory has files, the database is away, the moment is beyond the log or before it, or an event cannot be read: all name what it is.
/// Without its manifest, what was written is no export.
pub async fn export(
    log: impl Into<LogAt<'_>>,
    order: &Order,
    dir: &Path,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Manifest> {
    let is_empty = fs::create_dir_all(dir).and_then(|()| fs::read_dir(dir)).map(|mut files| files.next().is_none());
    if !is_empty.with_context(|| format!("making the directory {}", dir.display()))? {
        bail!("{} has files: name a directory that is empty, or not there yet", dir.display());
    }
    let mut log = Log::open(log, order.max_rate).await?;
    let database = log.database().await?;
    let end = log.end(order.to.as_ref(), &progress).await?;
    let (from, block, form) = (begin(&mut log, &order.from, &progress).await?, order.block, order.form);
    if from > end.up_to {
        bail!("there is nothing to export from position {from} on: the last event is at position {}", end.up_to);
    }
    let writer = Writer::new(Extent { from, block, form }, dir)?;
    let (writer, read) = log.read(None, &end, writer, &progress).await?;
    let skew = log.skew(&end, &read).await?;
    log.close().await?;
    let contents = writer.end()?;
    let command = command(order);
    let mut manifest = Manifest { command, program: PROGRAM, database, cut: end.cut(), skew, contents };
    if form == Form::Csv {
        manifest.contents.beside = gdpdu::describe(&manifest, dir)?;
    }
    let path = dir.join(MANIFEST);
    let file = File::create_new(&path).with_context(|| format!("making {}", path.display()))?;
    serde_json::to_writer_pretty(file, &manifest).with_context(|| format!("writing {}", path.display()))?;
    Ok(manifest)
}

/// Where an export begins. A time begins behind the last event that was recorded before it, as an export up to that time ends with it.
async fn begin(log: &mut Log, from: &At, progress: &(impl Fn(Progress) + Send + Sync)) -> Result<GlobalPosition> {
    let before = match from {
        At::Position(position) => return Ok(*position),
        At::Time(time) => Timestamp::from_micros(time.as_micros().saturating_sub(1)),
    };
    let any: bool = sqlx::query_scalar("select exists (select from log.events where recorded_at <= $1)")
        .bind(OffsetDateTime::from(before))
        .fetch_one(log.connection())
        .await
        .context("looking for where the export begins")?;
    if !any && log.archive().last_at(before, GlobalPosition::MAX).await?.is_none() {
        return Ok(GlobalPosition::default().next());
    }
    Ok(log.end(Some(&At::Time(before)), progress).await?.up_to.next())
}

/// Writes an export into one zip file that is not there yet, as tax auditors take it. Traffic may run.
///
/// # Errors
/// The file is there, or what [`export`] fails of. Nothing is left then.
pub async fn export_zip(
    log: impl Into<LogAt<'_>>,
    order: &Order,
    file: &Path,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Manifest> {
    if file.exists() {
        bail!("{} is there already: name a file that is not", file.display());
    }
    // Beside it, so that there is room for both, and the whole of it appears at once.
    let beside = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parts = tempfile::tempdir_in(beside).with_context(|| format!("making a directory in {}", beside.display()))?;
    let manifest = export(log, order, parts.path(), progress).await?;
    gdpdu::pack(&manifest.contents, parts.path(), file)?;
    Ok(manifest)
}

fn command(order: &Order) -> String {
    let Order { from, to, block, form, max_rate } = order;
    let form = match form {
        Form::Jsonl => "",
        Form::Csv => " --format gdpdu",
        Form::Parquet => " --format parquet",
    };
    let to = to.as_ref().map(|at| format!(" --to {at}")).unwrap_or_default();
    let max_rate = max_rate.map(|rate| format!(" --max-rate {rate}")).unwrap_or_default();
    format!("holdfast export --from {from}{to} --block {block}{form}{max_rate}")
}
