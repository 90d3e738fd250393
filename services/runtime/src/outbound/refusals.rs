//! Refusals: whether the broker takes in what is committed, for the probes of every worker. One that is connected may take nothing in.
//!
//! Why it is so: services/runtime/README.md#a-broker-is-not-ready-because-it-answers

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::GlobalPosition;
use platform::{broker::Broker, clock, config::ms, error::Error, health::Health};

use crate::{context::Context, log::event_store::StoredEvent, outbound::notices::Topic};

/// What the probes call what this worker publishes itself, and what the relay does for all.
const PUBLISHING: &str = "publishing";
const BROKER: &str = "the broker";

/// How often to look whether what was refused is published by now.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the broker has refused of one worker's events.
#[derive(Debug)]
pub(crate) struct Refusals {
    broker: Broker,
    health: Health,
    /// The last position of it, until all that is published.
    up_to: Mutex<Option<GlobalPosition>>,
}

impl Refusals {
    pub(crate) fn new(broker: Broker, health: Health) -> Arc<Self> {
        Arc::new(Self { broker, health, up_to: Mutex::default() })
    }

    /// Events did not get in: publishing them began then.
    pub(crate) fn note(&self, events: &[StoredEvent], begun: Instant, error: &Error) {
        // One that is away is missed already.
        if !self.broker.is_connected() {
            return;
        }
        let mut up_to = self.up_to.lock().unwrap_or_else(PoisonError::into_inner);
        *up_to = (*up_to).max(events.iter().map(|event| event.position).max());
        self.health.stuck_since(PUBLISHING, begun, by_its_code(&explained(error)));
    }

    /// All up to this position is published, whoever did it.
    fn published(&self, position: GlobalPosition) {
        let mut up_to = self.up_to.lock().unwrap_or_else(PoisonError::into_inner);
        if up_to.is_some_and(|up_to| up_to <= position) {
            *up_to = None;
            self.health.goes_on(PUBLISHING);
        }
    }
}

/// What an operator needs to know of a refusal.
pub(crate) fn explained(error: &Error) -> String {
    let said = error.chain();
    let advice = if said.contains("maximum bytes") {
        "the stream EVENTS is full of events that some service has not handled: see which of its consumers lags, or raise \
         broker.events_bytes_max"
    } else {
        // Whose disk is full says nothing at all.
        "nats-server is connected, so see its log. One whose disk was full takes nothing in, once there is room, until it is restarted"
    };
    format!("nothing that is committed gets into the broker: {said}; {advice}")
}

/// As the probes say it: by the code under which `holdfast diagnose` has it.
fn by_its_code(why: &str) -> String {
    format!("{}: {why}", Topic::Refused.code())
}

/// Tells the probes of this worker, until asked to stop, what the relay says, and when its own events are published.
pub(crate) async fn run(context: Context, refusals: Arc<Refusals>) {
    let mut shutdown = context.shutdown.clone();
    while !shutdown.is_requested() {
        match look(&context).await {
            Ok((published, refusal)) => {
                refusals.published(published);
                match refusal {
                    Some((since, why)) => refusals.health.stuck_since(BROKER, since, by_its_code(&why)),
                    None => refusals.health.goes_on(BROKER),
                }
            }
            // Whoever needs the database says so.
            Err(error) => tracing::debug!(%error, "cannot look whether the broker takes events in"),
        }
        tokio::select! {
            () = clock::sleep(LOOK_EVERY) => {}
            () = shutdown.requested() => {}
        }
    }
}

/// Up to where all is published; and if the broker takes no more in, since when and why.
async fn look(context: &Context) -> Result<(GlobalPosition, Option<(Instant, String)>), sqlx::Error> {
    let query = "select published, (extract(epoch from clock_timestamp() - since) * 1000)::bigint, says
        from log.relay left join log.notices on topic = $1 and valid_until > clock_timestamp()
        order by since limit 1";
    let (published, lasted, why): (i64, Option<i64>, Option<String>) =
        sqlx::query_as(query).bind(Topic::Refused.name()).fetch_one(&context.pool).await?;
    let lasted = ms(u64::try_from(lasted.unwrap_or(0)).unwrap_or(0));
    let now = Instant::now();
    Ok((GlobalPosition::new(published), why.map(|why| (now.checked_sub(lasted).unwrap_or(now), why))))
}

#[cfg(test)]
mod tests {
    use super::explained;
    use platform::error::Error;

    #[test]
    fn a_refusal_says_what_to_do() {
        let explained = |said: &str| explained(&Error::transient("publishing events", said.to_owned()));
        assert!(explained("the broker took in 0 of 2: maximum bytes exceeded").contains("broker.events_bytes_max"));
        assert!(explained("the broker does not answer").contains("until it is restarted"));
    }
}
