//! `holdfast migrate`: brings the layout of an existing database up to date, before workers of a new release start.

use std::process::ExitCode;

use anyhow::{Context, Result};
use platform::{config::Config, database, migrations, print};
use serde::Serialize;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::global_args::GlobalArgs;

const EXAMPLES: &str = "\
Examples:
  holdfast migrate
  holdfast migrate --database-url postgres://postgres@db/holdfast

Exit codes: 0 the database has the layout that this program knows; 2 wrong usage; 3 it could not be brought there.";

/// Options of `holdfast migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

#[derive(Debug, Serialize)]
struct Report {
    database: String,
    /// The number of the newest migration that the database has now.
    newest: i64,
    /// How many were applied just now.
    applied: i64,
}

/// Migrates: exit code 0 if the database has all that this program knows, also if it had it before. Of several at once, one waits for the other.
pub async fn run(_args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    // A process in a container has its password in the file of its settings, and no fleet of `holdfast up`.
    let url = match &global.database_url {
        Some(url) => url.clone(),
        None => database::address(&Config::from_environment()?.database)?,
    };
    let options: PgConnectOptions = url.parse().context("reading the URL of the database")?;
    let database = options.get_database().context("the URL names no database")?.to_owned();
    let before = applied(&url).await?.0;
    // It is there, or the line above has failed: an owner of one database need not be able to make others.
    migrations::migrate(&url, &url, &database).await?;
    let (after, newest) = applied(&url).await?;
    let report = Report { database, newest, applied: after.saturating_sub(before) };
    if global.json {
        print::json(&report)?;
    } else {
        let Report { database, newest, applied } = report;
        print::out(&format!("{database} is at migration {newest}; {applied} were applied now\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How many migrations a database has, and the newest.
async fn applied(url: &str) -> Result<(i64, i64)> {
    let mut database =
        PgConnection::connect(url).await.context("connecting to Postgres; is the database there? (--database-url)")?;
    let table: Option<String> = sqlx::query_scalar("select to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut database)
        .await
        .context("looking for the table of migrations")?;
    if table.is_none() {
        return Ok((0, 0));
    }
    let found = sqlx::query_as("select count(*), coalesce(max(version), 0) from _sqlx_migrations where success")
        .fetch_one(&mut database)
        .await
        .context("reading which migrations there are")?;
    database.close().await?;
    Ok(found)
}
