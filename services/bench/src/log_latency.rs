//! How long each order's story took, read from the log afterwards: by the clock of the worker, when it began the batch.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use domain::Timestamp;
use futures::TryStreamExt;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{numbers::Times, pipelined_client::Sent};

/// When the stories ended that commands began: when the last of these events was written, by the command's id.
pub(super) async fn ends(pool: &PgPool, types: &[&str]) -> Result<HashMap<Uuid, Timestamp>> {
    let mut ends: HashMap<Uuid, Timestamp> = HashMap::new();
    let query = "select correlation_id, recorded_at from log.events where type = any($1)";
    let mut rows = sqlx::query_as::<_, (Uuid, OffsetDateTime)>(query).bind(types).fetch(pool);
    while let Some((id, at)) = rows.try_next().await.context("reading when orders came to their end")? {
        let at = Timestamp::from(at);
        ends.entry(id).and_modify(|latest| *latest = at.max(*latest)).or_insert(at);
    }
    Ok(ends)
}

/// From sending a command to the end of its story.
pub(super) fn took(sent: &Sent, ends: &HashMap<Uuid, Timestamp>) -> Result<Duration> {
    let end = ends.get(&sent.id).context("an order that is done has no end in the log")?;
    Ok(end.since(sent.at))
}

/// From sending to the end, for commands that were sent in this time.
pub(super) async fn times(
    pool: &PgPool,
    sent: &[Sent],
    during: std::ops::Range<Timestamp>,
    types: &[&str],
) -> Result<Times> {
    let ends = ends(pool, types).await?;
    let mut times = Times::new()?;
    for sent in sent.iter().filter(|sent| during.contains(&sent.at)) {
        times.add(took(sent, &ends)?);
    }
    Ok(times)
}
