//! The shop: buyers who place orders at a steady rate whatever happens, each command sent until it is answered, and a note of every
//! answer. Some of them are left to the [`world`].

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use holdfast_tests::{Order, is_accepted, money, second_thought};
use platform::{client::CommandClient, clock};
use proto::{
    Message, Name,
    common::v1::CommandReply,
    inventory::v1::{ReceiveStock, RegisterProduct},
    orders::v1::PlaceOrder,
    rounds::v1::OpenRound,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sqlx::{Connection, PgConnection};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use uuid::Uuid;

use crate::{
    locked,
    world::{self, Note},
};

/// Whoever has no answer by then never gets one.
const ANSWER_WITHIN: Duration = Duration::from_secs(240);

/// Orders under way at once; those who come when there are more go elsewhere.
const UNDER_WAY_MAX: usize = 8_192;

const PRODUCTS: u64 = 50;

/// Shares of a round: sold out within a round of faults or two.
const SHARES: i64 = 400;

/// More than any fault and the recovery from it take; less than the clock of a worker may be ahead.
const TIME_TO_PAY: Duration = Duration::from_mins(2);

/// How often to look which orders have come to their end.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// A command and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) id: Uuid,
    pub(crate) message_type: String,
    pub(crate) data: Vec<u8>,
    pub(crate) reply: CommandReply,
}

/// An order that is to be paid at once.
#[derive(Debug, Clone, Copy)]
struct Open {
    sent: Instant,
    is_answered: bool,
    is_ended: bool,
}

/// What happened in one second of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Second {
    pub(crate) answered: u64,
    pub(crate) paid: u64,
}

/// What all who sell and buy share.
#[derive(Debug)]
pub(crate) struct Shop {
    client: CommandClient,
    /// Answers come by a command's id, and one id may be used at two services: payments' come to another address.
    to_payments: CommandClient,
    database_url: String,
    seed: u64,
    begun: Instant,
    orders: AtomicU64,
    turned_away: AtomicU64,
    closed: AtomicBool,
    told: Mutex<Vec<Told>>,
    open: Mutex<BTreeMap<Uuid, Open>>,
    curve: Mutex<Vec<Second>>,
    complaints: Mutex<Vec<String>>,
    notes: Mutex<BTreeMap<Uuid, Note>>,
    /// Orders whose buyers take their time, and have it.
    patient: Mutex<Vec<Uuid>>,
    desk: tokio::sync::Mutex<()>,
}

impl Shop {
    pub(crate) async fn open(broker_url: &str, database_url: String, seed: u64) -> Result<Arc<Self>> {
        let client = CommandClient::connect(broker_url, ANSWER_WITHIN).await?;
        try_join_all((0..PRODUCTS).map(|product| stock(&client, product))).await?;
        Ok(Arc::new(Self {
            client,
            to_payments: CommandClient::connect(broker_url, ANSWER_WITHIN).await?,
            database_url,
            seed,
            begun: Instant::now(),
            orders: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            told: Mutex::default(),
            open: Mutex::default(),
            curve: Mutex::default(),
            complaints: Mutex::default(),
            notes: Mutex::default(),
            patient: Mutex::default(),
            desk: tokio::sync::Mutex::default(),
        }))
    }

    pub(crate) const fn begun(&self) -> Instant {
        self.begun
    }

