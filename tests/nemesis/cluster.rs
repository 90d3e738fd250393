//! The hosts of a run: Postgres, three nats-servers that are one cluster, and replicas of every worker, each with links of its own
//! to whatever it talks to. Whatever was done to them, [`Cluster::mend`] undoes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use holdfast_tests::{SkewedClock, probes::get};
use platform::{clock, migrations};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use testbed::{
    fleet::{DATABASE, fits_a_small_disk, worker_binary},
    servers::{Membership, NatsServer, Postgres, Process, SUPERUSER, Signal, free_port, scratch_dir, wait_until},
};

use crate::{
    disk::Disk,
    network::{LinkConditions, Network},
};

/// Members of the cluster, and copies of each of its streams.
pub(crate) const NODES: usize = 3;

/// Replicas of every worker.
pub(crate) const REPLICAS: usize = 2;

pub(crate) const POSTGRES: &str = "postgres";

/// The member whose disk can be full.
pub(crate) const SMALL_NODE: usize = 2;

/// The host of those who send commands.
const SHOP: &str = "shop";

/// Positions of one partition of the log: one is full every few minutes.
const PARTITION: u32 = 50_000;

const ENDS_WITHIN: Duration = Duration::from_secs(20);

const READY_WITHIN: Duration = Duration::from_secs(30);

/// A worker: a replica of a service.
#[derive(Debug)]
struct Worker {
    service: &'static str,
    /// Which of the builds it was last started from.
    build: usize,
    process: Option<Process>,
    is_skewed: bool,
    /// Where it says whether it is ready.
    probes: SocketAddr,
}

/// All hosts. Dropping it ends everything.
#[derive(Debug)]
pub(crate) struct Cluster {
    // In this order they are dropped: those who use something before what they use.
    workers: BTreeMap<String, Worker>,
    /// Transactions that somebody forgot to end.
    pub(crate) forgotten: Vec<PgConnection>,
    pub(crate) nats: Vec<NatsServer>,
    pub(crate) postgres: Postgres,
    pub(crate) network: Network,
    /// Postgres's disk, where disks can be mounted.
    pub(crate) postgres_disk: Option<Disk>,
    /// The disk of [`SMALL_NODE`].
    pub(crate) node_disk: Option<Disk>,
    /// Members that do not come back by themselves although they run.
    pub(crate) disabled: BTreeSet<usize>,
    clock: SkewedClock,
    /// By how much a restored database is older, if that is not left to chance.
    pub(crate) lag: Option<Duration>,
    /// How often the database has gone back.
    pub(crate) gone_back: u32,
    /// Whether nothing goes on before an operator has said so.
    waits_for_recovery: bool,
    /// What mends the database, in SQL.
    pub(crate) repairs: Vec<&'static str>,
    builds: Vec<PathBuf>,
    dir: TempDir,
}

pub(crate) fn node(number: usize) -> String {
    format!("nats-{number}")
}

pub(crate) fn worker(service: &str, replica: usize) -> String {
    format!("{service}-{replica}")
}

impl Cluster {
    /// Starts servers, migrates the database and starts all workers. `other_build` has workers of another build.
    pub(crate) async fn set(other_build: Option<PathBuf>, lag: Option<Duration>) -> Result<Self> {
        let dir = scratch_dir("holdfast-faults-")?;
        let postgres_disk = Disk::mount(&dir.path().join(POSTGRES))?;
        let node_disk = Disk::mount(&dir.path().join(node(SMALL_NODE)))?;
        let clock = SkewedClock::build(dir.path())?;
        let postgres = Postgres::start(&dir.path().join(POSTGRES)).await?;
        let url = postgres.url_to_migrate(DATABASE, Some(PARTITION));
        migrations::migrate(&postgres.url(SUPERUSER, "postgres"), &url, DATABASE).await?;
        let mut network = Network::default();
        let nats = cluster(&dir, &mut network).await?;
        let this = worker_binary(proto::SERVICES[0])?.parent().context("a program lies in a directory")?.to_owned();
        let builds = [this].into_iter().chain(other_build).collect();
        let mut stage = Self {
            workers: BTreeMap::new(),
            forgotten: Vec::new(),
            nats,
            postgres,
            network,
            postgres_disk,
            node_disk,
            disabled: BTreeSet::new(),
            clock,
            lag,
            gone_back: 0,
            waits_for_recovery: false,
            repairs: Vec::new(),
            builds,
            dir,
        };
        for service in proto::SERVICES {
            for replica in 0..REPLICAS {
                let probes = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
                let new = Worker { service, build: 0, process: None, is_skewed: false, probes };
                stage.workers.insert(worker(service, replica), new);
            }
        }
        for host in stage.hosts() {
            stage.start_worker(&host, 0).await?;
        }
        Ok(stage)
    }

