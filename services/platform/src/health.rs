//! Probes and metrics over HTTP: `/livez`, `/readyz`, `/metrics`.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tracing::Instrument as _;

use crate::{error::Error, shutdown::Shutdown};

/// When the loops of this process last got through. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    heartbeats: Arc<Heartbeats>,
    stuck: Arc<Mutex<BTreeMap<Part, Stuck>>>,
    /// Lines for whoever reads the answer: they make nobody unready.
    said: Arc<Mutex<Vec<String>>>,
    /// What the probes call that of which it is; nothing, of the whole worker.
    of: &'static str,
}

/// A part of a worker: of what, and which.
type Part = (&'static str, &'static str);

/// Since when it does not go on, and why.
type Stuck = (Instant, String);

/// By a clock that only goes on: by the wall's, a process whose clock is set back would count as well for as long.
#[derive(Debug)]
struct Heartbeats {
    begun: Instant,
    beat_alive: Beat,
    beat_progress: Beat,
    answered: Beat,
}

/// Milliseconds since the process began, and one; 0: never.
#[derive(Debug, Default)]
struct Beat(AtomicU64);

/// A loop that has not turned for so long hangs.
const ALIVE: Duration = Duration::from_secs(60);
/// A loop that has not got through to the database and the broker for so long should get no traffic.
const READY: Duration = Duration::from_secs(10);
/// Work over which the database has said nothing for so long is better given to another replica.
const ANSWERED: Duration = Duration::from_secs(10);

impl Default for Heartbeats {
    fn default() -> Self {
        let (beat_alive, beat_progress, answered) = (Beat::default(), Beat::default(), Beat::default());
        Self { begun: Instant::now(), beat_alive, beat_progress, answered }
    }
}

impl Health {
    /// Of work that a worker does beside its own. What it is stuck in counts; that it goes on says nothing of the worker.
    #[must_use]
    pub fn of_part(&self, of: &'static str) -> Self {
        Self { heartbeats: Arc::default(), stuck: Arc::clone(&self.stuck), said: Arc::clone(&self.said), of }
    }

    fn beat(&self, beat: &Beat) {
        let since = self.heartbeats.begun.elapsed().as_millis();
        beat.0.store(u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
    }

    fn is_within(&self, beat: &Beat, limit: Duration) -> bool {
        match beat.0.load(Ordering::Relaxed) {
            0 => false,
            beaten => self.heartbeats.begun.elapsed().saturating_sub(Duration::from_millis(beaten - 1)) < limit,
        }
    }

    /// The batch loop, or one that it waits for, has turned, be it in vain.
    pub fn beat_alive(&self) {
        self.beat(&self.heartbeats.beat_alive);
    }

    /// The batch loop has got through to the database and the broker.
    pub fn beat_progress(&self) {
        self.beat_alive();
        self.beat(&self.heartbeats.beat_progress);
    }

    /// The database has answered, be it with a no, or is about to be asked.
    pub fn answered(&self) {
        self.beat(&self.heartbeats.answered);
    }

    /// The database was asked in vain.
    pub fn unanswered(&self) {
        self.heartbeats.answered.0.store(0, Ordering::Relaxed);
    }

    /// Whether the work in hand goes on, as far as one can tell.
    pub fn is_answered(&self) -> bool {
        self.is_within(&self.heartbeats.answered, ANSWERED)
    }

    /// A part of the worker cannot go on, and why. Once that has lasted for a while, the worker is not ready.
    pub fn stuck(&self, part: &'static str, why: String) {
        self.stuck_since(part, Instant::now(), why);
    }

    /// The same of what began earlier than it was noticed.
    pub fn stuck_since(&self, part: &'static str, since: Instant, why: String) {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.entry((self.of, part)).or_insert_with(|| (since, String::new())).1 = why;
    }

    /// It goes on.
    pub fn goes_on(&self, part: &'static str) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).remove(&(self.of, part));
    }

    /// What else is to be known, a line each, in place of what was said before. It makes nobody unready.
    pub fn says(&self, lines: Vec<String>) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(|line| format!("{line}\n")).collect()
    }

    /// All parts of the worker begin anew.
    pub fn begin_anew(&self) {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Why the worker is not ready, if so.
    fn unready(&self) -> Option<String> {
        let mut words = String::new();
        for ((of, part), (since, why)) in &*self.stuck.lock().unwrap_or_else(PoisonError::into_inner) {
            let seconds = since.elapsed().as_secs();
            if since.elapsed() >= READY {
                // Writing to a string never fails.
                writeln!(words, "{of}{part} cannot go on, for {seconds} s: {why}").unwrap_or_default();
            }
        }
        if words.is_empty() && !self.is_within(&self.heartbeats.beat_progress, READY) {
            words.push_str("no way through to the database or the broker\n");
        }
        (!words.is_empty()).then_some(words)
    }
}

#[derive(Clone)]
struct ProbeState {
    health: Health,
    metrics: Option<PrometheusHandle>,
    shutdown: Shutdown,
}

/// Serves probes and metrics until asked to stop.
///
/// # Errors
/// The address is taken.
pub async fn serve(
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
    let probe_state = ProbeState { health, metrics, shutdown: shutdown.clone() };
    let app = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(probe_state);
    let probes = async move {
        let stopped =
            axum::serve(listener, app).with_graceful_shutdown(async move { shutdown.requested().await }).await;
        if let Err(error) = stopped {
            tracing::error!(%error, "stopped serving probes");
        }
    };
    tokio::spawn(probes.in_current_span());
    Ok(())
}

async fn livez(State(probe_state): State<ProbeState>) -> (StatusCode, &'static str) {
    if probe_state.health.is_within(&probe_state.health.heartbeats.beat_alive, ALIVE) {
        (StatusCode::OK, "alive\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the batch loop has not turned for a minute\n")
    }
}

async fn readyz(State(probe_state): State<ProbeState>) -> (StatusCode, String) {
    if probe_state.shutdown.is_requested() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let said = probe_state.health.said();
    match probe_state.health.unready() {
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why + &said),
        None => (StatusCode::OK, format!("ready\n{said}")),
    }
}

async fn render(State(probe_state): State<ProbeState>) -> String {
    probe_state.metrics.map(|metrics| metrics.render()).unwrap_or_default()
}