    pub(crate) fn orders(&self) -> u64 {
        self.orders.load(Ordering::Relaxed)
    }

    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// What was told since this was last asked.
    pub(crate) fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut *locked(&self.told))
    }

    /// Commands that were never answered, and answers that cannot be right, since this was last asked.
    pub(crate) fn take_complaints(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.complaints))
    }

    pub(crate) fn complain(&self, what: String) {
        locked(&self.complaints).push(what);
    }

    /// Orders that are paid in time if no worker goes by a clock that is ahead, since this was last asked.
    pub(crate) fn take_patient(&self) -> Vec<Uuid> {
        std::mem::take(&mut *locked(&self.patient))
    }

    /// What was reported and decided of payments' money, by payment.
    pub(crate) fn notes(&self) -> MutexGuard<'_, BTreeMap<Uuid, Note>> {
        locked(&self.notes)
    }

    /// Whoever has it decides; who waits for it knows that all decisions are answered and noted.
    pub(crate) const fn desk(&self) -> &tokio::sync::Mutex<()> {
        &self.desk
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn curve(&self) -> Vec<Second> {
        locked(&self.curve).clone()
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// How many of those who came before a moment still wait for an answer, or for their order's end.
    pub(crate) fn waiting_since_before(&self, moment: Instant) -> usize {
        locked(&self.open).values().filter(|order| order.sent < moment).count()
    }

    /// Sends a command that nobody will be held to.
    pub(crate) async fn send(&self, id: Uuid, message_type: &str, data: Vec<u8>) -> Result<CommandReply> {
        self.publisher_to(message_type).send_bytes(id, message_type, data).await
    }

    fn publisher_to(&self, message_type: &str) -> &CommandClient {
        if proto::owner(message_type) == Some("payments") { &self.to_payments } else { &self.client }
    }

    /// Lets people in at this rate until the shop is closed, and ends when all of them have their answers.
    pub(crate) async fn sell(self: &Arc<Self>, round: u64, orders_per_second: u64) {
        self.closed.store(false, Ordering::Relaxed);
        let raffle = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("round {} {round}", self.seed).as_bytes());
        self.open_raffle(raffle).await;
        let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / orders_per_second.max(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut people = JoinSet::new();
        while !self.closed.load(Ordering::Relaxed) {
            ticks.tick().await;
            while people.try_join_next().is_some() {}
            if people.len() >= UNDER_WAY_MAX {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let number = self.orders.fetch_add(1, Ordering::Relaxed);
            let shop = Arc::clone(self);
            people.spawn(async move { shop.visit(number, raffle).await });
        }
        people.join_all().await;
    }

    async fn open_raffle(&self, raffle: Uuid) {
        let closes_at = (clock::now() + Duration::from_secs(3_600)).to_wire();
        let open = OpenRound {
            round_id: raffle.to_string(),
            prize: "bicycle".to_owned(),
            total_shares: SHARES,
            share_price: Some(money(500)),
            closes_at: Some(closes_at),
            actor: String::new(),
        };
        let id = once::<OpenRound>(&raffle.to_string());
        self.send_as(id, &OpenRound::full_name(), open.encode_to_vec()).await;
    }

    /// One buyer: what comes of it follows from the seed and the number.
    async fn visit(&self, number: u64, raffle: Uuid) {
        let mut chance = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(number));
        if world::takes_part(&mut chance) {
            return world::visit(self, &mut chance, name(self.seed, number)).await;
        }
        let (order, story) = order(&mut chance, self.seed, number, raffle);
        match story {
            Story::Buys => self.expect(order.id),
            Story::TakesItsTime => locked(&self.patient).push(order.id),
            Story::ThinksAgain | Story::DoesNotBuy => {}
        }
        let answered = self.send_as(order.id, &PlaceOrder::full_name(), order.place.encode_to_vec()).await;
        self.answered(order.id, answered.as_ref());
        if story == Story::ThinksAgain && answered.as_ref().is_some_and(is_accepted) {
            clock::sleep(Duration::from_millis(chance.random_range(0..4_000))).await;
            let (message_type, data) = second_thought(&mut chance, &order.place);
            let id = Uuid::new_v5(&order.id, message_type.as_bytes());
            self.send_as(id, &message_type, data).await;
        }
    }

    /// An order is placed that is to come to its end soon.
    pub(crate) fn expect(&self, order: Uuid) {
        let open = Open { sent: Instant::now(), is_answered: false, is_ended: false };
        locked(&self.open).insert(order, open);
    }

    /// Its answer has come, or never will.
    pub(crate) fn answered(&self, order: Uuid, reply: Option<&CommandReply>) {
        self.note(order, |open| {
            open.is_answered = true;
            // Nothing will become of a refused order.
            open.is_ended |= !reply.is_some_and(is_accepted);
        });
    }

    /// Waits until an order that was expected has come to its end: whether it has.
    pub(crate) async fn until_ended(&self, order: Uuid) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < ANSWER_WITHIN {
            if !locked(&self.open).contains_key(&order) {
                return true;
            }
            clock::sleep(LOOK_EVERY).await;
        }
        false
    }

    fn note(&self, order: Uuid, change: impl FnOnce(&mut Open)) {
        let mut all = locked(&self.open);
        if let Some(open) = all.get_mut(&order) {
            change(open);
            if open.is_answered && open.is_ended {
                all.remove(&order);
            }
        }
    }

    fn count(&self, add: impl FnOnce(&mut Second)) {
        let second = usize::try_from(self.begun.elapsed().as_secs()).unwrap_or(usize::MAX);
        let mut curve = locked(&self.curve);
        if curve.len() <= second {
            curve.resize(second + 1, Second::default());
        }
        add(&mut curve[second]);
    }

    /// Sends a command until it is answered, and notes the answer.
    pub(crate) async fn send_as(&self, id: Uuid, message_type: &str, data: Vec<u8>) -> Option<CommandReply> {
        match self.send(id, message_type, data.clone()).await {
            Ok(reply) => {
                self.count(|second| second.answered += 1);
                locked(&self.told).push(Told { id, message_type: message_type.to_owned(), data, reply: reply.clone() });
                Some(reply)
            }
            Err(error) => {
                self.complain(format!("{error:#}"));
                None
            }
        }
    }

    /// Watches which orders come to their end; never ends by itself.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut connection = None;
        loop {
            clock::sleep(LOOK_EVERY).await;
            // Postgres may be away for a while.
            if self.look(&mut connection).await.is_err() {
                connection = None;
            }
        }
    }

    async fn look(&self, connection: &mut Option<PgConnection>) -> Result<()> {
        let ids: Vec<Uuid> =
            locked(&self.open).iter().filter(|(_, order)| !order.is_ended).map(|(id, _)| *id).collect();
        if connection.is_none() {
            *connection = Some(PgConnection::connect(&self.database_url).await?);
        }
        let connection = connection.as_mut().context("there is a connection")?;
        let ended: Vec<(Uuid, bool)> = sqlx::query_as(
            "select order_id, captured_minor > 0 from orders.orders
             where order_id = any($1) and status not in ('pending', 'reserved')",
        )
        .bind(ids)
        .fetch_all(connection)
        .await?;
        for (id, is_paid) in ended {
            if is_paid {
                self.count(|second| second.paid += 1);
            }
            self.note(id, |open| open.is_ended = true);
        }
        Ok(())
    }
}

