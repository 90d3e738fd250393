//! Mail owns what buyers are told by mail: that an order is paid, and that a refund is over, each once.
//!
//! In: `OrderPaid`, `OrderRefunded` and `OrderPartiallyRefunded` of orders. Out: mail, by SMTP. A ledger has one row for each mail; whether a
//! mail that was on its way when a process or a connection ended has arrived nobody can know, and what then happens is a setting.
//!
//! It is no [`runtime::service::Service`]: what it does is no event of the log, and an outside call of the runtime is given up after ten
//! seconds, where SMTP asks for ten minutes of patience.

use std::{process::ExitCode, sync::Arc};

use metrics::gauge;
use platform::{
    broker::{self, Broker},
    clock,
    config::{Config, ms},
    database::{self, Pool},
    error::Error,
    health::{self, Health},
    metric::{self, Label, Metric},
    process::{self, connect_with_retry},
    shutdown::{self, Shutdown, Trigger},
};
use runtime::log::{divergence, lineage::Lineage};
use tokio::{sync::Notify, task::JoinSet};
use tracing::Instrument as _;

mod about;
mod inbound;
mod message;
mod next;
mod sender;
mod smtp;
mod store;
mod templates;

use message::Sender;
use next::Rules;
pub use next::State;
use sender::Post;
use smtp::Server;
pub use store::operators;
use templates::Templates;

/// The name of the process in logs, at the broker and in Postgres; its schema.
const NAME: &str = "mail";

const MAILS: &str = "holdfast_mails";

/// What is measured of mail.
pub const METRICS: &[Metric] = &[
    Metric::gauge(
        MAILS,
        &[Label { name: "state", values: &["queued", "sending", "refused", "unknown", "forgotten"] }],
        "mails by where they stand, but for those that were sent",
    ),
    sender::HANDED,
];

/// What the probes call its ways to others.
const CONNECTING: &str = "connecting";
const LOOKING: &str = "looking at the log";

/// Runs until SIGTERM. Exit code 0 after a graceful stop, 1 if it cannot start, 2 if its settings are wrong.
pub fn run() -> ExitCode {
    process::run(NAME, || tracing::error_span!("mail", pid = std::process::id()), work)
}

/// What is read once: a setting or a template that is wrong is said before anything is connected to.
struct Office {
    server: Server,
    sender: Sender,
    templates: Templates,
}

impl Office {
    fn open(config: &Config) -> Result<Self, Error> {
        let settings = &config.mail;
        let refuse = |what: &'static str| move |why: String| Error::Permanent { what, source: why.into() };
        if settings.server.is_empty() {
            let why = "mail is off: setting mail.server is empty".to_owned();
            return Err(refuse("reading the settings of mail")(why));
        }
        let sender = Sender::read(&settings.from, &settings.reply_to, &settings.bounces)
            .map_err(refuse("reading the settings of mail"))?;
        let server = Server::read(settings, sender.domain()).map_err(refuse("reading the settings of mail"))?;
        let templates =
            Templates::read(&settings.templates, &settings.zone).map_err(refuse("reading the templates of mail"))?;
        Ok(Self { server, sender, templates })
    }
}

async fn work(config: Config) -> Result<(), Error> {
    let shutdown = shutdown::on_signals().map_err(|error| Error::transient("listening for signals", error))?;
    let Office { server, sender, templates } = Office::open(&config)?;
    let health = Health::default();
    health.beat_alive();
    let metrics = metric::start(&[platform::telemetry::METRICS, METRICS]);
    health::serve(&config.http.address, health.clone(), metrics, shutdown.clone()).await?;
    let mut stop = shutdown.clone();
    let pool = tokio::select! {
        pool = connect_with_retry(&health, CONNECTING, || database::connect(&config.database, NAME)) => pool?,
        () = stop.requested() => return Ok(()),
    };
    let rules = Rules::read(&config.mail);
    let settings = config.mail.clone();
    let post = Arc::new(Post { pool, server, sender, templates, rules, settings, bell: Notify::new() });
    loop {
        let (broker, lineage) = tokio::select! {
            connected = connect(&config, &post.pool, &health) => connected?,
            () = stop.requested() => return Ok(()),
        };
        match serve(&config, broker, lineage, Arc::clone(&post), &health, &shutdown).await {
            Ended::Stopped => return Ok(()),
            // What was known of the log is no longer so.
            Ended::AnotherLog => health.begin_anew(),
        }
    }
}

