//! The batch: many inputs, one transaction, one fsync, and one or two round trips where nobody else wants the same rows. Transient faults
//! retry in place. Of a permanent one the culprit is told by what Postgres says, or found by bisecting; once it stands alone it is
//! kept as a dead letter, and the rest proceeds.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use domain::{Rejection, Timestamp};
use platform::{
    clock,
    config::{self, ms},
    database::{Pool, Session, answered},
    error::{Contested, Error},
    health::Health,
    retry,
    shutdown::Shutdown,
};

use crate::{
    batch::{
        contention::Contention,
        doubt::Doubt,
        draft::{Poison, Reply},
        inline::{Neighbours, Seat},
        races::Races,
        timers::Due,
    },
    effects::{Dispatcher, Lease},
    inbound::input::Input,
    log::{
        event_store::{NewEvent, StoredEvent},
        positions::Positions,
    },
    service::Service,
    telemetry,
};

pub(crate) mod commit;
mod contention;
pub(crate) mod dead_letter;
pub(crate) mod doubt;
pub(crate) mod draft;
pub mod foresee;
mod give_up;
pub(crate) mod inbox;
pub(crate) mod inline;
mod races;
pub(crate) mod timers;
mod turns;

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct CommitResult {
    /// One per input, in order: what its sender hears.
    pub(crate) replies: Vec<Option<Reply>>,
    /// What is in the log now.
    pub(crate) events: Vec<StoredEvent>,
    /// Outside calls that this process is to make.
    pub(crate) calls: Vec<Lease>,
    /// What others may want to be woken for.
    pub(crate) wakeups: Wakeups,
    /// Inputs that failed, maybe for the place's fault and not their own: to be tried again in a while.
    pub(crate) put_off: BTreeSet<usize>,
}

impl CommitResult {
    /// Takes in what the inputs from this one on came to.
    fn add_part(&mut self, start: usize, mut part: Self) {
        for (slot, reply) in self.replies.iter_mut().skip(start).zip(part.replies.drain(..)) {
            *slot = reply;
        }
        self.add(part);
    }

    /// Takes in what another commit did, but for its replies: whose they are, the caller knows.
    fn add(&mut self, other: Self) {
        self.events.extend(other.events);
        self.calls.extend(other.calls);
        self.wakeups.add(other.wakeups);
    }
}

/// What a commit changed that somebody may wait for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wakeups {
    pub(crate) effects: bool,
    /// The earliest timer that was set.
    pub(crate) timer: Option<Timestamp>,
    pub(crate) timers_claimed: usize,
}

impl Wakeups {
    fn add(&mut self, other: Self) {
        self.effects |= other.effects;
        self.timer = self.timer.into_iter().chain(other.timer).min();
        self.timers_claimed += other.timers_claimed;
    }
}

/// Commits inputs of one service.
pub(crate) struct Committer<S: Service> {
    pool: Pool,
    /// The connection of the last batch that went well. The pool would ask it whether it is well as it comes back, and again as it
    /// goes out: two round trips for each batch.
    kept: Mutex<Option<Session>>,
    conflict_tries_max: u32,
    doubt: Doubt,
    contention: Contention,
    seat: Arc<Seat<S>>,
    neighbours: Arc<Neighbours>,
    /// Whether it commits beside another one of this process, and so decides in nothing that is not written yet.
    is_beside: bool,
    /// Whether others change what is remembered.
    staleness: Contention,
    /// The same of rows of the other services of this process.
    inline: Contention,
    positions: Arc<Positions>,
    health: Health,
    shutdown: Shutdown,
}

/// What the probes call these parts of the worker.
const BATCH: &str = "the batch";
const MESSAGES: &str = "what failed alone";

enum Failure {
    Poison(Poison),
    /// A unique key was taken already, and the input that wanted it, if it is known.
    Race {
        input: Option<usize>,
        error: Error,
        contested: Contested,
    },
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.contested() {
            Some(contested) => Self::Race { input: None, error, contested },
            None => Self::Error(error),
        }
    }
}

