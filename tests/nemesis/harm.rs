//! The harm that is done: each kind once, then each again, in an order that follows from the seed.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, consumer::pull, stream};
use holdfast_tests::change_consumer;
use platform::{broker::EVENTS, clock};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use sqlx::{Connection, PgConnection};
use testbed::servers::{NatsServer, Signal, wait_until};
use time::OffsetDateTime;

use crate::{
    cluster::{Cluster, NODES, POSTGRES, REPLICAS, SMALL_NODE, node, worker},
    network::{LinkConditions, Pair},
};

/// How long the broker may have nobody who answers for a stream.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

macro_rules! kinds {
    ($($kind:ident $name:literal),+ $(,)?) => {
        /// A kind of harm.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $($kind),+ }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// In words.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }
        }
    };
}

kinds! {
    KillWorker "a worker is killed",
    KillService "all replicas of a service are killed",
    KillRelay "the relay is killed",
    KillPostgres "Postgres is killed",
    KillNode "a nats-server is killed",
    KillCluster "all nats-servers are killed",
    KillAll "everything is killed",
    PauseWorker "a worker stands still",
    PauseRelay "the relay stands still",
    PausePostgres "Postgres stands still",
    PauseNode "a nats-server stands still",
    WipeNode "a nats-server loses its disk",
    WipeCluster "all nats-servers lose their disks",
    CutWorkerFromBroker "a worker is cut off from the broker",
    CutWorkerFromDatabase "a worker is cut off from Postgres",
    CutWorker "a worker is cut off from all",
    CutNode "a nats-server is cut off from the others",
    CutNodeFromAll "a nats-server is cut off from all",
    Delay "everything arrives late",
    Loss "packets are lost",
    FillPostgres "Postgres's disk is full",
    FillNode "a nats-server's disk is full",
    SkewClock "a worker's clock is wrong",
    EndSessions "Postgres ends all sessions",
    LockRows "somebody locks hot rows",
    IdleTransaction "somebody forgets a transaction",
    RollingRestart "the fleet is restarted, one by one",
    ReadOnly "the database takes nothing in",
    SetBackSequence "the log's sequence is set back",
    TakeAwayMessage "a message is taken from the middle of the stream",
    PauseConsumer "a consumer is paused",
    NarrowConsumer "a consumer is narrowed",
    LimitConsumer "a consumer gives up after one delivery",
    TimeOut "statements may take milliseconds only",
    FewConnections "a service has too few connections",
    RestoreDatabase "the database is restored from a backup",
    PromoteStandby "a standby that lags is promoted",
}

/// What was done, and how long it lasts.
#[derive(Debug)]
pub(crate) struct Harm {
    /// To whom, and how.
    pub(crate) what: String,
    /// Until it is undone.
    pub(crate) lasts: Duration,
}

impl Kind {
    /// Whether it can be done here.
    pub(crate) fn is_possible(self, stage: &Cluster) -> bool {
        match self {
            Self::FillPostgres => stage.postgres_disk.is_some(),
            Self::FillNode => stage.node_disk.is_some(),
            _ => true,
        }
    }

