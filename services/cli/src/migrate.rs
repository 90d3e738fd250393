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
  holdfast migrate --dry-run
  holdfast migrate --database-url postgres://postgres@db/holdfast

Exit codes: 0 the database has the layout that this program knows; 1 with --dry-run, it lacks something; 2 wrong usage; 3 it could not be \
brought there.";

/// Options of `holdfast migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Say what is there and what would be applied, and apply nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    database: String,
    /// The number of the newest migration that the database has now.
    newest: i64,
    /// How many were applied just now.
    applied: usize,
    /// What it lacks, in the order in which it is applied.
    lacks: Vec<String>,
    /// What it has from a newer release.
    unknown: Vec<i64>,
}

impl Report {
    async fn read(url: &str, database: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url)
            .await
            .context("connecting to Postgres; is the database there? (--database-url)")?;
        let (known, unknown) = migrations::compare(&mut connection).await?;
        connection.close().await?;
        let (there, lacking): (Vec<_>, Vec<_>) = known.into_iter().partition(|migration| migration.is_applied);
        let newest = there.iter().map(|migration| migration.version).chain(unknown.iter().copied()).max().unwrap_or(0);
        let lacks = lacking.iter().map(|migration| format!("{:04} {}", migration.version, migration.about)).collect();
        Ok(Self { database: database.to_owned(), newest, applied: 0, lacks, unknown })
    }

    fn text(&self, is_dry_run: bool) -> String {
        let Self { database, newest, applied, lacks, unknown } = self;
        let mut text = match is_dry_run {
            true => format!("{database} is at migration {newest}; {} would be applied\n", lacks.len()),
            false => format!("{database} is at migration {newest}; {applied} were applied now\n"),
        };
        lacks.iter().for_each(|migration| text.push_str(&format!("  {migration}\n")));
        if !unknown.is_empty() {
            text.push_str("a newer release has migrated it: this program migrates nothing here\n");
        }
        text
    }
}

/// Migrates: exit code 0 if the database has all that this program knows, also if it had it before. Of several at once, one waits for the other.
pub async fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    // A process in a container has its password in the file of its settings, and no fleet of `holdfast up`.
    let url = match &global.database_url {
        Some(url) => url.clone(),
        None => database::address(&Config::from_environment()?.database)?,
    };
    let options: PgConnectOptions = url.parse().context("reading the URL of the database")?;
    let database = options.get_database().context("the URL names no database")?.to_owned();
    let mut report = Report::read(&url, &database).await?;
    if !args.dry_run {
        let lacked = report.lacks.len();
        // It is there, or the line above has failed: an owner of one database need not be able to make others.
        migrations::migrate(&url, &url, &database).await?;
        report = Report::read(&url, &database).await?;
        report.applied = lacked.saturating_sub(report.lacks.len());
    }
    match global.json {
        true => print::json(&report)?,
        false => print::out(&report.text(args.dry_run))?,
    }
    Ok(if report.lacks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