impl Failure {
    /// Names the input of a race: whose event, or whose answer, wanted the place that was taken.
    fn by<C>(self, inputs: &[Input<C>], events: &[NewEvent]) -> Self {
        let Self::Race { error, contested, .. } = self else { return self };
        let cause = match &contested {
            Contested::Stream(stream) => {
                events.iter().find(|event| event.record.stream == *stream).map(|event| event.causation_id)
            }
            Contested::Answer(id) => Some(*id),
            Contested::Key(_) => None,
        };
        let input = cause.and_then(|id| inputs.iter().position(|input| input.cause.id == id));
        Self::Race { input, error, contested }
    }

    /// Whether others have changed what it was about. A command that was answered before says nothing of rows.
    const fn is_of_what_others_changed(&self) -> bool {
        match self {
            Self::Race { contested, .. } => !matches!(contested, Contested::Answer(_)),
            Self::Error(error) => matches!(error, Error::Conflict { .. }),
            Self::Poison(_) => false,
        }
    }

    /// Why it failed, for the operator.
    fn rejection(self) -> Rejection {
        match self {
            Self::Poison(poison) => poison.rejection,
            Self::Race { error, .. } | Self::Error(error) => Rejection::new("NOT_HANDLED", error.chain()),
        }
    }
}

impl<S: Service> Committer<S> {
    pub(crate) fn new(
        pool: Pool,
        (dispatcher, neighbours): (Dispatcher, Arc<Neighbours>),
        settings: &config::Consumer,
        positions: Arc<Positions>,
        health: Health,
        shutdown: Shutdown,
    ) -> Self {
        let conflict_tries_max = settings.conflict_tries_max;
        let seat = neighbours.add(dispatcher);
        Self {
            pool,
            kept: Mutex::default(),
            conflict_tries_max,
            doubt: Doubt::default(),
            contention: Contention::default(),
            seat,
            neighbours,
            is_beside: false,
            inline: Contention::default(),
            staleness: Contention::default(),
            positions,
            health,
            shutdown,
        }
    }

    /// One that commits beside this one, as one of another process would, and that has this one know the rows that it has changed.
    pub(crate) fn beside(&self, health: Health) -> Self {
        Self {
            pool: self.pool.clone(),
            kept: Mutex::default(),
            conflict_tries_max: self.conflict_tries_max,
            doubt: Doubt::default(),
            contention: Contention::default(),
            seat: Arc::clone(&self.seat),
            neighbours: Arc::default(),
            is_beside: true,
            inline: Contention::default(),
            staleness: Contention::default(),
            positions: Arc::clone(&self.positions),
            health,
            shutdown: self.shutdown.clone(),
        }
    }

