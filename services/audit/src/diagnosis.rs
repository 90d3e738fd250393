//! What is wrong with a fleet: findings, each with its cause in numbers, what shows it again, what to do, and when it is over. It looks at what
//! is, and never at the whole log; what cannot be looked at is unknown, and the rest is told all the same.

use std::{collections::BTreeMap, future::Future, time::Duration};

use domain::{Timestamp, written};
use platform::config;
use serde::Serialize;

use crate::{
    status::{
        LATE as LATE_OF_STATUS, another_log,
        broker::{self, Broker},
        database::Log,
    },
    waiting::Item,
};

mod code;
mod database;
mod findings;

pub use code::{Code, Page, Severity};
pub use database::Work;

/// How long something may take before it is late, unless the caller says otherwise.
pub const LATE: Duration = LATE_OF_STATUS;

/// What is wrong with a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// When it was looked, by the clock of the database, or else by that of this machine.
    pub at: String,
    /// Where the log ended then, if that is known.
    pub position: Option<i64>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub unknown: Vec<Unknown>,
}

/// Findings of which nobody can say whether they are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// Their codes.
    pub codes: Vec<Code>,
    /// Why not.
    pub why: String,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is called.
    pub code: Code,
    /// The promise that is at stake.
    pub severity: Severity,
    /// Whose it is: a service, a consumer, a session, a payment.
    pub subject: String,
    /// Since when, if that is known.
    pub since: Option<String>,
    /// How long that is.
    pub for_ms: Option<u64>,
    /// Why it is so, in a sentence with the numbers.
    pub cause: String,
    /// The numbers by themselves.
    pub numbers: BTreeMap<&'static str, i64>,
    /// What happens if nobody does anything, with the money that is in it.
    pub at_stake: String,
    /// The query or the command that shows it again.
    pub evidence: String,
    /// The command that does something about it, or shows what it would do.
    #[serde(rename = "do")]
    pub act: String,
    /// When it is over.
    pub clears: String,
    /// The first of what it is about, where that are several things.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item>,
}

impl Finding {
    /// With what its page says; the caller says the rest.
    fn of(code: Code, subject: impl Into<String>, since: Option<Timestamp>, now: Timestamp) -> Self {
        let page = code.page();
        Self {
            code,
            severity: page.severity,
            subject: subject.into(),
            since: since.map(|since| since.to_string()),
            for_ms: since.map(|since| u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)),
            cause: page.means.to_owned(),
            numbers: BTreeMap::new(),
            at_stake: page.stake.to_owned(),
            evidence: "holdfast status".to_owned(),
            act: page.act.to_owned(),
            clears: page.clears.to_owned(),
            items: Vec::new(),
        }
    }

    fn number(mut self, name: &'static str, number: i64) -> Self {
        self.numbers.insert(name, number);
        self
    }

    /// About these, with the money that is in them.
    fn about(mut self, items: Vec<Item>) -> Self {
        let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
        for item in &items {
            if let Some(minor) = item.amount_minor.filter(|_| !item.currency.is_empty()) {
                *sums.entry(&item.currency).or_default() += i128::from(minor);
            }
        }
        let money: Vec<String> = sums.into_iter().map(|(currency, minor)| written(minor, currency)).collect();
        if !money.is_empty() {
            self.at_stake = format!("{}: {}", money.join(" and "), self.at_stake);
        }
        self.items = items;
        self
    }
}

/// What was looked at, or why it could not be.
pub type Known<T> = Result<T, String>;

/// How long the database may take to say one thing.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Waits for one answer, and no longer than is worth it: what does not come is unknown.
async fn within<T, E: std::fmt::Display>(asked: impl Future<Output = Result<T, E>>) -> Known<T> {
    match tokio::time::timeout(ANSWER_WITHIN * 2, asked).await {
        Ok(answered) => answered.map_err(|error| format!("{error:#}")),
        Err(_elapsed) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs() * 2)),
    }
}

/// Looks at a fleet. It changes nothing, and each of its statements is short.
///
/// What is late by less than `late` goes on by itself. A database or a broker that is away is part of the answer.
pub async fn look(database_url: &str, broker: &config::Broker, late: Duration) -> Diagnosis {
    look_at_all(database_url, broker, late).await.0
}

/// The same, and how the fleet goes on.
pub async fn look_at_all(database_url: &str, broker: &config::Broker, late: Duration) -> (Diagnosis, Fleet) {
    let database = database::look(database_url, late).await;
    let waits = broker::look(broker).await;
    let broker_facts = match waits.problem.clone() {
        Some(problem) => Err(problem),
        None => Ok(waits),
    };
    let lineage = match &broker_facts {
        Ok(_) => within(another_log(database_url, broker)).await,
        Err(problem) => Err(problem.clone()),
    };
    let facts = Facts { database, lineage, broker: broker_facts };
    let diagnosis = findings::judge(&facts, late);
    let Facts { database: database::Facts { log, due, .. }, broker, .. } = facts;
    (diagnosis, Fleet { log, due, broker })
}

/// How a fleet goes on: each part of it, or why that could not be looked at.
#[derive(Debug)]
pub struct Fleet {
    /// The log and the relay.
    pub log: Known<Log>,
    /// Timers and outside calls of each service.
    pub due: Known<Vec<Work>>,
    /// Streams and consumers.
    pub broker: Known<Broker>,
}

/// All that was looked at.
struct Facts {
    database: database::Facts,
    /// Why the database and the broker do not belong together, if they do not.
    lineage: Known<Option<String>>,
    broker: Known<Broker>,
}