/// Connects to the broker, and waits until it and the database belong together.
async fn connect(config: &Config, pool: &Pool, health: &Health) -> Result<(Broker, Arc<Lineage>), Error> {
    let broker = connect_with_retry(health, CONNECTING, || broker::connect(&config.broker, NAME)).await?;
    let belong_together = || async {
        let mut connection = pool.session().await?;
        let lineage = Lineage::read(&mut connection).await?;
        lineage.is_named(&config.database.installation)?;
        match divergence::look(&broker, &mut connection, &lineage).await? {
            Some(another) => Err(another),
            None => Ok(Arc::new(lineage)),
        }
    };
    let lineage = connect_with_retry(health, CONNECTING, || pool.answered(belong_together())).await?;
    connect_with_retry(health, CONNECTING, || store::begin(pool)).await?;
    Ok((broker, lineage))
}

/// Why it no longer serves.
enum Ended {
    Stopped,
    AnotherLog,
}

/// Takes events in and sends mail until asked to stop, or until the log is another one.
async fn serve(
    config: &Config,
    broker: Broker,
    lineage: Arc<Lineage>,
    post: Arc<Post>,
    health: &Health,
    shutdown: &Shutdown,
) -> Ended {
    let (trigger, stopping): (Trigger, Shutdown) = shutdown::channel();
    let mut loops = JoinSet::new();
    let taking =
        inbound::run(config.clone(), Arc::clone(&lineage), Arc::clone(&post), health.clone(), stopping.clone());
    loops.spawn(taking.in_current_span());
    loops.spawn(sender::run(Arc::clone(&post), health.clone(), stopping).in_current_span());
    let mut stop = shutdown.clone();
    let ended = tokio::select! {
        another = another_log(config, &broker, &lineage, &post, health) => {
            tracing::error!(error = another.chain(), "the log is not the one that it was");
            Ended::AnotherLog
        }
        () = stop.requested() => Ended::Stopped,
    };
    trigger.request();
    let ending = async { while loops.join_next().await.is_some() {} };
    tokio::select! {
        () = ending => {}
        () = clock::sleep(ms(config.process.drain_ms)) => {
            tracing::warn!("a mail's server has not answered in time; what became of that mail is not known");
        }
    }
    ended
}

/// Looks again and again at the log, at mails whose sender is gone, and at what the probes and metrics are to say. Ends if the log is another.
async fn another_log(config: &Config, broker: &Broker, lineage: &Lineage, post: &Post, health: &Health) -> Error {
    tracing::info!(server = ?post.server, "sending mail");
    loop {
        health.beat_alive();
        if broker.is_lost() {
            return Error::transient("keeping the connection to NATS", "its task has broken");
        }
        match look(broker, lineage, post).await {
            Ok(Some(another)) => return another,
            Ok(None) => {
                health.goes_on(LOOKING);
                if broker.is_connected() {
                    health.beat_progress();
                }
            }
            Err(error) => {
                let error = error.chain();
                tracing::debug!(error, "cannot look at the log");
                health.stuck(LOOKING, error);
            }
        }
        clock::sleep(ms(config.relay.compare_ms)).await;
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a gauge is a float; counts stay below 2^53")]
async fn look(broker: &Broker, lineage: &Lineage, post: &Post) -> Result<Option<Error>, Error> {
    let another = async { divergence::look_at_last(broker, &mut *post.pool.session().await?, lineage).await };
    if let Some(another) = post.pool.answered(another).await? {
        return Ok(Some(another));
    }
    let lost = store::lost(&post.pool, &post.rules).await?;
    if lost > 0 {
        tracing::warn!(lost, "mails were being sent by a process that is gone; what became of them is not known");
    }
    for (state, count) in store::counts(&post.pool).await? {
        gauge!(MAILS, "state" => state.as_str()).set(count as f64);
    }
    Ok(None)
}
