//! A worker: everything one process of a service runs, from its settings to its exit code.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::Timestamp;
use futures::{
    FutureExt,
    future::{LocalBoxFuture, try_join_all},
};
use platform::{
    broker, clock,
    config::{Config, ms},
    database,
    error::Error,
    health::{self, Health},
    process::{self, connect_with_retry},
    shutdown::{self, Shutdown, Trigger},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tracing::{Instrument as _, Span};

use crate::{
    batch::{Committer, Wakeups, inline::Neighbours},
    context::Context,
    effects,
    inbound::{
        consumer::{Consumer, durables, urgent_durable, usual_durables},
        input::Input,
        quarantine,
    },
    log::{
        divergence, event_store,
        lineage::Lineage,
        positions::{Place, Positions},
    },
    outbound::{
        publish::CommitPublisher,
        refusals::{self, Refusals},
    },
    relay,
    service::Service,
    telemetry, waiting,
};

mod handler;

use handler::{Handler, while_telling};

/// What the probes call the parts of a worker that connect and that look for due timers.
const CONNECTING: &str = "connecting";
const TIMERS: &str = "the timers";

/// How long what can wait waits for company, so that one commit does for all, and how many are company enough.
const COMPANY_WITHIN: Duration = Duration::from_millis(20);
const COMPANY_MAX: usize = 16;

/// Before looking again for timers when others hold all that is due.
const OTHERS_CLAIM: Duration = Duration::from_millis(10);

/// Runs a service until SIGTERM: the whole of a worker's `main`. Exit code 0 after a graceful stop, 1 if it cannot start,
/// 2 if its settings are wrong. `make` makes the service, again each time that the log is another one.
pub fn run<S: Service>(make: impl Fn(&Context) -> Result<S, Error>) -> ExitCode {
    process::run(S::NAME, span::<S>, |config| async { Process::start(config).await?.work(make).await })
}

/// The same for several services in one process, in which what one does about another's event is committed with the event.
pub fn run_together(
    name: &'static str,
    services: impl FnOnce(&Process) -> Vec<LocalBoxFuture<'static, Result<(), Error>>>,
) -> ExitCode {
    process::run(name, Span::none, |config| async {
        let process = Process::start(config).await?;
        try_join_all(services(&process)).await.map(|_all| ())
    })
}

/// What each line of a service's log bears. What is logged for a batch also bears which batch it is.
fn span<S: Service>() -> Span {
    tracing::error_span!("worker", service = S::NAME, pid = std::process::id())
}

/// What the services of one process share.
#[derive(Clone)]
pub struct Process {
    config: Config,
    health: Health,
    shutdown: Shutdown,
    neighbours: Arc<Neighbours>,
}

impl Process {
    async fn start(config: Config) -> Result<Self, Error> {
        let shutdown = shutdown::on_signals().map_err(|error| Error::transient("listening for signals", error))?;
        let health = Health::default();
        let metrics = telemetry::start_metrics();
        health.beat_alive();
        health::serve(&config.http.address, health.clone(), metrics, shutdown.clone()).await?;
        Ok(Self { config, health, shutdown, neighbours: Arc::default() })
    }

    /// Runs one of its services until SIGTERM.
    pub fn service<S: Service>(
        &self,
        make: impl Fn(&Context) -> Result<S, Error> + 'static,
    ) -> LocalBoxFuture<'static, Result<(), Error>> {
        let process = self.clone();
        async move { process.work(make).await }.instrument(span::<S>()).boxed_local()
    }

    async fn work<S: Service>(self, make: impl Fn(&Context) -> Result<S, Error>) -> Result<(), Error> {
        telemetry::begin(S::NAME, S::METRICS);
        loop {
            let mut stop = self.shutdown.clone();
            let (context, trigger, head) = tokio::select! {
                connected = connect::<S>(&self.config, &self.health) => connected?,
                () = stop.requested() => return Ok(()),
            };
            let drain = ms(self.config.process.drain_ms);
            let stopped = async {
                stop.requested().await;
                trigger.request();
                clock::sleep(drain).await;
            };
            tokio::select! {
                ended = serve(context, self.health.clone(), head, &make, Arc::clone(&self.neighbours)) => match ended? {
                    Ended::Stopped => return Ok(()),
                    // What this process knew of the log is no longer so.
                    Ended::AnotherLog => self.health.begin_anew(),
                },
                () = stopped => {
                    tracing::warn!("not all came to an end in time; what was not committed comes again");
                    return Ok(());
                }
            }
        }
    }
}

