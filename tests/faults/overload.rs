//! Overload: three times what the fleet can do, for longer than its queue has room for.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap, Subscriber,
    jetstream::{self, context::ContextBuilder},
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use holdfast_tests::{Order, TestFleet};
use platform::clock;
use proto::{Message, common::v1::CommandReply};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::bounds::peak_mb;

/// The least that the settings allow: some thousand orders that wait.
const QUEUE_BYTES: u64 = 1_048_576;

/// Orders that the rate in peace is measured by, and that a flooded fleet must still pay.
const MEASURED: u64 = 500;

/// What a flooded fleet does, until all that was let in is settled, is at least one part of so many of what it does in peace.
const COLLAPSE: u128 = 4;

/// What a worker may have in memory.
const WORKER_MB: u64 = 128;

/// How long each part may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A publisher that waits for nobody, and notes what it hears.
struct Flood {
    jetstream: jetstream::Context,
    inbox: String,
    answers: Subscriber,
    under_way: JoinSet<(Uuid, Result<(), String>)>,
    begun: Instant,
    sent: u64,
    stored: BTreeSet<Uuid>,
    refused: Vec<(Uuid, String)>,
    answered: BTreeSet<Uuid>,
}

impl Flood {
    async fn new(client: &async_nats::Client) -> Self {
        let inbox = client.new_inbox();
        Self {
            jetstream: ContextBuilder::new().timeout(LIMIT).max_ack_inflight(100_000).build(client.clone()),
            answers: client.subscribe(inbox.clone()).await.unwrap(),
            inbox,
            under_way: JoinSet::new(),
            begun: Instant::now(),
            sent: 0,
            stored: BTreeSet::new(),
            refused: Vec::new(),
            answered: BTreeSet::new(),
        }
    }

    /// Sends what is due by now at this rate, and more the longer it lasts, whatever became of what was sent before; takes in what
    /// there is to hear.
    async fn go_on(&mut self, per_second: u128) {
        let ms = self.begun.elapsed().as_millis();
        let due = u64::try_from(per_second * (ms + ms * ms / 10_000) / 1_000).unwrap();
        while self.sent < due {
            self.send();
        }
        while let Some(told) = self.under_way.try_join_next() {
            self.told(told.unwrap());
        }
        while let Some(Some(answer)) = self.answers.next().now_or_never() {
            self.answer(&answer);
        }
        clock::sleep(Duration::from_millis(2)).await;
    }

    fn send(&mut self) {
        let order = Order::new(1_000_000 + self.sent).line("MUG", 1);
        let payload = Bytes::from(order.place.encode_to_vec());
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", order.id.to_string());
        headers.insert("reply-to", self.inbox.as_str());
        let jetstream = self.jetstream.clone();
        self.under_way.spawn(async move {
            let publish =
                async { jetstream.publish_with_headers("cmd.orders.PlaceOrder", headers, payload).await?.await };
            (order.id, publish.await.map(drop).map_err(|error| error.to_string()))
        });
        self.sent += 1;
    }

    fn told(&mut self, (id, acknowledgement): (Uuid, Result<(), String>)) {
        match acknowledgement {
            Ok(()) => assert!(self.stored.insert(id)),
            Err(refusal) => self.refused.push((id, refusal)),
        }
    }

    fn answer(&mut self, answer: &async_nats::Message) {
        let reply = CommandReply::decode(answer.payload.clone()).unwrap();
        assert!(holdfast_tests::is_accepted(&reply), "{reply:?}");
        self.answered.insert(Uuid::try_parse(&reply.command_id).unwrap());
    }

    /// Sends no more, and hears what is still to be heard.
    async fn ebb(&mut self) {
        while let Some(told) = self.under_way.join_next().await {
            self.told(told.unwrap());
        }
        while !self.answered.is_superset(&self.stored) {
            let answer = tokio::time::timeout(LIMIT, self.answers.next()).await;
            assert!(answer.is_ok(), "{} of {} answered, and no more", self.answered.len(), self.stored.len());
            let answer = answer.unwrap().unwrap();
            self.answer(&answer);
        }
    }
}

