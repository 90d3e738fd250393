//! What a person should know of, asked or said now and then by every replica, for none knows of the others: what waits for a decision, as
//! a metric; who refuses how they are asked, so that calls wait, as a metric and in the log; and that the clock of this machine is wrong, as
//! a notice. What any worker says is in the probes of all.

use std::{collections::BTreeMap, env, process, time::Duration};

use platform::{
    clock,
    database::{Pool, answered},
    error::Error,
    health::Health,
    shutdown::Shutdown,
    telemetry::SKEW_MAX,
};
use sqlx::PgConnection;
use tokio::time::Instant;

use crate::{
    effects::{self, Stopped},
    outbound::notices::{self, Notice, Topic},
    service::Service,
    telemetry,
};

/// A person is not quicker.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// Between two lines in the log about the same one who refuses how they are asked, at least.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Asks until the shutdown is requested.
pub(crate) async fn run<S: Service>(pool: Pool, health: Health, mut shutdown: Shutdown) {
    let mut clock = WrongClock::of(S::NAME);
    let mut stops = Stops::default();
    S::CALLEES.iter().for_each(|by| telemetry::calls_stopped(S::NAME, by, 0));
    while !shutdown.is_requested() {
        let asked = async {
            let mut connection = pool.session().await?;
            let counts = S::waiting(&mut connection).await?;
            let stopped = effects::stopped(&mut connection).await?;
            stops.say(S::NAME, &stopped, Instant::now());
            counts.into_iter().for_each(|(what, count)| telemetry::waiting(S::NAME, what, count));
            if let Err(error) = clock.say(&mut connection).await {
                tracing::debug!(error = error.chain(), "cannot say that the clock is wrong");
            }
            notices::lines(&mut connection).await
        };
        match answered(asked).await {
            Ok(lines) => health.says(lines),
            Err(error) => tracing::debug!(%error, "cannot count what waits for a person"),
        }
        tokio::select! {
            () = clock::sleep(ASK_EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}

/// Who refuses how they are asked, and when that was said last; not at all any more of those who were and are not now.
#[derive(Debug, Default)]
struct Stops {
    said: BTreeMap<String, Instant>,
}

impl Stops {
    fn say(&mut self, service: &'static str, stopped: &[Stopped], now: Instant) {
        for over in self.said.keys().filter(|by| !stopped.iter().any(|stop| stop.by == **by)) {
            telemetry::calls_stopped(service, over, 0);
            tracing::info!(service, by = over, "no outside call waits for a person any more");
        }
        self.said.retain(|by, _| stopped.iter().any(|stop| stop.by == *by));
        for Stopped { by, since, calls, error } in stopped {
            telemetry::calls_stopped(service, by, *calls);
            if self.is_news(by, now) {
                tracing::error!(
                    service, by, %since, calls, error,
                    "outside calls wait until somebody mends how this one is asked"
                );
            }
        }
    }

    /// Whether it is to be said now; if so, it counts as said.
    fn is_news(&mut self, by: &str, now: Instant) -> bool {
        if self.said.get(by).is_some_and(|said| now.saturating_duration_since(*said) < SAY_EVERY) {
            return false;
        }
        self.said.insert(by.to_owned(), now);
        true
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

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use tokio::time::Instant;

    use super::{SAY_EVERY, Stopped, Stops};

    fn stop(by: &str) -> Stopped {
        Stopped { by: by.to_owned(), since: Timestamp::default(), calls: 3, error: "answer 401".to_owned() }
    }

    #[test]
    fn who_refuses_how_they_are_asked_is_named_once_a_minute_and_at_once_when_they_do_again() {
        let (mut stops, begin) = (Stops::default(), Instant::now());
        stops.say("payments", &[stop("stripe")], begin);
        assert!(!stops.is_news("stripe", begin + SAY_EVERY / 2) && stops.is_news("wallet", begin + SAY_EVERY / 2));
        assert!(stops.is_news("stripe", begin + SAY_EVERY));
        stops.say("payments", &[stop("wallet")], begin + SAY_EVERY);
        assert!(stops.is_news("stripe", begin + SAY_EVERY), "it was over");
    }
}
