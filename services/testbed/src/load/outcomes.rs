//! What became of the mix's orders: read from Postgres a thousand at a time, compared with each order's story, and timed from
//! what the log recorded.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use audit::quiescence::is_passing;
use domain::{HoldKey, OrderId, Timestamp};
use platform::clock;
use proto::{Message, Name, orders::v1 as wire};
use sqlx::{PgPool, Row, postgres::PgRow};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    figures::Samples,
    scenario::Scenario,
    workload::{Plan, Workload},
};

/// Orders read at once.
const CHUNK: u64 = 1_000;

/// How often to look whether orders have come to their end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Orders whose end nobody expected, that are named.
const NAMED_MAX: usize = 5;

/// What became of the orders. Each is counted once: `paid + refunded + expired + cancelled + rejected = orders`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Orders that were placed.
    pub orders: u64,
    /// Paid, and nothing was given back.
    pub paid: u64,
    /// Paid, and all or some of the money was given back.
    pub refunded: u64,
    /// Of those, some of the money.
    pub refunded_in_part: u64,
    /// Not paid in time.
    pub expired: u64,
    /// Cancelled by the buyer or for a failed payment.
    pub cancelled: u64,
    /// Of those, for a failed payment.
    pub declined: u64,
    /// Refused, because there was not enough.
    pub rejected: u64,
    /// Closed orders whose late money was given back.
    pub late_payments: u64,
    /// Expired orders that were held again.
    pub held_again: u64,
    /// Orders that ended otherwise than their story allows, or not at all.
    pub unexpected: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// From placed to paid, as the log recorded it.
    pub placed_to_paid: Samples,
    /// From when an order was due to expire to when it did.
    pub expired_late: Samples,
    /// From when an order was closed to when all that it held was given back.
    pub closed_to_released: Samples,
}

/// Waits until every order of the mix has come to its end, telling how many have.
///
/// Fails when for `patience` no further order has.
pub async fn until_ended(pool: &PgPool, workload: &Workload, patience: Duration, tell: impl Fn(u64)) -> Result<()> {
    let mut most = 0;
    let mut progress = Instant::now();
    for first in (0..workload.orders).step_by(usize::try_from(CHUNK)?) {
        let ids: Vec<Uuid> = chunk(workload, first).map(|plan| plan.order_id).collect();
        loop {
            let looked = Instant::now();
            let open = open(pool, &ids).await;
            if open.as_ref().is_err_and(|error| !is_passing(error)) {
                open?;
                continue;
            }
            let left = open.as_ref().map_or(u64::MAX, |open| *open);
            let ended = (first + u64::try_from(ids.len())?).saturating_sub(left).max(first);
            if ended > most {
                (most, progress) = (ended, Instant::now());
                tell(ended);
            }
            if left == 0 {
                break;
            }
            if progress.elapsed() >= patience {
                let left = open?;
                bail!(
                    "{left} of the orders {first} to {} have not come to an end, and none has for {} s (holdfast status)",
                    first + u64::try_from(ids.len())?,
                    patience.as_secs()
                );
            }
            clock::sleep(LOOK_EVERY.max(looked.elapsed() * 3)).await;
        }
    }
    Ok(())
}

/// How many of these orders have not come to an end. Those whose money the sandbox will still report late are among them.
async fn open(pool: &PgPool, ids: &[Uuid]) -> Result<u64> {
    let payments: Vec<Uuid> =
        ids.iter().map(|id| HoldKey { order_id: OrderId(*id), attempt: 1 }.payment_id().0).collect();
    let open: i64 = sqlx::query_scalar(
        "select count(*) from orders.orders o
         left join payments.payments p on p.payment_id = (
             select asked from unnest($1::uuid[], $2::uuid[]) as ids (id, asked) where id = o.order_id)
         where o.order_id = any($1)
             and (o.status in ('pending', 'reserved', 'refunding')
                 or o.payment_status = 'refunding'
                 or o.status in ('expired', 'cancelled', 'rejected') and not o.released
                 or p.status in ('requested', 'cancelled') and p.authorisations is null
                     and p.payment_method like 'sandbox:late%')",
    )
    .bind(ids)
    .bind(payments)
    .fetch_one(pool)
    .await
    .context("asking for orders under way")?;
    Ok(u64::try_from(open)?)
}

fn chunk(workload: &Workload, first: u64) -> impl Iterator<Item = Plan> {
    (first..(first + CHUNK).min(workload.orders)).map(|number| workload.order(number))
}

