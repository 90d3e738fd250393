//! A choice of rows that nobody can bend: those that stand somewhere, and of them a sample that follows from a seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    num::NonZeroUsize,
};

use domain::Currency;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Which of the rows.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Those that stand here. `None`: all.
    pub status: Option<String>,
    /// So many of them. `None`: all.
    pub sample: Option<Sample>,
}

/// How many, and what they follow from.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// How many rows.
    pub size: NonZeroUsize,
    /// Any text. The same text, of the same rows, always chooses the same.
    pub seed: String,
}

/// What rows were chosen from.
#[derive(Debug, Clone, Serialize)]
pub struct Chosen {
    /// Where they stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How they were drawn: those whose keys have the lowest SHA-256 of the seed, a line feed and the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// How many rows there are to choose from,
    pub population: u64,
    /// and what their figures add up to, money by currency.
    pub totals: BTreeMap<String, BTreeMap<&'static str, i64>>,
    /// Where all rows stand, whether they are to be chosen or not.
    pub statuses: BTreeMap<&'static str, u64>,
}

/// Rows to choose from, one after the other. Only keys are kept, and of a sample no more than its size.
pub(super) struct Population<'a, K> {
    choice: &'a Choice,
    keys: BTreeSet<([u8; 32], K)>,
    chosen: Chosen,
}

impl<'a, K: Clone + Display + Ord> Population<'a, K> {
    pub(super) fn new(choice: &'a Choice) -> Self {
        let (status, sample) = (choice.status.clone(), choice.sample.clone());
        let chosen = Chosen { status, sample, population: 0, totals: BTreeMap::new(), statuses: BTreeMap::new() };
        Self { choice, keys: BTreeSet::new(), chosen }
    }

    pub(super) fn add(
        &mut self,
        key: &K,
        (status, currency): (Option<&'static str>, Option<Currency>),
        figures: impl Iterator<Item = (&'static str, i64)>,
    ) {
        *self.chosen.statuses.entry(status.unwrap_or_default()).or_default() += 1;
        if self.choice.status.as_ref().is_some_and(|wanted| status != Some(wanted)) {
            return;
        }
        self.chosen.population += 1;
        let currency = currency.map(|currency| currency.to_string()).unwrap_or_default();
        let totals = self.chosen.totals.entry(currency).or_default();
        figures.for_each(|(name, figure)| *totals.entry(name).or_default() += figure);
        let Some(Sample { size, seed }) = &self.choice.sample else {
            self.keys.insert(([0; 32], key.clone()));
            return;
        };
        self.keys.insert((Sha256::digest(format!("{seed}\n{key}")).into(), key.clone()));
        if self.keys.len() > size.get() {
            self.keys.pop_last();
        }
    }

    pub(super) fn end(self) -> (BTreeSet<K>, Chosen) {
        (self.keys.into_iter().map(|(_, key)| key).collect(), self.chosen)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, num::NonZeroUsize};

    use domain::Currency;

    use super::{Choice, Chosen, Population, Sample};

    fn chosen(status: Option<&str>, sample: Option<(usize, &str)>, keys: &[u32]) -> (BTreeSet<u32>, Chosen) {
        let sample =
            sample.map(|(size, seed)| Sample { size: NonZeroUsize::new(size).unwrap(), seed: seed.to_owned() });
        let choice = Choice { status: status.map(str::to_owned), sample };
        let mut population = Population::new(&choice);
        for key in keys {
            let (status, currency) = if key % 2 == 0 { ("paid", "EUR") } else { ("pending", "JPY") };
            let figures = [("captured_minor", i64::from(*key))].into_iter();
            population.add(key, (Some(status), Currency::parse(currency).ok()), figures);
        }
        population.end()
    }

    #[test]
    fn a_sample_follows_from_its_seed_and_the_rows_and_not_from_their_order() {
        let keys: Vec<u32> = (1..=1_000).collect();
        let backwards: Vec<u32> = keys.iter().rev().copied().collect();
        let (sample, of) = chosen(Some("paid"), Some((60, "2026-12-31")), &keys);
        assert_eq!((sample.len(), of.population, of.totals["EUR"]["captured_minor"]), (60, 500, 250_500));
        assert!(sample.iter().all(|key| key % 2 == 0));
        assert_eq!(chosen(Some("paid"), Some((60, "2026-12-31")), &backwards).0, sample);
        assert_ne!(chosen(Some("paid"), Some((60, "2027-01-01")), &keys).0, sample);
        // As whoever has only the keys and sha256sum finds it.
        let (first, _) = chosen(None, Some((1, "a")), &[1, 2, 3]);
        assert_eq!(first, BTreeSet::from([LOWEST]));
        assert_eq!(chosen(None, Some((9, "a")), &[1, 2, 3]).0.len(), 3);
    }

    /// `for key in 1 2 3; do printf 'a\n%s' $key | sha256sum; done`
    const LOWEST: u32 = 3;

    #[test]
    fn all_that_stand_somewhere_are_chosen_without_a_sample() {
        let (keys, of) = chosen(Some("pending"), None, &[1, 2, 3]);
        assert_eq!(keys, BTreeSet::from([1, 3]));
        assert_eq!((of.totals["JPY"]["captured_minor"], of.statuses["paid"], of.statuses["pending"]), (4, 1, 2));
        assert_eq!(chosen(Some("gone"), None, &[1, 2]).1.population, 0);
    }
}
