//! What an audit reads again of the past: in the log's table, and before it in what was archived.

use std::sync::Arc;

use anyhow::{Context, Result};
use domain::GlobalPosition;
use runtime::log::event_store::{StoredEvent, read_after, read_streams_before};
use sqlx::PgConnection;
use tokio::sync::mpsc;

use super::{archive::Archive, snapshot::Snapshot};

/// The past, in the moment of a snapshot.
pub(super) struct Past {
    snapshot: Snapshot,
    archive: Arc<Archive>,
}

impl Past {
    pub(super) const fn of(snapshot: Snapshot, archive: Arc<Archive>) -> Self {
        Self { snapshot, archive }
    }

    /// Events of these streams before a position, in no order.
    pub(super) async fn streams_before(
        &mut self,
        streams: &[String],
        before: GlobalPosition,
    ) -> Result<Vec<StoredEvent>> {
        let mut events = self.archive.of_streams(streams, before.previous()).await?;
        let there = read_streams_before(&mut self.snapshot.connection, streams, before).await;
        events.extend(there.context("reading the log again")?);
        Ok(events)
    }

    pub(super) async fn close(self) -> Result<()> {
        self.snapshot.close().await
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
