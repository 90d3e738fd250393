//! Places of an event: in the log, in its stream, and at the broker. All three are numbers and often stand side by side; one type each,
//! so that none can be taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! place {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name($number);

        impl $name {
            /// From a bare number: of a row, a header, or a message.
            #[must_use]
            pub const fn new(number: $number) -> Self {
                Self(number)
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $number {
                self.0
            }

            /// The one right after it.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

place!(
    /// An event's place in the log: unique and rising, with gaps. Zero is before the first.
    GlobalPosition(i64)
);
place!(
    /// An event's place in its stream: 1 for the first, then without gaps. Zero is a stream without events.
    StreamVersion(i64)
);
place!(
    /// A message's sequence number in a JetStream stream. Zero is no message's.
    BrokerSequence(u64)
);

impl GlobalPosition {
    /// Beyond every event: up to here is up to the end.
    pub const MAX: Self = Self(i64::MAX);

    /// The one right before it.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many positions it is ahead of an earlier one, events and gaps.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl StreamVersion {
    /// The first event's.
    pub const FIRST: Self = Self(1);
}

impl BrokerSequence {
    /// So many after it.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many it is ahead of an earlier one; zero if that is not earlier.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// From a column of Postgres, which has no unsigned numbers. What is negative there is no message's.
    #[must_use]
    pub fn from_bigint(number: i64) -> Self {
        Self(u64::try_from(number).unwrap_or(0))
    }

    /// For a column of Postgres.
    #[must_use]
    pub fn to_bigint(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::BrokerSequence;

    #[test]
    fn a_sequence_number_comes_back_from_postgres_as_it_went() {
        let there_and_back = |number| BrokerSequence::from_bigint(BrokerSequence::new(number).to_bigint()).get();
        assert_eq!([0, 1, 1 << 62].map(there_and_back), [0, 1, 1 << 62]);
        assert_eq!(BrokerSequence::from_bigint(-1), BrokerSequence::default());
    }
}
