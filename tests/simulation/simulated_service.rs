//! A desk: one service in the simulation, with its replicas. Its decisions are the service's own, made by the code that a worker
//! runs; its store is in memory, with the same transactions: all of a batch, or nothing; locked rows are waited for, and what was read
//! without locks, or is remembered, is written only where it is as it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use domain::{Effect, GlobalPosition, Memory, Timer, Timestamp};
use proto::{
    Name,
    common::v1::{CommandRejected, CommandReply},
};
use rand::{Rng, rngs::StdRng};
use runtime::{
    log::event_store::StoredEvent,
    service::{EffectOutcome, LeasedEffect, Service},
    simulation::{Batch, Inbox, TestInput, batch, batch_from_memory, take_back},
};
use uuid::Uuid;

use crate::locks::{Locks, Row};

/// Messages of one batch, at most.
const BATCH_MAX: usize = 20;

/// A command or an event on its way.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: Uuid,
    pub(crate) correlation_id: Uuid,
    pub(crate) message_type: String,
    pub(crate) data: Vec<u8>,
    /// The place of an event in the log; `None` of a command.
    pub(crate) position: Option<GlobalPosition>,
    /// Whether all that follows from it was done with it.
    pub(crate) is_handled: bool,
}

impl Message {
    /// An event, as it is published.
    pub(crate) fn of(event: &StoredEvent) -> Rc<Self> {
        Rc::new(Self {
            id: event.event_id,
            correlation_id: event.correlation_id,
            message_type: event.message_type.clone(),
            data: event.data.clone(),
            position: Some(event.position),
            is_handled: event.is_handled,
        })
    }
}

/// A message that was handed out, by the number of its delivery.
pub(crate) type Delivery = (u64, Rc<Message>);

/// What a commit lets others know.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// Deliveries that are handled.
    pub(crate) handled: Vec<Delivery>,
    /// Keys of outside calls to be made.
    pub(crate) calls: Vec<String>,
}

/// What became of a batch so far.
pub(crate) enum Begun {
    /// Nothing: there is none.
    Nothing,
    /// It has to wait for rows that another replica has locked.
    Waits,
    /// It is decided, in rows that were read without locks, and is to be written.
    Read,
    /// Its transaction is open, and these are to be appended. They become true with [`Node::commit`].
    Open(Vec<StoredEvent>),
    /// Others have changed what it had read: all of it is done again.
    InVain,
}

/// How a try at an outside call ended, for whoever makes it again.
pub(crate) enum Tried {
    /// Its outcome waits to be recorded.
    Over,
    /// Again after so many milliseconds.
    Again(u64),
    /// The call is no longer there.
    Gone,
}

/// What the engine needs of a service.
pub(crate) trait Node {
    fn name(&self) -> &'static str;
    fn replicas(&self) -> usize;
    fn reacts_to(&self, message_type: &str) -> bool;
    /// The broker hands a message to one of the replicas.
    fn receive(&mut self, replica: usize, delivery: Delivery);
    /// Whether this replica could begin something now.
    fn has_work(&self, replica: usize, at: Timestamp) -> bool;
    fn is_at_rest(&self) -> bool;
    fn next_timer(&self) -> Option<Timestamp>;
    /// Decides some of what there is to do.
    fn begin(&mut self, replica: usize, rng: &mut StdRng, at: Timestamp) -> Result<Begun, String>;
    /// Decides what follows from the events of another service's transaction, in the same process and the same transaction, of which this
    /// service is a part already, or not: the events that it adds. `None`: others are at these rows, or this one is.
    fn react(
        &mut self,
        replica: usize,
        is_part: bool,
        events: &[StoredEvent],
        at: Timestamp,
    ) -> Result<Option<Vec<StoredEvent>>, String>;
    /// Writes what it has read without locks.
    fn write(&mut self, replica: usize) -> Begun;
    /// The process dies in its transaction: whatever it had taken from others is forgotten.
    fn crash(&mut self, replica: usize);
    fn commit(&mut self, replica: usize) -> Result<Committed, String>;
    fn call(&mut self, replica: usize, key: &str, at: Timestamp, dies: bool) -> Tried;
    /// The store makes a backup, while nothing is open.
    fn back_up(&mut self);
    /// The backup takes the place of the store, and what it lacks is taken back into it. All processes die. Which calls are to be made.
    fn restore(&mut self, kept: &[&StoredEvent], lost: &[&StoredEvent]) -> Result<Vec<String>, String>;
    /// What a command was answered.
    fn reply(&self, id: Uuid) -> Option<CommandReply>;
    /// Where the service's rows and the fold of its events differ.
    fn differs(&self, log: &BTreeMap<GlobalPosition, StoredEvent>) -> Option<String>;
}

