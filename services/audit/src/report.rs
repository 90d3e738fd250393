//! What an audit found: a count a check, and each finding with the event where it shows.

use std::{collections::BTreeMap, fmt};

use domain::{GlobalPosition, StreamVersion};
use runtime::log::event_store::StoredEvent;
use serde::Serialize;
use uuid::Uuid;

use crate::waiting::Waiting;

/// Findings that are kept with all their words; beyond, they are only counted.
const KEPT_MAX: usize = 1_000;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The log by itself.
    Log,
    /// Rows against the fold of their events.
    Rows,
    /// Pieces, recomputed from the events alone.
    Stock,
    /// Shares, recomputed from the events alone.
    Shares,
    /// Uses of coupons and discounts, recomputed from the events alone.
    Coupons,
    /// Wallets, recomputed from the events alone, against what payments says of their money.
    Wallets,
    /// Money, recomputed from the events alone.
    Money,
    /// Holds against the orders they are for.
    Holds,
    /// Orders against what had to follow.
    Orders,
    /// Timers and outside calls against what they are to end.
    Timers,
    /// The sandbox provider's own ledger against ours.
    Provider,
}

impl Check {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 11] = [
        Self::Log,
        Self::Rows,
        Self::Stock,
        Self::Shares,
        Self::Coupons,
        Self::Wallets,
        Self::Money,
        Self::Holds,
        Self::Orders,
        Self::Timers,
        Self::Provider,
    ];

    /// Its name, and what one count of it is.
    #[must_use]
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Log => ("log", "events: versions without gaps, ids and causes fit, all readable and known"),
            Self::Rows => ("rows", "rows: each is the fold of its events"),
            Self::Stock => ("stock", "products: on hand = received + adjusted - committed + returned, held fits"),
            Self::Shares => (
                "shares",
                "rounds: sold + held fit the total, sold out is all sold, buyers of a failed one are named once",
            ),
            Self::Coupons => (
                "coupons",
                "coupons: held + redeemed fit the limits, also of each customer, discounts are right and add up",
            ),
            Self::Wallets => (
                "wallets",
                "wallets: all that came = all that went + available + held, taken is captured, let go is voided, back is refunded",
            ),
            Self::Money => ("money", "payments: captured once, refunded at most that, refunds agree on both sides"),
            Self::Holds => ("holds", "holds: none open without a live order, all of a paid order committed"),
            Self::Orders => ("orders", "orders: none overdue, each closed one with its receipt"),
            Self::Timers => ("timers", "timers and outside calls: one for all that must end by itself"),
            Self::Provider => ("provider", "sandbox refunds: money moved once a key, as we believe"),
        }
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// What it is about, by the name of its row or stream: `product-mug`.
    pub subject: String,
    /// What is wrong, with both values.
    pub what: String,
    /// The first event that shows it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventName>,
}

/// What names an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventName {
    /// Its place in the log.
    pub position: GlobalPosition,
    /// Its stream.
    pub stream: String,
    /// The stream's version with it.
    pub version: StreamVersion,
    /// Full type name.
    #[serde(rename = "type")]
    pub message_type: String,
    /// Its id.
    pub event_id: Uuid,
}

impl EventName {
    /// The name of an event.
    pub(super) fn of(event: StoredEvent) -> Self {
        let StoredEvent { position, stream, version, message_type, event_id, .. } = event;
        Self { position, stream, version, message_type, event_id }
    }
}

/// How one check went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Which.
    pub check: Check,
    /// How many things were looked at.
    pub checked: u64,
    /// How many of them were not as they must be.
    pub findings: u64,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was found.
    pub ok: bool,
    /// The moment that was looked at.
    pub at: String,
    /// The last position of the log then.
    pub position: GlobalPosition,
    /// The position up to which an earlier audit had read, whose books this one went on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<GlobalPosition>,
    /// Why this one began its books anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anew: Option<&'static str>,
    /// Events of the log.
    pub events: u64,
    /// Those of them that were read in order: all, or those behind `since`.
    pub read: u64,
    /// Event streams.
    pub streams: u64,
    /// Rows compared with the fold of their events.
    pub rows: u64,
    /// Messages that the services could not handle, and that wait for an operator. Not a finding by itself: what they leave undone is.
    pub dead_letters: u64,
    /// Those that were handled later, or that an operator has set aside: they are kept, and nothing is to be done about them.
    pub dead_letters_settled: u64,
    /// What waits for a person. No finding either: the books know of it.
    pub waiting: Waiting,
    /// How long it took.
    pub duration_ms: u64,
    /// Each check.
    pub checks: Vec<CheckReport>,
    /// All findings together.
    pub findings_total: u64,
    /// The first 1,000 of them.
    pub findings: Vec<Finding>,
}

/// A finding whose event is known by its position only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) check: Check,
    pub(super) subject: String,
    pub(super) what: String,
    pub(super) position: Option<GlobalPosition>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, what, .. } = self;
        match self.position {
            Some(position) => write!(f, "{subject}: {what} (#{position})"),
            None => write!(f, "{subject}: {what}"),
        }
    }
}

/// What was found so far.
#[derive(Debug)]
pub(super) struct Findings {
    checked: BTreeMap<Check, u64>,
    counts: BTreeMap<Check, u64>,
    kept: Vec<Found>,
    kept_max: usize,
}

impl Default for Findings {
    fn default() -> Self {
        Self { checked: BTreeMap::new(), counts: BTreeMap::new(), kept: Vec::new(), kept_max: KEPT_MAX }
    }
}

impl Findings {
    /// Keeps the words of all.
    pub(super) fn keeping_all() -> Self {
        Self { kept_max: usize::MAX, ..Self::default() }
    }

    pub(super) fn add(&mut self, check: Check, subject: impl ToString, what: String, position: Option<GlobalPosition>) {
        *self.counts.entry(check).or_insert(0) += 1;
        if self.kept.len() < self.kept_max {
            self.kept.push(Found { check, subject: subject.to_string(), what, position });
        }
    }

    /// So many more things were looked at.
    pub(super) fn checked(&mut self, check: Check, count: usize) {
        *self.checked.entry(check).or_insert(0) += u64::try_from(count).unwrap_or(u64::MAX);
    }

    /// Those whose words are kept, in the order of the checks.
    pub(super) fn kept(&mut self) -> &[Found] {
        self.kept.sort_by_key(|found| found.check);
        &self.kept
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn checks(&self) -> Vec<CheckReport> {
        let count = |of: &BTreeMap<Check, u64>, check| of.get(&check).copied().unwrap_or(0);
        let report =
            |check| CheckReport { check, checked: count(&self.checked, check), findings: count(&self.counts, check) };
        Check::ALL.into_iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Findings, KEPT_MAX};

    #[test]
    fn keeps_some_and_counts_all() {
        let mut findings = Findings::default();
        for _ in 0..KEPT_MAX + 5 {
            findings.add(Check::Log, "x", String::new(), None);
        }
        assert_eq!(findings.kept().len(), KEPT_MAX);
        assert_eq!(findings.total(), u64::try_from(KEPT_MAX).unwrap() + 5);
    }
}
