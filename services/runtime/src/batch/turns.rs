//! Turns: the batches of one process, one after the other, though the next is decided while one is written.
//!
//! Services of one process that wrote at the same time would wait for each other's rows, or change them unseen. So a batch is decided in rows
//! as they will be once the one before it is written, and is written after it. If that one fails, what was decided in its rows is for nothing.
//!
//! Why it is so: services/runtime/README.md#services-of-one-process-react-at-once

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// The turns of one process.
#[derive(Debug, Default)]
pub(super) struct Turns {
    deciding: Mutex<()>,
    writing: Mutex<()>,
    /// Batches that could not be written, so far, although the next one may have been decided in their rows.
    failures: AtomicU64,
}

/// One batch's turn. Whoever holds it decides alone.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    deciding: Option<MutexGuard<'a, ()>>,
    writing: Option<MutexGuard<'a, ()>>,
    /// Failures, when it began to decide.
    failures: u64,
    /// Whether others have decided, or remember, what is not written yet.
    is_owed: bool,
}

impl Turns {
    pub(super) async fn next(&self) -> Turn<'_> {
        let deciding = Some(self.deciding.lock().await);
        Turn { turns: self, deciding, writing: None, failures: self.failures(), is_owed: false }
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

    use super::Turns;

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
}
