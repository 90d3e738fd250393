//! A part of all rows, so that many machines can replay one log: whose keys have a hash that leaves this number, divided by so many.

use std::{
    fmt::{self, Display, Formatter},
    num::NonZeroU32,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Parts of one replay, at most: a merge has each of them open.
const SHARDS_MAX: u32 = 512;

/// A part of all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which one, from 0.
    pub index: u32,
    /// Of how many.
    pub of: NonZeroU32,
}

impl Shard {
    /// Whether a key belongs to it: the first eight bytes of its SHA-256 are a number, the highest byte first.
    pub(crate) fn has(self, key: &impl Display) -> bool {
        leading(&key.to_string()) % u64::from(self.of.get()) == u64::from(self.index)
    }
}

/// The first eight bytes of the SHA-256 of a text as a number, the highest byte first.
pub(crate) fn leading(text: &str) -> u64 {
    Sha256::digest(text).iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

impl Display for Shard {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let Some((index, of)) = read else {
            return Err(format!("{text:?} is no shard: write 0/16 for the first of sixteen, and 15/16 for the last"));
        };
        let shard = Self { index, of };
        if shard.of.get() > SHARDS_MAX {
            return Err(format!("there may be {SHARDS_MAX} shards, and not {of}"));
        }
        if shard.index >= shard.of.get() {
            return Err(format!("of {of} shards the last is {}/{of}: they are counted from 0", shard.of.get() - 1));
        }
        Ok(shard)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::Shard;

    #[test]
    fn every_key_belongs_to_one_shard_and_they_are_of_about_the_same_size() {
        let of = NonZeroU32::new(16).unwrap();
        let shards: Vec<Shard> = (0..16).map(|index| Shard { index, of }).collect();
        let mut sizes = [0; 16];
        for key in 0..16_000 {
            let of_it: Vec<&Shard> = shards.iter().filter(|shard| shard.has(&key)).collect();
            assert_eq!(of_it.len(), 1, "{key}");
            sizes[usize::try_from(of_it[0].index).unwrap()] += 1;
        }
        assert!(sizes.iter().all(|size| (800..1_200).contains(size)), "{sizes:?}");
        // `printf MUG-01 | sha256sum`, its first sixteen digits as a number, modulo 16: the last of them.
        assert!(shards[MUG].has(&"MUG-01"));
    }

    const MUG: usize = 0;

    #[test]
    fn a_shard_is_one_of_so_many_counted_from_none() {
        assert_eq!("3/16".parse(), Ok(Shard { index: 3, of: NonZeroU32::new(16).unwrap() }));
        for (text, words) in [
            ("16/16", "the last is 15/16"),
            ("0/0", "is no shard"),
            ("3", "is no shard"),
            ("-1/4", "is no shard"),
            ("0/513", "there may be 512 shards"),
        ] {
            assert!(text.parse::<Shard>().unwrap_err().contains(words), "{text}");
        }
    }
}
