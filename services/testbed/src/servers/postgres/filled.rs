//! Clusters that begin with what is the same each time: made once, and copied.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{OtherUser, Postgres, backup::copy, find_postgres, place, scratch_dir};

impl Postgres {
    /// Starts the cluster in `dir`; if none is there, with a copy of one that `fill` has filled. That is kept in the directory `kept`, under this
    /// name, and made if it is not there: whoever fills another way gives another name. Whether it is a copy.
    ///
    /// # Errors
    /// As [`Postgres::start`]; and a copy cannot be made.
    pub async fn start_filled(
        dir: &Path,
        (kept, name): (&Path, &str),
        fill: impl AsyncFnOnce(&Postgres) -> Result<()>,
    ) -> Result<(Self, bool)> {
        let user = OtherUser::needed()?;
        let (_, major) = find_postgres(user).await?;
        let source = kept.join(format!("{name}-postgres{major}"));
        if !source.join("cluster").is_dir() {
            make(&source, fill).await?;
        }
        let settled = place::settle(dir, user)?;
        let is_new = !settled.join("cluster").is_dir();
        if is_new {
            copy(&source.join("cluster"), &settled).await?;
        }
        Ok((Self::start(dir).await?, is_new))
    }
}

/// Makes what is copied from then on. Of several who make it at once, one is first.
async fn make(source: &PathBuf, fill: impl AsyncFnOnce(&Postgres) -> Result<()>) -> Result<()> {
    let scratch = scratch_dir("holdfast-cluster-")?;
    let mut server = Postgres::start(&scratch.path().join("postgres")).await?;
    fill(&server).await?;
    server.stop().await?;
    let unfinished = source.with_extension(std::process::id().to_string());
    fs::create_dir_all(&unfinished).with_context(|| format!("making {}", unfinished.display()))?;
    copy(&server.cluster(), &unfinished).await?;
    if fs::rename(&unfinished, source).is_err() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("deleting {}", unfinished.display()))?;
    }
    Ok(())
}
