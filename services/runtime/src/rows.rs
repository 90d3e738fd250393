//! The rows a batch works on, in memory: loaded and locked once, changed by events, saved once.

use std::collections::{BTreeMap, BTreeSet};

/// Rows of one table by key, remembering which of them are new and which changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<K, S> {
    states: BTreeMap<K, S>,
    created: BTreeSet<K>,
    changed: BTreeSet<K>,
}

impl<K, S> Default for Rows<K, S> {
    fn default() -> Self {
        Self { states: BTreeMap::new(), created: BTreeSet::new(), changed: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, S> Rows<K, S> {
    /// Puts a row in as the database has it.
    pub fn load(&mut self, key: K, state: S) {
        self.states.insert(key, state);
    }

    /// The row as it is now.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&S> {
        self.states.get(key)
    }

    /// The row, to be changed by an event. `None` when there is no such row: only a stream's first event makes one.
    pub fn change(&mut self, key: &K) -> Option<&mut S> {
        let state = self.states.get_mut(key)?;
        if !self.changed.contains(key) && !self.created.contains(key) {
            self.changed.insert(key.clone());
        }
        Some(state)
    }

    /// Puts in the row that a stream's first event makes.
    pub fn create(&mut self, key: K, state: S) {
        let known = self.states.insert(key.clone(), state).is_some() && !self.created.contains(&key);
        if known {
            self.changed.insert(key)
        } else {
            self.created.insert(key)
        };
    }

    /// Rows that the database does not have yet, in key order.
    pub fn created(&self) -> impl Iterator<Item = (&K, &S)> {
        self.created.iter().filter_map(|key| self.states.get_key_value(key))
    }

    /// Rows that the database has otherwise, in key order.
    pub fn changed(&self) -> impl Iterator<Item = (&K, &S)> {
        self.changed.iter().filter_map(|key| self.states.get_key_value(key))
    }

    /// All rows, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.states.iter()
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}

/// One column of many rows, as a set-based statement takes it.
pub fn column<R: Copy, T>(rows: &[R], value: impl Fn(R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(*row)).collect()
}
