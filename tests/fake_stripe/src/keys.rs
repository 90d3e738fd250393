//! Idempotency keys: what was answered to whom, for a day of the fake's time.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use crate::form::Branch;

const KEPT_FOR: i64 = 24 * 60 * 60;

/// An answer that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) request_id: String,
}

#[derive(Debug)]
struct Entry {
    path: String,
    params: Branch,
    /// Until then the call is still running.
    free_at: Instant,
    kept: Kept,
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) enum Known {
    Nothing,
    IsRunning,
    /// It was used at this path.
    OtherPath(String),
    OtherParams,
    Answered(Kept),
}

#[derive(Debug, Default)]
pub(crate) struct Keys {
    entries: BTreeMap<String, Entry>,
    /// Keys as they were first used, and when.
    by_age: VecDeque<(i64, String)>,
}

impl Keys {
    pub(crate) fn look_up(&mut self, now: i64, key: &str, path: &str, params: &Branch) -> Known {
        self.forget(now);
        let Some(entry) = self.entries.get(key) else { return Known::Nothing };
        if entry.path != path {
            Known::OtherPath(entry.path.clone())
        } else if entry.params != *params {
            Known::OtherParams
        } else if entry.free_at > Instant::now() {
            Known::IsRunning
        } else {
            Known::Answered(entry.kept.clone())
        }
    }

    pub(crate) fn keep(&mut self, now: i64, key: &str, path: &str, params: Branch, free_at: Instant, kept: Kept) {
        self.by_age.push_back((now, key.to_owned()));
        self.entries.insert(key.to_owned(), Entry { path: path.to_owned(), params, free_at, kept });
    }

    fn forget(&mut self, now: i64) {
        while self.by_age.front().is_some_and(|(used, _)| now.saturating_sub(*used) >= KEPT_FOR) {
            if let Some((_, key)) = self.by_age.pop_front() {
                self.entries.remove(&key);
            }
        }
    }
}
