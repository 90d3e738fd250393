//! A desk: one service at its work, by its own `load`, `decide`, `evolve` and `save`, in transactions that may roll back.

use std::collections::{BTreeMap, BTreeSet};

use domain::{DecideError, Effect, EncodedEvent, Timer, Timestamp};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};
use runtime::{
    log::{
        append::save_rows,
        identity::{call_id, event_id, timer_id, timer_story},
    },
    service::{Locks, Service},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, types::time::OffsetDateTime};
use uuid::Uuid;

/// Messages in one transaction.
const BATCH_MAX: usize = 12;

/// What a desk has to do.
#[derive(Debug, Clone)]
pub(crate) enum Task<C> {
    /// A command from outside, done once by its id.
    Command { id: Uuid, message_type: String, data: Vec<u8> },
    /// An event of another desk. May come again.
    Event(Happened),
    /// A timer of a stream, due since then.
    Timer(String, Timestamp),
    /// How an outside call ended, with which try.
    Outcome { key: String, attempt: u32, story: Uuid, command: C },
}

/// What caused an event, and the story that it is of.
#[derive(Debug, Clone, Copy)]
struct Cause {
    id: Uuid,
    story: Uuid,
}

/// An event, as others see it.
#[derive(Debug, Clone)]
pub(crate) struct Happened {
    id: Uuid,
    story: Uuid,
    pub(crate) message_type: String,
    pub(crate) data: Vec<u8>,
}

/// One service at its work.
pub(crate) struct ServiceRunner<S: Service> {
    /// What its events, read back from their bytes, make of an empty world.
    pub(crate) folded: S::State,
    pub(crate) tasks: Vec<Task<S::Command>>,
    pub(crate) timers: BTreeMap<String, Timestamp>,
    /// Each with its story.
    pub(crate) effects: Vec<(Effect, Uuid)>,
    answered: BTreeSet<Uuid>,
}