/// Connects to database and broker, and waits until they belong together.
async fn connect<S: Service>(config: &Config, health: &Health) -> Result<(Context, Trigger, Option<Place>), Error> {
    let pool = connect_with_retry(health, CONNECTING, || database::connect(&config.database, S::NAME)).await?;
    let broker = connect_with_retry(health, CONNECTING, || async {
        let broker = broker::connect(&config.broker, S::NAME).await?;
        broker.check_payload(config.consumer.message_bytes_max)?;
        Ok(broker)
    })
    .await?;
    let belong_together = || async {
        let mut connection = pool.session().await?;
        let lineage = Lineage::read(&mut connection).await?;
        lineage.check_name(&mut connection, &config.database.installation).await?;
        // Before anything is taken in or written, for that would be about another past.
        match divergence::look(&broker, &mut connection, &lineage).await? {
            Some(another) => Err(another),
            None => Ok((Arc::new(lineage), event_store::head_and(&mut connection, None).await?.0)),
        }
    };
    let (lineage, head) = connect_with_retry(health, CONNECTING, || pool.answered(belong_together())).await?;
    let (trigger, shutdown) = shutdown::channel();
    Ok((Context { config: config.clone(), pool, broker, lineage, shutdown }, trigger, head))
}

/// Why a worker no longer serves.
enum Ended {
    /// It was asked to stop.
    Stopped,
    /// The log is not the one any more that it began with, or not the one that the broker has; or the broker is not as it must be.
    AnotherLog,
}

/// Waits until the log is another one than that which this process began with, or lacks what the broker has, or the broker lets less
/// through than an event may need.
async fn another_log(context: &Context, positions: &Positions) -> Error {
    loop {
        clock::sleep(ms(context.config.relay.compare_ms)).await;
        // An administrator may have lowered it; what does not fit would stand in front of all else.
        if let Err(too_small) = context.broker.check_payload(context.config.consumer.message_bytes_max) {
            return too_small;
        }
        let looked = async {
            let before = positions.head();
            let mut connection = context.pool.session().await?;
            let (head, there) = event_store::head_and(&mut connection, before).await?;
            if let Err(gone_back) = positions.seen(head, before, there) {
                return Ok(Some(gone_back));
            }
            divergence::look_at_last(&context.broker, &mut connection, &context.lineage).await
        };
        match database::answered(looked).await {
            Ok(Some(another)) => return another,
            Ok(None) => {}
            // Whoever needs database and broker says so.
            Err(error) => tracing::debug!(error = error.chain(), "cannot compare the log with the broker"),
        }
    }
}

/// The loops that look after what a worker leaves behind: in the log, at the broker and in its tables.
fn looked_after<S: Service>(context: &Context, health: &Health, refusals: &Arc<Refusals>) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    if context.config.relay.runs {
        loops.spawn(relay::run(S::NAME, context.clone(), health.clone()).in_current_span());
    }
    loops.spawn(refusals::run(context.clone(), Arc::clone(refusals)).in_current_span());
    let waiting = waiting::run::<S>(context.pool.clone(), health.clone(), context.shutdown.clone());
    loops.spawn(waiting.in_current_span());
    let (broker, pool, shutdown) = (context.broker.clone(), context.pool.clone(), context.shutdown.clone());
    loops.spawn(quarantine::run(S::NAME, durables::<S>(), broker, pool, shutdown).in_current_span());
    loops
}

