//! Books that are kept from one audit to the next, so that the next one takes in only what came since.
//!
//! They are one small file: the totals that all orders touch, and the names of the orders that are open or were touched lately, which are
//! folded again from the log. It is put in place whole, at the end of an audit that has found nothing: one that is killed leaves the former.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use domain::GlobalPosition;
use runtime::log::{event_store::StoredEvent, lineage::Lineage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    books::{self, Books},
    log::Gap,
    read::without,
};

/// The file of the books, in their directory.
const FILE: &str = "books.json";

/// Whose books they are: of which log, and by which program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Of {
    installation: Uuid,
    epoch: i32,
    /// The SHA-256 of the program's file: another one may fold otherwise.
    program: String,
}

/// The books, and up to where they are written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) of: Of,
    /// The id of the last event that was read.
    pub(super) last: Uuid,
    /// The transactions from this one on may have drawn positions that were behind the last event's.
    pub(super) xmax: i64,
    pub(super) books: books::Kept,
}

/// With what an audit begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// With nothing, for this reason.
    Anew(&'static str),
    /// With the books of an earlier one.
    With(Box<Kept>),
}

impl Of {
    pub(super) async fn read(connection: &mut PgConnection) -> Result<Self> {
        let lineage = Lineage::read(connection).await?;
        Ok(Self { installation: lineage.installation, epoch: lineage.epoch(), program: program()? })
    }
}

/// The SHA-256 of the file of this program.
fn program() -> Result<String> {
    let reading = "reading the file of this program";
    let mut file = File::open(std::env::current_exe().context(reading)?).context(reading)?;
    let (mut hash, mut part) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part).context(reading)? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            read => hash.update(part.get(..read).unwrap_or_default()),
        }
    }
}

/// A directory of books, in the hands of one audit at a time.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
    /// Locked until it is dropped.
    _lock: File,
}

impl Shelf {
    /// Opens the directory, and makes it where there is none.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let opening = || format!("opening the books in {}", dir.display());
        fs::create_dir_all(dir).with_context(opening)?;
        let lock = File::create(dir.join("lock")).with_context(opening)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => {
                bail!("another audit has the books in {} at hand: wait until it has ended", dir.display())
            }
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(opening),
        }
    }

    /// With what an audit of this log begins. Books of another installation are left alone.
    pub(super) async fn begin(&self, of: &Of, connection: &mut PgConnection) -> Result<Begin> {
        let file = self.dir.join(FILE);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Begin::Anew("there are no books yet")),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        let Ok(kept) = serde_json::from_slice::<Kept>(&bytes) else {
            return Ok(Begin::Anew("the books cannot be read by this program"));
        };
        if kept.of.installation != of.installation {
            bail!(
                "the books in {} are of installation {}, and this log is of {}: give each its own directory",
                self.dir.display(),
                kept.of.installation,
                of.installation
            );
        }
        if kept.of.epoch != of.epoch {
            return Ok(Begin::Anew("the log has begun another epoch since"));
        }
        if kept.of.program != of.program {
            return Ok(Begin::Anew("another program has written the books"));
        }
        let there: Option<Uuid> = sqlx::query_scalar("select event_id from log.events where position = $1")
            .bind(kept.position().get())
            .fetch_optional(connection)
            .await
            .context("looking for the last event that was read")?;
        if there != Some(kept.last) {
            return Ok(Begin::Anew("the last event that was read is not there any more"));
        }
        Ok(Begin::With(Box::new(kept)))
    }

    /// Puts the books in the place of the former ones.
    pub(super) fn put(&self, kept: &Kept) -> Result<()> {
        let (file, new) = (self.dir.join(FILE), self.dir.join(format!("{FILE}.new")));
        let writing = || format!("writing {}", file.display());
        let mut written = File::create(&new).with_context(writing)?;
        written.write_all(&serde_json::to_vec(kept)?).with_context(writing)?;
        written.sync_all().with_context(writing)?;
        fs::rename(&new, &file).with_context(writing)?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).with_context(writing)
    }
}

impl Kept {
    /// The books as they are now, of this snapshot.
    pub(super) async fn of(of: Of, books: Books, connection: &mut PgConnection) -> Result<Self> {
        let query =
            "select event_id, pg_snapshot_xmax(pg_current_snapshot())::text::int8 from log.events where position = $1";
        let (last, xmax) = sqlx::query_as(query)
            .bind(books.log.position.get())
            .fetch_one(connection)
            .await
            .context("looking for the last event that was read")?;
        let gaps = books.log.gaps().to_vec();
        Ok(Self { of, last, xmax, books: books.keep(gaps) })
    }

    /// The gaps in which something may still come, but for what came: none, once all transactions are over that may have drawn their positions.
    pub(super) async fn gaps_left(&self, late: &[StoredEvent], connection: &mut PgConnection) -> Result<Vec<Gap>> {
        let query = "select pg_snapshot_xmin(pg_current_snapshot())::text::int8";
        let xmin: i64 = sqlx::query_scalar(query).fetch_one(connection).await.context("asking who still writes")?;
        Ok(if xmin >= self.xmax { Vec::new() } else { without(&self.books.log.gaps, late) })
    }

    /// The last event that was read.
    pub(super) const fn position(&self) -> GlobalPosition {
        self.books.log.position
    }
}
