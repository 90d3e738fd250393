//! The sandbox's ledger of refunds: durable, and written in transactions of its own, as an outside system's would be.
//!
//! A key has one row, and its money moves at most once; `calls` counts how often it was sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use platform::database::{Pool, column};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::script::{RefundPlan, Script};
use crate::{RefundRequest, idempotency_key};

/// What the ledger says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Asked for, nothing moved.
    Open,
    /// Paid out.
    Refunded,
    /// Refused.
    Declined,
    /// Paid out, and then it came back.
    Failed,
}

/// How a call is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Paid out, now or by an earlier call.
    Refunded,
    /// It was paid out, and then it came back.
    Failed,
    /// No.
    Declined(String),
    /// Nothing was done.
    Unavailable,
    /// It was paid out, but nobody hears of it.
    Lost,
    /// Nothing was done, and nobody hears anything.
    Silence,
}

const STATUSES: [(&str, Status); 4] = [
    ("open", Status::Open),
    ("refunded", Status::Refunded),
    ("declined", Status::Declined),
    ("failed", Status::Failed),
];

impl Status {
    fn parse(word: &str) -> Result<Self, sqlx::Error> {
        STATUSES.iter().find(|(known, _)| *known == word).map(|(_, status)| *status).ok_or_else(|| {
            sqlx::Error::Decode(format!("payments.sandbox_refunds has a row with status {word:?}").into())
        })
    }

    fn as_str(self) -> &'static str {
        STATUSES.iter().find(|(_, status)| *status == self).map_or("open", |(word, _)| word)
    }
}

/// What a call does and how it is answered: the `calls`-th under a key that stands so.
#[must_use]
pub fn answer(plan: RefundPlan, status: Status, calls: i32) -> (Status, Reply) {
    let declined = || Reply::Declined("the sandbox's script says decline".to_owned());
    match (status, plan) {
        (Status::Refunded, _) => (Status::Refunded, Reply::Refunded),
        (Status::Failed, _) => (Status::Failed, Reply::Failed),
        (Status::Declined, _) | (Status::Open, RefundPlan::Decline) => (Status::Declined, declined()),
        (Status::Open, RefundPlan::TimeOut) => (Status::Open, Reply::Silence),
        (Status::Open, RefundPlan::FailThenSucceed) if calls <= 2 => (Status::Open, Reply::Unavailable),
        (Status::Open, RefundPlan::LoseResponse) => (Status::Refunded, Reply::Lost),
        (Status::Open, RefundPlan::Succeed | RefundPlan::FailThenSucceed | RefundPlan::FailLater) => {
            (Status::Refunded, Reply::Refunded)
        }
    }
}

/// The ledger. Calls that come while others are written are written together, one commit for all.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pool: Pool,
    waiting: Arc<Mutex<Vec<Waiting>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A call that is not written yet.
#[derive(Debug)]
struct Waiting {
    request: RefundRequest,
    fails_after_ms: Option<i64>,
    first: Status,
    noted: oneshot::Sender<Result<Noted, Arc<sqlx::Error>>>,
}

/// A key's row with a call in it.
#[derive(Debug)]
struct Noted {
    amount_minor: i64,
    currency: String,
    status: Status,
    calls: i32,
}

/// Calls that are written together, at most.
const TOGETHER_MAX: usize = 500;