    /// Does it.
    pub(crate) async fn inflict(self, stage: &mut Cluster, chance: &mut StdRng) -> Result<Harm> {
        let what = match self {
            Self::KillWorker | Self::KillService | Self::KillRelay => self.kill_workers(stage, chance).await?,
            Self::PauseWorker | Self::PauseRelay => self.pause_worker(stage, chance).await?,
            Self::KillPostgres | Self::KillCluster | Self::KillAll | Self::KillNode => {
                self.kill_servers(stage, chance).await?
            }
            Self::PausePostgres => {
                stage.postgres.pause()?;
                String::new()
            }
            Self::PauseNode => {
                let number = chance.random_range(0..NODES);
                stage.nats[number].pause()?;
                node(number)
            }
            Self::WipeNode | Self::WipeCluster => self.wipe(stage, chance).await?,
            Self::CutWorkerFromBroker
            | Self::CutWorkerFromDatabase
            | Self::CutWorker
            | Self::CutNode
            | Self::CutNodeFromAll => self.cut(stage, chance),
            Self::Delay | Self::Loss => self.bad_weather(stage, chance),
            Self::FillPostgres | Self::FillNode => self.fill(stage)?,
            Self::SkewClock => skew_clock(stage, chance).await?,
            Self::EndSessions => end_sessions(stage).await?,
            Self::LockRows | Self::IdleTransaction => self.forget_a_transaction(stage).await?,
            Self::RollingRestart => restart_one_by_one(stage).await?,
            Self::ReadOnly | Self::SetBackSequence | Self::TimeOut | Self::FewConnections => {
                self.break_database(stage).await?
            }
            Self::TakeAwayMessage => take_away_message(stage, chance).await?,
            Self::RestoreDatabase | Self::PromoteStandby => {
                let by_chance = Duration::from_millis(chance.random_range(500..8_000));
                let lag = stage.lag.unwrap_or(by_chance);
                stage.go_back(self == Self::PromoteStandby, lag).await?
            }
            Self::PauseConsumer | Self::NarrowConsumer | Self::LimitConsumer => {
                self.change_consumer(stage, chance).await?
            }
        };
        Ok(Harm { what, lasts: self.lasts(chance) })
    }

    fn lasts(self, chance: &mut StdRng) -> Duration {
        let most = match self {
            // Over once it is done.
            Self::EndSessions
            | Self::RollingRestart
            | Self::TakeAwayMessage
            | Self::PauseConsumer
            | Self::NarrowConsumer
            | Self::LimitConsumer => return Duration::ZERO,
            Self::KillWorker | Self::KillRelay | Self::KillService | Self::KillPostgres | Self::KillNode => 3_000,
            // What was committed before is on its way to the broker still.
            Self::RestoreDatabase | Self::PromoteStandby => {
                return Duration::from_millis(chance.random_range(1_000..4_000));
            }
            Self::KillCluster | Self::KillAll | Self::WipeNode | Self::WipeCluster => 2_000,
            Self::PausePostgres | Self::FillPostgres | Self::FillNode | Self::LockRows => 5_000,
            _ => 12_000,
        };
        Duration::from_millis(chance.random_range(most / 8..=most))
    }

    async fn kill_workers(self, stage: &mut Cluster, chance: &mut StdRng) -> Result<String> {
        let victims = match self {
            Self::KillService => {
                let service = proto::SERVICES.choose(chance).copied().unwrap_or_default();
                (0..REPLICAS).map(|replica| worker(service, replica)).collect()
            }
            Self::KillRelay => stage.relay().await?.into_iter().collect(),
            _ => vec![some_worker(stage, chance)],
        };
        for host in &victims {
            stage.end_worker(host, Signal::KILL).await?;
        }
        Ok(victims.join(", "))
    }

    async fn pause_worker(self, stage: &Cluster, chance: &mut StdRng) -> Result<String> {
        let relay = if self == Self::PauseRelay { stage.relay().await? } else { None };
        let host = relay.unwrap_or_else(|| some_worker(stage, chance));
        stage.signal(&host, Signal::STOP)?;
        Ok(host)
    }

    async fn kill_servers(self, stage: &mut Cluster, chance: &mut StdRng) -> Result<String> {
        let number = chance.random_range(0..NODES);
        if matches!(self, Self::KillPostgres | Self::KillAll) {
            stage.postgres.kill().await?;
        }
        for (this, server) in stage.nats.iter_mut().enumerate() {
            if matches!(self, Self::KillCluster | Self::KillAll) || self == Self::KillNode && this == number {
                server.kill().await?;
            }
        }
        if self == Self::KillAll {
            for host in stage.hosts() {
                stage.end_worker(&host, Signal::KILL).await?;
            }
        }
        Ok(if self == Self::KillNode { node(number) } else { String::new() })
    }

