//! Standing by: becoming the relay once nobody else is, and last of all where this worker's settings differ from the streams that are
//! there, for the relay changes those.
//!
//! Why it is so: services/runtime/README.md#only-the-relay-changes-streams

use std::time::{Duration, Instant};

use platform::{broker::Broker, config::ms, error::Error};
use sqlx::PgConnection;

use crate::{
    context::Context,
    outbound::notices::{self, Notice, Topic},
};

/// Key of the advisory lock that makes one relay active: "holdfast" in ASCII.
const LOCK_KEY: i64 = 0x686f_6c64_6661_7374;

/// For so many looks of a stand-by, a worker whose settings differ leaves it to others to become the relay.
const YIELDS_FOR: u32 = 5;

/// How often to compare settings and streams, and how long what was found counts.
const COMPARE_EVERY: Duration = Duration::from_secs(10);
const COUNTS_FOR: Duration = Duration::from_secs(30);

/// Where this worker's settings differ from the streams that are there.
pub(super) struct Differences {
    service: &'static str,
    broker: Broker,
    compared: Option<Instant>,
    found: Vec<String>,
    /// What this worker could not change as the relay, and why.
    refused: Vec<String>,
    /// Whether a notice may be there.
    is_noted: bool,
}

impl Differences {
    pub(super) fn new(service: &'static str, broker: Broker) -> Self {
        Self { service, broker, compared: None, found: Vec::new(), refused: Vec::new(), is_noted: true }
    }

    /// Compares now and then, and says what it finds.
    pub(super) async fn compare_seldom(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        if self.compared.is_some_and(|compared| compared.elapsed() < COMPARE_EVERY) {
            return Ok(());
        }
        self.compare().await;
        self.say(connection).await
    }

    async fn compare(&mut self) {
        self.compared = Some(Instant::now());
        // Whoever needs the broker says that it is away.
        let Ok(found) = self.broker.differences().await else { return };
        if !found.is_empty() && found != self.found {
            let differences = found.join("; ");
            tracing::warn!(differences, "this worker's settings are not those of the streams that are there");
        }
        self.found = found;
    }

    /// This worker is the relay, and could not change this.
    pub(super) async fn refused(&mut self, refused: Vec<String>, connection: &mut PgConnection) -> Result<(), Error> {
        for why in &refused {
            tracing::warn!(why, "a stream stays as it is");
        }
        self.refused = refused;
        self.compare().await;
        self.say(connection).await
    }

    async fn say(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        let says = if self.refused.is_empty() {
            self.found.iter().map(|what| format!("{what}, until no worker has other settings")).collect()
        } else {
            self.refused.clone()
        };
        if !says.is_empty() {
            self.is_noted = true;
            let (said_by, says, lasted) = (self.service, says.join("; "), Duration::ZERO);
            let notice = Notice { topic: Topic::Settings, said_by, says: &says, lasted, counts_for: COUNTS_FOR };
            return notice.note(connection).await;
        }
        if std::mem::take(&mut self.is_noted) {
            return notices::is_over(connection, Topic::Settings, self.service).await;
        }
        Ok(())
    }
}

/// A worker that is not the relay.
pub(super) struct StandBy {
    yields_for: Duration,
    /// Since when nobody is the relay.
    free_since: Option<Instant>,
}

impl StandBy {
    pub(super) fn new(context: &Context, differences: &mut Differences) -> Self {
        differences.refused.clear();
        Self { yields_for: ms(context.config.relay.compare_ms) * YIELDS_FOR, free_since: None }
    }

    /// Whether this session is the relay from now on.
    pub(super) async fn takes_over(
        &mut self,
        connection: &mut PgConnection,
        differences: &mut Differences,
    ) -> Result<bool, Error> {
        differences.compare_seldom(connection).await?;
        if is_led(connection).await? {
            self.free_since = None;
            return Ok(false);
        }
        let free_since = *self.free_since.get_or_insert_with(Instant::now);
        if free_since.elapsed() < self.yields_for {
            // Others may have changed them since.
            differences.compare().await;
            if !differences.found.is_empty() {
                return Ok(false);
            }
        }
        sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(LOCK_KEY)
            .fetch_one(connection)
            .await
            .map_err(|error| Error::database("standing by as the relay", error))
    }
}

/// Whether somebody is the relay.
async fn is_led(connection: &mut PgConnection) -> Result<bool, Error> {
    sqlx::query_scalar(
        "select exists (
             select from pg_locks
             where locktype = 'advisory' and granted and objsubid = 1
                 and (classid::bigint << 32) + objid::bigint = $1
                 and database = (select oid from pg_database where datname = current_database())
         )",
    )
    .bind(LOCK_KEY)
    .fetch_one(connection)
    .await
    .map_err(|error| Error::database("standing by as the relay", error))
}