/// Does the service's work until asked to stop, and brings to an end what has begun.
async fn serve<S: Service>(
    context: Context,
    health: Health,
    head: Option<Place>,
    make: impl Fn(&Context) -> Result<S, Error>,
    neighbours: Arc<Neighbours>,
) -> Result<Ended, Error> {
    let service = Arc::new(make(&context)?);
    let positions = Arc::new(Positions::after(head));

    let (dispatcher, queue) = effects::queue(&context.config.effects, S::CALLEES);
    let (endings, outcomes) = mpsc::channel(context.config.effects.concurrency_max);
    let refusals = Refusals::new(context.broker.clone(), health.clone());
    let mut loops = looked_after::<S>(&context, &health, &refusals);
    let calls = effects::run(
        Arc::clone(&service),
        (context.pool.clone(), Arc::clone(&positions)),
        context.config.effects.clone(),
        queue,
        endings,
        health.clone(),
        context.shutdown.clone(),
    );
    loops.spawn(calls.in_current_span());
    loops.spawn({
        let (service, context) = (Arc::clone(&service), context.clone());
        async move { service.background(context).await }.in_current_span()
    });
    let committer = Committer::new(
        context.pool.clone(),
        (dispatcher.clone(), neighbours),
        &context.config.consumer,
        Arc::clone(&positions),
        health.clone(),
        context.shutdown.clone(),
    );
    let handler = |durables, committer, health: Health| Handler::<S> {
        service: Arc::clone(&service),
        consumer: Consumer::new::<S>(&context.config, durables, Arc::clone(&context.lineage), health.clone()),
        committer,
        dispatcher: dispatcher.clone(),
        context: context.clone(),
        health,
        commit_publisher: CommitPublisher::new(Arc::clone(&context.lineage), Arc::clone(&refusals)),
        batches: 0,
    };
    if let Some(durable) = urgent_durable::<S>() {
        let health = health.of_part("what is urgent: ");
        let urgent = handler(vec![durable], committer.beside(health.clone()), health);
        loops.spawn(urgent.handle_all().in_current_span());
    }
    let mut worker = Worker {
        handler: handler(usual_durables::<S>(), committer, health),
        next_look: Timestamp::default(),
        waiting: Vec::new(),
        waiting_since: None,
    };
    tokio::select! {
        () = worker.turn(outcomes) => {}
        another = another_log(&context, &positions) => {
            // All loops end where they are, as in a crash.
            tracing::error!(error = another.chain(), "the log is not the one that it was");
            return Ok(Ended::AnotherLog);
        }
        broken = first_broken(&mut loops) => return Err(Error::transient("keeping all loops of the worker going", broken)),
        () = context.broker.lost() => return Err(Error::transient("keeping the connection to NATS", "its task has broken")),
    }
    worker.handler.end().await;
    while loops.join_next().await.is_some() {}
    if let Err(error) = context.broker.client.flush().await {
        tracing::debug!(%error, "could not flush the last answers");
    }
    // It has a connection of the pool, which waits for all to come back.
    drop(worker);
    context.pool.close().await;
    Ok(Ended::Stopped)
}

/// Waits for a loop that panics. Whoever starts this process again starts it whole.
async fn first_broken(loops: &mut JoinSet<()>) -> JoinError {
    loop {
        match loops.join_next().await {
            Some(Ok(())) => {}
            Some(Err(broken)) => return broken,
            None => std::future::pending().await,
        }
    }
}

struct Worker<S: Service> {
    handler: Handler<S>,
    /// When to look for due timers.
    next_look: Timestamp,
    /// What can wait, and since when it does.
    waiting: Vec<Input<S::Command>>,
    waiting_since: Option<Instant>,
}

enum Turn<C> {
    Messages(Vec<async_nats::jetstream::Message>),
    Outcome(Box<Input<C>>),
    Waited,
    Timers,
    Stop,
}

impl<S: Service> Worker<S> {
    async fn turn(&mut self, mut outcomes: mpsc::Receiver<Input<S::Command>>) {
        let mut shutdown = self.handler.context.shutdown.clone();
        tokio::select! {
            () = self.handler.consumer.opened() => tracing::info!("ready"),
            () = shutdown.requested() => {}
        }
        // What is due goes first, and then whatever else there is: neither starves the other.
        let mut timers_went = false;
        while !shutdown.is_requested() {
            self.handler.health.beat_alive();
            let wait = self.until_timers();
            let in_hand = self.waiting.len();
            let company_within =
                COMPANY_WITHIN.saturating_sub(self.waiting_since.map(|since| since.elapsed()).unwrap_or_default());
            // Not left to the sleep alone: it is never over at its first look, and with messages always there it has no second.
            let turn = if wait.is_zero() && !timers_went {
                Turn::Timers
            } else {
                tokio::select! {
                    biased;
                    () = shutdown.requested() => Turn::Stop,
                    () = clock::sleep(wait) => Turn::Timers,
                    Some(outcome) = outcomes.recv() => Turn::Outcome(Box::new(outcome)),
                    messages = tokio::task::unconstrained(self.handler.consumer.next_batch(in_hand)) => Turn::Messages(messages),
                    () = clock::sleep(company_within), if !self.waiting.is_empty() => Turn::Waited,
                }
            };
            timers_went = matches!(turn, Turn::Timers);
            let went_on = match turn {
                Turn::Stop => break,
                Turn::Timers => self.handle_timers().await,
                Turn::Outcome(first) => {
                    self.waiting.push(*first);
                    self.handle_unless_it_waits(&mut outcomes).await
                }
                Turn::Messages(messages) => {
                    self.waiting.extend(self.handler.read(messages));
                    self.handle_unless_it_waits(&mut outcomes).await
                }
                Turn::Waited => self.handle_waiting().await,
            };
            if went_on.is_none() {
                return;
            }
        }
        self.handle_waiting().await;
    }