    async fn wipe(self, stage: &mut Cluster, chance: &mut StdRng) -> Result<String> {
        let number = chance.random_range(0..NODES);
        for (this, server) in stage.nats.iter_mut().enumerate() {
            if self == Self::WipeCluster || this == number {
                server.kill().await?;
                server.wipe()?;
            }
        }
        Ok(if self == Self::WipeNode { node(number) } else { String::new() })
    }

    fn cut(self, stage: &Cluster, chance: &mut StdRng) -> String {
        let cut = LinkConditions { cut: true, ..LinkConditions::default() };
        let (one, member) = (some_worker(stage, chance), node(chance.random_range(0..NODES)));
        let is_node = |host: &str| host.starts_with("nats-");
        let between = |pair: &Pair| is_node(&pair.0) && is_node(&pair.1);
        let host = if matches!(self, Self::CutNode | Self::CutNodeFromAll) { member } else { one };
        stage.network.change(cut, |pair| {
            let (from, to) = pair;
            (*from == host || *to == host)
                && match self {
                    Self::CutWorkerFromBroker => is_node(to),
                    Self::CutWorkerFromDatabase => to == POSTGRES,
                    Self::CutNode => between(pair),
                    _ => true,
                }
        });
        host
    }

    fn bad_weather(self, stage: &Cluster, chance: &mut StdRng) -> String {
        let mut weather = LinkConditions::default();
        if self == Self::Delay {
            weather.delay = Duration::from_millis(chance.random_range(2..100));
        } else {
            weather.lost_percent = chance.random_range(1..15);
        }
        stage.network.change(weather, |_all| true);
        match self {
            Self::Delay => format!("by {} ms each way", weather.delay.as_millis()),
            _ => format!("{} of 100", weather.lost_percent),
        }
    }

    fn fill(self, stage: &mut Cluster) -> Result<String> {
        let disk = if self == Self::FillPostgres { &stage.postgres_disk } else { &stage.node_disk };
        if let Some(disk) = disk {
            disk.fill()?;
        }
        if self == Self::FillNode {
            // A member that could not write stops storing anything until it is started again.
            stage.disabled.insert(SMALL_NODE);
            return Ok(node(SMALL_NODE));
        }
        Ok(String::new())
    }

    async fn break_database(self, stage: &mut Cluster) -> Result<String> {
        let (harm, repair) = match self {
            Self::ReadOnly => (
                "alter database holdfast set default_transaction_read_only = on",
                "alter database holdfast reset default_transaction_read_only",
            ),
            // Of the workers' roles only: whoever mends it, and looks meanwhile, is not hurried.
            Self::TimeOut => (
                "do $$ declare service text; begin
                     foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
                         execute format('alter role %I set statement_timeout = %L', 'holdfast_' || service, '20ms');
                     end loop;
                 end $$",
                "do $$ declare service text; begin
                     foreach service in array array['orders', 'inventory', 'rounds', 'payments'] loop
                         execute format('alter role %I reset statement_timeout', 'holdfast_' || service);
                     end loop;
                 end $$;
                 select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'holdfast-%'",
            ),
            Self::FewConnections => {
                ("alter role holdfast_payments connection limit 3", "alter role holdfast_payments connection limit -1")
            }
            _ => (
                "alter sequence log.events_position_seq maxvalue 100 cycle restart with 1",
                "alter sequence log.events_position_seq no maxvalue no cycle;
                 select setval('log.events_position_seq', (select max(position) + 100 from log.events))",
            ),
        };
        let mut connection = PgConnection::connect(&stage.database_url()).await?;
        sqlx::raw_sql(harm).execute(&mut connection).await?;
        stage.repairs.push(repair);
        if self == Self::SetBackSequence { Ok(String::new()) } else { end_sessions(stage).await }
    }

