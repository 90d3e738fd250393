//! A process: from its settings to its exit code, and connecting for as long as it takes.

use std::{process::ExitCode, time::Duration};

use tracing::{Instrument as _, Span};

use crate::{
    clock,
    config::{Config, ms},
    error::Error,
    health::Health,
    retry,
};

/// The longest time between two tries to connect.
const TRY_EVERY: Duration = Duration::from_secs(2);

/// Runs until `work` ends: the whole of a `main`. Every line of the log bears the span. Exit code 0 after a graceful stop, 1 if it cannot
/// start or go on, 2 if its settings are wrong.
pub fn run<F: Future<Output = Result<(), Error>>>(
    name: &'static str,
    span: impl FnOnce() -> Span,
    work: impl FnOnce(Config) -> F,
) -> ExitCode {
    let config = match Config::from_environment() {
        Ok(config) => config,
        Err(error) => {
            // Logging itself is not set up yet.
            eprintln!("holdfast-{name}: {error}");
            return ExitCode::from(2);
        }
    };
    crate::telemetry::start_logging(&config.log);
    let runtime = if config.process.threads == 1 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(config.process.threads).enable_all().build()
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(service = name, %error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let stopped = runtime.block_on(work(config).instrument(span()));
    runtime.shutdown_timeout(ms(100));
    match stopped {
        Ok(()) => {
            tracing::info!(service = name, "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(service = name, error = error.chain(), "cannot go on");
            ExitCode::FAILURE
        }
    }
}

/// Connects, however long it takes: in a cluster, databases and brokers come up in any order. Meanwhile the probes say what this part of the
/// process waits for.
///
/// # Errors
/// It will never work.
pub async fn connect_with_retry<T, F>(health: &Health, part: &'static str, connect: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut waits = retry::backoff(ms(50), TRY_EVERY);
    loop {
        health.beat_alive();
        match connect().await {
            Err(error @ Error::Transient { .. }) => {
                let error = error.chain();
                tracing::warn!(error, "not connected yet");
                health.stuck(part, error);
                clock::sleep(waits.next().unwrap_or(TRY_EVERY)).await;
            }
            ended => {
                health.goes_on(part);
                return ended;
            }
        }
    }
}