impl Ledger {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, waiting: Arc::default(), turn: Arc::default() }
    }

    /// Notes a call and does what the script says.
    pub(super) async fn call(&self, request: &RefundRequest, script: &Script) -> Result<Reply, Arc<sqlx::Error>> {
        let fails_after =
            fails_later(request, script).then(|| i64::try_from(script.refund_after.as_millis()).unwrap_or(i64::MAX));
        let (first, reply) = answer(script.refund, Status::Open, 1);
        let noted = self.note(request, fails_after, first).await?;
        if noted.calls == 1 {
            return Ok(reply);
        }
        let (amount_minor, currency) = (noted.amount_minor, noted.currency.as_str());
        if (amount_minor, currency) != (request.amount.minor_units, request.amount.currency.as_str()) {
            return Ok(Reply::Declined(format!(
                "key {} was used for {}, so it cannot be used for {}",
                request.key,
                domain::written(amount_minor, currency),
                request.amount
            )));
        }
        let (status, reply) = answer(script.refund, noted.status, noted.calls);
        if status != noted.status {
            sqlx::query("update payments.sandbox_refunds set status = $2 where key = $1 and status = $3")
                .bind(&request.key)
                .bind(status.as_str())
                .bind(noted.status.as_str())
                .execute(&self.pool)
                .await?;
        }
        Ok(reply)
    }

    /// Waits for its turn to write all calls that wait by then, unless another has written this one meanwhile.
    async fn note(
        &self,
        request: &RefundRequest,
        fails_after_ms: Option<i64>,
        first: Status,
    ) -> Result<Noted, Arc<sqlx::Error>> {
        let (noted, mut answer) = oneshot::channel();
        self.lock().push(Waiting { request: request.clone(), fails_after_ms, first, noted });
        loop {
            let _turn = self.turn.lock().await;
            match answer.try_recv() {
                Ok(noted) => return noted,
                Err(TryRecvError::Empty) => self.write(self.next()).await,
                // Whoever wrote it was stopped in the middle of it.
                Err(TryRecvError::Closed) => return Err(Arc::new(sqlx::Error::WorkerCrashed)),
            }
        }
    }

    /// What is known of a refund: its key, or the earlier one under which it was paid out, and where that stands.
    pub(super) async fn find(&self, request: &RefundRequest) -> Result<Option<(String, Status)>, sqlx::Error> {
        let found: Option<(String, String)> = sqlx::query_as(
            "select key, status from payments.sandbox_refunds where key = $1 or key = any($2) and status = 'refunded'
             order by status = 'refunded' desc limit 1",
        )
        .bind(&request.key)
        .bind(keys(request))
        .fetch_optional(&self.pool)
        .await?;
        found.map(|(key, status)| Ok((key, Status::parse(&status)?))).transpose()
    }

    /// How long after it was paid out this refund fails. `None`: it does not.
    pub(super) async fn fails_after(&self, key: &str) -> Result<Option<Duration>, sqlx::Error> {
        let found: Option<(Option<i64>,)> =
            sqlx::query_as("select fails_after_ms from payments.sandbox_refunds where key = $1")
                .bind(key)
                .fetch_optional(&self.pool)
                .await?;
        Ok(found.and_then(|(after_ms,)| after_ms).map(|after_ms| Duration::from_millis(after_ms.unsigned_abs())))
    }

    /// The money came back.
    pub(super) async fn note_failed(&self, key: &str) -> Result<(), sqlx::Error> {
        sqlx::query(
            "update payments.sandbox_refunds set status = 'failed' where key = $1 and fails_after_ms is not null",
        )
        .bind(key)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls that are to be written next, of each key one.
    fn next(&self) -> Vec<Waiting> {
        let mut keys = BTreeSet::new();
        let mut waiting = self.lock();
        let (next, later) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition(|call| keys.len() < TOGETHER_MAX && keys.insert(call.request.key.clone()));
        *waiting = later;
        next
    }

    async fn write(&self, calls: Vec<Waiting>) {
        let rows: Vec<&Waiting> = calls.iter().collect();
        let written: Result<Vec<Row>, _> = sqlx::query_as(
            "insert into payments.sandbox_refunds as known
                 (key, payment_id, refund_id, amount_minor, currency, status, calls, fails_after_ms)
             select key, payment_id, refund_id, amount_minor, currency, status, 1, fails_after_ms
             from unnest($1::text[], $2::uuid[], $3::uuid[], $4::int8[], $5::text[], $6::text[], $7::int8[])
                 as new (key, payment_id, refund_id, amount_minor, currency, status, fails_after_ms)
             on conflict (key) do update set calls = known.calls + 1
             returning key, amount_minor, currency, status, calls",
        )
        .bind(column(&rows, |call| call.request.key.as_str()))
        .bind(column(&rows, |call| call.request.payment_id.0))
        .bind(column(&rows, |call| call.request.refund_id.0))
        .bind(column(&rows, |call| call.request.amount.minor_units))
        .bind(column(&rows, |call| call.request.amount.currency.as_str()))
        .bind(column(&rows, |call| call.first.as_str()))
        .bind(column(&rows, |call| call.fails_after_ms))
        .fetch_all(&self.pool)
        .await;
        let written = written.and_then(|rows| rows.into_iter().map(noted).collect::<Result<BTreeMap<_, _>, _>>());
        let mut written = written.map_err(Arc::new);
        for call in calls {
            let noted = match &mut written {
                Ok(written) => written.remove(&call.request.key).ok_or_else(|| Arc::new(sqlx::Error::RowNotFound)),
                Err(error) => Err(Arc::clone(error)),
            };
            // An error means that the call was given up meanwhile.
            let _given_up = call.noted.send(noted);
        }
    }
}

/// A key, and its row: amount, currency, status, calls.
type Row = (String, i64, String, String, i32);

fn noted((key, amount_minor, currency, status, calls): Row) -> Result<(String, Noted), sqlx::Error> {
    Ok((key, Noted { amount_minor, currency, status: Status::parse(&status)?, calls }))
}

/// The keys of a refund up to this one.
fn keys(request: &RefundRequest) -> Vec<String> {
    let key = |number| idempotency_key(request.payment_id, request.refund_id, number);
    let last = request.key.strip_prefix(&key(1)).and_then(|number| number.strip_prefix('.')?.parse().ok());
    (1..=last.unwrap_or(1)).map(key).collect()
}