/// A message that a replica has in hand, with what it asks for: of what cannot be read, nothing.
struct InHand<C> {
    delivery: Delivery,
    commands: Vec<C>,
}

/// What a batch is made of.
struct Taken<C> {
    messages: Vec<InHand<C>>,
    due: Vec<Due<C>>,
    outcomes: Vec<Outcome<C>>,
}

/// A timer that is due, with what it asks for.
struct Due<C> {
    stream: String,
    due_at: Timestamp,
    command: Option<C>,
}

impl<C> Taken<C> {
    /// What it asks for.
    fn commands(&self) -> Vec<&C> {
        let of_messages = self.messages.iter().flat_map(|message| &message.commands);
        let of_timers = self.due.iter().filter_map(|due| due.command.as_ref());
        let of_calls = self.outcomes.iter().map(|outcome| &outcome.command);
        of_messages.chain(of_timers).chain(of_calls).collect()
    }

    /// Its transaction. With the outcomes, which come back if it cannot be written.
    fn opened(self, locked: BTreeSet<Row>, batch: Batch) -> (Open, Vec<Outcome<C>>) {
        let handled = self.messages.into_iter().map(|message| message.delivery).collect();
        let timers = self.due.into_iter().map(|due| (due.stream, due.due_at)).collect();
        (Open { handled, timers, locked, batch }, self.outcomes)
    }
}

#[derive(Clone)]
struct Outcome<C> {
    key: String,
    attempt: u32,
    correlation_id: Uuid,
    command: C,
}

#[derive(Clone)]
struct Call {
    effect: Effect,
    correlation_id: Uuid,
    attempt: u32,
    last_error: Option<String>,
    /// So many of its tries have left nothing on its way.
    settled: u32,
    /// When the first of its tries began that was not sent away.
    begun: Option<Timestamp>,
    /// Whether it is accepted, and not known how it ends.
    accepted: bool,
    /// Since when its key is known to be answered with an error for ever.
    spent: Option<Timestamp>,
}

impl Call {
    const fn new(effect: Effect, correlation_id: Uuid) -> Self {
        Self {
            effect,
            correlation_id,
            attempt: 0,
            last_error: None,
            settled: 0,
            begun: None,
            accepted: false,
            spent: None,
        }
    }

    /// A try has come to its end.
    fn ended(&mut self, error: String, in_flight: bool) {
        self.last_error = Some(error);
        if !in_flight {
            self.settled = self.attempt;
        }
    }
}

/// What a backup has beside the rows, which follow from its events.
#[derive(Clone)]
struct Backup {
    inbox: Inbox,
    timers: BTreeMap<String, Timestamp>,
    calls: BTreeMap<String, Call>,
}

struct Open {
    handled: Vec<Delivery>,
    timers: Vec<(String, Timestamp)>,
    locked: BTreeSet<Row>,
    batch: Batch,
}

/// What was decided in rows that were read without locks.
struct Read<S: Service> {
    /// As it will be, if it can be written.
    open: Open,
    outcomes: Vec<Outcome<S::Command>>,
    events: Vec<S::Event>,
    answers: Inbox,
    /// The rows that the events change, as they were.
    before: BTreeMap<String, Option<S::Row>>,
}

/// A process: what it has been given, and what it is doing.
struct Replica<S: Service> {
    ready: Vec<InHand<S::Command>>,
    outcomes: Vec<Outcome<S::Command>>,
    read: Option<Read<S>>,
    open: Option<Open>,
    /// Whether its last batch was in vain: the next one locks its rows.
    locks: bool,
    /// The rows as they were a while ago.
    memory: Memory<S::State>,
}

impl<S: Service> Default for Replica<S> {
    fn default() -> Self {
        let (ready, outcomes, memory) = (Vec::new(), Vec::new(), Memory::default());
        Self { ready, outcomes, read: None, open: None, locks: false, memory }
    }
}

/// One service.
pub(crate) struct SimulatedService<S: Service> {
    service: S,
    runtime: tokio::runtime::Runtime,
    /// As it will be once all that is open is committed: nobody touches what another has locked.
    state: S::State,
    inbox: Inbox,
    timers: BTreeMap<String, Timestamp>,
    calls: BTreeMap<String, Call>,
    replicas: Vec<Replica<S>>,
    backup: Option<Backup>,
}