    /// A consumer that its service is making anew is not there for a moment.
    async fn change_consumer(self, stage: &Cluster, chance: &mut StdRng) -> Result<String> {
        let name = format!("{}-events", proto::SERVICES.choose(chance).copied().unwrap_or_default());
        let changed = wait_until(ANSWERS_WITHIN, || async { Ok(self.try_to_change(stage, &name).await.ok()) }).await?;
        changed.with_context(|| format!("{name} could not be changed within {ANSWERS_WITHIN:?}"))?;
        Ok(name)
    }

    async fn try_to_change(self, stage: &Cluster, name: &str) -> Result<()> {
        let stream = events(stage).await?;
        if self == Self::PauseConsumer {
            stream.pause_consumer(name, OffsetDateTime::from(clock::now()) + Duration::from_hours(1)).await?;
            return Ok(());
        }
        let change = |config: &mut pull::Config| {
            if self == Self::LimitConsumer {
                config.max_deliver = 1;
            } else {
                config.filter_subjects.truncate(1);
            }
        };
        change_consumer(&stream, name, change).await
    }

    async fn forget_a_transaction(self, stage: &mut Cluster) -> Result<String> {
        let mut connection = PgConnection::connect(&stage.database_url()).await?;
        let (statements, what) = if self == Self::LockRows {
            ("begin; select * from inventory.stock where sku <= 'P-20' order by sku for update", "20 products")
        } else {
            // Whoever waits for a gap to be filled must wait for this one too.
            ("begin; select pg_current_xact_id()", "and it has an id")
        };
        sqlx::raw_sql(statements).execute(&mut connection).await?;
        stage.forgotten.push(connection);
        Ok(what.to_owned())
    }
}

fn some_worker(stage: &Cluster, chance: &mut StdRng) -> String {
    stage.hosts().choose(chance).cloned().unwrap_or_default()
}

async fn skew_clock(stage: &mut Cluster, chance: &mut StdRng) -> Result<String> {
    let host = some_worker(stage, chance);
    let seconds = chance.random_range(2..180) * if chance.random() { 1 } else { -1 };
    stage.end_worker(&host, Signal::TERM).await?;
    stage.start_worker(&host, seconds).await?;
    Ok(format!("{host}, by {seconds} s"))
}

/// The stream of events: after the harm before it may take a while until a server answers for it.
async fn events(stage: &Cluster) -> Result<stream::Stream> {
    let port = stage.nats.first().map(NatsServer::port).unwrap_or_default();
    let client = async_nats::connect(format!("nats://127.0.0.1:{port}")).await?;
    let jetstream = jetstream::new(client);
    let stream = wait_until(ANSWERS_WITHIN, || async { Ok(jetstream.get_stream(EVENTS).await.ok()) }).await?;
    stream.with_context(|| format!("no server answered for the stream of events within {ANSWERS_WITHIN:?}"))
}

/// One that may be on its way still, but not the last.
async fn take_away_message(stage: &Cluster, chance: &mut StdRng) -> Result<String> {
    let stream = events(stage).await?;
    let last = stream.cached_info().state.last_sequence;
    let sequence = last.saturating_sub(chance.random_range(1..50)).max(1);
    let is_gone = stream.delete_message(sequence).await.unwrap_or(false);
    Ok(format!("{sequence} of {last}{}", if is_gone { "" } else { ", which was gone already" }))
}

async fn end_sessions(stage: &Cluster) -> Result<String> {
    let mut connection = PgConnection::connect(&stage.database_url()).await?;
    let ended: i64 = sqlx::query_scalar(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like 'holdfast-%'",
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(format!("{ended} of them"))
}

async fn restart_one_by_one(stage: &mut Cluster) -> Result<String> {
    for host in stage.hosts() {
        stage.end_worker(&host, Signal::TERM).await?;
        stage.change_build(&host);
        stage.start_worker(&host, 0).await?;
        stage.ready(&host).await?;
    }
    Ok(if stage.has_two_builds() { "with the other build".to_owned() } else { String::new() })
}