    /// Handles what waits together with what has just come, unless all of that can wait.
    async fn handle_unless_it_waits(&mut self, outcomes: &mut mpsc::Receiver<Input<S::Command>>) -> Option<()> {
        drain(outcomes, &mut self.waiting, self.handler.context.config.consumer.batch_max);
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let is_enough = self.waiting.len() >= COMPANY_MAX.min(self.handler.context.config.consumer.batch_max);
        if !is_enough && since.elapsed() < COMPANY_WITHIN && self.handler.committer.can_wait(&self.waiting) {
            return Some(());
        }
        self.handle_waiting().await
    }

    async fn handle_waiting(&mut self) -> Option<()> {
        self.waiting_since = None;
        if self.waiting.is_empty() {
            return Some(());
        }
        let inputs = std::mem::take(&mut self.waiting);
        let wakeups = self.handler.handle(inputs).await?;
        self.wake(wakeups);
        Some(())
    }

    /// How long until this process should look for due timers. Never long: its clock may be set back.
    fn until_timers(&self) -> Duration {
        self.next_look.since(clock::now()).min(ms(self.handler.context.config.timers.poll_ms))
    }

    /// Does what is due. Looks first, without a transaction, for most of the time nothing is.
    async fn handle_timers(&mut self) -> Option<()> {
        let settings = self.handler.context.config.timers.clone();
        let (now, begun) = (clock::now(), Instant::now());
        let latest = now + ms(settings.poll_ms);
        self.next_look = match self.handler.committer.next_timer().await {
            // Others may set an earlier one meanwhile.
            Ok(next) => {
                platform::telemetry::clock_skew(clock::skew());
                self.handler.health.goes_on(TIMERS);
                self.handler.beat_progress();
                next.unwrap_or(latest).min(latest)
            }
            Err(error) => {
                let error = error.chain();
                tracing::warn!(error, "cannot look for timers");
                self.handler.health.stuck(TIMERS, error);
                self.next_look = latest;
                return Some(());
            }
        };
        if self.next_look <= now {
            let span = self.handler.batch_span(&[]);
            let settled = self.handler.committer.commit_all_timers(settings.claim_max).instrument(span);
            let done =
                while_telling::<S::Command, _>(settled, &mut self.handler.consumer, &self.handler.health, &[]).await?;
            if done.wakeups.timers_claimed > 0 {
                telemetry::batch(done.wakeups.timers_claimed, &done.events, begun.elapsed());
            } else {
                // Others have claimed what is due.
                self.next_look = now + OTHERS_CLAIM;
            }
            self.handler.dispatcher.begin(done.calls);
            self.handler.commit_publisher.publish_on(self.handler.consumer.broker()).await;
            self.handler.commit_publisher.send(done.events).await;
            self.wake(done.wakeups);
        }
        Some(())
    }

    fn wake(&mut self, wakeups: Wakeups) {
        if let Some(due_at) = wakeups.timer {
            self.next_look = self.next_look.min(due_at);
        }
        if wakeups.effects {
            self.handler.dispatcher.wake();
        }
    }
}

fn drain<C>(outcomes: &mut mpsc::Receiver<Input<C>>, inputs: &mut Vec<Input<C>>, most: usize) {
    while inputs.len() < most
        && let Ok(input) = outcomes.try_recv()
    {
        inputs.push(input);
    }
}
