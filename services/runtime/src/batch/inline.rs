//! Inline reactions: what other services of the same process make of a batch's events, decided with the batch and committed with it.
//!
//! An event that a service of this process reacts to need not travel to the broker and back before it is handled. The batch that causes it
//! also decides the reaction, and the reaction to that, until nothing follows any more; one statement writes all of it. Every event is
//! published all the same, on a subject that no service asks for.
//!
//! Why it is so: services/runtime/README.md#services-of-one-process-react-at-once

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use domain::{Memory, Rows, Timestamp};
use futures::{FutureExt as _, future::BoxFuture};
use platform::{database::answered, error::Error, statement::Statement};
use sqlx::PgConnection;

use super::commit::decide;
use crate::{
    batch::{
        draft::Draft,
        turns::{Turn, Turns},
    },
    effects::{Dispatcher, Lease},
    inbound::input::{self, Cause, Input, Origin, RawInput},
    log::{append, event_store::NewEvent, rebuild::LastRebuild},
    service::{Locks, Service},
};

/// Reactions to reactions, at most. A story that goes on for longer goes on by messages.
const STEPS_MAX: usize = 16;

/// The services of one process.
#[derive(Default)]
pub(crate) struct Neighbours {
    services: RwLock<BTreeMap<&'static str, Arc<dyn Neighbour>>>,
    turns: Arc<Turns>,
}

impl Neighbours {
    /// A batch's turn among those of all services of this process.
    pub(super) async fn turn(&self) -> Turn<'_> {
        self.turns.next().await
    }

    pub(super) fn are_there(&self) -> bool {
        self.services.read().unwrap_or_else(PoisonError::into_inner).len() > 1
    }

    /// Whether these are all services of a fleet.
    fn are_all(&self) -> bool {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        proto::SERVICES.iter().all(|name| services.contains_key(name))
    }

    /// Another service of this process, or the same one begun anew.
    pub(super) fn add<S: Service>(&self, dispatcher: Dispatcher) -> Arc<Seat<S>> {
        let seat = Arc::new(Seat { remembered: Mutex::default(), turns: Arc::clone(&self.turns), dispatcher });
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        let neighbour: Arc<Seat<S>> = Arc::clone(&seat);
        services.insert(S::NAME, neighbour);
        seat
    }

    fn shares_of_others(&self, than: &str) -> Vec<Box<dyn Share>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let others = services.iter().filter(|(name, _)| **name != than);
        others.map(|(_, service)| Arc::clone(service).begin()).collect()
    }
}

/// What a service of this process remembers, and where its outside calls are made.
pub(crate) struct Seat<S: Service> {
    remembered: Mutex<Remembered<S::State>>,
    turns: Arc<Turns>,
    pub(super) dispatcher: Dispatcher,
}

#[derive(Default)]
struct Remembered<T> {
    rows: Memory<T>,
    /// Batches that had failed by then.
    failures: u64,
}

impl<T: Rows> Remembered<T> {
    /// The rows that are remembered, now that so many batches have failed: none from before the last of them, for they may never have been so.
    fn after(&mut self, failures: u64) -> &mut Memory<T> {
        if self.failures != failures {
            *self = Self { rows: Memory::default(), failures };
        }
        &mut self.rows
    }
}

impl<S: Service> Seat<S> {
    /// Does something with the rows that are remembered.
    pub(super) fn with_memory<T>(&self, act: impl FnOnce(&mut Memory<S::State>) -> T) -> T {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        act(remembered.after(self.turns.failures()))
    }

    /// Remembers rows that were decided when this was the last rebuild: if it is not any more, they may be of before the next one.
    pub(super) fn remember(&self, rows: S::State, last_rebuild: LastRebuild) {
        self.with_memory(|memory| {
            if self.turns.last_rebuild() == last_rebuild {
                memory.remember(rows);
            }
        });
    }
}

/// A service of this process, to the others.
trait Neighbour: Send + Sync {
    fn begin(self: Arc<Self>) -> Box<dyn Share>;
}

impl<S: Service> Neighbour for Seat<S> {
    fn begin(self: Arc<Self>) -> Box<dyn Share> {
        Box::new(ServiceShare::new(self, S::State::default(), Draft::default()))
    }
}

/// What one service adds to a batch.
pub(super) trait Share: Send {
    /// Decides what the service does about these events. `None`: that is not sure, or for its own messages to find out.
    fn react<'a>(
        &'a mut self,
        place: (&'a mut PgConnection, &'a mut Turn<'_>),
        events: &'a [NewEvent],
        at: (Timestamp, Locks),
    ) -> BoxFuture<'a, Result<Option<Vec<NewEvent>>, Error>>;

    /// Adds its rows to a statement.
    fn save(&self, statement: &mut Statement);

    /// Adds all else that it is to write.
    fn add(&mut self, statement: &mut Statement, at: Timestamp);

    /// Remembers its rows as they will be once they are written, if this is still the last rebuild.
    fn remember(&mut self, last_rebuild: LastRebuild);

    /// What was written is there.
    fn committed(self: Box<Self>);
}

/// What a service adds, and whose it is.
pub(super) struct ServiceShare<S: Service> {
    seat: Arc<Seat<S>>,
    pub(super) rows: S::State,
    /// Without events: those of all services are in one list, in their order.
    pub(super) draft: Draft,
    pub(super) calls: Vec<Lease>,
}

impl<S: Service> ServiceShare<S> {
    pub(super) fn new(seat: Arc<Seat<S>>, rows: S::State, draft: Draft) -> Self {
        Self { seat, rows, draft, calls: Vec::new() }
    }

