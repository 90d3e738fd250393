//! The ways to commit a batch: from memory, in one round trip; as read, in two; and behind locks, where others want the same rows.
//!
//! Why it is so: services/runtime/README.md#two-round-trips-for-a-batch

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use domain::{Memory, Rows as _, Timestamp};
use platform::{
    clock,
    database::{Session, answered},
    error::Error,
    statement::Statement,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    CommitResult, Committer, Failure, MESSAGES, Wakeups, dead_letter,
    draft::{Answered, Draft, can_wait, draft},
    inbox,
    inline::{self, ServiceShare, Share},
    timers::{self, Due},
    turns::Turn,
};
use crate::{
    effects,
    inbound::input::{self, Input},
    log::{
        append::Append,
        rebuild::{self, LastRebuild},
    },
    service::{Locks, Service, is_rejection},
    telemetry,
};

/// What was written. Of a transaction of the caller's it is true once that is committed.
struct Written<T> {
    done: CommitResult,
    /// Rows that are to be remembered.
    rows: T,
    /// What other services of this process did about it.
    others: Vec<Box<dyn Share>>,
    /// Whether it was nothing at all.
    is_empty: bool,
    /// The last rebuild before it was decided.
    last_rebuild: LastRebuild,
}

impl<S: Service> Committer<S> {
    /// Commits inputs in as few round trips as it takes.
    pub(super) async fn commit(&self, inputs: &[Input<S::Command>]) -> Result<CommitResult, Failure> {
        let mut turn = self.neighbours.turn().await;
        if self.contention.is_low() {
            if let Some(done) = self.commit_from_memory(inputs, &mut turn).await {
                return done;
            }
            // Of a turn that let the next one decide, nothing is left.
            drop(turn);
            turn = self.neighbours.turn().await;
            match self.commit_without_locks(inputs, &mut turn).await {
                Err(failure) if failure.is_of_what_others_changed() => {
                    telemetry::conflict();
                    self.contention.met();
                }
                Err(Failure::Race { .. } | Failure::Poison(_)) => {}
                done => return done,
            }
            drop(turn);
            turn = self.neighbours.turn().await;
        }
        self.commit_behind_locks(inputs, &mut turn).await
    }