impl<S: Locks> SimulatedService<S> {
    pub(crate) fn new(service: S, replicas: usize) -> Self {
        Self {
            service,
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            state: S::State::default(),
            inbox: Inbox::default(),
            timers: BTreeMap::new(),
            calls: BTreeMap::new(),
            replicas: (0..replicas).map(|_| Replica::default()).collect(),
            backup: None,
        }
    }

    fn set(&mut self, timers: BTreeMap<String, Timer>) {
        for (stream, timer) in timers {
            match timer {
                Timer::Set(due_at) => {
                    self.timers.insert(stream, due_at);
                }
                Timer::Clear => {
                    self.timers.remove(&stream);
                }
            }
        }
    }

    fn open(&self) -> impl Iterator<Item = &Open> {
        self.replicas.iter().filter_map(|replica| replica.open.as_ref())
    }

    /// Timers that are due, and that no replica has claimed.
    fn due(&self, at: Timestamp) -> impl Iterator<Item = (&String, &Timestamp)> {
        let is_claimed =
            |stream: &String| self.open().any(|open| open.timers.iter().any(|(claimed, _)| claimed == stream));
        self.timers.iter().filter(move |(stream, due_at)| **due_at <= at && !is_claimed(stream))
    }

    /// Due timers alone, or some messages and all outcomes: as a worker's batches are.
    fn take(&mut self, replica: usize, rng: &mut StdRng, at: Timestamp) -> Taken<S::Command> {
        let of = |(stream, due_at): (&String, &Timestamp)| Due {
            stream: stream.clone(),
            due_at: *due_at,
            command: S::on_timer(stream),
        };
        let due: Vec<_> = self.due(at).take(BATCH_MAX).map(of).collect();
        if !due.is_empty() {
            return Taken { messages: Vec::new(), due, outcomes: Vec::new() };
        }
        let Replica { ready, outcomes, .. } = &mut self.replicas[replica];
        let count = ready.len().min(rng.random_range(1..=BATCH_MAX));
        let messages = (0..count).map(|_| ready.swap_remove(rng.random_range(0..ready.len()))).collect();
        Taken { messages, due, outcomes: std::mem::take(outcomes) }
    }

    /// The rows that a batch locks. Nobody asks if there is nobody else.
    fn touched(&self, taken: &Taken<S::Command>) -> BTreeSet<Row> {
        if self.replicas.len() == 1 {
            return BTreeSet::new();
        }
        taken.commands().into_iter().flat_map(|command| S::touches(&self.state, command)).collect()
    }

    /// Decides a batch in rows that the process remembers. With them as they were.
    fn recall(&mut self, replica: usize, taken: &Taken<S::Command>, at: Timestamp) -> Option<(S::State, Batch, Inbox)> {
        let memory = &mut self.replicas[replica].memory;
        let (mut before, mut answers) = (S::State::default(), Inbox::default());
        S::recall(memory, &taken.commands(), &mut before);
        memory.take_back(before.clone());
        let batch = batch_from_memory::<S>(memory, &mut answers, inputs::<S>(taken), at)?;
        batch.dead_letters.is_empty().then_some((before, batch, answers))
    }

    /// Decides a batch in the rows as they are now, and without a look at what was answered before.
    fn read(&self, taken: Taken<S::Command>, touched: BTreeSet<Row>, at: Timestamp) -> Result<Read<S>, String> {
        let (mut state, mut answers) = (self.state.clone(), Inbox::default());
        let batch = decide::<S>(&mut state, &mut answers, &taken, at)?;
        Self::decided(&self.state, batch, answers, taken, touched)
    }

    /// What is to be written where these rows are as they were before.
    fn decided(
        rows: &S::State,
        batch: Batch,
        answers: Inbox,
        taken: Taken<S::Command>,
        touched: BTreeSet<Row>,
    ) -> Result<Read<S>, String> {
        let own = batch.events.iter().filter(|event| event.message_type != CommandRejected::full_name());
        let events: Vec<S::Event> = own
            .map(|event| S::decode_event(&event.message_type, &event.data))
            .collect::<Result<_, _>>()
            .map_err(|rejection| format!("{} cannot read its own event: {rejection}", S::NAME))?;
        let names = events.iter().flat_map(|event| S::rows_of(event));
        let before = names.map(|name| (name.clone(), S::row(rows, &name))).collect();
        let (open, outcomes) = taken.opened(touched, batch);
        Ok(Read { open, outcomes, events, answers, before })
    }
}