/// Whether a refund is paid out and fails later. Only its first sending does, so that an operator's RETRY can mend it.
pub(super) fn fails_later(request: &RefundRequest, script: &Script) -> bool {
    script.refund == RefundPlan::FailLater && request.key == idempotency_key(request.payment_id, request.refund_id, 1)
}

#[cfg(test)]
mod tests {
    use domain::{Currency, Money, PaymentId, RefundId};
    use platform::database::Pool;
    use sqlx::postgres::PgPoolOptions;
    use tokio::sync::oneshot;
    use uuid::Uuid;

    use super::{Ledger, Reply, Status, TOGETHER_MAX, Waiting, answer, keys};
    use crate::{RefundRequest, sandbox::script::RefundPlan};

    /// Answers to three calls under one key, and where it stands then.
    fn calls(plan: RefundPlan) -> (Vec<Reply>, Status) {
        let mut status = Status::Open;
        let mut replies = Vec::new();
        for call in 1..=3 {
            let (next, reply) = answer(plan, status, call);
            status = next;
            replies.push(reply);
        }
        (replies, status)
    }

    #[test]
    fn money_moves_once_whatever_the_script_says() {
        use Reply::{Lost, Refunded, Silence, Unavailable};
        let refunded = vec![Refunded, Refunded, Refunded];
        assert_eq!(calls(RefundPlan::Succeed), (refunded.clone(), Status::Refunded));
        assert_eq!(calls(RefundPlan::FailLater), (refunded, Status::Refunded));
        assert_eq!(calls(RefundPlan::LoseResponse), (vec![Lost, Refunded, Refunded], Status::Refunded));
        assert_eq!(calls(RefundPlan::TimeOut), (vec![Silence, Silence, Silence], Status::Open));
        let third_time_lucky = vec![Unavailable, Unavailable, Refunded];
        assert_eq!(calls(RefundPlan::FailThenSucceed), (third_time_lucky, Status::Refunded));
    }

    #[test]
    fn a_decline_stays_one() {
        let (replies, status) = calls(RefundPlan::Decline);
        assert!(replies.iter().all(|reply| matches!(reply, Reply::Declined(_))), "{replies:?}");
        assert_eq!(status, Status::Declined);
    }

    #[test]
    fn what_failed_later_is_not_paid_out_again_under_the_same_key() {
        assert_eq!(answer(RefundPlan::FailLater, Status::Failed, 2), (Status::Failed, Reply::Failed));
    }

    #[test]
    fn a_refund_has_a_key_for_each_sending() {
        let sent = |number| {
            let Waiting { request, .. } = waiting(0);
            let key = |number| crate::idempotency_key(request.payment_id, request.refund_id, number);
            (keys(&RefundRequest { key: key(number), ..request.clone() }), key(1), key(2))
        };
        let (keys_of_first, first, _) = sent(1);
        assert_eq!(keys_of_first, [first]);
        let (keys_of_third, first, second) = sent(3);
        assert_eq!((keys_of_third.len(), &keys_of_third[0], &keys_of_third[1]), (3, &first, &second));
    }

    #[test]
    fn every_status_reads_back() {
        for status in [Status::Open, Status::Refunded, Status::Declined, Status::Failed] {
            assert_eq!(Status::parse(status.as_str()).unwrap(), status);
        }
    }

    fn waiting(key: usize) -> Waiting {
        let (payment_id, refund_id) = (PaymentId(Uuid::from_u128(1)), RefundId(Uuid::from_u128(1)));
        let amount = Money { minor_units: 1, currency: Currency::parse("EUR").unwrap() };
        let (key, payment_reference) = (key.to_string(), String::new());
        let charge_reference = String::new();
        let request = RefundRequest { key, payment_id, payment_reference, charge_reference, refund_id, amount };
        Waiting { request, fails_after_ms: None, first: Status::Open, noted: oneshot::channel().0 }
    }

    #[tokio::test]
    async fn calls_that_wait_are_written_so_many_at_a_time_and_of_each_key_one() {
        let ledger = Ledger::new(Pool::new(PgPoolOptions::new().connect_lazy("postgres://nowhere.invalid").unwrap()));
        ledger.lock().extend((0..=TOGETHER_MAX).map(|number| waiting(number / 2)));
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() <= TOGETHER_MAX {
            sizes.push(ledger.next().len());
        }
        assert_eq!(sizes, [TOGETHER_MAX / 2 + 1, TOGETHER_MAX / 2]);
        ledger.lock().extend((0..=TOGETHER_MAX).map(waiting));
        assert_eq!((ledger.next().len(), ledger.next().len(), ledger.next().len()), (TOGETHER_MAX, 1, 0));
    }
}