    /// What is remembered is as good as what is read: if others have changed a row since, nothing is written. `None`: nothing is, and the
    /// rows are to be read.
    async fn commit_from_memory(
        &self,
        inputs: &[Input<S::Command>],
        turn: &mut Turn<'_>,
    ) -> Option<Result<CommitResult, Failure>> {
        let at = clock::now();
        if self.is_beside || !self.staleness.is_low() || turn.last_rebuild() == LastRebuild::UNKNOWN {
            return None;
        }
        let (rows, draft) = self.seat.with_memory(|memory| decide_from_memory::<S>(memory, inputs, at))?;
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return Some(Err(error.into())),
        };
        let how = (at, Locks::None, self.is_followed());
        let written = self.write((&mut connection, turn), inputs, self.own(rows, draft), how).await.transpose()?;
        let done = written.map(|written| self.is_committed(written));
        self.keep_if_well(connection, &done);
        match done {
            Err(failure) if failure.is_of_what_others_changed() => {
                // Of whose rows, nobody knows: the next batch is not followed, and tells.
                if !how.2 {
                    self.staleness.met();
                }
                None
            }
            Err(Failure::Race { .. }) => None,
            done => Some(done),
        }
    }

    /// What was read may be another's by the time it is written: then nothing is. That a command was answered before shows itself there
    /// too.
    async fn commit_without_locks(
        &self,
        inputs: &[Input<S::Command>],
        turn: &mut Turn<'_>,
    ) -> Result<CommitResult, Failure> {
        turn.begin_after_all_others().await;
        let at = clock::now();
        let mut connection = self.connection().await?;
        let written = self.load_and_write((&mut connection, turn), inputs, &BTreeMap::new(), (at, Locks::None)).await;
        let done = written.map(|written| self.is_committed(written));
        self.keep_if_well(connection, &done);
        done
    }

    async fn commit_behind_locks(
        &self,
        inputs: &[Input<S::Command>],
        turn: &mut Turn<'_>,
    ) -> Result<CommitResult, Failure> {
        turn.begin_after_all_others().await;
        let at = clock::now();
        let database = |what| move |error| Error::database(what, error);
        let mut connection = self.connection().await?;
        let done = async {
            let mut transaction = answered(connection.begin()).await.map_err(database("beginning a transaction"))?;
            let known =
                answered(inbox::answered(&mut transaction, inputs)).await.map_err(database("reading the inbox"))?;
            let written = self.load_and_write((&mut transaction, turn), inputs, &known, (at, Locks::Rows)).await?;
            if written.is_empty {
                answered(transaction.rollback()).await.map_err(database("ending a transaction"))?;
            } else {
                answered(transaction.commit()).await.map_err(database("committing"))?;
            }
            Ok(self.is_committed(written))
        };
        let done = done.await;
        self.keep_if_well(connection, &done);
        done
    }

    /// Whether nobody is kept waiting if these are done a moment later.
    pub(crate) fn can_wait(&self, inputs: &[Input<S::Command>]) -> bool {
        self.seat.with_memory(|memory| can_wait::<S>(memory, inputs))
    }

    /// What was written is there.
    fn is_committed(&self, written: Written<S::State>) -> CommitResult {
        let Written { done, rows, mut others, is_empty, last_rebuild } = written;
        self.seat.remember(rows, last_rebuild);
        others.iter_mut().for_each(|other| other.remember(last_rebuild));
        others.into_iter().for_each(|other| other.committed());
        // A refusal writes to no row of the service, and so says nothing of them.
        if !is_empty && !done.events.iter().all(|event| is_rejection(&event.message_type)) {
            self.doubt.got_through();
            self.health.goes_on(MESSAGES);
        }
        done
    }

    /// Lost a race, or met a message that cannot be handled, a session is as good as before.
    fn keep_if_well(&self, connection: Session, done: &Result<CommitResult, Failure>) {
        if !matches!(done, Err(Failure::Error(Error::Transient { .. }))) {
            self.keep(connection);
        }
    }

    pub(super) async fn commit_timers(&self, limit: i64, tried: &Mutex<Vec<Due>>) -> Result<CommitResult, Failure> {
        self.do_timers(async |connection, at| {
            let due = timers::claim(connection, at, limit).await?;
            tried.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&due);
            Ok(due)
        })
        .await
    }

    pub(super) async fn commit_timer(&self, due: &Due) -> Result<CommitResult, Failure> {
        self.do_timers(async |connection, _at| timers::claim_one(connection, due).await).await
    }

    /// Does what can be claimed, in one transaction.
    async fn do_timers<C>(&self, claim: C) -> Result<CommitResult, Failure>
    where
        C: AsyncFnOnce(&mut PgConnection, Timestamp) -> Result<Vec<Due>, sqlx::Error>,
    {
        let mut turn = self.neighbours.turn().await;
        turn.begin_after_all_others().await;
        let at = clock::now();
        let database = |what| move |error| Error::database(what, error);
        let mut connection = self.connection().await?;
        let done = async {
            let mut transaction = answered(connection.begin()).await.map_err(database("beginning a transaction"))?;
            let due = answered(claim(&mut transaction, at)).await.map_err(database("claiming timers"))?;
            if due.is_empty() {
                answered(transaction.rollback()).await.map_err(database("ending a transaction"))?;
                return Ok(CommitResult::default());
            }
            let inputs: Vec<_> = due.iter().map(|timer| input::timer::<S>(&timer.stream, timer.due_at)).collect();
            let written = self
                .load_and_write((&mut transaction, &mut turn), &inputs, &BTreeMap::new(), (at, Locks::Rows))
                .await?;
            answered(transaction.commit()).await.map_err(database("committing"))?;
            let mut done = self.is_committed(written);
            telemetry::timers_claimed(S::NAME, &due, at);
            done.wakeups.timers_claimed = due.len();
            Ok(done)
        };
        let done = done.await;
        self.keep_if_well(connection, &done);
        done
    }

    async fn load_and_write(
        &self,
        (connection, turn): (&mut PgConnection, &mut Turn<'_>),
        inputs: &[Input<S::Command>],
        known: &BTreeMap<Uuid, Answered>,
        (at, locks): (Timestamp, Locks),
    ) -> Result<Written<S::State>, Failure> {
        let commands: Vec<&S::Command> = inputs.iter().flat_map(Input::commands).collect();
        let mut is_followed = self.is_followed();
        if turn.is_last_rebuild_doubted() {
            turn.learn_last_rebuild(answered(rebuild::last(connection)).await?);
        }
        loop {
            let mut rows = if commands.is_empty() {
                S::State::default()
            } else {
                answered(S::load(connection, &commands, locks))
                    .await
                    .map_err(|error| Error::database("loading rows", error))?
            };
            let draft = decide::<S>(&mut rows, inputs, known, at)?;
            let own = self.own(rows, draft);
            match self.write((&mut *connection, &mut *turn), inputs, own, (at, locks, is_followed)).await? {
                Some(written) => return Ok(written),
                None => is_followed = false,
            }
        }
    }

    fn own(&self, rows: S::State, draft: Draft) -> ServiceShare<S> {
        ServiceShare::new(Arc::clone(&self.seat), rows, draft)
    }

    /// Whether the other services of this process do at once what they do about a batch.
    fn is_followed(&self) -> bool {
        self.neighbours.are_there() && self.inline.is_low()
    }

    /// Writes what was decided, and, if it is to be followed, what follows from it in this process. `None`: nothing is written, for that is
    /// for messages to find out.
    async fn write(
        &self,
        (connection, turn): (&mut PgConnection, &mut Turn<'_>),
        inputs: &[Input<S::Command>],
        mut own: ServiceShare<S>,
        (at, locks, is_followed): (Timestamp, Locks, bool),
    ) -> Result<Option<Written<S::State>>, Failure> {
        let is_empty = own.draft.is_empty();
        let (mut others, events) = if is_followed && !own.draft.events.is_empty() {
            match inline::follow(&self.neighbours, &mut own, (&mut *connection, &mut *turn), (at, locks)).await? {
                Some(followed) => followed,
                None => return Ok(None),
            }
        } else {
            (Vec::new(), std::mem::take(&mut own.draft.events))
        };
        let mut statement = Statement::default();
        if !events.is_empty() {
            own.save(&mut statement);
        }
        others.iter().for_each(|other| other.save(&mut statement));
        own.add(&mut statement, at);
        others.iter_mut().for_each(|other| other.add(&mut statement, at));
        effects::remove(&mut statement, &own.draft.effects_done);
        dead_letter::add(&mut statement, &own.draft.dead_letters, at);
        let last_rebuild = turn.last_rebuild();
        let append = Append::new(statement, &events, &self.positions, (at, last_rebuild))?;
        // A worker is one thread, and by now it has computed for as long as this batch takes: who waits beside it for less goes first.
        tokio::task::yield_now().await;
        if !turn.is_to_write().await {
            return Ok(None);
        }
        if locks == Locks::None && !self.is_beside {
            // The next batch is decided in these rows while they are written.
            own.remember(last_rebuild);
            others.iter_mut().for_each(|other| other.remember(last_rebuild));
            turn.let_next_decide();
        }
        let positions = match answered(append.run(connection, &self.positions)).await {
            Ok(positions) => positions,
            Err(error) => {
                let failure = Failure::from(error).by(inputs, &events);
                return Err(self.not_written(failure, turn, !others.is_empty()));
            }
        };
        if locks == Locks::None {
            // The next one goes out before anything else is done about this one.
            turn.let_next_write();
            tokio::task::yield_now().await;
        }
        let ServiceShare { rows, draft, calls, .. } = own;
        dead_letter::say(S::NAME, &draft.dead_letters);
        draft.slips.iter().for_each(|slip| telemetry::slip(S::NAME, slip));
        let wakeups = Wakeups {
            effects: calls.len() < draft.effects.len(),
            timer: draft.timers.values().filter_map(|timer| timer.due_at()).min(),
            timers_claimed: 0,
        };
        let events = events.into_iter().zip(positions);
        let events = events.map(|(event, position)| event.recorded(position, at)).collect();
        let done = CommitResult { replies: draft.replies, events, calls, wakeups, put_off: BTreeSet::new() };
        Ok(Some(Written { done, rows, others, is_empty, last_rebuild }))
    }

    /// Others may have changed its rows, or rebuilt them.
    fn not_written(&self, failure: Failure, turn: &Turn<'_>, was_followed: bool) -> Failure {
        if failure.is_of_what_others_changed() {
            turn.doubt_last_rebuild();
            if was_followed {
                self.inline.met();
            }
        }
        failure
    }
}

/// Decides in rows that are remembered, if all that are needed are.
///
/// Only what is written is compared with what is there. What was decided about a row that stays as it is may be about the past, and is for
/// nothing. So is what fails: it fails again in rows that are read, and is dealt with there.
pub(crate) fn decide_from_memory<S: Service>(
    memory: &mut Memory<S::State>,
    inputs: &[Input<S::Command>],
    at: Timestamp,
) -> Option<(S::State, Draft)> {
    let commands: Vec<&S::Command> = inputs.iter().flat_map(Input::commands).collect();
    let mut rows = S::State::default();
    if !S::recall(memory, &commands, &mut rows) {
        memory.remember(rows);
        return None;
    }
    let draft = decide::<S>(&mut rows, inputs, &BTreeMap::new(), at).ok()?;
    (!rows.has_unchanged()).then_some((rows, draft))
}

/// A decider that panics is a defect that one message has found; it must not take the process and all others with it.
pub(super) fn decide<S: Service>(
    rows: &mut S::State,
    inputs: &[Input<S::Command>],
    known: &BTreeMap<Uuid, Answered>,
    at: Timestamp,
) -> Result<Draft, Failure> {
    let drafted = catch_unwind(AssertUnwindSafe(|| draft::<S>(rows, inputs, known, at)));
    drafted.map_err(|_panic| broke("deciding"))?.map_err(Failure::Poison)
}

fn broke(what: &'static str) -> Error {
    Error::Permanent { what, source: "it panicked, which is a defect; this process's log says where".into() }
}
