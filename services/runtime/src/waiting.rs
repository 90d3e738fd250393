//! What a person should know of, asked or said now and then by every replica, for none knows of the others: what waits for a decision, as
//! a metric, and that the clock of this machine is wrong, as a notice.

use std::{env, process, time::Duration};

use platform::{clock, error::Error, shutdown::Shutdown, telemetry::SKEW_MAX};
use sqlx::{PgConnection, PgPool};

use crate::{
    outbound::notices::{self, Notice, Topic},
    service::Service,
    telemetry,
};

/// A person is not quicker.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// Asks until the shutdown is requested.
pub(crate) async fn run<S: Service>(pool: PgPool, mut shutdown: Shutdown) {
    let mut clock = WrongClock::of(S::NAME);
    while !shutdown.is_requested() {
        let asked = async {
            let mut connection = pool.acquire().await?;
            let counts = S::waiting(&mut connection).await?;
            Ok::<_, sqlx::Error>((counts, connection))
        };
        match asked.await {
            Ok((counts, mut connection)) => {
                counts.into_iter().for_each(|(what, count)| telemetry::waiting(S::NAME, what, count));
                if let Err(error) = clock.say(&mut connection).await {
                    tracing::debug!(error = error.chain(), "cannot say that the clock is wrong");
                }
            }
            Err(error) => tracing::debug!(%error, "cannot count what waits for a person"),
        }
        tokio::select! {
            () = clock::sleep(ASK_EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}

/// Whether the clock of this machine is wrong, as it was said last.
struct WrongClock {
    said_by: String,
    is_said: bool,
}

impl WrongClock {
    fn of(service: &str) -> Self {
        let host = env::var("HOSTNAME").unwrap_or_else(|_unset| "this machine".to_owned());
        Self { said_by: format!("{service}, process {} at {host}", process::id()), is_said: false }
    }

    async fn say(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        let skew = clock::skew();
        let off = Duration::from_micros(skew.unsigned_abs());
        if off < SKEW_MAX {
            if self.is_said {
                notices::is_over(connection, Topic::Clock, &self.said_by).await?;
            }
            self.is_said = false;
            return Ok(());
        }
        let which = if skew > 0 { "ahead of" } else { "behind" };
        let says = format!("its clock is {} s {which} Postgres's, by which all goes; set it right", off.as_secs());
        self.is_said = true;
        let (said_by, counts_for) = (self.said_by.as_str(), ASK_EVERY * 3);
        Notice { topic: Topic::Clock, said_by, says: &says, lasted: Duration::ZERO, counts_for }.note(connection).await
    }
}