impl<S: Service> ServiceRunner<S>
where
    S::Command: Clone,
{
    pub(crate) fn new() -> Self {
        Self {
            folded: S::State::default(),
            tasks: Vec::new(),
            timers: BTreeMap::new(),
            effects: Vec::new(),
            answered: BTreeSet::new(),
        }
    }

    /// Takes an event of another desk in, if it cares.
    pub(crate) fn hear(&mut self, event: &Happened) {
        if S::REACTS_TO.contains(&event.message_type.as_str()) {
            self.tasks.push(Task::Event(event.clone()));
        }
    }

    /// Makes tasks of the timers that are due.
    pub(crate) fn wake(&mut self, at: Timestamp) {
        let is_due = |_: &String, due_at: &mut Timestamp| *due_at <= at;
        self.tasks.extend(self.timers.extract_if(.., is_due).map(|(stream, due_at)| Task::Timer(stream, due_at)));
    }

    /// Handles some of its tasks, in any order, in one transaction; what happened.
    pub(crate) async fn work(
        &mut self,
        connection: &mut PgConnection,
        rng: &mut StdRng,
        at: Timestamp,
    ) -> Vec<Happened> {
        self.tasks.shuffle(rng);
        let count = self.tasks.len().min(rng.random_range(1..=BATCH_MAX));
        let batch: Vec<Task<S::Command>> = self.tasks.drain(..count).collect();
        let jobs: Vec<Vec<S::Command>> = batch.iter().map(|task| self.read(task)).collect();

        let mut transaction = connection.begin().await.unwrap();
        let commands: Vec<&S::Command> = jobs.iter().flatten().collect();
        let mut state = S::load(&mut transaction, &commands, Locks::Rows).await.unwrap();
        let mut events = Vec::new();
        for (task, commands) in batch.iter().zip(&jobs) {
            for command in commands {
                match S::advance(&mut state, command, at) {
                    Ok(decided) => {
                        events.extend(decided.into_iter().map(|(event, record)| (event, record, Self::cause(task))));
                    }
                    Err(DecideError::Rejected(_)) if matches!(task, Task::Command { .. }) => {}
                    Err(refusal) => panic!("{}: {task:?} is refused: {refusal}", S::NAME),
                }
            }
        }
        save_rows::<S>(&mut transaction, &state).await.unwrap();
        for (_, record, cause) in &events {
            append(&mut transaction, S::NAME, record, *cause, at).await;
        }
        answer(&mut transaction, S::NAME, &batch, at).await;
        if rng.random_ratio(1, 12) {
            // A crash before the commit: all of it comes again.
            transaction.rollback().await.unwrap();
            self.tasks.extend(batch);
            return Vec::new();
        }
        transaction.commit().await.unwrap();
        self.settle(batch, rng);
        events.into_iter().map(|(event, record, cause)| self.publish(&event, record, cause)).collect()
    }

    fn read(&self, task: &Task<S::Command>) -> Vec<S::Command> {
        match task {
            Task::Command { id, .. } if self.answered.contains(id) => Vec::new(),
            Task::Command { id, message_type, data } => {
                S::decode_command(message_type, data, *id).into_iter().collect()
            }
            Task::Event(event) => S::react(&event.message_type, &event.data).unwrap(),
            Task::Timer(stream, _) => S::on_timer(stream).into_iter().collect(),
            Task::Outcome { command, .. } => vec![command.clone()],
        }
    }

    fn cause(task: &Task<S::Command>) -> Cause {
        match task {
            Task::Command { id, .. } => Cause { id: *id, story: *id },
            Task::Event(Happened { id, story, .. }) => Cause { id: *id, story: *story },
            Task::Timer(stream, due_at) => {
                let id = timer_id(S::NAME, stream, *due_at);
                Cause { id, story: timer_story(stream, id) }
            }
            Task::Outcome { key, attempt, story, .. } => Cause { id: call_id(key, *attempt), story: *story },
        }
    }

    /// After the commit: commands are answered for ever, and one event in four will be delivered again.
    fn settle(&mut self, batch: Vec<Task<S::Command>>, rng: &mut StdRng) {
        for task in batch {
            if let Task::Command { id, .. } = &task {
                self.answered.insert(*id);
            }
            if matches!(task, Task::Event(_) | Task::Command { .. }) && rng.random_ratio(1, 4) {
                self.tasks.push(task);
            }
        }
    }

    fn publish(&mut self, event: &S::Event, record: EncodedEvent, cause: Cause) -> Happened {
        let id = event_id(cause.id, &record.stream, record.version);
        match S::timer(event) {
            Some(Timer::Set(due_at)) => {
                self.timers.insert(record.stream, due_at);
            }
            Some(Timer::Clear) => {
                self.timers.remove(&record.stream);
            }
            None => {}
        }
        self.effects.extend(S::effect(event).map(|effect| (effect, cause.story)));
        let read = S::decode_event(record.message_type, &record.data).unwrap();
        S::evolve(&mut self.folded, &read);
        Happened { id, story: cause.story, message_type: record.message_type.to_owned(), data: record.data }
    }

    /// The rows against the fold.
    pub(crate) async fn compare(&self, connection: &mut PgConnection) {
        let rows = S::rows(&S::load_all(connection).await.unwrap());
        let folded = S::rows(&self.folded);
        let names: BTreeSet<&String> = rows.keys().chain(folded.keys()).collect();
        for name in names {
            assert_eq!(rows.get(name), folded.get(name), "{}: the row (left) and the fold of {name}", S::NAME);
        }
    }
}

async fn append(connection: &mut PgConnection, service: &str, record: &EncodedEvent, cause: Cause, at: Timestamp) {
    sqlx::query(
        "insert into log.events
             (stream, version, event_id, service, type, data, correlation_id, causation_id, recorded_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&record.stream)
    .bind(record.version.get())
    .bind(event_id(cause.id, &record.stream, record.version))
    .bind(service)
    .bind(record.message_type)
    .bind(&record.data)
    .bind(cause.story)
    .bind(cause.id)
    .bind(OffsetDateTime::from(at))
    .execute(connection)
    .await
    .unwrap();
}

/// Keeps that these commands were answered.
async fn answer<C>(connection: &mut PgConnection, service: &str, batch: &[Task<C>], at: Timestamp) {
    let statement = format!(
        "insert into {service}.inbox (command_id, body_hash, reply, handled_at)
         select command_id, '', '', $2 from unnest($1::uuid[]) as new (command_id) on conflict do nothing"
    );
    let id = |task: &Task<C>| if let Task::Command { id, .. } = task { Some(*id) } else { None };
    sqlx::query(AssertSqlSafe(statement))
        .bind(batch.iter().filter_map(id).collect::<Vec<Uuid>>())
        .bind(OffsetDateTime::from(at))
        .execute(connection)
        .await
        .unwrap();
}
