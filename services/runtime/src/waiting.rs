//! What waits for a person, as a metric: asked of the service's tables now and then, by every replica, for none knows of the others.

use std::time::Duration;

use platform::{clock, shutdown::Shutdown};
use sqlx::PgPool;

use crate::{service::Service, telemetry};

/// A person is not quicker.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// Asks until the shutdown is pulled.
pub(crate) async fn run<S: Service>(pool: PgPool, mut shutdown: Shutdown) {
    while !shutdown.is_requested() {
        let asked = async { S::waiting(&mut *pool.acquire().await?).await };
        match asked.await {
            Ok(counts) => counts.into_iter().for_each(|(what, count)| telemetry::waiting(S::NAME, what, count)),
            Err(error) => tracing::debug!(%error, "cannot count what waits for a person"),
        }
        tokio::select! {
            () = clock::sleep(ASK_EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}
