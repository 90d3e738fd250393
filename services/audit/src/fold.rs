//! Rows against the fold of their events, by the services' own rules, and the first event where a row parts from them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use domain::{Decider, GlobalPosition};
use runtime::{
    log::{
        event_store::{StoredEvent, StoredEventRef, replay},
        rebuild::strays,
    },
    service::{Service, is_rejection},
};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::{
    difference::in_words,
    report::{Check, Findings},
};

type Orders = orders::Orders;
type Inventory = inventory::Inventory;
type Rounds = rounds::Rounds;
type Payments = payments::Payments;

/// Rows whose diverging event is looked for.
const TRACED_MAX: usize = 200;

/// One service's events, folded.
struct Fold<S: Decider> {
    state: S::State,
}

impl<S: Decider> Fold<S> {
    fn new() -> Self {
        Self { state: S::State::default() }
    }

    /// Makes the event true, and answers what is wrong with it.
    fn take(&mut self, event: &StoredEvent) -> Option<String> {
        let read = match S::decode_event(&event.message_type, &event.data) {
            Ok(read) => read,
            Err(rejection) => return Some(format!("it cannot be read: {rejection}")),
        };
        S::evolve(&mut self.state, &read);
        let record = S::encode(&self.state, &read);
        (record.stream != event.stream || record.version != event.version).then(|| {
            let (stream, version) = (record.stream, record.version);
            format!("it stands as version {} of {}, and folds as {version} of {stream}", event.version, event.stream)
        })
    }

    /// Compares the fold with the rows, and lets go of it.
    async fn compare(self, connection: &mut PgConnection, drift: &mut Drift) -> Result<()>
    where
        S: Service,
    {
        let by_events = S::rows(&self.state);
        drop(self);
        let rows = match S::load_all(connection).await {
            Ok(state) => S::rows(&state),
            // A row that somebody changed by hand may be beyond reading; the rest of the audit is not.
            Err(error @ (sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })) => {
                let what = format!("its rows cannot be read: {error}");
                drift.differences.push(Difference { service: S::NAME, name: S::NAME.to_owned(), row: None, what });
                return Ok(());
            }
            Err(error) => return Err(error).with_context(|| format!("reading the rows of {}", S::NAME)),
        };
        let strays = strays(connection, S::TABLES).await.with_context(|| format!("reading the rows of {}", S::NAME))?;
        for name in strays.into_iter().filter(|name| !by_events.contains_key(name)) {
            let what = "its tables have parts of it, and no row, and no event made it".to_owned();
            drift.differences.push(Difference { service: S::NAME, name, row: None, what });
        }
        let names: BTreeSet<&String> = by_events.keys().chain(rows.keys()).collect();
        drift.rows += names.len();
        for name in names {
            let (row, events) = (rows.get(name), by_events.get(name));
            if row == events {
                continue;
            }
            let (row, events) = (row.map(json), events.map(json));
            let what = in_words(row.as_ref(), events.as_ref());
            drift.differences.push(Difference { service: S::NAME, name: name.clone(), row, what });
        }
        Ok(())
    }
}

/// A row as a report shows it.
pub(super) fn json<R: Serialize>(row: &R) -> Value {
    serde_json::to_value(row).unwrap_or_else(|error| Value::String(error.to_string()))
}

/// Every service's events, folded.
pub(super) struct Folds {
    orders: Fold<Orders>,
    inventory: Fold<Inventory>,
    rounds: Fold<Rounds>,
    payments: Fold<Payments>,
}

impl Folds {
    pub(super) fn new() -> Self {
        Self { orders: Fold::new(), inventory: Fold::new(), rounds: Fold::new(), payments: Fold::new() }
    }

    /// Gives an event to the service that wrote it.
    pub(super) fn take(&mut self, event: &StoredEvent, findings: &mut Findings) {
        let wrong = match event.service.as_str() {
            _ if is_rejection(&event.message_type) => None,
            Orders::NAME => self.orders.take(event),
            Inventory::NAME => self.inventory.take(event),
            Rounds::NAME => self.rounds.take(event),
            Payments::NAME => self.payments.take(event),
            other => Some(format!("no service is called {other:?}")),
        };
        if let Some(what) = wrong {
            findings.add(Check::Log, &event.stream, what, Some(event.position));
        }
    }

