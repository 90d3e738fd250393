//! Turns: the batches of one process, one after the other, though the next is decided while one is written.
//!
//! Services of one process that wrote at the same time would wait for each other's rows, or change them unseen. So a batch is decided in rows
//! as they will be once the one before it is written, and is written after it. If that one fails, what was decided in its rows is for nothing.
//!
//! Why it is so: services/runtime/README.md#services-of-one-process-react-at-once

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use crate::log::rebuild::LastRebuild;

/// The turns of one process.
#[derive(Debug)]
pub(super) struct Turns {
    deciding: Mutex<()>,
    writing: Mutex<()>,
    /// Batches that could not be written, so far, although the next one may have been decided in their rows.
    failures: AtomicU64,
    /// The last rebuild that is known.
    last_rebuild: AtomicI64,
    /// Whether there may be a later one.
    is_rebuild_doubted: AtomicBool,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            deciding: Mutex::default(),
            writing: Mutex::default(),
            failures: AtomicU64::default(),
            last_rebuild: AtomicI64::new(LastRebuild::UNKNOWN.get()),
            is_rebuild_doubted: AtomicBool::new(true),
        }
    }
}

/// One batch's turn. Whoever holds it decides alone.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    deciding: Option<MutexGuard<'a, ()>>,
    writing: Option<MutexGuard<'a, ()>>,
    /// Failures, when it began to decide.
    failures: u64,
    /// The last rebuild that was known then.
    last_rebuild: LastRebuild,
    /// Whether others have decided, or remember, what is not written yet.
    is_owed: bool,
}

impl Turns {
    pub(super) async fn next(&self) -> Turn<'_> {
        let deciding = Some(self.deciding.lock().await);
        let last_rebuild = self.last_rebuild();
        Turn { turns: self, deciding, writing: None, failures: self.failures(), last_rebuild, is_owed: false }
    }

    /// The last rebuild of rows that this process knows of.
    pub(super) fn last_rebuild(&self) -> LastRebuild {
        LastRebuild::new(self.last_rebuild.load(Ordering::SeqCst))
    }

    /// How many batches failed so far. What was remembered before the last of them may never have been so.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }
}

impl Turn<'_> {
    /// Begins to decide, once all before are written: the database now has whatever they changed.
    pub(super) async fn begin_after_all_others(&mut self) {
        self.after_all_others().await;
        self.failures = self.turns.failures();
        self.last_rebuild = self.turns.last_rebuild();
    }

    /// The last rebuild before it began to decide.
    pub(super) const fn last_rebuild(&self) -> LastRebuild {
        self.last_rebuild
    }

    /// What could not be written may have been decided in rows that were rebuilt since.
    pub(super) fn doubt_last_rebuild(&self) {
        self.turns.is_rebuild_doubted.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_last_rebuild_doubted(&self) -> bool {
        self.turns.is_rebuild_doubted.load(Ordering::SeqCst)
    }

    /// This is the last one, as was just read: before it reads any rows, and while nobody else decides. If it is news, nothing is
    /// remembered any more.
    pub(super) fn learn_last_rebuild(&mut self, last: LastRebuild) {
        self.turns.is_rebuild_doubted.store(false, Ordering::SeqCst);
        if self.turns.last_rebuild.swap(last.get(), Ordering::SeqCst) != last.get() {
            self.turns.failures.fetch_add(1, Ordering::SeqCst);
        }
        self.last_rebuild = last;
        self.failures = self.turns.failures();
    }

    /// Waits until all before are written, or are not.
    pub(super) async fn after_all_others(&mut self) {
        if self.writing.is_none() {
            self.writing = Some(self.turns.writing.lock().await);
        }
    }

    /// Waits for its time to write. Whether all that it decided still stands: all before could be written since it began to decide.
    pub(super) async fn is_to_write(&mut self) -> bool {
        self.after_all_others().await;
        self.failures == self.turns.failures()
    }

    /// Lets the next one decide, in rows as they will be.
    pub(super) fn let_next_decide(&mut self) {
        self.is_owed = true;
        self.deciding = None;
    }

    /// It is written, and lets the next one write.
    pub(super) fn let_next_write(&mut self) {
        self.is_owed = false;
        self.writing = None;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_owed {
            self.turns.failures.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::{LastRebuild, Turns};

    #[tokio::test]
    async fn the_next_decides_while_one_is_written_and_is_written_after_it() {
        let turns = Turns::default();
        let mut first = turns.next().await;
        assert!(turns.next().now_or_never().is_none(), "the first still decides");
        first.after_all_others().await;
        first.let_next_decide();
        let mut second = turns.next().await;
        assert!(second.after_all_others().now_or_never().is_none(), "the first is not written yet");
        first.let_next_write();
        assert!(second.is_to_write().await);
    }

    #[tokio::test]
    async fn what_was_decided_before_a_failure_does_not_stand() {
        let turns = Turns::default();
        let mut first = turns.next().await;
        first.after_all_others().await;
        first.let_next_decide();
        let mut second = turns.next().await;
        drop(first);
        assert!(!second.is_to_write().await);
        second.begin_after_all_others().await;
        assert!(second.is_to_write().await);
    }

    #[tokio::test]
    async fn a_rebuild_that_is_news_counts_as_a_failure_for_what_is_remembered_and_not_for_whoever_learns_of_it() {
        let turns = Turns::default();
        let mut first = turns.next().await;
        first.begin_after_all_others().await;
        assert!(first.is_last_rebuild_doubted(), "nothing is known at first");
        first.learn_last_rebuild(LastRebuild::new(0));
        let known = turns.failures();
        first.learn_last_rebuild(LastRebuild::new(0));
        assert_eq!(turns.failures(), known, "it is no news");
        first.doubt_last_rebuild();
        first.learn_last_rebuild(LastRebuild::new(1));
        assert_eq!((turns.failures(), turns.last_rebuild()), (known + 1, LastRebuild::new(1)));
        assert!(first.is_to_write().await && !first.is_last_rebuild_doubted());
    }
}
