//! A private fleet to be measured, looked at from outside as cheaply as possible.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use async_nats::jetstream;
use audit::{self, quiescence::until_settled};
use platform::broker::EVENTS;
use serde::Deserialize;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;
use testbed::{
    fleet::{Address, Fleet, Options},
    servers::{scratch_dir, wait_until},
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    catalog::Catalog,
    pipelined_client::{Outgoing, PipelinedClient, Progress},
    usage::{self, Usage},
};

/// How long everything that was begun may take to come to its end.
pub(super) const SETTLES_WITHIN: Duration = Duration::from_secs(600);

/// How long nothing at all may come to its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look how many are done. More often would cost the broker more than a hundredth of its time.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Room for the events of a minute at full load: as long as the broker forgets none, it can count them.
const EVENTS_BYTES_MAX: &str = "6442450944";

const EVENTS_BYTES: &str = "HOLDFAST_BROKER_EVENTS_BYTES_MAX";

/// Connections to Postgres: this process only looks.
const CONNECTIONS: u32 = 2;

/// Which workers a fleet has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Of each.
    pub(super) replicas: u8,
    /// One process with all services, instead of four.
    pub(super) all_in_one: bool,
    /// A nats-server that says of nothing that it has it before it is flushed to the disk.
    pub(super) synced: bool,
}

/// As deploy/nats/nats.conf has it, for whoever needs that no command is lost with a machine.
const SYNCED: &str = "jetstream { max_file_store: 64GB, sync_interval: always }\n";

/// A private fleet. Dropping it ends everything and removes its directory.
#[derive(Debug)]
pub(super) struct BenchFleet {
    // Declared, and so dropped, before the directory that it lives in.
    pub(super) fleet: Fleet,
    _scratch: TempDir,
    pub(super) replicas: usize,
    pub(super) address: Address,
    pub(super) pool: PgPool,
    /// How far the fleet is.
    pub(super) counter: Counter,
    /// From starting the workers to their taking messages in.
    pub(super) ready_after: Duration,
}

/// Counts what was published. Costs next to nothing: the broker counts it anyway.
#[derive(Debug, Clone)]
pub(super) struct Counter(jetstream::Context);

/// How many events of each kind were published, by subject.
pub(super) type Counts = BTreeMap<String, u64>;

#[derive(Debug, Deserialize)]
struct Info {
    state: State,
}

#[derive(Debug, Deserialize)]
struct State {
    first_seq: u64,
    #[serde(default)]
    subjects: Counts,
}

impl BenchFleet {
    /// Starts servers and workers, and prepares what is sold.
    pub(super) async fn start(size: Size, catalog: Catalog) -> Result<Self> {
        Self::with(size, catalog, BTreeMap::new()).await
    }

