//! What every subcommand is told about its surroundings: where the fleet is, and how to print.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use platform::{
    config::{self, Config},
    database,
};
use sqlx::{Connection, PgConnection};
use testbed::fleet::Address;

use crate::output::Output;

/// Options of every subcommand.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Directory of the fleet that `holdfast up` runs: servers, data, logs.
    #[arg(long, global = true, default_value = ".holdfast", value_name = "DIR")]
    pub dir: PathBuf,
    /// Postgres of another fleet, as a role that may read everything.
    #[arg(long, global = true, env = "HOLDFAST_ADMIN_DATABASE_URL", value_name = "URL")]
    pub database_url: Option<String>,
    /// NATS of another fleet.
    #[arg(long, global = true, env = "HOLDFAST_BROKER_URL", value_name = "URL")]
    pub broker_url: Option<String>,
    /// The gateway to go through, as `holdfast context add` has noted it. Without it: the current one.
    #[arg(long, global = true, env = "HOLDFAST_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// How to print: table, json, and where there are many of them jsonl, a line each, or name, only what each is called by.
    #[arg(short, long, global = true, value_name = "FORMAT", hide_possible_values = true)]
    pub output: Option<Output>,
    /// Short for -o json: one JSON object on standard output instead of text.
    #[arg(long, global = true)]
    pub json: bool,
}

impl GlobalArgs {
    /// Settles how to print, for a command that knows these ways.
    ///
    /// # Errors
    /// Another is asked for, or two.
    pub fn settle(&mut self, known: &[Output]) -> Result<(), String> {
        let output = Output::asked(self.output, self.json, known)?;
        self.output = Some(output);
        self.json = output == Output::Json;
        Ok(())
    }

    /// How to print.
    pub(crate) fn output(&self) -> Output {
        self.output.unwrap_or(if self.json { Output::Json } else { Output::Table })
    }

    /// Where the fleet is: as told, or as the running `holdfast up` has noted.
    pub fn address(&self) -> Result<Address> {
        if let (Some(database_url), Some(broker_url)) = (&self.database_url, &self.broker_url) {
            return Ok(Address { database_url: database_url.clone(), broker_url: broker_url.clone() });
        }
        let path = Self::note(&self.dir);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "no fleet: {} is not there. Start one with `holdfast up`, or name another with --database-url and --broker-url",
                path.display()
            )
        })?;
        let noted: Address = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        Ok(Address {
            database_url: self.database_url.clone().unwrap_or(noted.database_url),
            broker_url: self.broker_url.clone().unwrap_or(noted.broker_url),
        })
    }

    /// Postgres of the fleet, as a role that may read everything: as told, as the file of settings says, which may be a secret, or as noted.
    pub fn database_url(&self) -> Result<String> {
        match &self.database_url {
            Some(url) => Ok(url.clone()),
            None if Self::has_settings() => Ok(database::address(&Config::from_environment()?.database)?),
            None => Ok(self.address()?.database_url),
        }
    }

    /// Connects to Postgres of the fleet.
    pub async fn database(&self) -> Result<PgConnection> {
        Self::connect(&self.database_url()?).await
    }

    /// Connects to Postgres there.
    pub async fn connect(database_url: &str) -> Result<PgConnection> {
        PgConnection::connect(database_url)
            .await
            .context("connecting to Postgres; is it up? (--database-url for another one)")
    }

    /// NATS of the fleet, and as whom to connect.
    pub fn broker(&self) -> Result<config::Broker> {
        let settings = Config::from_environment()?.broker;
        let url = match &self.broker_url {
            Some(url) => url.clone(),
            None if Self::has_settings() => settings.url,
            None => self.address()?.broker_url,
        };
        Ok(config::Broker { url, ..settings })
    }

    /// Whether a file of settings says where the fleet is.
    fn has_settings() -> bool {
        env::var_os("HOLDFAST_CONFIG").is_some()
    }

    /// The file in which a running `holdfast up` notes where its servers are.
    pub fn note(dir: &Path) -> PathBuf {
        dir.join("fleet.json")
    }
}