    /// All workers' names.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.workers.keys().cloned().collect()
    }

    /// Postgres, past every link, as a role that may do anything.
    pub(crate) fn database_url(&self) -> String {
        self.postgres.url(SUPERUSER, DATABASE)
    }

    /// Where the shop reaches the cluster.
    pub(crate) async fn shop_url(&mut self) -> Result<String> {
        self.broker_url(SHOP).await
    }

    async fn broker_url(&mut self, host: &str) -> Result<String> {
        let mut urls = Vec::new();
        for number in 0..NODES {
            let port = self.network.link(host, &node(number), self.nats[number].port()).await?;
            urls.push(format!("nats://127.0.0.1:{port}"));
        }
        Ok(urls.join(","))
    }

    /// Starts a worker, its clock wrong by so many seconds.
    pub(crate) async fn start_worker(&mut self, host: &str, off_by_seconds: i64) -> Result<()> {
        let broker_url = self.broker_url(host).await?;
        let port = self.network.link(host, POSTGRES, self.postgres.port()).await?;
        let logs = self.dir.path().join("log");
        fs::create_dir_all(&logs)?;
        let log = File::options().create(true).append(true).open(logs.join(format!("{host}.log")))?;
        let worker = self.workers.get_mut(host).with_context(|| format!("there is no worker {host}"))?;
        let program = self.builds[worker.build].join(format!("holdfast-{}", worker.service));
        let mut command = Process::command(program, Signal::TERM);
        let service = worker.service;
        command
            .env(
                "HOLDFAST_DATABASE_URL",
                format!("postgres://holdfast_{service}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"),
            )
            .env("HOLDFAST_BROKER_URL", broker_url)
            .env("HOLDFAST_BROKER_REPLICAS", NODES.to_string())
            .env("HOLDFAST_HTTP_ADDRESS", worker.probes.to_string())
            .envs(fits_a_small_disk())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log));
        if off_by_seconds != 0 {
            command.envs(self.clock.settings(off_by_seconds));
        }
        worker.is_skewed = off_by_seconds != 0;
        worker.process = Some(Process::spawn(host, command, Signal::TERM)?);
        Ok(())
    }

    /// Sends a signal to a worker; nothing happens if it has ended.
    pub(crate) fn signal(&self, host: &str, signal: Signal) -> Result<()> {
        let process = self.workers.get(host).and_then(|worker| worker.process.as_ref());
        process.map_or(Ok(()), |process| process.signal(signal))
    }

    /// Ends a worker with SIGKILL, or with SIGTERM as an operator would.
    pub(crate) async fn end_worker(&mut self, host: &str, signal: Signal) -> Result<()> {
        self.signal(host, signal)?;
        let ended = self.workers.get_mut(host).and_then(|worker| worker.process.take());
        if let Some(process) = ended {
            process.ended(ENDS_WITHIN).await?;
        }
        Ok(())
    }

    /// Waits until a worker says that it is ready.
    pub(crate) async fn ready(&self, host: &str) -> Result<()> {
        let probes = self.workers.get(host).with_context(|| format!("there is no worker {host}"))?.probes;
        let ready = wait_until(READY_WITHIN, || async move {
            Ok(get(probes, "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")).then_some(()))
        });
        ready.await?.with_context(|| format!("{host} was not ready after {} s", READY_WITHIN.as_secs()))
    }

    /// The next start of a worker is from the next build, if there is another.
    pub(crate) fn change_build(&mut self, host: &str) {
        let builds = self.builds.len();
        if let Some(worker) = self.workers.get_mut(host) {
            worker.build = (worker.build + 1) % builds;
        }
    }

    /// Whether workers of another build are there.
    pub(crate) fn has_two_builds(&self) -> bool {
        self.builds.len() > 1
    }

    /// The worker that is the relay, if one is.
    pub(crate) async fn relay(&self) -> Result<Option<String>> {
        let mut connection = PgConnection::connect(&self.database_url()).await?;
        let port: Option<i32> = sqlx::query_scalar(
            "select client_port from pg_locks join pg_stat_activity using (pid)
             where locktype = 'advisory' and granted and application_name = 'holdfast-relay'",
        )
        .fetch_optional(&mut connection)
        .await?;
        let port = port.and_then(|port| u16::try_from(port).ok());
        Ok(port.and_then(|port| self.network.pair_behind(port)).map(|(host, _)| host))
    }

    /// Puts a copy of the database in its place that is so much older: a backup, or a standby that was promoted.
    pub(crate) async fn go_back(&mut self, is_standby: bool, lag: Duration) -> Result<String> {
        self.gone_back += 1;
        let mut copy = self.dir.path().join(format!("copy-{}", self.gone_back));
        self.postgres.backup(&copy).await?;
        let standby = if is_standby { Some(self.postgres.standby(&copy).await?) } else { None };
        if let Some(standby) = &standby {
            standby.falls_behind().await?;
        }
        clock::sleep(lag).await;
        let mut connection = PgConnection::connect(&self.database_url()).await?;
        // The provider is another's, and forgets nothing: it says nothing more that is not in this copy of its memory.
        connection.execute("begin; lock table payments.sandbox_refunds in exclusive mode").await?;
        let (head, provider): (i64, serde_json::Value) = sqlx::query_as(
            "select (select max(position) from log.events),
                 (select coalesce(json_agg(refund), '[]') from payments.sandbox_refunds as refund)",
        )
        .fetch_one(&mut connection)
        .await?;
        self.postgres.kill().await?;
        if let Some(standby) = standby {
            copy = standby.promote().await?;
        }
        self.postgres.restore(&copy).await?;
        fs::remove_dir_all(&copy)?;
        self.postgres.start_again().await?;
        self.waits_for_recovery = true;
        let mut connection = PgConnection::connect(&self.database_url()).await?;
        sqlx::query(
            "insert into payments.sandbox_refunds
             select * from jsonb_populate_recordset(null::payments.sandbox_refunds, $1)
             on conflict (key) do update set status = excluded.status, calls = excluded.calls,
                 fails_after_ms = excluded.fails_after_ms, first_call_at = excluded.first_call_at",
        )
        .bind(sqlx::types::Json(provider))
        .execute(&mut connection)
        .await?;
        let now: i64 = sqlx::query_scalar("select max(position) from log.events").fetch_one(&mut connection).await?;
        Ok(format!("by {:.1} s, from position {head} to {now}", lag.as_secs_f64()))
    }

    /// Undoes whatever was done to any host: all that stands still goes on, all that has ended runs again.
    pub(crate) async fn mend(&mut self) -> Result<()> {
        self.network.change(LinkConditions::default(), |_all| true);
        for disk in self.postgres_disk.iter().chain(&self.node_disk) {
            disk.clear()?;
        }
        self.forgotten.clear();
        self.postgres.resume()?;
        if self.postgres.pid().is_none() {
            self.postgres.start_again().await?;
        }
        for repair in std::mem::take(&mut self.repairs) {
            let mut connection = PgConnection::connect(&self.database_url()).await?;
            // The harm may be that sessions only read.
            sqlx::raw_sql("set default_transaction_read_only = off").execute(&mut connection).await?;
            sqlx::raw_sql(repair).execute(&mut connection).await?;
        }
        for number in std::mem::take(&mut self.disabled) {
            self.nats[number].kill().await?;
        }
        for server in &mut self.nats {
            server.resume()?;
            if server.pid().is_none() {
                server.start_again().await?;
            }
        }
        for host in self.hosts() {
            self.signal(&host, Signal::CONT)?;
            if self.workers.get(&host).is_some_and(|worker| worker.is_skewed) {
                self.end_worker(&host, Signal::KILL).await?;
            }
            let runs = |worker: &Worker| worker.process.as_ref().is_some_and(|process| process.exited().is_none());
            if !self.workers.get(&host).is_some_and(runs) {
                self.start_worker(&host, 0).await?;
            }
        }
        if std::mem::take(&mut self.waits_for_recovery) {
            self.recover().await?;
        }
        Ok(())
    }

    /// What an operator does once the database has gone back.
    async fn recover(&self) -> Result<()> {
        let broker_url = format!("nats://127.0.0.1:{}", self.nats[0].port());
        let ended = tokio::process::Command::new(self.builds[0].join("holdfast"))
            .args(["recover", "--adopt", "--json", "--database-url", &self.database_url(), "--broker-url", &broker_url])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .await?;
        let (said, complained) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        if !ended.status.success() {
            bail!("holdfast recover ended with {}: {said}{complained}", ended.status);
        }
        let report: serde_json::Value = serde_json::from_str(&said)?;
        println!("          {} of {} lost events were taken back", report["adoptable"], report["lost"]);
        Ok(())
    }

    /// Keeps logs and data after the end, and says where.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.postgres_disk.iter_mut().chain(&mut self.node_disk).for_each(Disk::stay);
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }
}

/// Starts all members, each with links to the others.
async fn cluster(dir: &TempDir, network: &mut Network) -> Result<Vec<NatsServer>> {
    let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect::<Result<_>>()?;
    let mut servers = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let mut routes = Vec::new();
        for (other, target) in ports.iter().enumerate().filter(|(other, _)| *other != number) {
            routes.push(network.link(&node(number), &node(other), *target).await?);
        }
        let membership = Membership { cluster: "holdfast".to_owned(), port: *port, routes };
        servers.push(NatsServer::start_member(&dir.path().join(node(number)), membership).await?);
    }
    Ok(servers)
}