/// Reads what became of every order of the mix.
pub async fn read(pool: &PgPool, workload: &Workload) -> Result<Outcomes> {
    let mut outcomes = Outcomes::default();
    for first in (0..workload.orders).step_by(usize::try_from(CHUNK)?) {
        let mut plans: BTreeMap<Uuid, Plan> = chunk(workload, first).map(|plan| (plan.order_id, plan)).collect();
        let ids: Vec<Uuid> = plans.keys().copied().collect();
        let orders = sqlx::query(
            "select order_id, status, payment_status, attempt, released from orders.orders where order_id = any($1)",
        )
        .bind(&ids)
        .fetch_all(pool)
        .await
        .context("reading how the orders ended")?;
        for row in orders {
            let order_id: Uuid = row.try_get("order_id")?;
            if let Some(plan) = plans.remove(&order_id) {
                outcomes.count(&plan, &row)?;
            }
        }
        for plan in plans.values() {
            outcomes.surprise(format!("order {} ({:?}) is not there", plan.order_id, plan.story));
        }
        outcomes.time(pool, &ids).await?;
    }
    Ok(outcomes)
}

impl Outcomes {
    fn count(&mut self, plan: &Plan, row: &PgRow) -> Result<()> {
        let (status, payment_status): (&str, &str) = (row.try_get("status")?, row.try_get("payment_status")?);
        let released: bool = row.try_get("released")?;
        self.orders += 1;
        let closed = match status {
            "paid" => {
                self.paid += 1;
                false
            }
            "refunded" | "partially_refunded" => {
                self.refunded += 1;
                self.refunded_in_part += u64::from(status == "partially_refunded");
                false
            }
            "expired" => {
                self.expired += 1;
                true
            }
            "cancelled" => {
                self.cancelled += 1;
                self.declined += u64::from(plan.story == Scenario::HasNoMoney);
                true
            }
            "rejected" => {
                self.rejected += 1;
                true
            }
            _ => false,
        };
        self.late_payments += u64::from(closed && payment_status == "refunded");
        self.held_again += u64::from(row.try_get::<i32, _>("attempt")? > 1);
        if !plan.story.may_end(status, plan.in_called_off_round) || closed != released {
            let held = if closed && !released { ", and what it held is not given back" } else { "" };
            self.surprise(format!("order {} ({:?}) ended {status}{held}", plan.order_id, plan.story));
        }
        Ok(())
    }

    fn surprise(&mut self, what: String) {
        self.unexpected += 1;
        if self.examples.len() < NAMED_MAX {
            self.examples.push(what);
        }
    }

    /// Takes the times of these orders from the log.
    async fn time(&mut self, pool: &PgPool, ids: &[Uuid]) -> Result<()> {
        let streams: Vec<String> = ids.iter().map(|id| format!("order-{id}")).collect();
        let events = sqlx::query(
            "select stream, type, recorded_at, case when type = $2 then data end as data
             from log.events where stream = any($1) order by stream, version",
        )
        .bind(streams)
        .bind(wire::OrderExpired::full_name())
        .fetch_all(pool)
        .await
        .context("reading when the orders' events were recorded")?;
        let mut order = Times::default();
        for event in &events {
            let stream: &str = event.try_get("stream")?;
            if stream != order.stream {
                order = Times { stream: stream.to_owned(), ..Default::default() };
            }
            let at: Timestamp = event.try_get::<OffsetDateTime, _>("recorded_at")?.into();
            let message_type: &str = event.try_get("type")?;
            match proto::short_name(message_type) {
                wire::OrderPlaced::NAME => order.placed = Some(at),
                wire::OrderPaid::NAME => add(&mut self.placed_to_paid, order.placed, at),
                wire::OrderExpired::NAME => {
                    order.closed = Some(at);
                    let expired = wire::OrderExpired::decode(event.try_get::<&[u8], _>("data")?)?;
                    let due_at = Timestamp::from_wire("due_at", expired.due_at).ok();
                    add(&mut self.expired_late, due_at, at);
                }
                wire::OrderCancelled::NAME | wire::OrderRejected::NAME => order.closed = Some(at),
                wire::OrderReleased::NAME => add(&mut self.closed_to_released, order.closed.take(), at),
                _ => {}
            }
        }
        Ok(())
    }
}

/// When what happened to one order.
#[derive(Debug, Default)]
struct Times {
    stream: String,
    placed: Option<Timestamp>,
    closed: Option<Timestamp>,
}

fn add(samples: &mut Samples, from: Option<Timestamp>, to: Timestamp) {
    if let Some(from) = from {
        samples.add(to.since(from));
    }
}