    /// The same with other settings of the workers.
    pub(super) async fn with(size: Size, catalog: Catalog, mut settings: BTreeMap<String, String>) -> Result<Self> {
        let scratch = scratch_dir("holdfast-bench-")?;
        let (replicas, all_in_one) = (usize::from(size.replicas), size.all_in_one);
        if env::var_os(EVENTS_BYTES).is_none() {
            settings.insert(EVENTS_BYTES.to_owned(), EVENTS_BYTES_MAX.to_owned());
        }
        let broker_settings = if size.synced { SYNCED.to_owned() } else { String::new() };
        let options = Options { replicas, all_in_one, settings, broker_settings, ..Options::default() };
        let mut fleet = Fleet::start_servers(scratch.path(), options).await?;
        let begun = Instant::now();
        fleet.start_workers()?;
        fleet.ready().await?;
        let ready_after = begun.elapsed();
        let address = fleet.address();
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&address.database_url).await?;
        let counter = Counter(jetstream::new(async_nats::connect(&address.broker_url).await?));
        let bench_fleet = Self { fleet, _scratch: scratch, replicas, address, pool, counter, ready_after };
        bench_fleet.relay_ready().await?;
        bench_fleet.prepare(catalog).await.context("preparing products and rounds")?;
        Ok(bench_fleet)
    }

    /// Waits until the relay knows its broker: until then it publishes again what workers publish, and what is published is counted.
    async fn relay_ready(&self) -> Result<()> {
        let knows = || async {
            let query = sqlx::query_scalar::<_, bool>("select broker is not null from log.relay");
            let knows = query.fetch_one(&self.pool).await.context("asking whether the relay knows its broker")?;
            Ok(knows.then_some(()))
        };
        let known = wait_until(PATIENCE, knows).await?;
        known.with_context(|| format!("no relay knew its broker within {} s", PATIENCE.as_secs()))
    }

    async fn prepare(&self, catalog: Catalog) -> Result<()> {
        let id =
            |name: &str, number: &str| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("bench {name} {number}").as_bytes());
        let (registers, receives): (Vec<_>, Vec<_>) = catalog.stock().unzip();
        let registers = registers.iter().map(|register| Outgoing::new(id("register", &register.sku), register));
        let receives = receives.iter().map(|receive| Outgoing::new(id("receive", &receive.sku), receive));
        let openings =
            catalog.openings(platform::clock::now()).map(|open| Outgoing::new(id("open", &open.round_id), &open));
        // One after the other: replicas may take what comes later first.
        self.send_all(registers).await?;
        self.counter.until_published("evt.inventory.ProductRegistered", catalog.products.into()).await?;
        self.send_all(receives.chain(openings)).await?;
        self.counter.until_published("evt.inventory.StockReceived", catalog.products.into()).await?;
        self.counter.until_published("evt.rounds.RoundOpened", catalog.rounds.into()).await
    }

    async fn send_all(&self, commands: impl Iterator<Item = Outgoing>) -> Result<()> {
        let mut client = self.client().await?;
        for command in commands {
            client.send(command).await?;
        }
        client.flush().await
    }

    /// Something to send commands with.
    pub(super) async fn client(&self) -> Result<PipelinedClient> {
        PipelinedClient::connect(&self.address.broker_url).await
    }

    /// What all processes have cost so far.
    pub(super) fn usage(&self) -> Usage {
        let mut workers = BTreeMap::new();
        for service in self.fleet.workers() {
            let replicas = (0..self.replicas).filter_map(|replica| self.fleet.worker(service, replica).ok());
            workers.insert((*service).to_owned(), replicas.map(|process| usage::cpu_us(process.pid())).sum());
        }
        if let Ok(gateway) = self.fleet.worker("gateway", 0) {
            workers.insert("gateway".to_owned(), usage::cpu_us(gateway.pid()));
        }
        Usage {
            workers,
            postgres: self.fleet.postgres.pid().map_or(0, usage::cpu_with_children_us),
            nats: self.fleet.nats.pid().map_or(0, usage::cpu_us),
            bench: usage::cpu_us(std::process::id()),
            machine: usage::machine_us(),
        }
    }

    /// How many sessions of workers wait for a row or a transaction of another now.
    pub(super) async fn waiting_for_locks(&self) -> Result<u64> {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where application_name like 'holdfast-%' and wait_event_type = 'Lock' and wait_event <> 'advisory'",
        )
        .fetch_one(&self.pool)
        .await
        .context("asking who waits for whom")?;
        Ok(u64::try_from(waiting)?)
    }

    /// The most memory that any worker ever had resident, by service, in MiB.
    pub(super) fn resident_max_mib(&self) -> BTreeMap<String, u64> {
        let most = |service: &str| {
            let replicas = (0..self.replicas).filter_map(|replica| self.fleet.worker(service, replica).ok());
            replicas.map(|process| usage::resident_max_kib(process.pid())).max().unwrap_or(0).div_ceil(1_024)
        };
        self.fleet.workers().iter().map(|service| ((*service).to_owned(), most(service))).collect()
    }

    /// Waits until nothing is left to do, and audits: "ok", or what is wrong.
    pub(super) async fn audit(&self) -> Result<String> {
        until_settled(&self.address.database_url, SETTLES_WITHIN).await?;
        let report = audit::audit(&self.address.database_url).await?;
        if report.ok && report.dead_letters == 0 {
            return Ok("ok".to_owned());
        }
        let first = report.findings.first().map(|found| format!("{}: {}", found.subject, found.what));
        Ok(format!(
            "{} findings, {} dead letters; {}",
            report.findings_total,
            report.dead_letters,
            first.unwrap_or_default()
        ))
    }

    /// Stops the workers: raw limits have the machine to themselves.
    pub(super) async fn stop_workers(&mut self) -> Result<()> {
        for service in self.fleet.workers() {
            for replica in 0..self.replicas {
                self.fleet.stop_worker(service, replica).await?;
            }
        }
        Ok(())
    }

    /// Stops everything.
    pub(super) async fn stop(self) -> Result<()> {
        self.pool.close().await;
        self.fleet.stop().await
    }
}

impl Counter {
    /// How many events of each kind were published so far.
    pub(super) async fn counts(&self) -> Result<Counts> {
        let wanted = serde_json::json!({ "subjects_filter": "evt.>" });
        let info: Info = self
            .0
            .request(format!("STREAM.INFO.{EVENTS}"), &wanted)
            .await
            .context("asking the broker how many events were published")?;
        // Of what it has forgotten there is no count.
        if info.state.first_seq > 1 {
            bail!(
                "the broker's stream is full, so it has begun to forget events that all have handled, and they are what is counted; \
                 measure for a shorter time, or make it larger ({EVENTS_BYTES})"
            );
        }
        Ok(info.state.subjects)
    }

    /// Waits until so many events of a kind were published, as long as there are ever more.
    pub(super) async fn until_published(&self, subject: &str, count: u64) -> Result<()> {
        self.until(count, |counts| published(counts, subject)).await
    }

    /// Waits until so many are done, as long as there are ever more.
    pub(super) async fn until(&self, count: u64, done: impl Fn(&Counts) -> u64) -> Result<()> {
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let now = done(&self.counts().await?);
            if now >= count {
                return Ok(());
            }
            if now > most {
                (most, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE {
                bail!("{most} of {count} came to their end, and no more within {} s", PATIENCE.as_secs());
            }
            platform::clock::sleep(LOOK_EVERY).await;
        }
    }
}

/// How many events of one kind were published.
pub(super) fn published(counts: &Counts, subject: &str) -> u64 {
    let of = |subject: &str| counts.get(subject).copied().unwrap_or(0);
    of(subject) + of(&format!("{subject}.handled"))
}

/// Where those who send learn how far the others are.
pub(super) fn progress() -> (watch::Sender<Progress>, watch::Receiver<Progress>) {
    watch::channel(Progress::default())
}
