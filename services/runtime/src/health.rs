//! Probes and metrics over HTTP: `/livez`, `/readyz`, `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use domain::Timestamp;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::{clock, error::Error, shutdown::Shutdown};

/// When the loops of this process last got through. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    turned: AtomicI64,
    worked: AtomicI64,
    answered: AtomicI64,
}

/// A loop that has not turned for so long hangs.
const ALIVE_SECONDS: u64 = 60;
/// A loop that has not got through to the database and the broker for so long should get no traffic.
const READY_SECONDS: u64 = 10;
/// Work over which the database has said nothing for so long is better given to another replica.
const ANSWERED_SECONDS: u64 = 10;

impl Health {
    /// The batch loop, or one that it waits for, has turned, be it in vain.
    pub(crate) fn turned(&self) {
        self.0.turned.store(clock::now().as_micros(), Ordering::Relaxed);
    }

    /// The batch loop has got through to the database and the broker.
    pub(crate) fn worked(&self) {
        self.turned();
        self.0.worked.store(clock::now().as_micros(), Ordering::Relaxed);
    }

    /// The database has answered, be it with a no, or is about to be asked.
    pub(crate) fn answered(&self) {
        self.0.answered.store(clock::now().as_micros(), Ordering::Relaxed);
    }

    /// The database was asked in vain.
    pub(crate) fn unanswered(&self) {
        self.0.answered.store(0, Ordering::Relaxed);
    }

    /// Whether the work in hand goes on, as far as one can tell.
    pub(crate) fn is_answered(&self) -> bool {
        Self::is_within(&self.0.answered, ANSWERED_SECONDS)
    }

    fn is_within(beat: &AtomicI64, seconds: u64) -> bool {
        clock::now().since(Timestamp::from_micros(beat.load(Ordering::Relaxed))).as_secs() < seconds
    }
}

#[derive(Clone)]
struct Surface {
    health: Health,
    metrics: Option<PrometheusHandle>,
    shutdown: Shutdown,
}

/// Serves probes and metrics until asked to stop.
///
/// # Errors
/// The address is taken.
pub(crate) async fn serve(
    address: &str,
    health: Health,
    metrics: Option<PrometheusHandle>,
    mut shutdown: Shutdown,
) -> Result<(), Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Error::transient("listening for probes (setting http.address)", error))?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving /livez, /readyz and /metrics");
    }
    let surface = Surface { health, metrics, shutdown: shutdown.clone() };
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(surface);
    tokio::spawn(async move {
        let stopped = axum::serve(listener, app).with_graceful_shutdown(async move { shutdown.pulled().await }).await;
        if let Err(error) = stopped {
            tracing::error!(%error, "stopped serving probes");
        }
    });
    Ok(())
}

async fn livez(State(surface): State<Surface>) -> (StatusCode, &'static str) {
    if Health::is_within(&surface.health.0.turned, ALIVE_SECONDS) {
        (StatusCode::OK, "alive\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the batch loop has not turned for a minute\n")
    }
}

async fn readyz(State(surface): State<Surface>) -> (StatusCode, &'static str) {
    if surface.shutdown.is_pulled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if Health::is_within(&surface.health.0.worked, READY_SECONDS) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no way through to the database or the broker\n")
    }
}

async fn render(State(surface): State<Surface>) -> String {
    surface.metrics.map(|metrics| metrics.render()).unwrap_or_default()
}
