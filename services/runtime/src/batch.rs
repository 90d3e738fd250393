//! The batch: many jobs, one transaction, one fsync. Transient faults retry in place; a permanent one is bisected until the
//! culprit stands alone, is kept as a dead letter, and the rest proceeds.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

use domain::{Rejection, Timestamp};
use sqlx::{Acquire, PgConnection, PgPool, Postgres, Row, pool::PoolConnection};
use uuid::Uuid;

use crate::{
    clock,
    config::{self, ms},
    dead_letter,
    draft::{Answered, DeadLetter, Draft, Poison, draft, rejected},
    effects::{self, Dispatcher, Leased},
    error::Error,
    event_store::Recorded,
    health::Health,
    job::{self, Job, Work},
    record, retry,
    service::Service,
    shutdown::Shutdown,
    telemetry,
    timers::{self, Due},
};

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// One per job, in order: what its sender hears.
    pub(crate) replies: Vec<Option<Vec<u8>>>,
    /// What is in the log now.
    pub(crate) events: Vec<Recorded>,
    /// Outside calls that this process is to make.
    pub(crate) calls: Vec<Leased>,
    /// What others may want to be woken for.
    pub(crate) news: News,
}

impl Done {
    /// Takes in what another commit did, but for its replies: whose they are, the caller knows.
    fn add(&mut self, other: Self) {
        self.events.extend(other.events);
        self.calls.extend(other.calls);
        self.news.add(other.news);
    }
}

/// What a commit changed that somebody may wait for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) effects: bool,
    /// The earliest timer that was set.
    pub(crate) timer: Option<Timestamp>,
    pub(crate) timers_claimed: usize,
}

impl News {
    fn add(&mut self, other: Self) {
        self.effects |= other.effects;
        self.timer = self.timer.into_iter().chain(other.timer).min();
        self.timers_claimed += other.timers_claimed;
    }
}

/// Commits jobs of one service.
#[derive(Debug)]
pub(crate) struct Batches {
    pool: PgPool,
    /// The connection of the last batch that went well. The pool would ask it whether it is well as it comes back, and again as it
    /// goes out: two round trips for each batch.
    kept: Mutex<Option<PoolConnection<Postgres>>>,
    dispatcher: Dispatcher,
    conflict_tries_max: u32,
    health: Health,
    shutdown: Shutdown,
}

