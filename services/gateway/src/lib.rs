//! The gateway: commands in over HTTP, rows and events out. It keeps nothing, so any number of replicas may run.
//!
//! A request that changes something becomes one command, under an id that follows from who asks and his `Idempotency-Key`; the worker's
//! inbox keeps the answer. What is read is read from the services' rows and the log, by a role that may only read.

use std::{process::ExitCode, sync::Arc, time::Duration};

use platform::{
    broker::{self, Queued},
    client::CommandClient,
    clock,
    config::{Config, ms},
    error::Error,
    health::{self, Health},
    metric::{self, Metric},
    process::{self, connect_with_retry},
    secret_file::SecretFile,
    shutdown::{self, Shutdown},
};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

mod caller;
mod catalog;
mod commands;
mod console;
mod coupons;
mod diagnosis;
mod docs;
mod events;
mod expire;
mod fleet;
mod guard;
mod hex;
mod jwt;
mod letters;
mod link;
mod log;
mod openapi;
mod operators;
mod orders;
mod outcome;
mod patience;
mod problem;
mod public_round;
mod read;
mod request;
mod routes;
mod search;
mod secret;
mod server;
mod tokens;
mod waiting;
mod wallets;
mod webhooks;

use commands::UnderWay;
use console::SessionKey;
use diagnosis::Looks;
use jwt::Jwt;
use link::LinkKey;
use operators::Operators;
use tokens::Tokens;

/// The name of the process in logs, at the broker and in Postgres.
const NAME: &str = "gateway";

/// What the probes call the gateway's ways to others.
const DATABASE: &str = "reading the database";
const BROKER: &str = "the broker";

/// How often both ways are tried.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What every request may use.
#[derive(Debug)]
struct Gateway {
    settings: platform::config::Gateway,
    client: CommandClient,
    queued: Queued,
    pool: platform::database::Pool,
    tokens: Tokens,
    jwt: Option<Jwt>,
    link_key: Option<SecretFile<LinkKey>>,
    /// `None`: there is no console.
    session_key: Option<SecretFile<SessionKey>>,
    stripe: Option<webhooks::Stripe>,
    under_way: UnderWay,
    looks: Looks,
    ticket_lists: public_round::Lists,
    operators: Operators,
    requests: Semaphore,
    listeners: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// What a gateway measures.
pub const METRICS: &[Metric] = &[guard::ANSWERED, guard::TOOK, webhooks::TAKEN, diagnosis::FOUND, diagnosis::NOT_KNOWN];

/// Runs the gateway until SIGTERM. Exit code 0 after a graceful stop, 1 if it cannot start, 2 if its settings are wrong.
pub fn run() -> ExitCode {
    process::run(NAME, || tracing::error_span!("gateway", pid = std::process::id()), work)
}

async fn work(config: Config) -> Result<(), Error> {
    let shutdown = shutdown::on_signals().map_err(|error| Error::transient("listening for signals", error))?;
    let tokens = Tokens::read(&config.gateway.tokens)?;
    let jwt = Jwt::read(&config.gateway).await?;
    let link_key = LinkKey::read(&config.gateway.link_secret)?;
    let session_key = SessionKey::read(&config.gateway.console_secret)?;
    let operators = Operators::read(&config.gateway)?;
    let health = Health::default();
    health.beat_alive();
    let metrics = metric::start(&[platform::telemetry::METRICS, METRICS]);
    health::serve(&config.http.address, health.clone(), metrics, shutdown.clone()).await?;
    let listener = server::listen(&config.gateway.address)
        .await
        .map_err(|error| Error::transient("listening for requests (setting gateway.address)", error))?;
    let mut stop = shutdown.clone();
    let gateway = tokio::select! {
        gateway = connect(&config, (tokens, jwt, link_key, session_key, operators), &health, &shutdown) => Arc::new(gateway?),
        () = stop.requested() => return Ok(()),
    };
    tokio::spawn(jwt::read_again(Arc::clone(&gateway)).in_current_span());
    tokio::spawn(diagnosis::watch(Arc::clone(&gateway), health.clone()).in_current_span());
    tokio::spawn(look(Arc::clone(&gateway), health).in_current_span());
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving the HTTP API");
    }
    server::serve(listener, gateway, ms(config.process.drain_ms)).await;
    Ok(())
}

/// What callers, links, visitors and operators are known by.
type Secrets = (Tokens, Option<Jwt>, Option<SecretFile<LinkKey>>, Option<SecretFile<SessionKey>>, Operators);

/// Connects to database and broker, and waits for them as long as it takes.
async fn connect(
    config: &Config,
    (tokens, jwt, link_key, session_key, operators): Secrets,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<Gateway, Error> {
    let pool = connect_with_retry(health, DATABASE, || read::connect(&config.database)).await?;
    let client = connect_with_retry(health, BROKER, || async {
        let broker = broker::connect(&config.broker, NAME).await?;
        let client = CommandClient::over(broker.client, "/holdfast/gateway", ms(config.gateway.wait_max_ms)).await;
        client.map_err(|error| Error::transient("listening for answers", error))
    })
    .await?;
    let stripe = connect_with_retry(health, DATABASE, || webhooks::Stripe::read(&config.stripe, &pool)).await?;
    Ok(Gateway {
        settings: config.gateway.clone(),
        queued: Queued::over(client.client().clone()),
        client,
        pool,
        tokens,
        jwt,
        link_key,
        session_key,
        stripe,
        under_way: UnderWay::default(),
        looks: Looks::new(&config.database, &config.broker),
        ticket_lists: public_round::Lists::default(),
        operators,
        requests: Semaphore::new(config.gateway.requests_max),
        listeners: Arc::new(Semaphore::new(config.gateway.listeners_max)),
        shutdown: shutdown.clone(),
    })
}

/// Looks again and again whether both ways are open, for whoever asks `/readyz`.
async fn look(gateway: Arc<Gateway>, health: Health) {
    loop {
        let read = sqlx::query("select 1").execute(&gateway.pool).await;
        match &read {
            Ok(_) => health.goes_on(DATABASE),
            Err(error) => health.stuck(DATABASE, error.to_string()),
        }
        let is_connected = gateway.client.client().connection_state() == async_nats::connection::State::Connected;
        if is_connected {
            health.goes_on(BROKER);
        } else {
            health.stuck(BROKER, "not connected".to_owned());
        }
        health.beat_alive();
        if read.is_ok() && is_connected {
            health.beat_progress();
        }
        clock::sleep(LOOK_EVERY).await;
    }
}