    /// Reads the rows that these touch, unless they are remembered. Whether they were read.
    async fn fetch(
        &mut self,
        (connection, turn): (&mut PgConnection, &mut Turn<'_>),
        commands: &[&S::Command],
        locks: Locks,
    ) -> Result<bool, Error> {
        if locks == Locks::None && self.seat.with_memory(|memory| S::recall(memory, commands, &mut self.rows)) {
            return Ok(false);
        }
        turn.after_all_others().await;
        let read = answered(S::load(connection, commands, locks)).await;
        self.rows.complete(read.map_err(|error| Error::database("loading rows for a reaction", error))?);
        Ok(true)
    }
}

impl<S: Service> Share for ServiceShare<S> {
    fn react<'a>(
        &'a mut self,
        place: (&'a mut PgConnection, &'a mut Turn<'_>),
        events: &'a [NewEvent],
        (at, locks): (Timestamp, Locks),
    ) -> BoxFuture<'a, Result<Option<Vec<NewEvent>>, Error>> {
        let mut inputs = Vec::new();
        for event in events.iter().filter(|event| S::REACTS_TO.contains(&event.record.message_type)) {
            inputs.push(reaction::<S>(event));
        }
        async move {
            let commands: Vec<&S::Command> = inputs.iter().flat_map(Input::commands).collect();
            let is_read = if commands.is_empty() { true } else { self.fetch(place, &commands, locks).await? };
            let Ok(mut draft) = decide::<S>(&mut self.rows, &inputs, &BTreeMap::new(), at) else { return Ok(None) };
            // What was decided about a remembered row that stays as it is may be about the past.
            if !draft.dead_letters.is_empty() || !is_read && self.rows.has_unchanged() {
                return Ok(None);
            }
            self.draft.timers.append(&mut draft.timers);
            self.draft.effects.append(&mut draft.effects);
            Ok(Some(draft.events))
        }
        .boxed()
    }

    fn save(&self, statement: &mut Statement) {
        S::save(statement, &self.rows);
    }

    fn add(&mut self, statement: &mut Statement, at: Timestamp) {
        append::add(statement, S::NAME, &self.draft, at);
        self.calls = self.seat.dispatcher.add(statement, S::NAME, &self.draft.effects, at);
    }

    fn remember(&mut self, last_rebuild: LastRebuild) {
        self.seat.remember(mem::take(&mut self.rows), last_rebuild);
    }

    fn committed(self: Box<Self>) {
        let Self { seat, draft, calls, .. } = *self;
        let is_left = calls.len() < draft.effects.len();
        seat.dispatcher.begin(calls);
        if is_left {
            seat.dispatcher.wake();
        }
    }
}

/// Decides what follows from events in this process, and what follows from that: what the other services add, and all events, in order.
/// `None`: what follows is left to messages.
pub(super) async fn follow<S: Service>(
    neighbours: &Neighbours,
    own: &mut ServiceShare<S>,
    (connection, turn): (&mut PgConnection, &mut Turn<'_>),
    at: (Timestamp, Locks),
) -> Result<Option<(Vec<Box<dyn Share>>, Vec<NewEvent>)>, Error> {
    let mut others = neighbours.shares_of_others(S::NAME);
    // Of a process that lacks a service, that one finds its part in messages.
    let is_whole = neighbours.are_all();
    let mut events = Vec::new();
    let mut news = mem::take(&mut own.draft.events);
    for _ in 0..STEPS_MAX {
        if news.is_empty() {
            break;
        }
        let mut next = Vec::new();
        let first: &mut dyn Share = &mut *own;
        let shares = std::iter::once(first).chain(others.iter_mut().map(|other| &mut **other));
        for share in shares {
            let Some(mut reactions) = share.react((&mut *connection, &mut *turn), &news, at).await? else {
                return Ok(None);
            };
            next.append(&mut reactions);
        }
        for event in &mut news {
            event.is_handled = is_whole;
        }
        events.append(&mut news);
        news = next;
    }
    events.append(&mut news);
    Ok(Some((others, events)))
}

fn reaction<S: Service>(event: &NewEvent) -> Input<S::Command> {
    let cause =
        Cause { id: event.event_id, correlation_id: event.correlation_id, traceparent: event.traceparent.clone() };
    let work = input::react_input::<S>(event.record.message_type, &event.record.data);
    let letter = RawInput { subject: String::new(), headers: serde_json::Value::Null, payload: bytes::Bytes::new() };
    Input { cause, work, origin: Origin::Local(letter), reply_to: None }
}

#[cfg(test)]
mod tests {
    use domain::Rows;

    use super::Remembered;

    /// One row, or none.
    #[derive(Debug, Default)]
    struct Row(Option<u64>);

    impl Rows for Row {
        fn weight(&self) -> usize {
            1
        }

        fn has_unchanged(&self) -> bool {
            false
        }

        fn absorb(&mut self, saved: Self) {
            self.0 = saved.0.or(self.0);
        }

        fn complete(&mut self, read: Self) {
            self.0 = self.0.or(read.0);
        }
    }

    #[test]
    fn what_is_remembered_from_before_a_failure_is_forgotten() {
        let mut remembered = Remembered::default();
        remembered.after(0).remember(Row(Some(7)));
        assert!(format!("{:?}", remembered.after(0)).contains("Some(7)"));
        assert!(!format!("{:?}", remembered.after(1)).contains("Some(7)"));
    }
}
