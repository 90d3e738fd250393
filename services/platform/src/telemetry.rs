//! Telemetry of every process: structured logs, and how far its clock is off.

use std::{
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use metrics::gauge;
use tracing_subscriber::EnvFilter;

use crate::{config, metric::Metric};

const CLOCK_SKEW_SECONDS: &str = "holdfast_clock_skew_seconds";

/// What every process that reads Postgres's clock measures.
pub const METRICS: &[Metric] = &[Metric::gauge(
    CLOCK_SKEW_SECONDS,
    &[],
    "how far the clock of this machine is ahead of that of Postgres; below 0: behind",
)];

/// Starts logging to standard error.
pub fn start_logging(settings: &config::Log) {
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_malformed| EnvFilter::new("info"));
    // Colours are for people at a terminal, not for files.
    let colours = std::io::stderr().is_terminal();
    let logging = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let started = if settings.format == "text" { logging.try_init() } else { logging.json().try_init() };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}

/// A clock may be wrong by so much before that is said.
pub const SKEW_MAX: Duration = Duration::from_secs(1);

/// Notes how far this machine's clock is ahead of Postgres's, and says so now and then if that is far.
pub fn clock_skew(micros: i64) {
    static SAID: Mutex<Option<Instant>> = Mutex::new(None);
    let skew = Duration::from_micros(micros.unsigned_abs());
    let seconds = skew.as_secs_f64().copysign(if micros < 0 { -1.0 } else { 1.0 });
    gauge!(CLOCK_SKEW_SECONDS).set(seconds);
    if skew < SKEW_MAX {
        return;
    }
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_none_or(|said| said.elapsed() >= Duration::from_mins(1)) {
        *said = Some(Instant::now());
        tracing::warn!(
            seconds,
            "this machine's clock is ahead of Postgres's, or behind if negative; all due times go by Postgres's. Set it right"
        );
    }
}
