//! One moment of the database: what is read in it belongs together, whatever is written meanwhile.

use anyhow::{Context, Result};
use domain::Timestamp;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use time::OffsetDateTime;

/// A read-only transaction that sees one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Sees that moment until it is closed.
    pub connection: PgConnection,
    /// When that is, by the database's clock.
    pub now: Timestamp,
}

/// Connects to the database, in no transaction.
pub(crate) async fn connect(database_url: &str) -> Result<PgConnection> {
    // The address is not named: it may have a password in it.
    let hint = "connecting to Postgres; is the fleet up? (holdfast up, or --database-url for another one)";
    // Reading a whole log takes as long as it takes: that is not worth a warning.
    let options: PgConnectOptions = database_url.parse().context("reading the address of Postgres")?;
    let options = options.application_name("holdfast audit").disable_statement_logging();
    let mut connection = options.connect().await.context(hint)?;
    sqlx::raw_sql(PLAN_ONCE).execute(&mut connection).await?;
    Ok(connection)
}

/// A statement is asked for page after page. Postgres plans the first five of them anew, each for its own values; where statistics are old that
/// is another plan, which reads and sorts all that is left of the log.
const PLAN_ONCE: &str = "set plan_cache_mode = force_generic_plan";

/// Begins a read-only transaction that sees one moment, which its first query, or another's snapshot, says.
const BEGIN: &str = "begin isolation level repeatable read read only";

impl Snapshot {
    /// Takes the snapshot. It holds nobody up: it has no transaction id, and locks no row.
    pub async fn take(database_url: &str) -> Result<Self> {
        let mut connection = connect(database_url).await?;
        sqlx::raw_sql(BEGIN).execute(&mut connection).await?;
        let now: OffsetDateTime = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut connection).await?;
        Ok(Self { connection, now: now.into() })
    }

    /// Has a connection that is in no transaction see the same moment, until it is closed.
    pub(crate) async fn share(&mut self, connection: &mut PgConnection) -> Result<()> {
        let id: String = sqlx::query_scalar("select pg_export_snapshot()").fetch_one(&mut self.connection).await?;
        let see = format!("{BEGIN}; set transaction snapshot '{id}'");
        sqlx::raw_sql(AssertSqlSafe(see)).execute(connection).await.context("sharing the moment that is seen")?;
        Ok(())
    }

    /// Lets go of the moment.
    pub async fn close(mut self) -> Result<()> {
        sqlx::raw_sql("rollback").execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }
}
