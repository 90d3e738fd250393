//! What an audit reads again of the past: in the log's table, and before it in what was archived.

use std::sync::Arc;

use anyhow::{Context, Result};
use domain::GlobalPosition;
use runtime::log::event_store::{StoredEvent, read_after, read_page, read_streams_before};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::{archive::Archive, pace::Pace};

/// Events of one page of what is settled, read by one statement.
const PAGE: i64 = 4_000;

/// The past, as this connection sees it.
pub(super) struct Past {
    connection: PgConnection,
    archive: Arc<Archive>,
}

impl Past {
    pub(super) const fn of(connection: PgConnection, archive: Arc<Archive>) -> Self {
        Self { connection, archive }
    }

    /// Events of these streams before a position, in no order.
    pub(super) async fn streams_before(
        &mut self,
        streams: &[String],
        before: GlobalPosition,
    ) -> Result<Vec<StoredEvent>> {
        let mut events = self.archive.of_streams(streams, before.previous()).await?;
        let there = read_streams_before(&mut self.connection, streams, before).await;
        events.extend(there.context("reading the log again")?);
        Ok(events)
    }

    pub(super) const fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    pub(super) async fn close(self) -> Result<()> {
        Ok(self.connection.close().await?)
    }
}

/// Reads the log behind a position and up to another, below which nothing comes any more, and sends it on page by page: what is archived
/// first. No statement lasts, and while the fleet writes it pauses.
pub(super) async fn read_settled(
    archive: &Arc<Archive>,
    connection: &mut PgConnection,
    (after, up_to): (GlobalPosition, GlobalPosition),
    pages: mpsc::Sender<Vec<StoredEvent>>,
) -> Result<()> {
    archive.send_after(after, &pages).await?;
    let (mut after, mut pace) = (after.max(archive.ends()), Pace::of(None));
    loop {
        let (page, _xmin) = read_page(connection, after, up_to, PAGE).await.context("reading the log")?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.position;
        let read = u64::try_from(page.len()).unwrap_or(0);
        // Who takes no more of them has failed, which is heard of there.
        if pages.send(page).await.is_err() {
            return Ok(());
        }
        pace.wait(read, connection).await?;
    }
}

/// Reads the log behind a position in order, and sends it on page by page: what is archived first.
pub(super) async fn read_all_after(
    archive: &Arc<Archive>,
    connection: &mut PgConnection,
    after: GlobalPosition,
    pages: mpsc::Sender<Vec<StoredEvent>>,
) -> Result<()> {
    archive.send_after(after, &pages).await?;
    read_after(connection, after.max(archive.ends()), pages).await.context("reading the log")
}
