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

/// The newest migration that this program has, and a name for what all of them say.
#[must_use]
pub fn fingerprint() -> String {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    // Each is a SHA-384.
    let mut sum = [0_u8; 8];
    for migration in MIGRATIONS.iter() {
        sum.iter_mut().zip(migration.checksum.iter()).for_each(|(sum, byte)| *sum = sum.rotate_left(1) ^ byte);
    }
    format!("{newest:04}-{:016x}", u64::from_be_bytes(sum))
}

/// A migration that this program has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub version: i64,
    /// What its file is called, in words.
    pub about: String,
    /// Whether a database has it as it is here; one that was applied with other contents has not.
    pub is_applied: bool,
}

/// What of this program's migrations a database has, and the numbers of those that it has and this program does not know. Changes nothing.
///
/// # Errors
/// Postgres failed.
pub async fn compare(connection: &mut PgConnection) -> Result<(Vec<Known>, Vec<i64>)> {
    let table: Option<String> =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations')::text").fetch_one(&mut *connection).await?;
    let applied: Vec<(i64, Vec<u8>)> = match table {
        Some(_) => {
            let query = "select version, checksum from _sqlx_migrations where success order by version";
            sqlx::query_as(query).fetch_all(&mut *connection).await.context("reading which migrations there are")?
        }
        None => Vec::new(),
    };
    let known = MIGRATIONS.iter().map(|migration| Known {
        version: migration.version,
        about: migration.description.to_string(),
        is_applied: applied.iter().any(|(version, sum)| *version == migration.version && *sum == *migration.checksum),
    });
    let strange = applied.iter().map(|(version, _)| *version).filter(|version| !MIGRATIONS.version_exists(*version));
    Ok((known.collect(), strange.collect()))
}
