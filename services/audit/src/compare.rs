//! The rows of the tables against the folds of their events: what was let go as it goes, what is in memory at the end, and whether the
//! tables have rows beside those.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, Result};
use domain::GlobalPosition;
use futures::TryStreamExt;
use runtime::{
    log::rebuild::strays,
    service::{RowTable, Service},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    archive::Archive,
    difference::{add_words, in_words},
    fold::{Fold, Folds, Inventory, Orders, Payments, Rounds, Rows, RowsOf, category, json},
    report::{Check, Findings},
    trace::{Parting, trace},
};

/// Rows that are read at once.
const READ_MAX: usize = 2_000;

/// Rows that differ and are looked at with all that belongs to them.
const CLOSELY_MAX: usize = 1_000;

/// Differences that are kept with their words; beyond, they are only counted.
const WORDS_MAX: usize = 5_000;

/// Where a row and the fold of its events part.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) service: &'static str,
    pub(super) name: String,
    pub(super) row: Option<Value>,
    pub(super) what: String,
}

/// The comparison so far.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// By the name of the row. What was let go and came back is compared again: then the last word counts.
    differences: BTreeMap<String, Difference>,
    /// Services of which some row is beyond reading: one that somebody changed by hand.
    unreadable: BTreeSet<&'static str>,
    /// Rows compared.
    rows: usize,
    /// What of the log is not in its table.
    archive: Arc<Archive>,
}

impl Comparison {
    /// None yet, with a log of which this is not in its table.
    pub(super) fn with(archive: Arc<Archive>) -> Self {
        Self { archive, ..Self::default() }
    }

    /// Compares rows that were let go with those of the tables.
    pub(super) async fn take(&mut self, connection: &mut PgConnection, rows: Rows) -> Result<()> {
        self.compare::<Orders>(connection, rows.orders).await?;
        self.compare::<Inventory>(connection, rows.inventory).await?;
        self.compare::<Rounds>(connection, rows.rounds).await?;
        self.compare::<Payments>(connection, rows.payments).await
    }

    /// Names of rows that differ, as far as they are looked at more closely.
    pub(super) fn differing(&self) -> impl Iterator<Item = &str> {
        self.differences.keys().map(String::as_str).take(CLOSELY_MAX)
    }

    async fn compare<S: Service>(&mut self, connection: &mut PgConnection, rows: RowsOf<S>) -> Result<()> {
        let mut rows = rows.into_iter();
        loop {
            let by_events: RowsOf<S> = rows.by_ref().take(READ_MAX).collect();
            if by_events.is_empty() || self.unreadable.contains(S::NAME) {
                return Ok(());
            }
            let names: Vec<String> = by_events.iter().map(|(name, _)| name.clone()).collect();
            let Some(mut there) = self.load::<S>(connection, &names).await? else { return Ok(()) };
            let derived = S::check_derived(connection, &there).await;
            let mut derived = derived.with_context(|| format!("reading the derived columns of {}", S::NAME))?;
            for (name, by_events) in by_events {
                let row = S::take_out(&mut there, &name);
                let row_json = derived.contains_key(&name).then(|| row.as_ref().map(json)).flatten();
                self.note::<S>(name.clone(), row, Some(by_events));
                if let Some(what) = derived.remove(&name) {
                    self.also::<S>(name, row_json, &what);
                }
            }
        }
    }

