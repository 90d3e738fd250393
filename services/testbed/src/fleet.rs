//! A fleet on this machine: private servers, a migrated database, and workers as child processes that can be killed and
//! started again one by one.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use platform::{
    broker::{self, permissions},
    migrations,
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};

use crate::servers::{NatsServer, Postgres, Process, SUPERUSER, Signal, last_lines, wait_until};

pub mod draws;
mod gateway;
pub mod stripe;

pub use gateway::HttpAccess;

/// The database that a private fleet keeps everything in.
pub const DATABASE: &str = "holdfast";

/// Settings of the streams' sizes, unless the environment has others. A broker makes no stream that might outgrow its disk, of which it
/// takes three quarters, and the defaults are for a machine of its own; these fit in 1 GiB.
pub fn fits_a_small_disk() -> impl Iterator<Item = (&'static str, &'static str)> {
    [("HOLDFAST_BROKER_EVENTS_BYTES_MAX", "536870912"), ("HOLDFAST_BROKER_COMMANDS_BYTES_MAX", "67108864")]
        .into_iter()
        .filter(|(name, _)| env::var_os(name).is_none())
}

/// The worker that is all services.
pub const ALL_IN_ONE: &str = "all-in-one";

/// How long a worker may take to stop when asked.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How long a fleet may take to come up: a machine that has just compiled may have gigabytes to write first.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Of each worker's log, when the fleet does not come up.
const LOG_LINES_SHOWN: usize = 5;

/// Where a fleet's servers are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Address {
    /// Postgres, as a role that may read everything.
    pub database_url: String,
    /// The broker.
    pub broker_url: String,
}

/// How a fleet is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Replicas of each worker.
    pub replicas: usize,
    /// nats-servers: one, or a cluster.
    pub brokers: usize,
    /// Whether each replica is one process with all services.
    pub all_in_one: bool,
    /// Settings of the workers, as environment variables.
    pub settings: BTreeMap<String, String>,
    /// Positions of one partition of the log, if not as many as everywhere.
    pub partition_positions: Option<u32>,
    /// Where the keys of the broker's users are, if each worker is to connect as the one of its name.
    pub keys: Option<PathBuf>,
    /// Settings that each nats-server has besides its own, which they overrule; none if empty.
    pub broker_settings: String,
    /// Where migrated clusters are kept, if a new one is to be a copy of one. It has an installation of its own all the same.
    pub clusters: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: 1,
            brokers: 1,
            all_in_one: false,
            settings: BTreeMap::new(),
            partition_positions: None,
            keys: None,
            broker_settings: String::new(),
            clusters: None,
        }
    }
}

/// A running fleet. Dropping it ends everything.
#[derive(Debug)]
pub struct Fleet {
    dir: PathBuf,
    options: Options,
    workers: BTreeMap<(String, usize), Process>,
    /// The settings of its own that each was started with.
    own_settings: BTreeMap<(String, usize), BTreeMap<String, String>>,
    /// Its broker, or the first member of it.
    pub nats: NatsServer,
    /// The other members.
    pub others: Vec<NatsServer>,
    /// Its database server.
    pub postgres: Postgres,
}

/// A Postgres with a migrated database.
async fn start_postgres(dir: &Path, options: &Options) -> Result<Postgres> {
    let positions = options.partition_positions;
    let migrate = async |postgres: &Postgres| {
        let server = postgres.url(SUPERUSER, "postgres");
        migrations::migrate(&server, &postgres.url_to_migrate(DATABASE, positions), DATABASE).await
    };
    let Some(clusters) = &options.clusters else {
        let postgres = Postgres::start(dir).await?;
        migrate(&postgres).await?;
        return Ok(postgres);
    };
    let partitions = positions.map(|positions| format!("-partitions{positions}")).unwrap_or_default();
    let name = format!("{}{partitions}", migrations::fingerprint());
    let (postgres, is_copy) = Postgres::start_filled(dir, (clusters, &name), migrate).await?;
    if !is_copy {
        return Ok(postgres);
    }
    let mut database = PgConnection::connect(&postgres.url(SUPERUSER, DATABASE)).await?;
    sqlx::query("update log.installation set id = gen_random_uuid()").execute(&mut database).await?;
    database.close().await?;
    Ok(postgres)
}