/// The id of a command that is sent once in a run.
fn once<M: Name>(of: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{} {of}", M::NAME).as_bytes())
}

async fn stock(client: &CommandClient, product: u64) -> Result<()> {
    let sku = sku(product);
    let register = RegisterProduct { sku: sku.clone(), name: format!("Product {sku}"), actor: String::new() };
    client.send(once::<RegisterProduct>(&sku), &register).await?;
    let receive =
        ReceiveStock { sku: sku.clone(), quantity: 1_000_000, reference: String::new(), actor: String::new() };
    client.send(once::<ReceiveStock>(&sku), &receive).await?;
    Ok(())
}

pub(crate) fn sku(product: u64) -> String {
    format!("P-{product:02}")
}

/// What an order's id is made of.
const fn name(seed: u64, number: u64) -> u64 {
    seed.wrapping_mul(1_000_000_000).wrapping_add(number)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// Pays at once and keeps it.
    Buys,
    /// Pays after a while, long before its time to pay is over, and keeps it.
    TakesItsTime,
    /// Cancels, wants money back, or an operator does something.
    ThinksAgain,
    /// Never pays, pays late, or has no money.
    DoesNotBuy,
}

fn order(chance: &mut StdRng, seed: u64, number: u64, raffle: Uuid) -> (Order, Story) {
    // Half of all want one of three things.
    let product = if chance.random() { chance.random_range(0..3) } else { chance.random_range(0..PRODUCTS) };
    let mut order = Order::new(name(seed, number)).line(&sku(product), 1);
    if chance.random_range(0..5) == 0 {
        order = order.line(&sku((product + 1) % PRODUCTS), chance.random_range(1..4));
    }
    if chance.random_range(0..5) == 0 {
        order = order.shares(raffle, 1);
    }
    let after = chance.random_range(0..400);
    let short = Duration::from_secs(5);
    match chance.random_range(0..100) {
        0..60 => (order.pays(&format!("sandbox:succeed,after={after}ms")), Story::Buys),
        60..70 => (order.pays("sandbox:never").expires_after(short), Story::DoesNotBuy),
        70..76 => (order.pays("sandbox:decline"), Story::DoesNotBuy),
        76..79 => (order.pays("sandbox:late,after=500ms").expires_after(short), Story::DoesNotBuy),
        79..82 => (order.pays("sandbox:late,after=500ms").expires_after(short).reholds(), Story::DoesNotBuy),
        82..86 => (order.pays("sandbox:never").expires_after(short), Story::ThinksAgain),
        86..90 => (order.pays("sandbox:succeed,refund=lose_response"), Story::ThinksAgain),
        90..92 => (order.pays("sandbox:succeed,refund=fail_then_succeed"), Story::ThinksAgain),
        92..94 => (order.pays("sandbox:succeed,refund=decline"), Story::ThinksAgain),
        94..97 => (order.pays("sandbox:succeed,after=10s").expires_after(TIME_TO_PAY), Story::TakesItsTime),
        _ => (order.pays("sandbox:succeed"), Story::ThinksAgain),
    }
}