    /// The rows of these names, unless one of them is beyond reading, as then all of the service are.
    async fn load<S: Service>(&mut self, connection: &mut PgConnection, names: &[String]) -> Result<Option<S::State>> {
        match S::load_rows(connection, names).await {
            Ok(there) => Ok(Some(there)),
            // A row that somebody changed by hand may be beyond reading; the rest of the audit is not.
            Err(error @ (sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })) => {
                self.unreadable.insert(S::NAME);
                self.differences.retain(|_, difference| difference.service != S::NAME);
                let what = format!("its rows cannot be read: {error}");
                let difference = Difference { service: S::NAME, name: S::NAME.to_owned(), row: None, what };
                self.differences.insert(difference.name.clone(), difference);
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("reading the rows of {}", S::NAME)),
        }
    }

    fn note<S: Service>(&mut self, name: String, row: Option<S::Row>, events: Option<S::Row>) {
        if row == events {
            self.differences.remove(&name);
            return;
        }
        let (row, events) = (row.as_ref().map(json), events.as_ref().map(json));
        let what = if self.differences.len() < WORDS_MAX {
            in_words(row.as_ref(), events.as_ref())
        } else {
            "it differs".to_owned()
        };
        let row = if self.differences.len() < WORDS_MAX { row } else { row.map(|_| Value::Null) };
        self.differences.insert(name.clone(), Difference { service: S::NAME, name, row, what });
    }

    /// Beside what is noted of a row already: something that is derived from it differs.
    fn also<S: Service>(&mut self, name: String, row: Option<Value>, what: &str) {
        let difference = self.differences.entry(name.clone()).or_insert_with(|| Difference {
            service: S::NAME,
            name,
            row,
            what: String::new(),
        });
        add_words(&mut difference.what, what);
    }

    /// Compares what is in memory, and looks for rows that no event made.
    pub(super) async fn end(mut self, connection: &mut PgConnection, folds: &Folds) -> Result<Drift> {
        let Folds { orders, inventory, rounds, payments } = folds;
        self.end_of(connection, orders).await?;
        self.end_of(connection, inventory).await?;
        self.end_of(connection, rounds).await?;
        self.end_of(connection, payments).await?;
        let differences = self.differences.into_values().collect();
        Ok(Drift { rows: self.rows, differences, archive: self.archive })
    }

    async fn end_of<S: Service>(&mut self, connection: &mut PgConnection, fold: &Fold<S>) -> Result<()> {
        let (rows, counts) = fold.end();
        let known: BTreeSet<String> = rows.iter().map(|(name, _)| name.clone()).collect();
        self.rows += usize::try_from(counts.values().sum::<u64>()).unwrap_or(usize::MAX);
        self.compare::<S>(connection, rows).await?;
        if self.unreadable.contains(S::NAME) {
            return Ok(());
        }
        let reading = || format!("reading the rows of {}", S::NAME);
        for name in strays(connection, S::TABLES).await.with_context(reading)? {
            // One that its events made is told of already, for it is not there.
            if !known.contains(&name) && !self.differences.contains_key(&name) {
                let what = "its tables have parts of it, and no row, and no event made it".to_owned();
                self.differences.insert(name.clone(), Difference { service: S::NAME, name, row: None, what });
            }
        }
        for (name, what) in S::check_derived_tables(connection).await.with_context(reading)? {
            self.also::<S>(name, Some(Value::Null), &what);
        }
        for table in S::TABLES.iter().filter(|table| table.part_of.is_none()) {
            let made = counts.get(table.category).copied().unwrap_or(0);
            let names = self.beside(connection, table, made, &known).await.with_context(reading)?;
            self.rows += names.len();
            for names in names.chunks(READ_MAX) {
                let Some(mut there) = self.load::<S>(connection, names).await? else { return Ok(()) };
                for name in names {
                    let row = S::take_out(&mut there, name);
                    self.note::<S>(name.clone(), row, None);
                }
            }
        }
        Ok(())
    }

    /// Names of rows that a table has beside so many that events have made. Only where the counts differ are they looked for.
    async fn beside(
        &self,
        connection: &mut PgConnection,
        RowTable { name, category: of, key, .. }: &RowTable,
        made: u64,
        known: &BTreeSet<String>,
    ) -> Result<Vec<String>> {
        let count = format!("select count(*) from {name}");
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
        let is_missing = |difference: &&Difference| difference.row.is_none() && category(&difference.name) == *of;
        let missing = self.differences.values().filter(is_missing).count();
        let made = made.saturating_sub(u64::try_from(missing).unwrap_or(u64::MAX));
        if u64::try_from(count).unwrap_or(0) == made {
            return Ok(Vec::new());
        }
        let parts: Vec<String> = key.iter().map(|(column, _)| format!("{column}::text")).collect();
        let names = format!("select '{of}-' || {} as name from {name}", parts.join(" || '.' || "));
        let mut beside = Vec::new();
        {
            let mut names = sqlx::query_scalar::<_, String>(AssertSqlSafe(names)).fetch(&mut *connection);
            while let Some(name) = names.try_next().await? {
                if !known.contains(&name) {
                    beside.push(name);
                }
            }
        }
        // What was let go has events, and its row is named as their stream is.
        let query =
            "select name from unnest($1::text[]) as name where not exists (select from log.events where stream = name)";
        let mut unmade = Vec::new();
        for names in beside.chunks(READ_MAX) {
            let found: Vec<String> = sqlx::query_scalar(query).bind(names).fetch_all(&mut *connection).await?;
            let archived = self.archive.of_streams(&found, GlobalPosition::MAX).await?;
            let archived: BTreeSet<String> = archived.into_iter().map(|event| event.stream).collect();
            unmade.extend(found.into_iter().filter(|name| !archived.contains(name)));
        }
        Ok(unmade)
    }
}

/// Where rows and folds part.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Rows compared.
    pub(super) rows: usize,
    differences: Vec<Difference>,
    archive: Arc<Archive>,
}

impl Drift {
    /// Tells each difference, with the event where it begins.
    pub(super) async fn tell(self, connection: &mut PgConnection, findings: &mut Findings) -> Result<()> {
        findings.checked(Check::Rows, self.rows);
        if self.differences.is_empty() {
            return Ok(());
        }
        let traced = trace(&self.archive, connection, &self.differences).await?;
        for Difference { name, what, .. } in self.differences {
            let (what, position) = match traced.get(&name) {
                Some(Parting::Missed(position)) => (format!("{what} (it misses this event)"), Some(*position)),
                Some(Parting::Last(position)) => {
                    (format!("{what} (it never was so; this event was its last)"), Some(*position))
                }
                None => (what, None),
            };
            findings.add(Check::Rows, name, what, position);
        }
        Ok(())
    }
}