impl Fleet {
    /// Starts servers in `dir` (what is there is used again), migrates the database, and starts all workers.
    pub async fn start(dir: &Path, options: Options) -> Result<Self> {
        let mut fleet = Self::start_servers(dir, options).await?;
        fleet.start_workers()?;
        fleet.ready().await?;
        Ok(fleet)
    }

    /// Starts servers and migrates the database, without workers.
    pub async fn start_servers(dir: &Path, options: Options) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making the directory {}", dir.display()))?;
        let postgres = start_postgres(&dir.join("postgres"), &options).await?;
        let mut others = NatsServer::start_all(dir, options.brokers, &options.broker_settings).await?;
        let nats = others.drain(..1).next().context("a fleet has a broker")?;
        Ok(Self {
            dir: dir.to_owned(),
            options,
            workers: BTreeMap::new(),
            own_settings: BTreeMap::new(),
            nats,
            others,
            postgres,
        })
    }

    /// Waits until every service takes commands and events in.
    pub async fn ready(&self) -> Result<()> {
        let client =
            async_nats::connect(self.nats.url()).await.context("connecting to see whether the fleet is ready")?;
        let jetstream = async_nats::jetstream::new(client);
        let ready = wait_until(READY_WITHIN, || async {
            let mut missing = audit::status::broker::consumers();
            for stream in broker::streams() {
                let Ok(stream) = jetstream.get_stream_no_info(stream).await else { return Ok(None) };
                let mut names = stream.consumer_names();
                while let Some(Ok(name)) = names.next().await {
                    missing.remove(&name);
                }
            }
            if let Some((service, replica, code)) = self.ended_workers().first() {
                bail!("worker {service}-{replica} ended at once (exit code {code:?}).\n{}", self.last_words());
            }
            Ok(missing.is_empty().then_some(()))
        });
        ready.await?.with_context(|| {
            format!("the fleet was not ready after {} s.\n{}", READY_WITHIN.as_secs(), self.last_words())
        })
    }

    /// The end of each worker's log: the logs themselves may be gone with their directory before anybody reads of them.
    fn last_words(&self) -> String {
        let end = |(service, replica): &(String, usize)| {
            let log = self.log(service, *replica);
            format!("The end of {}:\n{}", log.display(), last_lines(&log, 0, LOG_LINES_SHOWN))
        };
        self.workers.keys().map(end).collect()
    }

    fn log(&self, service: &str, replica: usize) -> PathBuf {
        let service = self.process_of(service);
        self.dir.join("log").join(format!("{service}-{replica}.log"))
    }

    /// Where its servers are.
    pub fn address(&self) -> Address {
        Address { database_url: self.postgres.url(SUPERUSER, DATABASE), broker_url: self.nats.url() }
    }

    /// Where workers reach the broker.
    fn broker_urls(&self) -> String {
        let members = [&self.nats].into_iter().chain(&self.others);
        members.map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// The names of its workers.
    pub fn workers(&self) -> &'static [&'static str] {
        if self.options.all_in_one { &[ALL_IN_ONE] } else { &proto::SERVICES }
    }

    /// The name of the process that a service is in.
    fn process_of<'a>(&self, service: &'a str) -> &'a str {
        if self.options.all_in_one && proto::SERVICES.contains(&service) { ALL_IN_ONE } else { service }
    }

    /// Starts every worker that is not running.
    pub fn start_workers(&mut self) -> Result<()> {
        for service in self.workers() {
            for replica in 0..self.options.replicas {
                self.start_worker(service, replica)?;
            }
        }
        Ok(())
    }

    /// Starts one worker unless it is running. Its log is `<dir>/log/<service>-<replica>.log`.
    pub fn start_worker(&mut self, service: &str, replica: usize) -> Result<()> {
        self.start_worker_with(service, replica, &BTreeMap::new())
    }

    /// Starts one worker unless it is running, with settings of its own.
    pub fn start_worker_with(
        &mut self,
        service: &str,
        replica: usize,
        settings: &BTreeMap<String, String>,
    ) -> Result<()> {
        let service = self.process_of(service);
        let key = (service.to_owned(), replica);
        if self.workers.get(&key).is_some_and(|process| process.exited().is_none()) {
            return Ok(());
        }
        let name = format!("holdfast-{service}");
        let path = self.log(service, replica);
        fs::create_dir_all(self.dir.join("log"))?;
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("opening the log {}", path.display()))?;
        let mut command = Process::command(worker_binary(service)?, Signal::TERM);
        command
            .env(
                "HOLDFAST_DATABASE_URL",
                self.postgres.url(&format!("holdfast_{}", service.replace('-', "_")), DATABASE),
            )
            .env("HOLDFAST_BROKER_URL", self.broker_urls())
            .envs(fits_a_small_disk())
            .envs(self.options.keys.iter().flat_map(|keys| as_user(service, keys)))
            .envs(&self.options.settings)
            .envs(settings)
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log));
        self.own_settings.insert(key.clone(), settings.clone());
        self.workers.insert(key, Process::spawn(&name, command, Signal::TERM)?);
        Ok(())
    }

    /// Starts a worker that has ended as it was started before.
    pub fn start_again(&mut self, service: &str, replica: usize) -> Result<()> {
        let settings = self.own_settings.get(&(service.to_owned(), replica)).cloned().unwrap_or_default();
        self.start_worker_with(service, replica, &settings)
    }

    /// SIGKILL to one worker: what a crash looks like.
    pub async fn kill_worker(&mut self, service: &str, replica: usize) -> Result<()> {
        let process = self.worker(service, replica)?;
        process.signal(Signal::KILL)?;
        process.ended(STOP_WITHIN).await?;
        Ok(())
    }

    /// SIGTERM to one worker, and its exit code.
    pub async fn stop_worker(&mut self, service: &str, replica: usize) -> Result<Option<i32>> {
        let process = self.worker(service, replica)?;
        process.signal(Signal::TERM)?;
        Ok(process.ended(STOP_WITHIN).await?.code())
    }

    /// One worker's process.
    pub fn worker(&self, service: &str, replica: usize) -> Result<&Process> {
        self.workers
            .get(&(self.process_of(service).to_owned(), replica))
            .with_context(|| format!("there is no worker {service}-{replica} in this fleet"))
    }

    /// Workers that have ended although nobody asked them to: name, replica, exit code.
    pub fn ended_workers(&self) -> Vec<(String, usize, Option<i32>)> {
        let ended = |process: &Process| process.exited().map(|status| status.code());
        self.workers
            .iter()
            .filter_map(|((name, replica), process)| Some((name.clone(), *replica, ended(process)?)))
            .collect()
    }

    /// Stops workers first, then the servers.
    pub async fn stop(mut self) -> Result<()> {
        for process in self.workers.values() {
            process.signal(Signal::TERM)?;
        }
        for ((service, replica), process) in &self.workers {
            let status = process.ended(STOP_WITHIN).await?;
            if !status.success() {
                tracing::warn!(service, replica, %status, "a worker did not stop cleanly");
            }
        }
        self.workers.clear();
        for member in &mut self.others {
            member.stop().await?;
        }
        self.nats.stop().await?;
        self.postgres.stop().await
    }
}

/// The settings of whoever connects to the broker as the user of this name.
#[must_use]
pub fn as_user(name: &str, keys: &Path) -> [(&'static str, String); 3] {
    [
        ("HOLDFAST_BROKER_CREDENTIALS", keys.join(format!("{name}.nk")).to_string_lossy().into_owned()),
        ("HOLDFAST_BROKER_INBOX_PREFIX", permissions::inbox_prefix(name)),
        ("HOLDFAST_RELAY_RUNS", permissions::may_be_the_relay(name).to_string()),
    ]
}

/// The program of a service's worker, which lies beside this one.
///
/// # Errors
/// It is not there.
pub fn worker_binary(service: &str) -> Result<PathBuf> {
    program(&format!("holdfast-{service}"))
}

/// A program that is built with this one, and lies beside it.
///
/// # Errors
/// It is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let this = env::current_exe().context("finding this program's own file")?;
    // A test's program lies one directory below the workers.
    let found = this.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!("there is no {name} beside {}; build it with `cargo build --workspace --bins`", this.display()),
    }
}
