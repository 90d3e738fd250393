//! The rows of a table that a batch works on, in memory: loaded and locked once, changed by events, saved once.

use std::collections::{BTreeMap, btree_map::Entry};

/// Rows of one table by key, remembering which of them are new and which changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<K, S>(BTreeMap<K, Row<S>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row<S> {
    state: S,
    since: Since,
}

/// What became of a row since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Nothing,
    Changed,
    /// The database does not have it yet.
    Created,
}

impl<K, S> Default for Table<K, S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, S> Table<K, S> {
    /// Puts a row in as the database has it.
    pub fn load(&mut self, key: K, state: S) {
        self.0.insert(key, Row { state, since: Since::Nothing });
    }

    /// The row as it is now.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&S> {
        self.0.get(key).map(|row| &row.state)
    }

    /// The row, to be changed by an event. `None` when there is no such row: only a stream's first event makes one.
    pub fn change(&mut self, key: &K) -> Option<&mut S> {
        let row = self.0.get_mut(key)?;
        if row.since == Since::Nothing {
            row.since = Since::Changed;
        }
        Some(&mut row.state)
    }

    /// Puts in the row that a stream's first event makes.
    pub fn create(&mut self, key: K, state: S) {
        match self.0.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Row { state, since: Since::Created });
            }
            Entry::Occupied(mut known) => {
                let since = if known.get().since == Since::Created { Since::Created } else { Since::Changed };
                known.insert(Row { state, since });
            }
        }
    }

    /// Table that the database does not have yet, in key order.
    pub fn created(&self) -> impl Iterator<Item = (&K, &S)> {
        self.that_are(Since::Created)
    }

    /// Table that the database has otherwise, in key order.
    pub fn changed(&self) -> impl Iterator<Item = (&K, &S)> {
        self.that_are(Since::Changed)
    }

    fn that_are(&self, since: Since) -> impl Iterator<Item = (&K, &S)> {
        self.0.iter().filter(move |(_, row)| row.since == since).map(|(key, row)| (key, &row.state))
    }

    /// All rows, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &S)> {
        self.0.iter().map(|(key, row)| (key, &row.state))
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
