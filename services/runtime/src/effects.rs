//! Outside calls: added by events, leased, made outside any transaction, tried again with backoff, and removed together with
//! the event that records how they ended.
//!
//! Why it is so: services/runtime/README.md#the-commit-that-asks-for-an-outside-call-leases-it

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Effect, Rejection, Timestamp, is_unknown_type};
use platform::{
    clock,
    config::{self, ms},
    database::{Pool, answered, column},
    health::Health,
    retry,
    shutdown::Shutdown,
    statement::Statement,
};
use sqlx::{PgConnection, Row, postgres::PgRow};
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tracing::Instrument as _;

use crate::{
    batch::{dead_letter, draft::DeadLetter},
    inbound::{
        input::{self, Cause, Input, RawInput},
        message::without_nul,
    },
    log::positions::Positions,
    service::{EffectOutcome, LeasedEffect, Service},
    telemetry,
};

/// Room for outside calls in this process, and the way of new ones to where they are made.
#[derive(Debug, Clone)]
pub(crate) struct Dispatcher {
    rooms: Arc<Rooms>,
    lease: Duration,
    begun: mpsc::Sender<Lease>,
    added: Arc<Notify>,
}

/// Where calls are made.
#[derive(Debug)]
pub(crate) struct Queue {
    rooms: Arc<Rooms>,
    begun: mpsc::Receiver<Lease>,
    added: Arc<Notify>,
}

/// A call that this process is to make, and its slot among those under way.
#[derive(Debug)]
pub(crate) struct Lease {
    claimed: LeasedEffect,
    cause: Cause,
    slot: OwnedSemaphorePermit,
}