    /// A connection. Whoever is done with it, and has seen it do well, keeps it; all others are closed, for what is wrong may be the session.
    /// A new one may lead to another database, so it is looked at first.
    async fn connection(&self) -> Result<Session, Error> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(connection) = kept {
            return Ok(connection);
        }
        let begin = async {
            let mut connection = self.pool.session().await?;
            connection.close_on_drop();
            timers::look(&mut connection, &self.positions).await?;
            Ok(connection)
        };
        answered(begin).await
    }

    fn keep(&self, connection: Session) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    /// Commits all inputs, each whole, or as a dead letter, or puts it off. `None`: asked to stop before the database came back.
    pub(crate) async fn commit_all(&self, inputs: &[Input<S::Command>]) -> Option<CommitResult> {
        let mut done = CommitResult { replies: vec![None; inputs.len()], ..CommitResult::default() };
        let mut races = Races::new(self.conflict_tries_max);
        let mut ranges = known(inputs, &mut done.put_off);
        let mut put_off = Vec::new();
        while let Some((start, end)) = ranges.pop_front() {
            let slice = inputs.get(start..end).unwrap_or_default();
            if slice.is_empty() {
                continue;
            }
            match self.retry_until_final_or_less(&mut races, slice.len(), || self.commit(slice)).await? {
                Ok(part) => done.add_part(start, part),
                Err(Failure::Poison(poison)) => {
                    let culprit = start + poison.input;
                    ranges.push_front((culprit + 1, end));
                    ranges.push_front((start, culprit));
                    self.give_up_at(inputs, culprit, poison.rejection, &mut done).await?;
                }
                Err(failure) if slice.len() == 1 => match self.is_its_own(&failure) {
                    true => self.give_up_at(inputs, start, failure.rejection(), &mut done).await?,
                    false => put_off.push(start),
                },
                Err(failure) => {
                    for part in apart(&failure, start, end).into_iter().rev() {
                        ranges.push_front(part);
                    }
                }
            }
        }
        let has_got_through = self.doubt.is_dispelled();
        for input in put_off {
            if !has_got_through {
                done.put_off.insert(input);
                continue;
            }
            // It failed before something got through. What fails after that too has a fault of its own.
            let alone = inputs.get(input..=input).unwrap_or_default();
            match self.retry_until_final(&mut races, || self.commit(alone)).await? {
                Ok(part) => done.add_part(input, part),
                Err(failure) => self.give_up_at(inputs, input, failure.rejection(), &mut done).await?,
            }
        }
        Some(done)
    }

    /// Whether what failed alone failed for a fault of its own, as far as one can tell.
    fn is_its_own(&self, failure: &Failure) -> bool {
        let Failure::Error(error) = failure else { return true };
        let words = error.chain();
        let is_its_own = self.doubt.condemns(&words);
        if !is_its_own {
            self.health.stuck(
                MESSAGES,
                format!(
                    "{words}; others failed in the same way, and nothing is given up before something gets through"
                ),
            );
        }
        is_its_own
    }

    /// When the next timer is due.
    pub(crate) async fn next_timer(&self) -> Result<Option<Timestamp>, Error> {
        let look = async {
            let mut connection = self.connection().await?;
            let next_due = timers::look(&mut connection, &self.positions).await?;
            self.keep(connection);
            Ok(next_due)
        };
        answered(look).await
    }

    /// Does what is due, at most `limit` timers in one transaction.
    pub(crate) async fn commit_all_timers(&self, limit: i64) -> Option<CommitResult> {
        let tried = Mutex::new(Vec::new());
        let mut races = Races::new(self.conflict_tries_max);
        let many = usize::try_from(limit).unwrap_or(usize::MAX);
        match self.retry_until_final_or_less(&mut races, many, || self.commit_timers(limit, &tried)).await? {
            Ok(done) => Some(done),
            Err(_several) => {
                tracing::warn!("taking a batch of timers apart");
                let mut done = CommitResult::default();
                for due in tried.into_inner().unwrap_or_else(PoisonError::into_inner) {
                    let one = self.commit_alone(&mut races, &due).await?;
                    done.add(one);
                }
                Some(done)
            }
        }
    }

    /// Does one timer alone, or puts it, and no other that may be due by now, off; with a dead letter if the fault is its own.
    async fn commit_alone(&self, races: &mut Races, due: &Due) -> Option<CommitResult> {
        let failure = match self.retry_until_final(races, || self.commit_timer(due)).await? {
            Ok(done) => return Some(done),
            Err(failure) => failure,
        };
        let is_its_own = self.is_its_own(&failure);
        let rejection = failure.rejection();
        let buried = self.retry_until_final(races, || self.give_up_timer(due, &rejection, is_its_own)).await?;
        if let Err(failure) = buried {
            tracing::error!(error = failure.rejection().reason, "cannot put a timer off");
            return Some(CommitResult::default());
        }
        buried.ok()
    }

    /// Tries until it works or will never work. `None`: asked to stop while the surroundings fail.
    async fn retry_until_final<T, F>(&self, races: &mut Races, attempt: impl Fn() -> F) -> Option<Result<T, Failure>>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.retry_until_final_or_less(races, 1, attempt).await
    }

    /// Tries so many inputs at once until it works or will never work, or takes longer than it may: then less at once may do.
    async fn retry_until_final_or_less<T, F>(
        &self,
        races: &mut Races,
        inputs: usize,
        attempt: impl Fn() -> F,
    ) -> Option<Result<T, Failure>>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut waits = retry::backoff(ms(50), ms(2_000));
        let mut turns = retry::backoff(ms(2), ms(200));
        races.begin();
        let mut unanswered = 0;
        loop {
            self.health.beat_alive();
            let attempted = attempt().await;
            let is_unanswered = matches!(&attempted, Err(Failure::Error(error)) if error.is_unanswered());
            unanswered = if is_unanswered { unanswered + 1 } else { 0 };
            match attempted {
                // The first time, Postgres may have stood still.
                Err(Failure::Error(error)) if inputs > 1 && (error.is_timeout() || unanswered > 1) => {
                    self.health.answered();
                    return Some(Err(Failure::Error(error)));
                }
                Err(Failure::Error(error @ Error::Transient { .. })) => {
                    let words = error.chain();
                    tracing::warn!(error = words, "trying again");
                    self.health.unanswered();
                    self.health.stuck(BATCH, words);
                    if self.shutdown.is_requested() {
                        return None;
                    }
                    clock::sleep(waits.next().unwrap_or(ms(2_000))).await;
                    continue;
                }
                Err(Failure::Race { input, error, contested }) => {
                    telemetry::conflict();
                    if !races.lose(contested.clone()) {
                        self.health.answered();
                        self.health.goes_on(BATCH);
                        return Some(Err(Failure::Race { input, error, contested }));
                    }
                }
                Err(Failure::Error(Error::Conflict { .. })) => telemetry::conflict(),
                settled => {
                    self.health.answered();
                    self.health.goes_on(BATCH);
                    return Some(settled);
                }
            }
            self.health.answered();
            if self.shutdown.is_requested() {
                return None;
            }
            clock::sleep(turns.next().unwrap_or(ms(200))).await;
        }
    }
}

