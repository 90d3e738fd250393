//! A worker: everything one process of a service runs, from its settings to its exit code.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::Timestamp;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::{Notify, mpsc};

use crate::{
    batch::{Batches, News},
    broker::{self, Broker},
    clock,
    config::{Config, ms},
    consumer::Consumer,
    effects,
    error::Error,
    health::{self, Health},
    job::{self, Job, ReplyTo},
    message::header,
    publish::Outbox,
    relay, retry,
    service::Service,
    shutdown::{self, Shutdown},
    telemetry,
};

/// Before looking again for timers when others hold all that is due.
const OTHERS_CLAIM: Duration = Duration::from_millis(10);

/// What a service may use of the process it runs in.
#[derive(Debug, Clone)]
pub struct Context {
    /// Its settings.
    pub config: Config,
    /// Connections to Postgres, in the service's role, its own schema first.
    pub pool: PgPool,
    /// The broker.
    pub broker: Broker,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Runs a service until SIGTERM: the whole of a worker's `main`. Exit code 0 after a graceful stop, 1 if it cannot start,
/// 2 if its settings are wrong.
pub fn run<S: Service>(make: impl FnOnce(&Context) -> S) -> ExitCode {
    let config = match Config::from_environment() {
        Ok(config) => config,
        Err(error) => {
            // Logging itself is not set up yet.
            eprintln!("holdfast-{}: {error}", S::NAME);
            return ExitCode::from(2);
        }
    };
    telemetry::start_logging(&config.log);
    let runtime = if config.process.threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(config.process.threads).enable_all().build()
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(service = S::NAME, %error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let stopped = runtime.block_on(work(config, make));
    runtime.shutdown_timeout(ms(100));
    match stopped {
        Ok(()) => {
            tracing::info!(service = S::NAME, "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(service = S::NAME, error = error.chain(), "cannot go on");
            ExitCode::FAILURE
        }
    }
}

/// Connects to Postgres as a service: its own schema first, and plans made for the arrays at hand.
///
/// # Errors
/// No database there, or it refuses the role.
pub async fn connect_database(config: &Config, service: &str) -> Result<PgPool, Error> {
    let failed = |error| Error::database("connecting to Postgres (setting database.url)", error);
    let options: PgConnectOptions = config.database.url.parse().map_err(failed)?;
    let options = options
        .application_name(&format!("holdfast-{service}"))
        .options([("search_path", service), ("plan_cache_mode", "force_custom_plan")]);
    PgPoolOptions::new()
        .max_connections(config.database.connections_max)
        .acquire_timeout(ms(5_000))
        .connect_with(options)
        .await
        .map_err(failed)
}

async fn work<S: Service>(config: Config, make: impl FnOnce(&Context) -> S) -> Result<(), Error> {
    let shutdown = shutdown::on_signals().map_err(|error| Error::transient("listening for signals", error))?;
    let health = Health::default();
    let metrics = telemetry::start_metrics();
    health.turned();
    health::serve(&config.http.address, health.clone(), metrics, shutdown.clone()).await?;
    let pool = patiently(&shutdown, || connect_database(&config, S::NAME)).await?;
    let broker = patiently(&shutdown, || broker::connect(&config.broker, S::NAME)).await?;
    let context = Context { config, pool, broker, shutdown: shutdown.clone() };
    let service = Arc::new(make(&context));

    let (endings, outcomes) = mpsc::channel(context.config.effects.concurrency_max);
    let effects_added = Arc::new(Notify::new());
    let relay = tokio::spawn(relay::run(
        context.config.database.url.clone(),
        context.broker.clone(),
        context.config.relay.clone(),
        shutdown.clone(),
    ));
    let calls = tokio::spawn(effects::run(
        Arc::clone(&service),
        context.pool.clone(),
        context.config.effects.clone(),
        endings,
        Arc::clone(&effects_added),
        shutdown.clone(),
    ));
    let companion = tokio::spawn({
        let (service, context) = (Arc::clone(&service), context.clone());
        async move { service.companion(context).await }
    });

    let mut worker = Worker {
        consumer: Consumer::new::<S>(context.broker.clone(), context.config.consumer.clone()),
        outbox: Outbox::new(context.broker.clone()),
        batches: Batches::new(context.pool.clone(), &context.config.consumer, shutdown.clone()),
        context,
        health,
        effects_added,
        next_look: Timestamp::default(),
    };
    worker.open().await;
    tracing::info!(service = S::NAME, "ready");
    worker.turn::<S>(outcomes).await;

    let drain = async { tokio::join!(relay, calls, companion, worker.outbox.drain()) };
    if tokio::time::timeout(ms(worker.context.config.process.drain_ms), drain).await.is_err() {
        tracing::warn!(service = S::NAME, "some loops did not stop in time; what they had begun is safe in the log");
    }
    if let Err(error) = worker.context.broker.client.flush().await {
        tracing::debug!(%error, "could not flush the last acknowledgements");
    }
    worker.context.pool.close().await;
    Ok(())
}

/// Connects, however long it takes: in a cluster, databases and brokers come up in any order.
async fn patiently<T, F>(shutdown: &Shutdown, connect: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut waits = retry::backoff(ms(50), ms(2_000));
    loop {
        match connect().await {
            Err(error @ Error::Transient { .. }) if !shutdown.is_pulled() => {
                tracing::warn!(error = error.chain(), "not connected yet");
                clock::sleep(waits.next().unwrap_or(ms(2_000))).await;
            }
            ended => return ended,
        }
    }
}

struct Worker {
    consumer: Consumer,
    batches: Batches,
    context: Context,
    health: Health,
    effects_added: Arc<Notify>,
    outbox: Outbox,
    /// When to look for due timers.
    next_look: Timestamp,
}

enum Turn<C> {
    Messages(Vec<async_nats::jetstream::Message>),
    Outcome(Box<Job<C>>),
    Timers,
    Stop,
}

impl Worker {
    async fn open(&mut self) {
        let mut shutdown = self.context.shutdown.clone();
        let mut waits = retry::backoff(ms(50), ms(1_000));
        while let Err(error) = self.consumer.open().await {
            tracing::warn!(error = error.chain(), "cannot consume yet");
            tokio::select! {
                () = clock::sleep(waits.next().unwrap_or(ms(1_000))) => {}
                () = shutdown.pulled() => return,
            }
        }
    }

    async fn turn<S: Service>(&mut self, mut outcomes: mpsc::Receiver<Job<S::Command>>) {
        let mut shutdown = self.context.shutdown.clone();
        // What is due goes first, and then whatever else there is: neither starves the other.
        let mut timers_went = false;
        while !shutdown.is_pulled() {
            self.health.turned();
            let wait = self.until_timers();
            // Not left to the sleep alone: it is never over at its first look, and with messages always there it has no second.
            let turn = if wait.is_zero() && !timers_went {
                Turn::Timers
            } else {
                tokio::select! {
                    biased;
                    () = shutdown.pulled() => Turn::Stop,
                    () = clock::sleep(wait) => Turn::Timers,
                    Some(outcome) = outcomes.recv() => Turn::Outcome(Box::new(outcome)),
                    messages = tokio::task::unconstrained(self.consumer.next_batch()) => Turn::Messages(messages),
                }
            };
            timers_went = matches!(turn, Turn::Timers);
            let went_on = match turn {
                Turn::Stop => break,
                Turn::Timers => self.settle_timers::<S>().await,
                Turn::Outcome(first) => {
                    let mut jobs = vec![*first];
                    drain(&mut outcomes, &mut jobs, self.context.config.consumer.batch_max);
                    self.settle::<S>(jobs).await
                }
                Turn::Messages(messages) => {
                    let bytes_max = self.context.config.consumer.message_bytes_max;
                    let mut jobs: Vec<_> =
                        messages.into_iter().map(|message| job::read::<S>(message, bytes_max)).collect();
                    drain(&mut outcomes, &mut jobs, self.context.config.consumer.batch_max);
                    self.settle::<S>(jobs).await
                }
            };
            if went_on.is_none() {
                break;
            }
        }
        self.consumer.give_back().await;
    }

    /// How long until this process should look for due timers.
    fn until_timers(&self) -> Duration {
        self.next_look.since(clock::now())
    }

    async fn settle<S: Service>(&mut self, jobs: Vec<Job<S::Command>>) -> Option<()> {
        let begun = Instant::now();
        let done = self.batches.settle::<S>(&jobs).await?;
        telemetry::batch(jobs.len(), done.events.len(), begun.elapsed());
        self.outbox.send(done.events).await;
        self.announce(done.news);
        self.answer(&jobs, done.replies).await;
        self.health.worked();
        Some(())
    }

    /// Does what is due. Looks first, without a transaction, for most of the time nothing is.
    async fn settle_timers<S: Service>(&mut self) -> Option<()> {
        let settings = self.context.config.timers.clone();
        let (now, begun) = (clock::now(), Instant::now());
        let latest = now + ms(settings.poll_ms);
        self.next_look = match self.batches.next_timer().await {
            // Others may set an earlier one meanwhile.
            Ok(next) => next.unwrap_or(latest).min(latest),
            Err(error) => {
                tracing::warn!(%error, "cannot look for timers");
                self.next_look = latest;
                return Some(());
            }
        };
        if self.next_look <= now {
            let done = self.batches.settle_timers::<S>(settings.claim_max).await?;
            if done.news.timers_claimed > 0 {
                telemetry::batch(done.news.timers_claimed, done.events.len(), begun.elapsed());
            } else {
                // Others have claimed what is due.
                self.next_look = now + OTHERS_CLAIM;
            }
            self.outbox.send(done.events).await;
            self.announce(done.news);
        }
        self.health.worked();
        Some(())
    }

    fn announce(&mut self, news: News) {
        if let Some(due_at) = news.timer {
            self.next_look = self.next_look.min(due_at);
        }
        if news.effects {
            self.effects_added.notify_one();
        }
    }

    /// Answers whoever asked, and only then acknowledges: an answer that is lost is sent again with the message.
    async fn answer<C>(&self, jobs: &[Job<C>], replies: Vec<Option<Vec<u8>>>) {
        for (job, reply) in jobs.iter().zip(replies) {
            if let (Some(to), Some(reply)) = (&job.reply_to, reply) {
                self.reply(to, reply).await;
            }
            if let Some(message) = &job.message
                && let Err(error) = message.ack().await
            {
                tracing::debug!(%error, "could not acknowledge; the message comes again and changes nothing");
            }
        }
    }

    async fn reply(&self, to: &ReplyTo, reply: Vec<u8>) {
        const REPLY: &str = "holdfast.common.v1.CommandReply";
        let (content_type, payload) = match proto::to_json(REPLY, &reply) {
            Ok(json) if to.json => ("application/json", json.to_string().into_bytes()),
            Ok(_) | Err(_) => ("application/protobuf", reply),
        };
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::TYPE, REPLY);
        if let Err(error) =
            self.context.broker.client.publish_with_headers(to.subject.clone(), headers, payload.into()).await
        {
            tracing::debug!(%error, subject = to.subject, "could not answer");
        }
    }
}

fn drain<C>(outcomes: &mut mpsc::Receiver<Job<C>>, jobs: &mut Vec<Job<C>>, most: usize) {
    while jobs.len() < most
        && let Ok(job) = outcomes.try_recv()
    {
        jobs.push(job);
    }
}
