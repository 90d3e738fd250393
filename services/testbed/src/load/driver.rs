//! Lives the mix's stories through commands: so many under way at once, no event needed, each command sent until answered.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use audit::quiescence::is_passing;
use futures::{StreamExt, TryStreamExt, stream};
use platform::{client::CommandClient, clock};
use proto::{
    Message, Name,
    common::v1::{CommandReply, command_reply::Outcome},
};
use sqlx::PgPool;
use tokio::{
    sync::{Semaphore, oneshot},
    time::Instant,
};
use uuid::Uuid;

use super::{
    figures::Samples,
    shop::{Refusal, Shop},
    workload::{FollowUp, Plan, Sent, Workload},
};

/// Commands under way at once, for the broker and for the gateway, which has a connection for each.
const COMMANDS_MAX: usize = 512;
const REQUESTS_MAX: usize = 64;

/// Orders under way at once: those that wait for their next step wait without a command.
const STORIES_MAX: usize = 2_048;

/// How often to look which orders have been paid.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An order whose payment takes longer than this is not waited for.
const PAID_WITHIN: Duration = Duration::from_secs(180);

/// The way by which commands go to the fleet.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// To the broker.
    Broker(&'a CommandClient),
    /// Over HTTP.
    Gateway(&'a Shop),
}

/// Sends the commands of a mix.
#[derive(Debug)]
pub struct Driver<'a> {
    workload: &'a Workload,
    way: Way<'a>,
    pool: &'a PgPool,
    permits: Semaphore,
    rate: Option<u64>,
    placed: AtomicU64,
    heard: Mutex<Heard>,
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<()>>>,
}

/// What the answers were.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// From sending an order to its answer.
    pub placing: Samples,
    /// Commands that were refused, by their type and the refusal's code.
    pub refused: BTreeMap<String, u64>,
    /// Orders that were to be refunded, but were not paid.
    pub not_paid: u64,
}