impl<C> InHand<C> {
    fn of<S: Service<Command = C>>(delivery: Delivery) -> Self {
        let Message { id, message_type, data, position, .. } = &*delivery.1;
        let commands = match position {
            None => S::decode_command(message_type, data, *id).map(|command| vec![command]),
            Some(_) => S::react(message_type, data),
        };
        Self { commands: commands.unwrap_or_default(), delivery }
    }
}

/// What a batch comes to in this state, and with these answers.
fn decide<S: Service>(
    state: &mut S::State,
    inbox: &mut Inbox,
    taken: &Taken<S::Command>,
    at: Timestamp,
) -> Result<Batch, String>
where
    S::Command: Clone,
{
    let batch = batch::<S>(state, inbox, inputs::<S>(taken), at).map_err(|(job, rejection)| {
        let message =
            taken.messages.get(job).map_or("its own work", |message| message.delivery.1.message_type.as_str());
        format!("{} cannot handle {message}: {rejection}", S::NAME)
    })?;
    match batch.dead_letters.first() {
        Some(rejection) => Err(format!("{} has a dead letter: {rejection}", S::NAME)),
        None => Ok(batch),
    }
}

fn inputs<S: Service>(taken: &Taken<S::Command>) -> Vec<TestInput<'_, S::Command>>
where
    S::Command: Clone,
{
    let Taken { messages, due, outcomes } = taken;
    let mut inputs: Vec<TestInput<'_, S::Command>> = messages.iter().map(input).collect();
    inputs.extend(due.iter().map(|Due { stream, due_at, .. }| TestInput::Timer { stream, due_at: *due_at }));
    inputs.extend(outcomes.iter().cloned().map(|Outcome { key, attempt, correlation_id, command }| {
        TestInput::Outcome { key, attempt, correlation_id, command }
    }));
    inputs
}

fn input<C>(message: &InHand<C>) -> TestInput<'_, C> {
    let Message { id, correlation_id, message_type, data, position, .. } = &*message.delivery.1;
    match position {
        None => TestInput::Command { id: *id, message_type, data },
        Some(_) => TestInput::Event { id: *id, correlation_id: *correlation_id, message_type, data },
    }
}