    /// Compares all folds with the rows.
    pub(super) async fn compare(self, connection: &mut PgConnection) -> Result<Drift> {
        let mut drift = Drift::default();
        self.orders.compare(connection, &mut drift).await?;
        self.inventory.compare(connection, &mut drift).await?;
        self.rounds.compare(connection, &mut drift).await?;
        self.payments.compare(connection, &mut drift).await?;
        Ok(drift)
    }
}

/// Where rows and folds part.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Rows compared.
    pub(super) rows: usize,
    differences: Vec<Difference>,
}

#[derive(Debug)]
struct Difference {
    service: &'static str,
    name: String,
    row: Option<Value>,
    what: String,
}

impl Drift {
    /// Tells each difference, with the event where it begins: for that, the log is folded a second time.
    pub(super) async fn tell(self, connection: &mut PgConnection, findings: &mut Findings) -> Result<()> {
        findings.checked(Check::Rows, self.rows);
        if self.differences.is_empty() {
            return Ok(());
        }
        let traced = self.trace(connection).await?;
        for Difference { service, name, what, .. } in self.differences {
            let (what, position) = match traced.get(&(service, name.clone())) {
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

    async fn trace(&self, connection: &mut PgConnection) -> Result<BTreeMap<(&'static str, String), Parting>> {
        let traces = Traces {
            orders: Trace::new(&self.differences),
            inventory: Trace::new(&self.differences),
            rounds: Trace::new(&self.differences),
            payments: Trace::new(&self.differences),
        };
        let traces = replay(connection, traces, Traces::take).await.context("reading the log again")?;
        let Traces { orders, inventory, rounds, payments } = traces;
        Ok([orders.ends(), inventory.ends(), rounds.ends(), payments.ends()].concat().into_iter().collect())
    }
}

/// Every service's events, folded again.
struct Traces {
    orders: Trace<Orders>,
    inventory: Trace<Inventory>,
    rounds: Trace<Rounds>,
    payments: Trace<Payments>,
}

impl Traces {
    fn take(&mut self, event: StoredEventRef<'_>) {
        match event.service {
            _ if is_rejection(event.message_type) => {}
            Orders::NAME => self.orders.take(event),
            Inventory::NAME => self.inventory.take(event),
            Rounds::NAME => self.rounds.take(event),
            Payments::NAME => self.payments.take(event),
            _ => {}
        }
    }
}

/// The event where a row parts from its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    /// The events before this one fold to exactly the row.
    Missed(GlobalPosition),
    /// No events fold to the row; this one was the last to touch it.
    Last(GlobalPosition),
}

/// Looks for the events where rows of one service part from their folds.
struct Trace<S: Decider> {
    fold: Fold<S>,
    targets: BTreeMap<String, Target>,
}

/// A row that differs.
struct Target {
    row: Option<Value>,
    /// Whether the events up to some point folded to exactly the row.
    matched: bool,
    /// The event after that point.
    missed: Option<GlobalPosition>,
    last: Option<GlobalPosition>,
}

impl<S: Decider> Trace<S> {
    fn new(differences: &[Difference]) -> Self {
        let own = differences.iter().filter(|difference| difference.service == S::NAME).take(TRACED_MAX);
        // A row that is not there is what it was before its first event.
        let target =
            |row: &Option<Value>| Target { row: row.clone(), matched: row.is_none(), missed: None, last: None };
        let targets = own.map(|difference| (difference.name.clone(), target(&difference.row))).collect();
        Self { fold: Fold::new(), targets }
    }

    fn take(&mut self, event: StoredEventRef<'_>) {
        if self.targets.is_empty() {
            return;
        }
        let Ok(read) = S::decode_event(event.message_type, event.data) else { return };
        S::evolve(&mut self.fold.state, &read);
        for name in S::rows_of(&read) {
            if let Some(target) = self.targets.get_mut(&name) {
                target.take(S::row(&self.fold.state, &name).as_ref().map(json), event.position);
            }
        }
    }

    fn ends(self) -> Vec<((&'static str, String), Parting)> {
        let end = |target: &Target| target.missed.map(Parting::Missed).or(target.last.map(Parting::Last));
        self.targets.iter().filter_map(|(name, target)| Some(((S::NAME, name.clone()), end(target)?))).collect()
    }
}

impl Target {
    fn take(&mut self, folded: Option<Value>, position: GlobalPosition) {
        self.last = Some(position);
        if folded == self.row {
            self.matched = true;
            self.missed = None;
        } else if self.matched && self.missed.is_none() {
            self.missed = Some(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{Decider, GlobalPosition, StreamVersion, Timestamp};
    use proto::{
        Message, Name,
        inventory::v1::{ProductRegistered, StockReceived},
    };
    use runtime::log::event_store::StoredEvent;
    use uuid::Uuid;

    use super::{Difference, Findings, Folds, Inventory, Parting, Target, Trace, Value, json};

    fn event<M: Message + Name>(position: i64, version: i64, message: &M) -> StoredEvent {
        StoredEvent {
            position: GlobalPosition::new(position),
            stream: "product-mug".to_owned(),
            version: StreamVersion::new(version),
            event_id: Uuid::from_u128(1),
            service: "inventory".to_owned(),
            message_type: M::full_name(),
            data: message.encode_to_vec(),
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(2),
            traceparent: None,
            recorded_at: Timestamp::default(),
            is_handled: false,
        }
    }

    /// Registered, then three deliveries of 10, 20 and 30.
    fn log() -> Vec<StoredEvent> {
        let registered = ProductRegistered { sku: "mug".to_owned(), name: "Mug".to_owned(), actor: String::new() };
        let received = |quantity| StockReceived {
            sku: "mug".to_owned(),
            quantity,
            reference: String::new(),
            actor: String::new(),
        };
        vec![
            event(3, 1, &registered),
            event(5, 2, &received(10)),
            event(8, 3, &received(20)),
            event(9, 4, &received(30)),
        ]
    }

    /// The row once the first `count` events are true.
    fn row_after(count: usize) -> Value {
        let mut folds = Folds::new();
        for event in &log()[..count] {
            folds.take(event, &mut Findings::default());
        }
        Inventory::row(&folds.inventory.state, "product-mug").as_ref().map(json).unwrap()
    }

    fn missed(position: i64) -> Option<Parting> {
        Some(Parting::Missed(GlobalPosition::new(position)))
    }

    fn diverges(row: Option<Value>) -> Option<Parting> {
        let difference = Difference { service: "inventory", name: "product-mug".to_owned(), row, what: String::new() };
        let mut trace = Trace::<Inventory>::new(&[difference]);
        for event in log() {
            trace.take(event.fact());
        }
        trace.ends().first().map(|(_, parting)| *parting)
    }

    #[test]
    fn a_stale_row_misses_the_event_after_its_prefix() {
        assert_eq!(diverges(Some(row_after(1))), missed(5));
        assert_eq!(diverges(Some(row_after(3))), missed(9));
    }

    #[test]
    fn a_missing_row_misses_its_first_event() {
        assert_eq!(diverges(None), missed(3));
    }

    #[test]
    fn a_row_like_no_prefix_is_told_with_the_last_event_that_touched_it() {
        let mut row = row_after(4);
        row["received"] = 65.into();
        assert_eq!(diverges(Some(row)), Some(Parting::Last(GlobalPosition::new(9))));
    }

    #[test]
    fn a_row_that_was_once_as_it_is_misses_what_came_after_the_last_such_moment() {
        let mut target = Target { row: Some("a".into()), matched: false, missed: None, last: None };
        for (words, position) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("d", 5)] {
            target.take(Some(words.into()), GlobalPosition::new(position));
        }
        assert_eq!((target.missed, target.last), (Some(GlobalPosition::new(4)), Some(GlobalPosition::new(5))));
    }

    #[test]
    fn an_event_in_the_wrong_stream_or_of_no_known_type_is_found() {
        let found = |event: &StoredEvent| {
            let (mut folds, mut findings) = (Folds::new(), Findings::default());
            folds.take(event, &mut findings);
            findings.kept().first().map(|found| found.what.clone()).unwrap_or_default()
        };
        let good = log().remove(0);
        assert_eq!(found(&good), "");
        assert!(found(&StoredEvent { stream: "product-cup".to_owned(), ..good.clone() }).contains("product-mug"));
        assert!(
            found(&StoredEvent { message_type: "holdfast.inventory.v1.Gone".to_owned(), ..good.clone() })
                .contains("Gone")
        );
        assert!(found(&StoredEvent { service: "shipping".to_owned(), ..good }).contains("shipping"));
    }
}
