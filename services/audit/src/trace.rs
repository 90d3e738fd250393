//! The first event where a row parts from its events: for that, the log is folded a second time.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use domain::{Decider, GlobalPosition};
use runtime::{
    log::event_store::{StoredEventRef, replay},
    service::is_rejection,
};
use serde_json::Value;
use sqlx::PgConnection;
use tokio::task::spawn_blocking;

use super::{
    archive::Archive,
    compare::Difference,
    fold::{Inventory, Orders, Payments, Rounds, category, json},
};

/// Rows whose diverging event is looked for.
const TRACED_MAX: usize = 200;

/// Rows that no other row is changed by: they are forgotten as they come, but for those that are looked for.
const OF_ORDERS: [&str; 5] = ["order", "stock", "payment", "use", "funds"];

/// Looks for the events where rows part from theirs.
pub(super) async fn trace(
    archive: &Arc<Archive>,
    connection: &mut PgConnection,
    differences: &[Difference],
) -> Result<BTreeMap<String, Parting>> {
    let traces = Traces {
        orders: Trace::new(differences),
        inventory: Trace::new(differences),
        rounds: Trace::new(differences),
        payments: Trace::new(differences),
    };
    let archive = Arc::clone(archive);
    let archived = spawn_blocking(move || {
        let mut traces = traces;
        let all = (GlobalPosition::default(), GlobalPosition::MAX);
        archive.each(all, |event| {
            traces.take(event.fact());
            Ok(())
        })?;
        Ok::<_, anyhow::Error>(traces)
    });
    let traces = archived.await.context("reading the archive again")??;
    let traces = replay(connection, traces, Traces::take).await.context("reading the log again")?;
    let Traces { orders, inventory, rounds, payments } = traces;
    Ok([orders.ends(), inventory.ends(), rounds.ends(), payments.ends()].concat().into_iter().collect())
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
pub(super) enum Parting {
    /// The events before this one fold to exactly the row.
    Missed(GlobalPosition),
    /// No events fold to the row; this one was the last to touch it.
    Last(GlobalPosition),
}

/// Looks for the events where rows of one service part from their folds.
struct Trace<S: Decider> {
    state: S::State,
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
        Self { state: S::State::default(), targets }
    }

    fn take(&mut self, event: StoredEventRef<'_>) {
        if self.targets.is_empty() {
            return;
        }
        let Ok(read) = S::decode_event(event.message_type, event.data) else { return };
        S::evolve(&mut self.state, &read);
        for name in S::rows_of(&read) {
            if let Some(target) = self.targets.get_mut(&name) {
                target.take(S::row(&self.state, &name).as_ref().map(json), event.position);
            } else if OF_ORDERS.contains(&category(&name)) {
                S::take_out(&mut self.state, &name);
            }
        }
    }

    fn ends(self) -> Vec<(String, Parting)> {
        let end = |target: &Target| target.missed.map(Parting::Missed).or(target.last.map(Parting::Last));
        self.targets.iter().filter_map(|(name, target)| Some((name.clone(), end(target)?))).collect()
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

    use super::{Difference, Inventory, Parting, Target, Trace, Value, json};

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
        let mut state = <Inventory as Decider>::State::default();
        for event in &log()[..count] {
            Inventory::evolve(&mut state, &Inventory::decode_event(&event.message_type, &event.data).unwrap());
        }
        Inventory::row(&state, "product-mug").as_ref().map(json).unwrap()
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
}