async fn paid(database: &mut PgConnection) -> u64 {
    let paid: i64 = sqlx::query_scalar("select count(*) from orders.orders where status = 'paid'")
        .fetch_one(database)
        .await
        .unwrap();
    u64::try_from(paid).unwrap()
}

fn per_second(count: u64, time: Duration) -> u128 {
    u128::from(count) * 1_000 / time.as_millis().max(1)
}

/// Orders paid a second when none waits that need not.
async fn in_peace(fleet: &TestFleet) -> u128 {
    let orders: Vec<Order> = (0..MEASURED).map(|number| Order::new(number).line("MUG", 1)).collect();
    let begun = Instant::now();
    fleet.place_all(&orders).await.unwrap();
    let all_paid = i64::try_from(MEASURED).unwrap();
    fleet.until("select count(*) from orders.orders where status = 'paid'", all_paid).await.unwrap();
    per_second(MEASURED, begun.elapsed())
}

/// Floods until the queue is full, and from then on until the fleet has shown that it still pays orders.
async fn flooded(flood: &mut Flood, rate: u128, database: &mut PgConnection) {
    while flood.refused.is_empty() {
        assert!(flood.begun.elapsed() < LIMIT, "{} orders did not fill the queue", flood.sent);
        flood.go_on(rate).await;
    }
    let (full, before) = (Instant::now(), paid(database).await);
    let mut paid_since = 0;
    while paid_since < MEASURED {
        assert!(full.elapsed() < LIMIT, "since the queue is full, only {paid_since} orders were paid");
        flood.go_on(rate).await;
        paid_since = paid(database).await - before;
    }
}

#[tokio::test]
async fn three_times_what_the_fleet_can_do_is_refused_at_the_door_and_what_is_in_goes_on() {
    let fleet = TestFleet::with(1, &[("HOLDFAST_BROKER_COMMANDS_BYTES_MAX", &QUEUE_BYTES.to_string())]).await.unwrap();
    fleet.stock("MUG", 1_000_000).await.unwrap();
    let mut database = fleet.database().await.unwrap();

    let in_peace = in_peace(&fleet).await;
    let mut flood = Flood::new(fleet.client.client()).await;
    flooded(&mut flood, 3 * in_peace, &mut database).await;
    let lasted = flood.begun.elapsed();
    let paid_by_then = paid(&mut database).await - MEASURED;
    flood.ebb().await;
    let answered = flood.begun.elapsed();
    fleet.settle_and_verify().await.unwrap();
    let settled = flood.begun.elapsed();
    let stored = u64::try_from(flood.stored.len()).unwrap();
    let under_flood = per_second(stored, settled);
    println!(
        "{in_peace} orders/s in peace, {under_flood} of a flood of {} /s for {lasted:?}: {} sent, {stored} stored, {} refused; \
         {paid_by_then} were paid when it ended, all answered after {answered:?}, settled after {settled:?}",
        3 * in_peace,
        flood.sent,
        flood.refused.len(),
    );
    for service in proto::SERVICES {
        let pid = fleet.processes().await.worker(service, 0).unwrap().pid();
        println!("{service}: {} MB", peak_mb(pid));
        assert!(peak_mb(pid) < WORKER_MB, "{service} took {} MB", peak_mb(pid));
    }
    assert!(under_flood * COLLAPSE >= in_peace, "{in_peace} orders/s in peace, {under_flood} of a flood");
    for (_, refusal) in &flood.refused {
        assert!(refusal.contains("maximum bytes exceeded"), "{refusal}");
    }
    let known: Vec<Uuid> =
        sqlx::query_scalar("select order_id from orders.orders").fetch_all(&mut database).await.unwrap();
    let known: BTreeSet<Uuid> = known.into_iter().collect();
    assert!(flood.stored.is_subset(&known), "acknowledged, and then dropped");
    assert!(flood.refused.iter().all(|(id, _)| !known.contains(id)), "refused, and then done all the same");

    let order = Order::new(MEASURED).line("MUG", 1);
    fleet.place(&order).await.unwrap();
    fleet.until_status(&order, "paid").await.unwrap();
}