impl<S: Locks> Node for SimulatedService<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn reacts_to(&self, message_type: &str) -> bool {
        S::REACTS_TO.contains(&message_type)
    }

    fn replicas(&self) -> usize {
        self.replicas.len()
    }

    fn receive(&mut self, replica: usize, delivery: Delivery) {
        self.replicas[replica].ready.push(InHand::of::<S>(delivery));
    }

    fn has_work(&self, replica: usize, at: Timestamp) -> bool {
        let Replica { ready, outcomes, read, open, .. } = &self.replicas[replica];
        read.is_none() && open.is_none() && (!ready.is_empty() || !outcomes.is_empty() || self.due(at).next().is_some())
    }

    fn is_at_rest(&self) -> bool {
        let is_idle = |Replica { ready, outcomes, read, open, .. }: &Replica<S>| {
            read.is_none() && open.is_none() && ready.is_empty() && outcomes.is_empty()
        };
        self.replicas.iter().all(is_idle) && self.calls.is_empty()
    }

    fn next_timer(&self) -> Option<Timestamp> {
        self.timers.values().min().copied()
    }

    fn begin(&mut self, replica: usize, rng: &mut StdRng, at: Timestamp) -> Result<Begun, String> {
        let taken = self.take(replica, rng, at);
        let touched = self.touched(&taken);
        if self.open().any(|open| !open.locked.is_disjoint(&touched)) {
            self.replicas[replica].ready.extend(taken.messages);
            self.replicas[replica].outcomes.extend(taken.outcomes);
            return Ok(Begun::Waits);
        }
        if rng.random_ratio(1, 8) {
            let memory = &mut self.replicas[replica].memory;
            *memory = Memory::default();
            memory.remember(self.state.clone());
        }
        let locks = std::mem::take(&mut self.replicas[replica].locks) || !taken.due.is_empty();
        if !locks
            && rng.random_ratio(1, 2)
            && let Some((before, batch, answers)) = self.recall(replica, &taken, at)
        {
            self.replicas[replica].read = Some(Self::decided(&before, batch, answers, taken, touched)?);
            return Ok(Begun::Read);
        }
        if locks || self.replicas.len() == 1 || rng.random_ratio(1, 2) {
            let batch = decide::<S>(&mut self.state, &mut self.inbox, &taken, at)?;
            let events = batch.events.clone();
            self.replicas[replica].open = Some(taken.opened(touched, batch).0);
            return Ok(Begun::Open(events));
        }
        self.replicas[replica].read = Some(self.read(taken, touched, at)?);
        Ok(Begun::Read)
    }

    fn react(
        &mut self,
        replica: usize,
        is_part: bool,
        events: &[StoredEvent],
        at: Timestamp,
    ) -> Result<Option<Vec<StoredEvent>>, String> {
        let asked_for = events.iter().filter(|event| S::REACTS_TO.contains(&event.message_type.as_str()));
        let messages: Vec<_> = asked_for.map(|event| InHand::of::<S>((0, Message::of(event)))).collect();
        if messages.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let taken = Taken { messages, due: Vec::new(), outcomes: Vec::new() };
        let touched = self.touched(&taken);
        let own = &self.replicas[replica];
        let is_busy = !is_part && (own.open.is_some() || own.read.is_some());
        let others = self.replicas.iter().enumerate().filter(|(other, _)| *other != replica);
        let mut locked = others.filter_map(|(_, other)| Some(&other.open.as_ref()?.locked));
        if is_busy || locked.any(|locked| !locked.is_disjoint(&touched)) {
            return Ok(None);
        }
        let batch = decide::<S>(&mut self.state, &mut self.inbox, &taken, at)?;
        let events = batch.events.clone();
        if events.is_empty() {
            return Ok(Some(events));
        }
        match &mut self.replicas[replica].open {
            Some(open) => {
                open.locked.extend(touched);
                open.batch.timers.extend(batch.timers);
                open.batch.effects.extend(batch.effects);
            }
            none => *none = Some(Open { handled: Vec::new(), timers: Vec::new(), locked: touched, batch }),
        }
        Ok(Some(events))
    }

    fn write(&mut self, replica: usize) -> Begun {
        let Some(Read { open, outcomes, events, answers, before }) = self.replicas[replica].read.take() else {
            return Begun::Nothing;
        };
        let is_as_it_was = before.iter().all(|(name, before)| S::row(&self.state, name) == *before)
            && self.open().all(|other| other.locked.is_disjoint(&open.locked));
        let replica = &mut self.replicas[replica];
        if !is_as_it_was || !self.inbox.take_in(answers) {
            replica.ready.extend(open.handled.into_iter().map(InHand::of::<S>));
            replica.outcomes.extend(outcomes);
            replica.locks = true;
            return Begun::InVain;
        }
        events.iter().for_each(|event| S::evolve(&mut self.state, event));
        let appended = open.batch.events.clone();
        replica.open = Some(open);
        Begun::Open(appended)
    }

    fn crash(&mut self, replica: usize) {
        self.replicas[replica].ready.clear();
        self.replicas[replica].outcomes.clear();
        self.replicas[replica].memory = Memory::default();
    }

    fn commit(&mut self, replica: usize) -> Result<Committed, String> {
        let open = self.replicas[replica].open.take();
        let Some(Open { handled, timers, batch, .. }) = open else { return Ok(Committed::default()) };
        for (stream, due_at) in timers {
            if self.timers.get(&stream) == Some(&due_at) {
                self.timers.remove(&stream);
            }
        }
        self.set(batch.timers);
        for key in &batch.effects_done {
            self.calls.remove(key);
        }
        let mut calls = Vec::new();
        for (effect, correlation_id) in batch.effects {
            calls.push(effect.key.clone());
            let key = effect.key.clone();
            let call = Call::new(effect, correlation_id);
            if self.calls.insert(key, call).is_some() {
                return Err(format!("{} asks twice for an outside call of one key", S::NAME));
            }
        }
        Ok(Committed { handled, calls })
    }

    fn call(&mut self, replica: usize, key: &str, at: Timestamp, dies: bool) -> Tried {
        let Some(call) = self.calls.get_mut(key) else { return Tried::Gone };
        call.attempt += 1;
        let claimed = LeasedEffect {
            key: key.to_owned(),
            message_type: call.effect.message_type.to_owned(),
            data: call.effect.data.clone(),
            attempt: call.attempt,
            deadline: call.effect.deadline,
            begun_at: *call.begun.get_or_insert(at),
            now: at,
            last_error: call.last_error.clone(),
            in_flight: call.settled + 1 < call.attempt,
            accepted: call.accepted,
            key_spent: call.spent,
        };
        let verdict = self.runtime.block_on(self.service.perform(claimed));
        match verdict {
            // The process dies after the call, before anybody notes how it ended: its lease runs out.
            _ if dies => Tried::Again(30_000),
            EffectOutcome::Done(command) => {
                let (attempt, correlation_id) = (call.attempt, call.correlation_id);
                self.replicas[replica].outcomes.push(Outcome { key: key.to_owned(), attempt, correlation_id, command });
                Tried::Over
            }
            // It stays where it is, and the day is found not to have ended.
            EffectOutcome::Unreadable(_) => Tried::Gone,
            EffectOutcome::Retry { error, in_flight } => {
                call.ended(error, in_flight);
                Tried::Again(1_000 << call.attempt.min(5))
            }
            EffectOutcome::Accepted { after, error } => {
                call.ended(error, true);
                call.accepted = true;
                Tried::Again(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
            }
            EffectOutcome::Spent { after, error } => {
                call.ended(error, true);
                call.spent.get_or_insert(at);
                Tried::Again(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
            }
            EffectOutcome::Wait { after, error, in_flight }
            | EffectOutcome::Stopped { by: _, after, error, in_flight } => {
                call.ended(error, in_flight);
                call.begun = call.begun.filter(|_| in_flight);
                Tried::Again(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }

    fn back_up(&mut self) {
        let (inbox, timers, calls) = (self.inbox.clone(), self.timers.clone(), self.calls.clone());
        self.backup = Some(Backup { inbox, timers, calls });
    }

    fn restore(&mut self, kept: &[&StoredEvent], lost: &[&StoredEvent]) -> Result<Vec<String>, String> {
        let Backup { inbox, timers, calls } = self.backup.take().ok_or("there is no backup")?;
        (self.inbox, self.timers, self.calls) = (inbox, timers, calls);
        for replica in &mut self.replicas {
            *replica = Replica::default();
        }
        let own = |events: &[&StoredEvent]| -> Vec<StoredEvent> {
            events.iter().filter(|event| event.service == S::NAME).map(|event| (*event).clone()).collect()
        };
        self.state = fold::<S>(own(kept).iter())?;
        let lost = own(lost);
        let lost: Vec<&StoredEvent> = lost.iter().collect();
        let back = take_back::<S>(&mut self.state, &mut self.inbox, &lost).map_err(|error| error.chain())?;
        self.set(back.timers);
        for (effect, correlation_id) in back.effects {
            let call = Call::new(effect, correlation_id);
            self.calls.entry(call.effect.key.clone()).or_insert(call);
        }
        self.calls.retain(|key, _| S::is_call_open(&self.state, key));
        // Each may have been made in the time that is lost, or be under way still.
        for call in self.calls.values_mut() {
            (call.attempt, call.settled, call.last_error) = (call.attempt.max(1), 0, None);
        }
        Ok(self.calls.keys().cloned().collect())
    }

    fn reply(&self, id: Uuid) -> Option<CommandReply> {
        self.inbox.reply(id)
    }

    fn differs(&self, log: &BTreeMap<GlobalPosition, StoredEvent>) -> Option<String> {
        let folded = match fold::<S>(log.values().filter(|event| event.service == S::NAME)) {
            Ok(folded) => folded,
            Err(unread) => return Some(unread),
        };
        let (rows, folded) = (S::rows(&self.state), S::rows(&folded));
        let name = rows.keys().chain(folded.keys()).find(|name| rows.get(*name) != folded.get(*name))?;
        Some(format!("{name} is {:?}, and its events fold to {:?}", rows.get(name), folded.get(name)))
    }
}

/// The rows that follow from a service's events.
fn fold<'a, S: Service>(events: impl Iterator<Item = &'a StoredEvent>) -> Result<S::State, String> {
    let mut folded = S::State::default();
    for event in events.filter(|event| event.message_type != CommandRejected::full_name()) {
        match S::decode_event(&event.message_type, &event.data) {
            Ok(event) => S::evolve(&mut folded, &event),
            Err(rejection) => return Err(format!("{} cannot be read back: {rejection}", event.message_type)),
        }
    }
    Ok(folded)
}