/// The parts of a batch that this release knows. Whatever a newer one has to read is put off, for one of its workers: that it was handed to
/// this one says that there is such a worker, or was.
fn known<C>(inputs: &[Input<C>], put_off: &mut BTreeSet<usize>) -> VecDeque<(usize, usize)> {
    let (mut ranges, mut start) = (VecDeque::new(), 0);
    for (index, rejection) in
        inputs.iter().enumerate().filter_map(|(index, input)| Some((index, input.left_to_newer()?)))
    {
        tracing::warn!(%rejection, "an event is left to workers of a newer release");
        put_off.insert(index);
        ranges.push_back((start, index));
        start = index + 1;
    }
    ranges.push_back((start, inputs.len()));
    ranges
}

/// The parts of a batch that failed as a whole: around the input that is known to be the cause, or else halves.
fn apart(failure: &Failure, start: usize, end: usize) -> Vec<(usize, usize)> {
    let (parts, error) = match failure {
        Failure::Race { input: Some(input), error, .. } => {
            let culprit = start + input;
            (vec![(start, culprit), (culprit, culprit + 1), (culprit + 1, end)], error.chain())
        }
        Failure::Race { input: None, error, .. } | Failure::Error(error) => {
            let middle = start + (end - start) / 2;
            (vec![(start, middle), (middle, end)], error.chain())
        }
        Failure::Poison(poison) => (vec![(start, end)], poison.rejection.to_string()),
    };
    tracing::warn!(inputs = end - start, error, "taking a batch apart");
    parts
}

#[cfg(test)]
mod tests {
    use platform::error::{Contested, Error};
    use uuid::Uuid;

    use super::Failure;

    #[test]
    fn a_command_that_comes_again_says_nothing_of_rows() {
        let lost = |contested| Failure::Race {
            input: None,
            error: Error::transient("writing", "a unique key was taken"),
            contested,
        };
        assert!(!lost(Contested::Answer(Uuid::nil())).is_of_what_others_changed());
        assert!(lost(Contested::Stream("order-7".to_owned())).is_of_what_others_changed());
    }
}
