//! Where a fleet stands: orders, money, holds, due work and messages, and what does not go on.

use std::time::Duration;

use anyhow::Result;
use platform::{broker as jetstream, config, print::short};
use runtime::log::{divergence, lineage::Lineage};
use serde::Serialize;
use sqlx::{Connection, PgConnection};

pub mod broker;
pub mod database;

/// Where a fleet stands.
#[derive(Debug, Serialize)]
pub struct Status {
    #[serde(flatten)]
    /// What the database says.
    pub database: database::Database,
    /// What waits at the broker.
    pub broker: broker::Broker,
    /// What does not go on, and where to look.
    pub stands: Vec<String>,
}

/// The relay sees to it that there are more.
pub(crate) const PARTITIONS_AHEAD_MIN: i64 = 2;

/// What is late by so much does not go on by itself.
pub(crate) const LATE: Duration = Duration::from_secs(30);

/// Asks the database and the broker.
///
/// # Errors
/// The database is away, or lacks Holdfast's tables. That the broker is away is part of the answer.
pub async fn look(database_url: &str, broker: &config::Broker) -> Result<Status> {
    let database = database::look(database_url).await?;
    let waits = broker::look(broker).await;
    let mut stands = stands(&database, &waits);
    // Without one of them there is nothing to compare, and that is said already.
    if let Ok(Some(another)) = another_log(database_url, broker).await {
        stands.insert(0, another);
    }
    Ok(Status { database, broker: waits, stands })
}

/// Why the database and the broker do not belong together, if they do not.
pub(crate) async fn another_log(database_url: &str, settings: &config::Broker) -> Result<Option<String>> {
    let mut connection = PgConnection::connect(database_url).await?;
    let broker = jetstream::connect(settings, "status").await?;
    let lineage = Lineage::read(&mut connection).await?;
    let another = divergence::look(&broker, &mut connection, &lineage).await?;
    connection.close().await?;
    Ok(another.map(|another| another.chain()))
}

/// What does not go on.
fn stands(database: &database::Database, broker: &broker::Broker) -> Vec<String> {
    const ASK: &str = "/readyz of each worker says why";
    let is_late = |ms: u64| Duration::from_millis(ms) > LATE;
    let late = |ms: u64| short(Duration::from_millis(ms));
    let mut stands = Vec::new();
    // Before a fleet's first start nothing is missing.
    if database.log.head > 0 {
        let missing = broker.missing.iter();
        stands.extend(
            missing.map(|name| format!("the stream {name} is missing, and the workers could not make it: {ASK}")),
        );
    }
    for consumer in broker.consumers.iter().filter(|consumer| consumer.paused) {
        stands.push(format!("the consumer {} of {} is paused", consumer.durable, consumer.stream));
    }
    for notice in &database.notices {
        let (said_by, says) = (&notice.said_by, &notice.says);
        stands.push(format!("{says} (said by {said_by}, for {})", late(notice.for_ms)));
    }
    for of in &database.stopped {
        let (service, by, calls, says, since) = (of.service, &of.by, of.calls, &of.says, late(of.for_ms));
        stands.push(format!(
            "{service}: {calls} outside calls to {by} wait until somebody mends how it is asked, the first for {since}: {says}"
        ));
    }
    let timers = database.timers.iter().map(|(service, due)| (service, "timers", due));
    let calls = database.effects.iter().map(|(service, due)| (service, "outside calls", due));
    for (service, what, due) in timers.chain(calls).filter(|(_, _, due)| due.overdue > 0 && is_late(due.oldest_ms)) {
        stands.push(format!(
            "{service}: {} {what} are overdue, the first for {}: {ASK}",
            due.overdue,
            late(due.oldest_ms)
        ));
    }
    if database.log.lag > 0 && is_late(database.log.lag_ms) {
        let (lag, since) = (database.log.lag, late(database.log.lag_ms));
        stands.push(format!("{lag} events are not published, the first for {since}: {ASK}"));
    }
    let ahead = database.log.partitions_ahead;
    if ahead < PARTITIONS_AHEAD_MIN {
        stands.push(format!(
            "the log has {ahead} empty partitions, and takes nothing in without one; the relay makes them: {ASK}"
        ));
    }
    stands
}