/// Slots for calls, for each whom they are made to: who does not answer takes up no others'.
#[derive(Debug)]
struct Rooms(Vec<(&'static str, Arc<Semaphore>)>);

/// Slots that were free, by whom calls in them can be made to.
type Slots = Vec<(&'static str, OwnedSemaphorePermit)>;

impl Rooms {
    /// So many slots for each of these, and for calls to nobody in particular.
    fn new(callees: &[&'static str], slots: usize) -> Self {
        let all = std::iter::once("").chain(callees.iter().copied());
        Self(all.map(|callee| (callee, Arc::new(Semaphore::new(slots)))).collect())
    }

    fn callees(&self) -> BTreeSet<&'static str> {
        self.0.iter().map(|(callee, _)| *callee).collect()
    }

    /// How many slots are free for calls to these.
    fn free(&self, callees: &BTreeSet<&'static str>) -> Vec<(&'static str, usize)> {
        let rooms = self.0.iter().filter(|(callee, _)| callees.contains(callee));
        let free = rooms.map(|(callee, room)| (*callee, room.available_permits()));
        free.filter(|(_, free)| *free > 0).collect()
    }

    /// A slot for one call, and under which name it is.
    fn slot(&self, callee: &str) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.room(callee)?).try_acquire_owned().ok()
    }

    /// All of these slots that are free still.
    fn slots(&self, free: &[(&'static str, usize)]) -> Slots {
        let taken = |(callee, count): &(&'static str, usize)| {
            let room = Arc::clone(self.room(callee)?);
            let count = u32::try_from(*count).ok()?;
            Some((*callee, room.try_acquire_many_owned(count).ok()?))
        };
        free.iter().filter_map(taken).collect()
    }

    fn room(&self, callee: &str) -> Option<&Arc<Semaphore>> {
        self.0.iter().find(|(known, _)| *known == callee).map(|(_, room)| room)
    }
}

/// Both ends, with room for as many calls to each as the settings allow.
pub(crate) fn queue(settings: &config::Effects, callees: &[&'static str]) -> (Dispatcher, Queue) {
    let rooms = Arc::new(Rooms::new(callees, if settings.calls { settings.concurrency_max } else { 0 }));
    let (sender, begun) = mpsc::channel(settings.concurrency_max * (callees.len() + 1));
    let added = Arc::new(Notify::new());
    let dispatcher = Dispatcher {
        rooms: Arc::clone(&rooms),
        lease: ms(settings.lease_ms),
        begun: sender,
        added: Arc::clone(&added),
    };
    (dispatcher, Queue { rooms, begun, added })
}

impl Dispatcher {
    /// Adds calls to a statement: leased to this process, if it has room for them, so that they need not be claimed after the commit; the
    /// others due at once, for whoever claims them. Returns the leased ones.
    pub(crate) fn add(
        &self,
        statement: &mut Statement,
        service: &str,
        effects: &[(Effect, Cause)],
        at: Timestamp,
    ) -> Vec<Lease> {
        if effects.is_empty() {
            return Vec::new();
        }
        let lease = |(effect, cause): &(Effect, Cause)| {
            let slot = self.rooms.slot(effect.callee)?;
            Some(Lease { claimed: first_try(effect, at), cause: cause.clone(), slot })
        };
        let leased: Vec<Option<Lease>> = effects.iter().map(lease).collect();
        let rows: Vec<&(Effect, Cause)> = effects.iter().collect();
        statement
            .part(&format!("{service}_effects_added"), &ADD.replace("{service}", service))
            .bind(column(&rows, |(effect, _)| effect.key.as_str()))
            .bind(column(&rows, |(effect, _)| effect.message_type))
            .bind(column(&rows, |(effect, _)| effect.data.as_slice()))
            .bind(column(&rows, |(effect, _)| OffsetDateTime::from(effect.deadline)))
            .bind(leased.iter().map(|lease| i32::from(lease.is_some())).collect::<Vec<i32>>())
            .bind(column(&rows, |(_, cause)| cause.correlation_id))
            .bind(column(&rows, |(_, cause)| cause.id))
            .bind(column(&rows, |(_, cause)| cause.traceparent.as_deref()))
            .bind(milliseconds(self.lease))
            .bind(OffsetDateTime::from(at))
            .bind(column(&rows, |(effect, _)| effect.callee));
        leased.into_iter().flatten().collect()
    }

    /// Has calls made whose leases are committed.
    pub(crate) fn begin(&self, leased: Vec<Lease>) {
        for leased in leased {
            // There is room for all that have a slot. An error means that it stops: whoever takes the calls over when their
            // leases have run out makes them.
            if self.begun.try_send(leased).is_err() {
                return;
            }
        }
    }

    /// Calls were added that this process had no room for, but may have soon.
    pub(crate) fn wake(&self) {
        self.added.notify_one();
    }
}

fn first_try(effect: &Effect, at: Timestamp) -> LeasedEffect {
    LeasedEffect {
        key: effect.key.clone(),
        message_type: effect.message_type.to_owned(),
        data: effect.data.clone(),
        attempt: 1,
        deadline: effect.deadline,
        begun_at: at,
        now: at,
        last_error: None,
        in_flight: false,
        accepted: false,
        key_spent: None,
    }
}

const ADD: &str = "insert into {service}.effects
         (key, type, data, deadline, attempts, due_at, created_at, begun_at, correlation_id, causation_id, traceparent, callee)
     select key, type, data, deadline, attempts, now() + attempts * $9 * interval '1 millisecond', $10,
         case when attempts > 0 then $10 end, correlation_id, causation_id, traceparent, callee
     from unnest($1::text[], $2::text[], $3::bytea[], $4::timestamptz[], $5::int4[], $6::uuid[], $7::uuid[], $8::text[], $11::text[])
         as new (key, type, data, deadline, attempts, correlation_id, causation_id, traceparent, callee)";

/// Adds to a statement that these calls are over.
pub(crate) fn remove(statement: &mut Statement, keys: &[String]) {
    if !keys.is_empty() {
        statement.part("effects_removed", "delete from effects where key = any($1)").bind(keys);
    }
}

/// Puts a call off whose outcome could not be recorded. It is made again then, by its key, and so ends in the same way.
pub(crate) async fn put_off(
    connection: &mut PgConnection,
    key: &str,
    after: Duration,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("update effects set due_at = now() + $2 * interval '1 millisecond', last_error = $3 where key = $1")
        .bind(key)
        .bind(milliseconds(after))
        .bind(without_nul(error))
        .execute(connection)
        .await?;
    Ok(())
}

/// What the probes call this part of the worker.
const PART: &str = "outside calls";

/// A call that this release does not know is for workers of a newer one, who find it after so long;
const LEFT_TO_NEWER_AFTER: Duration = Duration::from_secs(5);

/// but if it is past its deadline by so much, there are none.
const LEFT_TO_NEWER_FOR: Duration = Duration::from_hours(1);

/// How long calls that are due wait for others, while some are under way.
const GATHER: Duration = Duration::from_millis(5);

/// Takes calls that are due, each for as long as its lease. The count of tries is committed before the first byte goes out.
///
/// Leases run by the clock of Postgres: replicas' own clocks differ, and the one ahead would take what another holds.
///
/// Not in a log that lacks the event that it was seen to end with: there, what has been done for long is due again.
async fn claim(
    pool: &Pool,
    positions: &Positions,
    slots: &mut Slots,
    lease: Duration,
) -> Result<Vec<Lease>, sqlx::Error> {
    let (now, head) = (clock::now(), positions.head());
    let rows = sqlx::query(
        "update effects set attempts = attempts + 1, due_at = now() + $2 * interval '1 millisecond',
             begun_at = coalesce(begun_at, now())
         where ctid = any(array(
             select due.place from unnest($1::text[], $5::int8[]) as room (callee, free), lateral (
                 select ctid as place from effects where effects.callee = room.callee and due_at <= now()
                 order by due_at limit room.free for update skip locked
             ) as due
         )) and ($3::bigint is null or exists (select from log.events where position = $3 and event_id = $4))
         returning key, type, data, attempts, deadline, last_error, correlation_id, causation_id, traceparent,
             settled_attempts < attempts - 1, case when key_spent then coalesce(key_spent_at, begun_at) end, begun_at, accepted, callee",
    )
    .bind(slots.iter().map(|(callee, _)| *callee).collect::<Vec<&str>>())
    .bind(milliseconds(lease))
    .bind(head.map(|head| head.position.get()))
    .bind(head.map(|head| head.event_id))
    .bind(slots.iter().map(|(_, free)| i64::try_from(free.num_permits()).unwrap_or(1)).collect::<Vec<i64>>())
    .fetch_all(pool)
    .await?;
    let slot_of = |row: &PgRow| {
        let callee: &str = row.try_get(13).ok()?;
        slots.iter_mut().find(|(known, _)| *known == callee)?.1.split(1)
    };
    let slots: Vec<Option<OwnedSemaphorePermit>> = rows.iter().map(slot_of).collect();
    rows.iter()
        .zip(slots)
        .filter_map(|(row, slot)| Some((row, slot?)))
        .map(|(row, slot)| {
            let claimed = LeasedEffect {
                key: row.try_get(0)?,
                message_type: row.try_get(1)?,
                data: row.try_get(2)?,
                attempt: u32::try_from(row.try_get::<i32, _>(3)?).unwrap_or(1),
                deadline: row.try_get::<OffsetDateTime, _>(4)?.into(),
                last_error: row.try_get(5)?,
                in_flight: row.try_get(9)?,
                accepted: row.try_get(12)?,
                key_spent: row.try_get::<Option<OffsetDateTime>, _>(10)?.map(Timestamp::from),
                begun_at: row.try_get::<OffsetDateTime, _>(11)?.into(),
                now,
            };
            let cause = Cause { correlation_id: row.try_get(6)?, id: row.try_get(7)?, traceparent: row.try_get(8)? };
            Ok(Lease { claimed, cause, slot })
        })
        .collect()
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Keeps a call that can never be made as a dead letter. It stays where it is, for it is owed: who mends what is wrong with it sets
/// its `due_at`.
async fn give_up(pool: &Pool, service: &'static str, key: &str, rejection: Rejection) -> Result<(), sqlx::Error> {
    let mut session = pool.session().await?;
    let mut transaction = session.begin().await?;
    let call: Option<(String, Vec<u8>)> =
        sqlx::query_as("update effects set due_at = 'infinity', last_error = $2, stopped_by = null where key = $1 returning type, data")
            .bind(key)
            .bind(without_nul(&rejection.to_string()))
            .fetch_optional(&mut *transaction)
            .await?;
    // Gone: another try has ended it.
    let Some((message_type, data)) = call else { return Ok(()) };
    let headers = serde_json::json!({ "key": key });
    let letter = RawInput { subject: format!("effect.{message_type}"), headers, payload: data.into() };
    dead_letter::keep(&mut transaction, service, &[DeadLetter { letter, rejection }], clock::now()).await?;
    transaction.commit().await
}

/// What is noted of a try that did not end its call.
struct Postponed {
    error: String,
    in_flight: bool,
    key_spent: bool,
    accepted: bool,
    stopped_by: Option<&'static str>,
    /// Whether it was sent away with nothing done.
    is_void: bool,
}

impl Postponed {
    /// A try that has left nothing behind.
    const fn over(error: String) -> Self {
        Self { error, in_flight: false, key_spent: false, accepted: false, stopped_by: None, is_void: false }
    }
}

async fn postpone(
    pool: &Pool,
    (key, attempt): (&str, u32),
    after: Duration,
    postponed: &Postponed,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update effects set due_at = now() + $3 * interval '1 millisecond', last_error = $4,
             settled_attempts = case when $5 then settled_attempts else attempts end, key_spent = key_spent or $6,
             key_spent_at = case when $6 then coalesce(key_spent_at, now()) else key_spent_at end,
             begun_at = case when $8 then null else begun_at end, accepted = accepted or $9,
             stopped_by = $7, stopped_since = case when $7 is null then null when stopped_by = $7 then stopped_since else now() end
         where key = $1 and attempts = $2",
    )
    .bind(key)
    .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
    .bind(milliseconds(after))
    .bind(without_nul(&postponed.error))
    .bind(postponed.in_flight)
    .bind(postponed.key_spent)
    .bind(postponed.stopped_by)
    .bind(postponed.is_void)
    .bind(postponed.accepted)
    .execute(pool)
    .await?;
    Ok(())
}

/// Calls that wait until a person has seen to somebody who refuses how they are asked.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// Who that is.
    pub(crate) by: String,
    /// Since when the first of them waits.
    pub(crate) since: Timestamp,
    /// How many.
    pub(crate) calls: i64,
    /// What the one that waits longest was told.
    pub(crate) error: String,
}

/// Those of this service, in order of who stops them.
pub(crate) async fn stopped(connection: &mut PgConnection) -> Result<Vec<Stopped>, sqlx::Error> {
    let query = "select stopped_by, min(stopped_since), count(*),
            coalesce((array_agg(last_error order by stopped_since, key))[1], '')
        from effects where stopped_by is not null group by stopped_by order by stopped_by";
    let rows: Vec<(String, OffsetDateTime, i64, String)> = sqlx::query_as(query).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(by, since, calls, error)| Stopped { by, since: since.into(), calls, error }).collect())
}

/// Makes outside calls until asked to stop; how they ended goes to the batch loop.
pub(crate) async fn run<S: Service>(
    service: Arc<S>,
    (pool, positions): (Pool, Arc<Positions>),
    settings: config::Effects,
    mut queue: Queue,
    endings: mpsc::Sender<Input<S::Command>>,
    health: Health,
    mut shutdown: Shutdown,
) {
    if S::CALLEES.is_empty() {
        return shutdown.requested().await;
    }
    // Tasks of their own: a call that nobody polls may hold the very connection that the next claim waits for.
    let mut running = JoinSet::new();
    let make = |leased: Lease| {
        let span = tracing::error_span!("call", key = leased.claimed.key, attempt = leased.claimed.attempt);
        call(Arc::clone(&service), pool.clone(), settings.clone(), leased).instrument(span)
    };
    // Those whom calls may be due to.
    let mut due = queue.rooms.callees();
    let (mut claimed, mut looked) = (Instant::now(), Instant::now());
    while !shutdown.is_requested() {
        // Also while calls begin and end all the time.
        if looked.elapsed() >= ms(settings.poll_ms) {
            (due, looked) = (queue.rooms.callees(), Instant::now());
        }
        let free = queue.rooms.free(&due);
        // Not one by one as calls end: many at a time are claimed, and their outcomes committed, for the price of one.
        let is_much = free.iter().any(|(_, free)| *free >= settings.concurrency_max / 4);
        if !free.is_empty() && (running.is_empty() || is_much || claimed.elapsed() >= GATHER) {
            claimed = Instant::now();
            let mut slots = queue.rooms.slots(&free);
            match claim(&pool, &positions, &mut slots, ms(settings.lease_ms)).await {
                Ok(leased) => {
                    health.goes_on(PART);
                    // Whoever has a slot left has nothing more that is due.
                    slots.iter().filter(|(_, left)| left.num_permits() > 0).for_each(|(callee, _)| {
                        due.remove(callee);
                    });
                    for leased in leased {
                        running.spawn(make(leased));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for outside calls to make");
                    health.stuck(PART, format!("looking for calls to make: {error}"));
                    due.clear();
                }
            }
        }
        let waits = if queue.rooms.free(&due).is_empty() { ms(settings.poll_ms) } else { GATHER };
        tokio::select! {
            Some(leased) = queue.begun.recv() => {
                running.spawn(make(leased));
            }
            Some(ending) = running.join_next(), if !running.is_empty() => {
                let input = match ending {
                    Ok(Some(input)) => input,
                    Ok(None) => continue,
                    Err(panicked) => {
                        tracing::error!(%panicked, "an outside call broke; it is tried again when its lease has run out");
                        continue;
                    }
                };
                if endings.send(input).await.is_err() {
                    return;
                }
            }
            () = queue.added.notified() => due = queue.rooms.callees(),
            () = clock::sleep(waits) => {}
            () = shutdown.requested() => {}
        }
    }
    // What is under way keeps its lease; whoever takes it over looks it up before sending again.
}

/// Keeps the lease of a call that takes long, until it is dropped. A worker that dies renews nothing, so others take its calls over as soon
/// after it as those of any other.
async fn keep_lease(pool: &Pool, (key, attempt): (&str, u32), lease: Duration) -> Infallible {
    loop {
        clock::sleep(lease / 3).await;
        let renew =
            "update effects set due_at = now() + $3 * interval '1 millisecond' where key = $1 and attempts = $2";
        let renewed = sqlx::query(renew)
            .bind(key)
            .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
            .bind(milliseconds(lease))
            .execute(pool)
            .await;
        if let Err(error) = renewed {
            tracing::warn!(key, %error, "cannot renew the lease of an outside call");
        }
    }
}

async fn call<S: Service>(
    service: Arc<S>,
    pool: Pool,
    settings: config::Effects,
    leased: Lease,
) -> Option<Input<S::Command>> {
    let Lease { claimed, cause, slot: _slot } = leased;
    let (key, attempt, was_in_flight) = (claimed.key.clone(), claimed.attempt, claimed.in_flight);
    let is_late = claimed.now.since(claimed.deadline) > LEFT_TO_NEWER_FOR;
    let time_max = service.call_time_max(&claimed, ms(settings.call_ms));
    let outcome = tokio::select! {
        made = tokio::time::timeout(time_max, service.perform(claimed)) => made.unwrap_or_else(|_elapsed| {
            EffectOutcome::Retry { error: format!("no answer within {} ms", time_max.as_millis()), in_flight: true }
        }),
        never = keep_lease(&pool, (&key, attempt), ms(settings.lease_ms)) => match never {},
    };
    let (after, postponed) = match outcome {
        EffectOutcome::Done(command) => {
            telemetry::effect(telemetry::DONE);
            return Some(input::outcome(key, attempt, cause, command));
        }
        EffectOutcome::Retry { error, in_flight } => {
            let after = retry::delay(ms(settings.backoff_ms), ms(settings.backoff_max_ms), attempt);
            (after, Postponed { in_flight, ..Postponed::over(error) })
        }
        EffectOutcome::Wait { after, error, in_flight } => {
            (after, Postponed { in_flight, is_void: !in_flight, ..Postponed::over(error) })
        }
        EffectOutcome::Accepted { after, error } => {
            (after, Postponed { in_flight: true, accepted: true, ..Postponed::over(error) })
        }
        EffectOutcome::Stopped { by, after, error, in_flight } => {
            (after, Postponed { in_flight, stopped_by: Some(by), is_void: !in_flight, ..Postponed::over(error) })
        }
        EffectOutcome::Spent { after, error } => {
            (after, Postponed { in_flight: true, key_spent: true, ..Postponed::over(error) })
        }
        EffectOutcome::Unreadable(rejection) if is_unknown_type(&rejection) && !is_late => {
            let error = format!("{rejection}; it is left to workers of a newer release");
            (
                LEFT_TO_NEWER_AFTER,
                Postponed { in_flight: was_in_flight, is_void: !was_in_flight, ..Postponed::over(error) },
            )
        }
        EffectOutcome::Unreadable(rejection) => {
            if let Err(error) = answered(give_up(&pool, S::NAME, &key, rejection)).await {
                // It comes again when its lease has run out.
                tracing::warn!(key, %error, "cannot keep an outside call that can never be made");
            }
            return None;
        }
    };
    telemetry::effect(telemetry::RETRY);
    tracing::info!(key, attempt, error = postponed.error, retry_after = ?after, "an outside call did not come to an end");
    if let Err(error) = postpone(&pool, (&key, attempt), after, &postponed).await {
        // Its lease runs out, so it will be tried again all the same.
        tracing::warn!(key, %error, "cannot note when to try an outside call again");
    }
    None
}
