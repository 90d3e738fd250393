//! One moment of the database: what is read in it belongs together, whatever is written meanwhile.

use anyhow::{Context, Result};
use domain::Timestamp;
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use time::OffsetDateTime;

/// A read-only transaction that sees one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Sees that moment until it is closed.
    pub connection: PgConnection,
    /// When that is, by the database's clock.
    pub now: Timestamp,
}

impl Snapshot {
    /// Takes the snapshot. It holds nobody up: it has no transaction id, and locks no row.
    pub async fn take(database_url: &str) -> Result<Self> {
        // The address is not named: it may have a password in it.
        let hint = "connecting to Postgres; is the fleet up? (holdfast up, or --database-url for another one)";
        // Reading a whole log takes as long as it takes: that is not worth a warning.
        let options: PgConnectOptions = database_url.parse().context("reading the address of Postgres")?;
        let mut connection = options.disable_statement_logging().connect().await.context(hint)?;
        sqlx::raw_sql("begin isolation level repeatable read read only").execute(&mut connection).await?;
        let now: OffsetDateTime = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut connection).await?;
        Ok(Self { connection, now: now.into() })
    }

    /// Lets go of the moment.
    pub async fn close(mut self) -> Result<()> {
        sqlx::raw_sql("rollback").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}
