//! Rows that were saved last, so that the next batch need not read them. They are good for as long as nobody else changes them, which whoever
//! saves them finds out.

use std::collections::BTreeSet;

use crate::table::{Revised, Table};

/// The rows of a batch, in one table or several.
pub trait Rows: Default {
    /// How much there is of them: one for each row, and for each entry of its lists.
    fn weight(&self) -> usize;

    /// Whether one of them is as it was loaded.
    fn has_unchanged(&self) -> bool;

    /// Takes in others, as they are in the database now.
    fn absorb(&mut self, saved: Self);

    /// Takes in rows that were just read, but for those that it has changed.
    fn complete(&mut self, read: Self);
}

/// Of whoever keeps none.
impl Rows for () {
    fn weight(&self) -> usize {
        0
    }

    fn has_unchanged(&self) -> bool {
        false
    }

    fn absorb(&mut self, (): Self) {}

    fn complete(&mut self, (): Self) {}
}

/// A type for the rows of a batch: these tables of it.
#[macro_export]
macro_rules! rows {
    ($state:ty { $($table:ident),+ }) => {
        impl $crate::Rows for $state {
            fn weight(&self) -> usize {
                [$(self.$table.weight()),+].into_iter().sum()
            }

            fn has_unchanged(&self) -> bool {
                $(self.$table.has_unchanged())||+
            }

            fn absorb(&mut self, saved: Self) {
                $(self.$table.absorb(saved.$table);)+
            }

            fn complete(&mut self, read: Self) {
                $(self.$table.complete(read.$table);)+
            }
        }
    };
}

/// When the younger half weighs so much, the older is forgotten: some megabytes.
const HALF: usize = 16_000;

/// The rows that were saved last: a younger and an older half.
#[derive(Debug, Default, Clone)]
pub struct Memory<S> {
    young: S,
    old: S,
    /// Of the younger half, and of what it had of rows before.
    weight: usize,
}

impl<S: Rows> Memory<S> {
    /// Remembers rows as they are in the database now.
    pub fn remember(&mut self, saved: S) {
        self.weight += saved.weight();
        self.young.absorb(saved);
        if self.weight >= HALF {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
    }

    /// Takes back rows that were moved out and have not changed.
    pub fn take_back(&mut self, rows: S) {
        self.young.absorb(rows);
    }

    /// A row as it was saved last. It is not what is there, if others have changed it since.
    pub fn get<'a, K: Ord + 'a, R: Revised + 'a>(
        &'a self,
        key: &K,
        table: impl Fn(&'a S) -> &'a Table<K, R>,
    ) -> Option<&'a R> {
        table(&self.young).get(key).or_else(|| table(&self.old).get(key))
    }

    /// Moves a row to others, unless it is there already. False: it is remembered nowhere. Whoever saves it has it remembered again;
    /// if it cannot be saved, it may not be as it was.
    pub fn move_to<K: Ord + Clone, R: Revised>(
        &mut self,
        rows: &mut S,
        key: &K,
        table: impl Fn(&mut S) -> &mut Table<K, R>,
    ) -> bool {
        if table(rows).get(key).is_some() {
            return true;
        }
        let (young, old) = (table(&mut self.young).take(key), table(&mut self.old).take(key));
        let Some(row) = young.or(old) else { return false };
        table(rows).load(key.clone(), row);
        true
    }

    /// Moves the rows with these keys to others. False: one is remembered nowhere, and nothing so far makes it, as the second of each pair says.
    pub fn move_all_to<K: Ord + Clone, R: Revised>(
        &mut self,
        rows: &mut S,
        keys: impl IntoIterator<Item = (K, bool)>,
        table: impl Fn(&mut S) -> &mut Table<K, R>,
    ) -> bool {
        let mut made = BTreeSet::new();
        keys.into_iter().all(|(key, makes)| {
            if makes {
                made.insert(key.clone());
            }
            self.move_to(rows, &key, &table) || made.contains(&key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{HALF, Memory, Rows as _};
    use crate::table::{Revised, Table};

    #[derive(Debug, Default)]
    struct Shelf {
        books: Table<usize, Book>,
    }

    rows!(Shelf { books });

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Book(&'static str);

    impl Revised for Book {
        type Revision = &'static str;

        fn revision(&self) -> &'static str {
            self.0
        }

        fn weight(&self) -> usize {
            self.0.len()
        }
    }

    fn shelf(books: impl IntoIterator<Item = (usize, &'static str)>) -> Shelf {
        let mut shelf = Shelf::default();
        for (key, text) in books {
            shelf.books.create(key, Book(text));
        }
        shelf
    }

    fn recalled(memory: &mut Memory<Shelf>, key: usize) -> Option<Book> {
        let mut shelf = Shelf::default();
        memory.move_to(&mut shelf, &key, |shelf| &mut shelf.books).then(|| shelf.books.get(&key).unwrap().clone())
    }

    #[test]
    fn a_row_is_recalled_once_and_as_it_was_saved_last() {
        let mut memory = Memory::default();
        memory.remember(shelf((0..HALF).map(|key| (key, "a"))));
        memory.remember(shelf([(1, "b"), (HALF, "c")]));
        assert_eq!(recalled(&mut memory, 0), Some(Book("a")));
        assert_eq!(recalled(&mut memory, 1), Some(Book("b")));
        // Neither half has it any more.
        assert_eq!(recalled(&mut memory, 1), None);
        assert_eq!(recalled(&mut memory, HALF), Some(Book("c")));
    }

    #[test]
    fn what_was_saved_long_ago_is_forgotten_and_a_heavy_row_counts_for_many() {
        let mut memory = Memory::default();
        let text: &'static str = "x".repeat(HALF).leak();
        memory.remember(shelf([(1, "a")]));
        memory.remember(shelf([(2, text)]));
        assert_eq!(recalled(&mut memory, 1), Some(Book("a")));
        memory.remember(shelf([(3, text)]));
        assert_eq!((recalled(&mut memory, 2), recalled(&mut memory, 3)), (None, Some(Book(text))));
    }

    #[test]
    fn a_recalled_row_is_as_loaded_until_it_is_changed() {
        use crate::Rows as _;
        let mut memory = Memory::default();
        memory.remember(shelf([(1, "a")]));
        let mut again = Shelf::default();
        assert!(!again.has_unchanged());
        assert!(memory.move_to(&mut again, &1, |shelf| &mut shelf.books));
        assert!(again.has_unchanged());
        *again.books.change(&1).unwrap() = Book("b");
        assert!(!again.has_unchanged());
        let changed: Vec<_> = again.books.changed().collect();
        assert_eq!(changed, [(&1, &Book("b"), "a")]);
    }

    #[test]
    fn what_was_changed_is_not_read_over_and_what_was_not_is() {
        let mut batch = Shelf::default();
        batch.books.load(1, Book("read"));
        batch.books.load(2, Book("read"));
        *batch.books.change(&1).unwrap() = Book("changed");
        let mut now = Shelf::default();
        for key in 1..=3 {
            now.books.load(key, Book("as it is now"));
        }
        batch.complete(now);
        let books = [1, 2, 3].map(|key| batch.books.get(&key).unwrap().0);
        assert_eq!(books, ["changed", "as it is now", "as it is now"]);
    }
}
