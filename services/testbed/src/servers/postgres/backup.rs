//! Copies of a cluster that runs, as `pg_basebackup` makes them, and what becomes of them: the cluster itself, or a standby.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sqlx::{Connection, PgConnection};

use super::{Postgres, SUPERUSER, output};
use crate::servers::wait_until;

/// What is of this run of the cluster, and what is copied last.
const NOT_COPIED: [&str; 3] = ["postmaster.pid", "postmaster.opts", "pg_wal"];

/// How long a standby may take to begin to follow, and to become a primary.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);

impl Postgres {
    /// Copies the cluster, while it runs, to the directory `cluster` of a new directory.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        let (from, cluster) = (self.cluster(), to.join("cluster"));
        for dir in [to, &cluster, &cluster.join("pg_wal"), &cluster.join("pg_wal/archive_status")] {
            self.make_dir(dir)?;
        }
        let mut connection = PgConnection::connect(&self.url(SUPERUSER, "postgres")).await?;
        sqlx::query("select pg_backup_start('holdfast', true)").execute(&mut connection).await?;
        for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
            let entry = entry?;
            if !NOT_COPIED.iter().any(|name| entry.file_name() == *name) {
                // What Postgres deletes meanwhile, it deletes from the copy as well.
                copy(&entry.path(), &cluster).await?;
            }
        }
        let label: String =
            sqlx::query_scalar("select labelfile from pg_backup_stop(false)").fetch_one(&mut connection).await?;
        let first =
            label.lines().next().and_then(|line| line.split_once("(file ")).map(|(_, file)| file.trim_end_matches(')'));
        let first = first.with_context(|| format!("the label of the backup names no first file: {label}"))?;
        for entry in fs::read_dir(from.join("pg_wal"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A standby asks for the history of each timeline.
            if (name.as_str() >= first || name.ends_with(".history")) && entry.file_type()?.is_file() {
                copy(&entry.path(), &cluster.join("pg_wal")).await?;
            }
        }
        let file = cluster.join("backup_label");
        fs::write(&file, label).with_context(|| format!("writing {}", file.display()))?;
        self.own(&file)
    }

    /// Puts a copy in the place of the cluster, which must not be running.
    pub async fn restore(&mut self, from: &Path) -> Result<()> {
        if self.pid().is_some() {
            bail!("Postgres runs, and its cluster cannot be put in another's place");
        }
        let cluster = self.cluster();
        fs::remove_dir_all(&cluster).with_context(|| format!("deleting {}", cluster.display()))?;
        copy(&from.join("cluster"), &self.dir).await
    }

    /// Starts a standby of this cluster in a directory that has a copy of it, and waits until it follows.
    pub async fn standby(&self, copy: &Path) -> Result<Self> {
        let cluster = copy.join("cluster");
        let settings = cluster.join("postgresql.auto.conf");
        let mut text = fs::read_to_string(&settings).unwrap_or_default();
        text.push_str(&format!("\nprimary_conninfo = 'host=127.0.0.1 port={} user={SUPERUSER}'\n", self.port));
        for (file, text) in [(settings, text), (cluster.join("standby.signal"), String::new())] {
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            self.own(&file)?;
        }
        let standby = Self::start(copy).await?;
        let follows = wait_until(FOLLOWS_WITHIN, || async {
            let mut connection = PgConnection::connect(&self.url(SUPERUSER, "postgres")).await?;
            let streams: bool =
                sqlx::query_scalar("select exists (select from pg_stat_replication where state = 'streaming')")
                    .fetch_one(&mut connection)
                    .await?;
            Ok(streams.then_some(()))
        });
        follows.await?.context("the standby did not begin to follow")?;
        Ok(standby)
    }

    /// A standby gets nothing more from its primary from now on.
    pub async fn falls_behind(&self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url(SUPERUSER, "postgres")).await?;
        for statement in ["alter system set primary_conninfo = ''", "select pg_reload_conf()"] {
            sqlx::raw_sql(statement).execute(&mut connection).await?;
        }
        Ok(())
    }

    /// Makes a primary of a standby, and ends it as an operator would: its directory is a copy to be put in the place of another.
    pub async fn promote(mut self) -> Result<PathBuf> {
        let mut connection = PgConnection::connect(&self.url(SUPERUSER, "postgres")).await?;
        let seconds = i32::try_from(FOLLOWS_WITHIN.as_secs()).unwrap_or(i32::MAX);
        let is_primary: bool =
            sqlx::query_scalar("select pg_promote(true, $1)").bind(seconds).fetch_one(&mut connection).await?;
        if !is_primary {
            bail!("the standby did not become a primary within {} s", FOLLOWS_WITHIN.as_secs());
        }
        connection.close().await?;
        self.stop().await?;
        Ok(self.dir.clone())
    }

    fn make_dir(&self, dir: &Path) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().mode(0o700).create(dir).with_context(|| format!("making {}", dir.display()))?;
        self.own(dir)
    }

    fn own(&self, path: &Path) -> Result<()> {
        self.user.map_or(Ok(()), |user| user.own(path))
    }
}

/// Copies a file or a directory into a directory. What is deleted meanwhile is left out.
pub(super) async fn copy(from: &Path, into: &Path) -> Result<()> {
    let mut command = Command::new("cp");
    command.arg("-a").arg(from).arg(into).env("LC_ALL", "C");
    let copied = output(command).await?;
    let said = String::from_utf8_lossy(&copied.stderr);
    match said.lines().find(|line| !line.contains("No such file or directory")) {
        None if copied.status.success() || !said.is_empty() => Ok(()),
        _ => bail!("copying {} to {}: {said}", from.display(), into.display()),
    }
}
