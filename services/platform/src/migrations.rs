//! Bringing a database to the newest layout.

use anyhow::{Context, Result};
use sqlx::{Connection, PgConnection, migrate::Migrator};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Creates the database unless it is there, and applies what it lacks. Safe to run by several at once.
///
/// # Errors
/// The server is away, refuses, or the database has a layout that this program does not know.
pub async fn migrate(server_url: &str, database_url: &str, database: &str) -> Result<()> {
    let mut server = PgConnection::connect(server_url).await.context("connecting to make the database")?;
    let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(database)
        .fetch_one(&mut server)
        .await?;
    if !there {
        let quoted = database.replace('"', "\"\"");
        let create = sqlx::AssertSqlSafe(format!("create database \"{quoted}\""));
        sqlx::raw_sql(create).execute(&mut server).await.with_context(|| format!("making the database {database}"))?;
    }
    server.close().await?;
    let mut connection =
        PgConnection::connect(database_url).await.context("connecting to bring the layout up to date")?;
    MIGRATIONS.run(&mut connection).await.context("bringing the layout up to date (migrations/)")?;
    connection.close().await?;
    Ok(())
}