enum Failure {
    Poison(Poison),
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Batches {
    pub(crate) fn new(
        pool: PgPool,
        dispatcher: Dispatcher,
        settings: &config::Consumer,
        health: Health,
        shutdown: Shutdown,
    ) -> Self {
        let conflict_tries_max = settings.conflict_tries_max;
        Self { pool, kept: Mutex::default(), dispatcher, conflict_tries_max, health, shutdown }
    }

    /// A connection. Whoever is done with it, and has seen it do well, keeps it.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept {
            Some(connection) => Ok(connection),
            None => self.pool.acquire().await,
        }
    }

    fn keep(&self, connection: PoolConnection<Postgres>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    /// Commits all jobs, each whole or as a dead letter. `None`: asked to stop before the database came back.
    pub(crate) async fn settle<S: Service>(&self, jobs: &[Job<S::Command>]) -> Option<Done> {
        let mut done = Done { replies: vec![None; jobs.len()], ..Done::default() };
        let mut ranges = VecDeque::from([(0, jobs.len())]);
        while let Some((start, end)) = ranges.pop_front() {
            let slice = jobs.get(start..end).unwrap_or_default();
            if slice.is_empty() {
                continue;
            }
            match self.patiently(|| self.commit::<S>(slice)).await? {
                Ok(mut part) => {
                    for (slot, reply) in done.replies.iter_mut().skip(start).zip(part.replies.drain(..)) {
                        *slot = reply;
                    }
                    done.add(part);
                }
                Err(Failure::Poison(poison)) => {
                    let culprit = start + poison.job;
                    ranges.push_front((culprit + 1, end));
                    ranges.push_front((start, culprit));
                    self.bury_at::<S>(jobs, culprit, poison.rejection, &mut done).await?;
                }
                Err(Failure::Error(error)) if slice.len() == 1 => {
                    let rejection = Rejection::new("NOT_HANDLED", error.chain());
                    self.bury_at::<S>(jobs, start, rejection, &mut done).await?;
                }
                Err(Failure::Error(error)) => {
                    tracing::warn!(
                        service = S::NAME,
                        jobs = slice.len(),
                        error = error.chain(),
                        "taking a batch apart"
                    );
                    let middle = start + slice.len() / 2;
                    ranges.push_front((middle, end));
                    ranges.push_front((start, middle));
                }
            }
        }
        Some(done)
    }

    /// When the next timer is due.
    pub(crate) async fn next_timer(&self) -> Result<Option<Timestamp>, sqlx::Error> {
        let mut connection = self.connection().await?;
        let next = timers::next_due(&mut connection).await?;
        self.keep(connection);
        Ok(next)
    }

    /// Does what is due, at most `limit` timers in one transaction.
    pub(crate) async fn settle_timers<S: Service>(&self, limit: i64) -> Option<Done> {
        let tried = Mutex::new(Vec::new());
        match self.patiently(|| self.commit_timers::<S>(limit, &tried)).await? {
            Ok(done) => Some(done),
            Err(_several) => {
                tracing::warn!(service = S::NAME, "taking a batch of timers apart");
                let mut done = Done::default();
                for due in tried.into_inner().unwrap_or_else(PoisonError::into_inner) {
                    let one = self.settle_timer::<S>(&due).await?;
                    done.add(one);
                }
                Some(done)
            }
        }
    }

    /// Does one timer alone, or keeps it, and no other that may be due by now, as a dead letter.
    async fn settle_timer<S: Service>(&self, due: &Due) -> Option<Done> {
        let rejection = match self.patiently(|| self.commit_timer::<S>(due)).await? {
            Ok(done) => return Some(done),
            Err(Failure::Poison(poison)) => poison.rejection,
            Err(Failure::Error(error)) => Rejection::new("NOT_HANDLED", error.chain()),
        };
        let buried = self.patiently(|| self.bury_timer::<S>(due, rejection.clone())).await?;
        if let Err(Failure::Error(error)) = &buried {
            tracing::error!(service = S::NAME, error = error.chain(), "cannot keep a dead letter");
        }
        Some(buried.unwrap_or_default())
    }

    /// Tries until it works or will never work. `None`: asked to stop while the surroundings fail.
    async fn patiently<T, F>(&self, attempt: impl Fn() -> F) -> Option<Result<T, Failure>>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut waits = retry::backoff(ms(50), ms(2_000));
        let mut turns = retry::backoff(ms(2), ms(200));
        let mut conflicts = 0;
        loop {
            self.health.turned();
            match attempt().await {
                Err(Failure::Error(error @ Error::Conflict { .. })) => {
                    conflicts += u32::from(error.is_duplicate());
                    telemetry::conflict();
                    if conflicts >= self.conflict_tries_max {
                        return Some(Err(Failure::Error(error)));
                    }
                    if self.shutdown.is_pulled() {
                        return None;
                    }
                    clock::sleep(turns.next().unwrap_or(ms(200))).await;
                }
                Err(Failure::Error(error @ Error::Transient { .. })) => {
                    tracing::warn!(error = error.chain(), "trying again");
                    if self.shutdown.is_pulled() {
                        return None;
                    }
                    clock::sleep(waits.next().unwrap_or(ms(2_000))).await;
                }
                settled => return Some(settled),
            }
        }
    }

    async fn commit<S: Service>(&self, jobs: &[Job<S::Command>]) -> Result<Done, Failure> {
        let at = clock::now();
        let database = |what| move |error| Error::database(what, error);
        let mut connection = self.connection().await.map_err(database("connecting"))?;
        let mut transaction = connection.begin().await.map_err(database("beginning a transaction"))?;
        let known = answered(&mut transaction, jobs).await.map_err(database("reading the inbox"))?;
        let (is_empty, done) = self.decide_and_write::<S>(&mut transaction, jobs, &known, at).await?;
        if is_empty {
            transaction.rollback().await.map_err(database("ending a transaction"))?;
        } else {
            transaction.commit().await.map_err(database("committing"))?;
        }
        self.keep(connection);
        Ok(done)
    }

    async fn commit_timers<S: Service>(&self, limit: i64, tried: &Mutex<Vec<Due>>) -> Result<Done, Failure> {
        self.do_timers::<S, _>(async |connection, at| {
            let due = timers::claim(connection, at, limit).await?;
            tried.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&due);
            Ok(due)
        })
        .await
    }

    async fn commit_timer<S: Service>(&self, due: &Due) -> Result<Done, Failure> {
        self.do_timers::<S, _>(async |connection, _at| timers::claim_one(connection, due).await).await
    }

    /// Does what can be claimed, in one transaction.
    async fn do_timers<S: Service, C>(&self, claim: C) -> Result<Done, Failure>
    where
        C: AsyncFnOnce(&mut PgConnection, Timestamp) -> Result<Vec<Due>, sqlx::Error>,
    {
        let at = clock::now();
        let database = |what| move |error| Error::database(what, error);
        let mut connection = self.connection().await.map_err(database("connecting"))?;
        let mut transaction = connection.begin().await.map_err(database("beginning a transaction"))?;
        let due = claim(&mut transaction, at).await.map_err(database("claiming timers"))?;
        let jobs: Vec<_> = due.iter().map(|timer| job::timer::<S>(&timer.stream, timer.due_at)).collect();
        let done = if due.is_empty() {
            transaction.rollback().await.map_err(database("ending a transaction"))?;
            Done::default()
        } else {
            let (_, mut done) = self.decide_and_write::<S>(&mut transaction, &jobs, &BTreeMap::new(), at).await?;
            transaction.commit().await.map_err(database("committing"))?;
            telemetry::timers_claimed(S::NAME, &due, at);
            done.news.timers_claimed = due.len();
            done
        };
        self.keep(connection);
        Ok(done)
    }

    /// Decides and writes, and whether that was nothing at all. What is returned is true once the caller has committed.
    async fn decide_and_write<S: Service>(
        &self,
        connection: &mut PgConnection,
        jobs: &[Job<S::Command>],
        known: &BTreeMap<Uuid, Answered>,
        at: Timestamp,
    ) -> Result<(bool, Done), Failure> {
        let commands: Vec<&S::Command> = jobs.iter().flat_map(Job::commands).collect();
        let mut world = if commands.is_empty() {
            S::World::default()
        } else {
            S::load(connection, &commands).await.map_err(|error| Error::database("loading rows", error))?
        };
        // A decider that panics is a defect that one message has found; it must not take the process and all others with it.
        let drafted = catch_unwind(AssertUnwindSafe(|| draft::<S>(&mut world, jobs, known, at)));
        let draft = drafted.map_err(|_panic| broke("deciding"))?.map_err(Failure::Poison)?;
        let (positions, calls) = self.write::<S>(connection, &world, &draft, at).await?;
        let news = News {
            effects: calls.len() < draft.effects.len(),
            timer: draft.timers.values().filter_map(|timer| timer.due_at()).min(),
            timers_claimed: 0,
        };
        let is_empty = draft.is_empty();
        let events = draft.events.into_iter().zip(positions);
        let events = events.map(|(event, position)| event.recorded(S::NAME, position, at)).collect();
        Ok((is_empty, Done { replies: draft.replies, events, calls, news }))
    }

    async fn write<S: Service>(
        &self,
        connection: &mut PgConnection,
        world: &S::World,
        draft: &Draft,
        at: Timestamp,
    ) -> Result<(Vec<i64>, Vec<Leased>), Error> {
        let database = |what| move |error| Error::database(what, error);
        let positions =
            record::write(connection, S::NAME, draft, at).await.map_err(database("appending to the log"))?;
        if !draft.events.is_empty() {
            S::save(connection, world).await.map_err(database("saving rows"))?;
        }
        let calls =
            self.dispatcher.add(connection, &draft.effects, at).await.map_err(database("adding outside calls"))?;
        effects::remove(connection, &draft.effects_done).await.map_err(database("removing outside calls"))?;
        let kept = dead_letter::keep(connection, S::NAME, &draft.dead_letters, at).await;
        kept.map_err(database("keeping dead letters"))?;
        Ok((positions, calls))
    }

    async fn bury_at<S: Service>(
        &self,
        jobs: &[Job<S::Command>],
        culprit: usize,
        rejection: Rejection,
        done: &mut Done,
    ) -> Option<()> {
        let Some(job) = jobs.get(culprit) else { return Some(()) };
        // A failure to keep the letter is one of the surroundings, and patience outlasts it.
        while let Err(failure) = self.patiently(|| self.bury::<S>(job, rejection.clone())).await? {
            if let Failure::Error(error) = failure {
                tracing::error!(service = S::NAME, error = error.chain(), "cannot keep a dead letter");
            }
            if self.shutdown.is_pulled() {
                return None;
            }
            clock::sleep(ms(1_000)).await;
        }
        if let Some(slot) = done.replies.get_mut(culprit) {
            *slot = job.reply_to.as_ref().map(|to| rejected(&to.command_id, &rejection));
        }
        Some(())
    }

    async fn bury<S: Service>(&self, job: &Job<S::Command>, rejection: Rejection) -> Result<(), Failure> {
        let at = clock::now();
        let letter = DeadLetter { letter: job.letter(), rejection };
        let keep = async {
            let mut transaction = self.pool.begin().await?;
            dead_letter::keep(&mut transaction, S::NAME, std::slice::from_ref(&letter), at).await?;
            if let Work::Outcome { key, .. } = &job.work {
                effects::remove(&mut transaction, std::slice::from_ref(key)).await?;
            }
            transaction.commit().await
        };
        keep.await.map_err(|error| Error::database("keeping a dead letter", error).into())
    }

    async fn bury_timer<S: Service>(&self, due: &Due, rejection: Rejection) -> Result<Done, Failure> {
        let at = clock::now();
        let keep = async {
            let mut transaction = self.pool.begin().await?;
            let due = timers::claim_one(&mut transaction, due).await?;
            let letters: Vec<_> = due
                .iter()
                .map(|timer| job::timer::<S>(&timer.stream, timer.due_at).letter())
                .map(|letter| DeadLetter { letter, rejection: rejection.clone() })
                .collect();
            dead_letter::keep(&mut transaction, S::NAME, &letters, at).await?;
            transaction.commit().await?;
            let news = News { timers_claimed: due.len(), ..News::default() };
            Ok(Done { news, ..Done::default() })
        };
        keep.await.map_err(|error: sqlx::Error| Error::database("keeping a dead letter", error).into())
    }
}

fn broke(what: &'static str) -> Error {
    Error::Permanent { what, source: "it panicked, which is a defect; this process's log says where".into() }
}

async fn answered<C>(connection: &mut PgConnection, jobs: &[Job<C>]) -> Result<BTreeMap<Uuid, Answered>, sqlx::Error> {
    let ids: Vec<Uuid> =
        jobs.iter().filter(|job| matches!(job.work, Work::Command { .. })).map(|job| job.cause.id).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query("select command_id, body_hash, reply from inbox where command_id = any($1)")
        .bind(ids)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, Answered { body_hash: row.try_get(1)?, reply: row.try_get(2)? })))
        .collect()
}
