//! Postings made on a thread of their own, so that both tables of an export are written at once.

use std::{
    path::Path,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use runtime::log::event_store::StoredEvent;

use super::{
    blocks::{Extent, Listed},
    postings::Postings,
};
use crate::replay::fold::LogEvent;

/// Events that go to the thread at once.
const PAGE: usize = 1_000;

/// Pages that wait for it, at most.
const PAGES_AHEAD: usize = 4;

/// The thread, and what it is to take in.
pub(super) struct Aside {
    page: Vec<StoredEvent>,
    pages: SyncSender<Vec<StoredEvent>>,
    /// None: it has ended.
    thread: Option<JoinHandle<Result<Postings>>>,
}

impl Aside {
    pub(super) fn begin(extent: Extent, dir: &Path) -> Result<Self> {
        let mut postings = Postings::new(extent, Some(dir))?;
        let (pages, read) = sync_channel::<Vec<StoredEvent>>(PAGES_AHEAD);
        let thread = thread::spawn(move || {
            for event in read.into_iter().flatten() {
                postings.take(&LogEvent::of(&event))?;
            }
            Ok(postings)
        });
        Ok(Self { page: Vec::with_capacity(PAGE), pages, thread: Some(thread) })
    }

    /// Takes the next event in, in order of position: all from the beginning of the log.
    pub(super) fn take(&mut self, event: &LogEvent<'_>) -> Result<()> {
        self.page.push(event.stored());
        if self.page.len() < PAGE {
            return Ok(());
        }
        let page = std::mem::replace(&mut self.page, Vec::with_capacity(PAGE));
        // Who takes no more of them has failed, and says why.
        if self.pages.send(page).is_ok() { Ok(()) } else { join(self.thread.take()).map(drop) }
    }

    pub(super) fn end(self) -> Result<Vec<Listed>> {
        let Self { page, pages, thread } = self;
        // As above.
        pages.send(page).unwrap_or_default();
        drop(pages);
        join(thread)?.end()
    }
}

fn join(thread: Option<JoinHandle<Result<Postings>>>) -> Result<Postings> {
    let thread = thread.context("the postings have failed already")?;
    thread.join().map_err(|_panic| anyhow!("the thread that makes the postings has panicked"))?
}
