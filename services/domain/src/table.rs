//! The rows of a table that a batch works on, in memory: loaded once, changed by events, saved once.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Debug,
};

/// A row that is saved only where it is still as it was loaded.
pub trait Revised {
    /// What any change to the row changes: with the same revision, it is the same row.
    type Revision: Debug + Clone + Copy + PartialEq + Eq;

    /// Its revision now.
    fn revision(&self) -> Self::Revision;

    /// How much there is of it: one, and one for each entry of its lists.
    fn weight(&self) -> usize {
        1
    }
}

/// Rows of one table by key, remembering which of them are new and which changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table<K, S: Revised>(BTreeMap<K, Row<S>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row<S: Revised> {
    state: S,
    since: Since<S::Revision>,
}

/// What became of a row since it was loaded, and its revision then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since<R> {
    Loaded(R),
    Changed(R),
    /// The database does not have it yet.
    Created,
}

impl<K, S: Revised> Default for Table<K, S> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, S: Revised> Table<K, S> {
    /// Puts a row in as the database has it.
    pub fn load(&mut self, key: K, state: S) {
        let since = Since::Loaded(state.revision());
        self.0.insert(key, Row { state, since });
    }

    /// The row as it is now.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&S> {
        self.0.get(key).map(|row| &row.state)
    }

    /// The row, to be changed by an event. `None` when there is no such row: only a stream's first event makes one.
    pub fn change(&mut self, key: &K) -> Option<&mut S> {
        let row = self.0.get_mut(key)?;
        row.since = row.since.changed();
        Some(&mut row.state)
    }

    /// Puts in the row that a stream's first event makes.
    pub fn create(&mut self, key: K, state: S) {
        match self.0.entry(key) {
            Entry::Vacant(free) => {
                free.insert(Row { state, since: Since::Created });
            }
            Entry::Occupied(mut known) => {
                let since = known.get().since.changed();
                known.insert(Row { state, since });
            }
        }
    }

    /// Rows that the database does not have yet, in key order.
    pub fn created(&self) -> impl Iterator<Item = (&K, &S)> {
        self.0.iter().filter_map(|(key, row)| match row.since {
            Since::Created => Some((key, &row.state)),
            Since::Loaded(_) | Since::Changed(_) => None,
        })
    }

    /// Rows that the database has otherwise, in key order, each with the revision that it was loaded with.
    pub fn changed(&self) -> impl Iterator<Item = (&K, &S, S::Revision)> {
        self.0.iter().filter_map(|(key, row)| match row.since {
            Since::Changed(before) => Some((key, &row.state, before)),
            Since::Loaded(_) | Since::Created => None,
        })
    }

    /// Whether a row is as it was loaded.
    #[must_use]
    pub fn has_unchanged(&self) -> bool {
        self.0.values().any(|row| matches!(row.since, Since::Loaded(_)))
    }

    /// How much there is of all rows.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.values().map(|row| row.state.weight()).sum()
    }

    /// Takes a row out.
    pub fn take(&mut self, key: &K) -> Option<S> {
        self.0.remove(key).map(|row| row.state)
    }

    /// Takes in the rows of another table, as the database has them now.
    pub fn absorb(&mut self, saved: Self) {
        for (key, row) in saved.0 {
            self.load(key, row.state);
        }
    }

    /// Takes in rows of another table, as the database has them now, but for those that were changed here.
    pub fn complete(&mut self, read: Self) {
        for (key, row) in read.0 {
            if !self.0.get(&key).is_some_and(|known| known.since.is_changed()) {
                self.load(key, row.state);
            }
        }
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

impl<R: Copy> Since<R> {
    const fn is_changed(self) -> bool {
        !matches!(self, Self::Loaded(_))
    }

    const fn changed(self) -> Self {
        match self {
            Self::Loaded(before) | Self::Changed(before) => Self::Changed(before),
            Self::Created => Self::Created,
        }
    }
}