impl<'a> Driver<'a> {
    /// A driver that places `rate` orders a second, or as many as are answered.
    pub fn new(workload: &'a Workload, way: Way<'a>, pool: &'a PgPool, rate: Option<u64>) -> Self {
        let at_once = match way {
            Way::Broker(_) => COMMANDS_MAX,
            Way::Gateway(_) => REQUESTS_MAX,
        };
        Self {
            workload,
            way,
            pool,
            permits: Semaphore::new(at_once),
            rate,
            placed: AtomicU64::new(0),
            heard: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// Registers the products, receives their stock, and opens the rounds.
    pub async fn prepare(&self) -> Result<()> {
        let products = stream::iter(0..self.workload.products).map(|product| async move {
            let (register, receive) = self.workload.product(product);
            self.must(&register, &[]).await?;
            self.must(&receive, &[]).await
        });
        products.buffer_unordered(COMMANDS_MAX).try_collect::<()>().await?;
        let now = clock::now();
        let rounds = stream::iter(0..self.workload.rounds).map(|round| async move {
            // An earlier run with this seed has opened it, on another day.
            self.must(&self.workload.round(round, now), &["ROUND_EXISTS"]).await
        });
        rounds.buffer_unordered(COMMANDS_MAX).try_collect().await
    }

    /// Places all orders and lives their stories to the last command, telling how many are placed.
    pub async fn live(&self, tell: impl Fn(u64)) -> Result<Heard> {
        let (begun, tell) = (Instant::now(), &tell);
        let stories = stream::iter(0..self.workload.orders)
            .then(|number| self.pace(begun, number))
            .map(|(number, due)| self.story(number, due, tell))
            .buffer_unordered(STORIES_MAX)
            .try_collect::<()>();
        tokio::select! {
            done = stories => done?,
            never = self.watch() => never?,
        }
        Ok(std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Waits until an order's turn has come, and says when that was: a slow answer must not hide the next ones' waiting.
    async fn pace(&self, begun: Instant, number: u64) -> (u64, Option<Instant>) {
        let Some(rate) = self.rate else { return (number, None) };
        let micros = u128::from(number) * 1_000_000 / u128::from(rate.max(1));
        let due = begun + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let wait = due.saturating_duration_since(Instant::now());
        if wait > Duration::ZERO {
            clock::sleep(wait).await;
        }
        (number, Some(due))
    }

    async fn story(&self, number: u64, due: Option<Instant>, tell: &impl Fn(u64)) -> Result<()> {
        let Plan { order_id, place, visit, then, .. } = self.workload.order(number);
        let sent = due.unwrap_or_else(Instant::now);
        let accepted = self.send(&place).await?;
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).placing.add(sent.elapsed());
        let placed = self.placed.fetch_add(1, Ordering::Relaxed) + 1;
        tell(placed);
        if let Some(round) = self.workload.called_off().filter(|_| placed == self.workload.orders * 3 / 4) {
            self.send(&self.workload.call_off(round)).await?;
        }
        if !accepted {
            return Ok(());
        }
        if let (Some(visit), Way::Gateway(shop)) = (visit, self.way) {
            shop.visit(order_id, visit).await?;
        }
        match then {
            FollowUp::Nothing => {}
            FollowUp::Cancel(after, cancel) => {
                clock::sleep(after).await;
                self.send(&cancel).await?;
            }
            FollowUp::Refund(refund) => {
                if self.is_paid(order_id).await {
                    self.send(&refund).await?;
                } else {
                    self.heard.lock().unwrap_or_else(PoisonError::into_inner).not_paid += 1;
                }
            }
        }
        Ok(())
    }

    /// Sends a command; whether it was accepted. A refusal is counted.
    async fn send<M: Message + Name>(&self, sent: &Sent<M>) -> Result<bool> {
        let refusal = self.answer(sent).await?;
        if let Some((code, _)) = &refusal {
            let what = format!("{} {code}", M::NAME);
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner).refused.entry(what).or_insert(0) += 1;
        }
        Ok(refusal.is_none())
    }

    /// Sends a command that must be accepted, or refused in one of these ways.
    async fn must<M: Message + Name>(&self, sent: &Sent<M>, except: &[&str]) -> Result<()> {
        match self.answer(sent).await? {
            Some((code, reason)) if !except.contains(&code.as_str()) => {
                bail!("{} was refused: {code}: {reason}", M::NAME)
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn answer<M: Message + Name>(&self, sent: &Sent<M>) -> Result<Option<Refusal>> {
        let _permit = self.permits.acquire().await?;
        let client = match self.way {
            Way::Broker(client) => client,
            Way::Gateway(shop) => return shop.send(sent.id, &sent.body).await,
        };
        let CommandReply { outcome, .. } = client.send(sent.id, &sent.body).await?;
        match outcome {
            Some(Outcome::Accepted(_)) => Ok(None),
            Some(Outcome::Rejected(rejection)) => Ok(Some((rejection.code, rejection.reason))),
            None => bail!("the answer to {} {} says nothing", M::NAME, sent.id),
        }
    }

    /// Waits until an order is paid or closed; whether it is paid.
    async fn is_paid(&self, order_id: Uuid) -> bool {
        let (sender, paid) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(order_id, sender);
        let in_time = tokio::time::timeout(PAID_WITHIN, paid).await;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&order_id);
        // The sender is dropped when the order was closed.
        matches!(in_time, Ok(Ok(())))
    }

    /// Looks for all who wait at once. Ends only if nothing can be read for long.
    async fn watch(&self) -> Result<()> {
        let mut seen = Instant::now();
        loop {
            let ids: Vec<Uuid> = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
            let looked = Instant::now();
            let ended: Result<Vec<(Uuid, bool)>, sqlx::Error> = sqlx::query_as(
                "select order_id, captured_minor > 0 from orders.orders
                 where order_id = any($1) and status not in ('pending', 'reserved')",
            )
            .bind(ids)
            .fetch_all(self.pool)
            .await;
            match ended {
                Ok(ended) => {
                    seen = Instant::now();
                    let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    for (order_id, paid) in ended {
                        if let Some(sender) = waiting.remove(&order_id).filter(|_| paid) {
                            // Whoever waited may have given up.
                            let _nobody_waits = sender.send(());
                        }
                    }
                }
                Err(error) => {
                    let error = anyhow::Error::new(error).context("looking for paid orders");
                    if !is_passing(&error) || seen.elapsed() >= PAID_WITHIN {
                        return Err(error);
                    }
                }
            }
            clock::sleep(LOOK_EVERY.max(looked.elapsed() * 3)).await;
        }
    }
}
