//! A fleet of real processes on private servers, thrown away with the test.

use std::{
    env, fs,
    future::Future,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use audit::{audit, quiescence::until_settled};
use futures::{StreamExt, TryStreamExt};
use platform::{client::CommandClient, clock};
use proto::{
    Message, Name,
    common::v1::CommandReply,
    inventory::v1::{ReceiveStock, RegisterProduct},
    payments::v1::{CouponOffer, OpenCoupon},
    rounds::v1::OpenRound,
    well_known,
};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use testbed::{
    fleet::{Address, Fleet, Options},
    servers::scratch_dir,
};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::{Order, holdfast, is_accepted, money, probes, users};

/// How long anything in a test may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);

/// Positions of one partition of the log: so few that most tests write to several.
const PARTITION: u32 = 500;

/// How often `eventually` looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Commands that a test has under way at once.
const IN_FLIGHT: usize = 256;

/// A fleet for one test.
#[derive(Debug)]
pub struct TestFleet {
    /// Sends commands to it.
    pub client: CommandClient,
    /// Where its servers are.
    pub address: Address,
    fleet: Mutex<Fleet>,
    dir: TempDir,
    sent: AtomicU64,
}

/// Set in the environment, it gives every test processes with all services in each.
const ALL_IN_ONE: &str = "HOLDFAST_TESTS_ALL_IN_ONE";

impl TestFleet {
    /// One replica of each worker.
    pub async fn start() -> Result<Self> {
        Self::with(1, &[]).await
    }

    /// So many replicas of each worker, with these settings.
    pub async fn with(replicas: usize, settings: &[(&str, &str)]) -> Result<Self> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::of(Options { replicas, settings, partition_positions: Some(PARTITION), ..Options::default() }).await
    }

    /// One replica of each worker, on a cluster of three nats-servers.
    pub async fn clustered() -> Result<Self> {
        Self::of(Options { brokers: 3, partition_positions: Some(PARTITION), ..Options::default() }).await
    }

    /// One process with all services in each replica.
    pub async fn all_in_one(replicas: usize, settings: &[(&str, &str)]) -> Result<Self> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let partition_positions = Some(PARTITION);
        Self::of(Options { replicas, all_in_one: true, settings, partition_positions, ..Options::default() }).await
    }

    /// One replica of each worker, on a nats-server that lets each user do what deploy/nats says, with this setting of `js_ack_fc_v2`; events
    /// come in JSON too. The test itself may do everything there.
    pub async fn with_users(acknowledges_anew: bool) -> Result<Self> {
        let dir = scratch_dir("holdfast-test-")?;
        let broker = dir.path().join("nats");
        fs::create_dir_all(&broker)?;
        users::write_settings(&broker, acknowledges_anew).await?;
        let partition_positions = Some(PARTITION);
        let settings = [("HOLDFAST_BROKER_EVENTS_JSON".to_owned(), "true".to_owned())].into();
        let keys = Some(broker.join(users::KEYS));
        let options = Options { keys, settings, partition_positions, ..Options::default() };
        Self::at(dir, options).await
    }

    /// One replica of each worker, on a nats-server with these settings of its own.
    pub async fn with_broker_settings(settings: &str) -> Result<Self> {
        let broker_settings = settings.to_owned();
        Self::of(Options { broker_settings, partition_positions: Some(PARTITION), ..Options::default() }).await
    }

    async fn of(options: Options) -> Result<Self> {
        Self::at(scratch_dir("holdfast-test-")?, options).await
    }

    async fn at(dir: TempDir, mut options: Options) -> Result<Self> {
        options.all_in_one |= env::var_os(ALL_IN_ONE).is_some();
        options.clusters = holdfast().parent().map(|built| built.join("test-clusters"));
        let fleet = Fleet::start(dir.path(), options).await?;
        let address = fleet.address();
        let client = CommandClient::connect(&address.broker_url, LIMIT).await?;
        Ok(Self { client, address, fleet: Mutex::new(fleet), dir, sent: AtomicU64::new(0) })
    }

    /// Its processes, to do harm to.
    pub async fn processes(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().await
    }

    /// Sends a command and waits for its answer.
    pub async fn send<M: Message + Name>(&self, name: &str, command: &M) -> Result<CommandReply> {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{} {name}", M::NAME).as_bytes());
        self.client.send(id, command).await
    }

    /// Sends a command under an id that was not used before.
    pub async fn send_new<M: Message + Name>(&self, command: &M) -> Result<CommandReply> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        self.send(&format!("new {number}"), command).await
    }

    /// A product with so many pieces.
    pub async fn stock(&self, sku: &str, quantity: i64) -> Result<()> {
        let register = RegisterProduct { sku: sku.to_owned(), name: format!("Product {sku}"), actor: String::new() };
        let receive = ReceiveStock { sku: sku.to_owned(), quantity, reference: String::new(), actor: String::new() };
        accepted(&self.send(sku, &register).await?)?;
        accepted(&self.send(sku, &receive).await?)
    }

    /// An open round with so many shares at 5.00 EUR, closing in an hour.
    pub async fn round(&self, name: &str, total_shares: i64) -> Result<Uuid> {
        self.round_closing(name, total_shares, Duration::from_secs(3_600)).await
    }

    /// An open round that closes after this time.
    pub async fn round_closing(&self, name: &str, total_shares: i64, after: Duration) -> Result<Uuid> {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("round {name}").as_bytes());
        let closes_at: well_known::Timestamp = (clock::now() + after).to_wire();
        let open = OpenRound {
            round_id: id.to_string(),
            prize: name.to_owned(),
            total_shares,
            share_price: Some(money(500)),
            closes_at: Some(closes_at),
            actor: String::new(),
        };
        accepted(&self.send(name, &open).await?)?;
        Ok(id)
    }

    /// An open coupon.
    pub async fn coupon(&self, code: &str, offer: CouponOffer) -> Result<()> {
        let offer = CouponOffer { currency: "EUR".to_owned(), ..offer };
        accepted(
            &self
                .send(code, &OpenCoupon { coupon_code: code.to_owned(), offer: Some(offer), actor: String::new() })
                .await?,
        )
    }

    /// Places an order and waits for the answer (not for its holds).
    pub async fn place(&self, order: &Order) -> Result<CommandReply> {
        self.client.send(order.id, &order.place).await
    }

    /// Places many orders at once.
    pub async fn place_all(&self, orders: &[Order]) -> Result<()> {
        futures::stream::iter(orders)
            .map(|order| async move { accepted(&self.place(order).await?) })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Waits until nothing is under way any more.
    pub async fn settle(&self) -> Result<()> {
        until_settled(&self.address.database_url, LIMIT).await?;
        Ok(())
    }

    /// Settles, folds the log, and fails on any drift.
    pub async fn settle_and_verify(&self) -> Result<()> {
        self.settle().await?;
        let report = audit(&self.address.database_url).await?;
        if !report.ok {
            bail!("the audit found: {:#?}", report.findings);
        }
        Ok(())
    }

    /// A connection that may read and change everything.
    pub async fn database(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.address.database_url).await.context("connecting to the test's database")
    }

    /// One number that a query answers.
    pub async fn number(&self, query: &'static str) -> Result<i64> {
        let mut connection = self.database().await?;
        let number: Option<i64> = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
        Ok(number.unwrap_or(0))
    }

    /// Waits until a query answers this number.
    pub async fn until(&self, query: &'static str, wanted: i64) -> Result<()> {
        eventually(query, || async { Ok(self.number(query).await? == wanted) }).await
    }

    /// Waits until a query answers this number or more.
    pub async fn until_at_least(&self, query: &'static str, wanted: i64) -> Result<()> {
        eventually(query, || async { Ok(self.number(query).await? >= wanted) }).await
    }

    /// An order's status.
    pub async fn status(&self, order: &Order) -> Result<String> {
        let mut connection = self.database().await?;
        let status: Option<String> = sqlx::query_scalar("select status from orders.orders where order_id = $1")
            .bind(order.id)
            .fetch_optional(&mut connection)
            .await?;
        Ok(status.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// Waits until an order has a status.
    pub async fn until_status(&self, order: &Order, status: &str) -> Result<()> {
        eventually(&format!("{} is {status}", order.id), || async { Ok(self.status(order).await? == status) }).await
    }

    /// Short names of the events of a stream, in order.
    pub async fn stream(&self, stream: &str) -> Result<Vec<String>> {
        let mut connection = self.database().await?;
        let types: Vec<String> = sqlx::query_scalar("select type from log.events where stream = $1 order by version")
            .bind(stream)
            .fetch_all(&mut connection)
            .await?;
        Ok(types.iter().map(|name| proto::short_name(name).to_owned()).collect())
    }

    /// What a worker, `orders-0`, answers over HTTP at the address that its log names last.
    pub async fn get(&self, worker: &str, path: &str) -> Result<String> {
        let log = self.dir().join("log");
        let replica = worker.rsplit_once('-').context("a worker's name ends with a number")?.1;
        let names = [worker.to_owned(), format!("all-in-one-{replica}")];
        let file = names.iter().map(|name| log.join(format!("{name}.log"))).find(|file| file.is_file());
        let log = fs::read_to_string(file.with_context(|| format!("there is no log of {worker}"))?)?;
        let (_, rest) = log.rsplit_once("\"address\":\"").context("its log names no address")?;
        probes::get(rest.split('"').next().unwrap_or_default(), path).await
    }

    /// Waits until a worker says that it is not ready, and why: in all of these words.
    pub async fn until_unready(&self, worker: &str, words: &[&str]) -> Result<()> {
        eventually(&format!("{worker} says {words:?}"), || async {
            let answer = self.get(worker, "/readyz").await?;
            Ok(answer.starts_with("HTTP/1.1 503") && words.iter().all(|word| answer.contains(word)))
        })
        .await
    }

    /// Waits until a worker is ready.
    pub async fn until_ready(&self, worker: &str) -> Result<()> {
        eventually(&format!("{worker} is ready"), || async {
            Ok(self.get(worker, "/readyz").await?.starts_with("HTTP/1.1 200"))
        })
        .await
    }

    /// Runs the `holdfast` command on this fleet: its exit code, and the object that it prints.
    pub async fn command(&self, args: &[&str]) -> Result<(Option<i32>, serde_json::Value)> {
        let Address { database_url, broker_url } = &self.address;
        let output = tokio::process::Command::new(holdfast())
            .args(args)
            .args(["--json", "--database-url", database_url, "--broker-url", broker_url])
            .current_dir(self.dir())
            .stdin(Stdio::null())
            .output()
            .await?;
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let value = serde_json::from_str(&said).with_context(|| format!("{args:?}: {said}{complained}"))?;
        Ok((output.status.code(), value))
    }

    /// What the workers have logged, for a test that fails.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }
}

fn accepted(reply: &CommandReply) -> Result<()> {
    if !is_accepted(reply) {
        bail!("refused: {reply:?}");
    }
    Ok(())
}

/// Waits until it is so; fails, saying what was waited for, when it takes too long.
pub async fn eventually<F>(what: &str, mut look: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = Result<bool>>,
{
    // An error counts as "not yet": the database may be on its way up again.
    let mut last = String::new();
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        match look().await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => last = format!(" (last error: {error:#})"),
        }
        clock::sleep(LOOK_EVERY).await;
    }
    bail!("waited {} s in vain: {what}{last}", LIMIT.as_secs())
}
