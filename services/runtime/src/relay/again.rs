//! Events that services are to hear of again, because an operator has asked for it: published out of the log, and in no other way.

use domain::GlobalPosition;
use platform::{database::answered, error::Error};
use sqlx::PgConnection;

use crate::{log::event_store::asked_again, outbound::publish::Publisher};

/// Publishes what was asked for, at most so many events. What the broker does not take in stays asked for.
pub(super) async fn publish(connection: &mut PgConnection, publisher: &Publisher, limit: i64) -> Result<(), Error> {
    let failed = |error| Error::database("reading which events are to be published again", error);
    let events = answered(asked_again(connection, limit)).await.map_err(failed)?;
    if events.is_empty() {
        return Ok(());
    }
    let published = publisher.publish(&events).await;
    let positions = events.iter().take(published.count).map(|event| event.position);
    answered(is_done(connection, positions.collect())).await?;
    tracing::info!(events = published.count, "published events again that an operator has asked for");
    published.result
}

async fn is_done(connection: &mut PgConnection, positions: Vec<GlobalPosition>) -> Result<(), Error> {
    let positions: Vec<i64> = positions.into_iter().map(GlobalPosition::get).collect();
    sqlx::query("delete from log.asked_again where position = any($1)")
        .bind(positions)
        .execute(connection)
        .await
        .map_err(|error| Error::database("noting which events were published again", error))?;
    Ok(())
}
