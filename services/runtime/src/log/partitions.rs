//! The partitions of the log: made ahead of the position that it has come to.
//!
//! Why it is so: services/runtime/README.md#the-log-is-in-partitions

use domain::GlobalPosition;
use sqlx::PgConnection;

/// Makes partitions until some lie beyond this position, or beyond the last that was drawn.
pub(crate) async fn make(connection: &mut PgConnection, beyond: Option<GlobalPosition>) -> Result<(), sqlx::Error> {
    let made: i32 = sqlx::query_scalar("select log.make_partitions($1)")
        .bind(beyond.map(GlobalPosition::get))
        .fetch_one(connection)
        .await?;
    if made > 0 {
        tracing::info!(made, "partitions of the log were made");
    }
    Ok(())
}
