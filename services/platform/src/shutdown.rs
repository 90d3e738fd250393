//! The signal to stop: SIGTERM and SIGINT, seen by every loop.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::Instrument as _;

/// Seen by every loop; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Pulled once; then every [`Shutdown`] of it knows.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// Tells every loop to stop.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

/// A pair of its own, not tied to signals.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

/// Stops at SIGTERM or SIGINT.
///
/// # Errors
/// The handlers cannot be installed.
pub fn on_signals() -> std::io::Result<Shutdown> {
    let (trigger, shutdown) = channel();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let waiting = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop; finishing what has begun");
        trigger.request();
    };
    tokio::spawn(waiting.in_current_span());
    Ok(shutdown)
}

impl Shutdown {
    /// Whether it is time to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is time to stop.
    pub async fn requested(&mut self) {
        // An error means that the trigger is gone, which is a stop as well.
        let _gone = self.0.wait_for(|pulled| *pulled).await;
    }
}
