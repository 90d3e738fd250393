//! The fleet that is loaded: one that is up, or a private one for the duration, in a scratch directory.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use platform::client::CommandClient;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;

use super::shop::Shop;
use crate::{
    fleet::{Address, Fleet, HttpAccess, Options, stripe::FakeStripe},
    servers::scratch_dir,
};

/// How long a command may stay without an answer. A killed worker's work is taken over well before.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Connections to Postgres: this process only looks.
const CONNECTIONS: u32 = 3;

/// A fleet, and how this process talks to it.
#[derive(Debug)]
pub struct TargetFleet {
    /// Where it is.
    pub address: Address,
    /// Commands.
    pub client: CommandClient,
    /// Postgres, to look.
    pub pool: PgPool,
    /// `None`: somebody else's.
    pub private: Option<OwnedFleet>,
    /// Who sends the commands, if they go over HTTP.
    pub shop: Option<Shop>,
    /// Its gateway, if it has one.
    pub gateway: Option<HttpAccess>,
    /// Where the buyers of that shop pay. Declared, and so dropped, after the fleet that calls it.
    pub stripe: Option<FakeStripe>,
}

/// A fleet of our own. Dropping it ends everything and removes its directory.
#[derive(Debug)]
pub struct OwnedFleet {
    /// Declared, and so dropped, before the directory that it lives in.
    pub fleet: Fleet,
    /// Where it lives.
    pub dir: PathBuf,
    scratch: Option<TempDir>,
}

impl OwnedFleet {
    /// Starts a fleet in a scratch directory, or in `keep`, which must be empty and stays.
    pub async fn start(keep: Option<PathBuf>) -> Result<Self> {
        let (dir, scratch) = Self::place(keep)?;
        let fleet = Fleet::start(&dir, Options::default()).await?;
        Ok(Self { fleet, dir, scratch })
    }

    /// The same, with a gateway, and a fake of Stripe that takes the money.
    async fn with_shop(keep: Option<PathBuf>) -> Result<(Self, HttpAccess, FakeStripe)> {
        let (dir, scratch) = Self::place(keep)?;
        let stripe = FakeStripe::start(&dir).await?;
        let settings = stripe.settings(&dir)?;
        let mut fleet = Fleet::start(&dir, Options { settings, ..Options::default() }).await?;
        let gateway = fleet.start_gateway().await?;
        stripe.tells(&gateway).await?;
        Ok((Self { fleet, dir, scratch }, gateway, stripe))
    }

    fn place(keep: Option<PathBuf>) -> Result<(PathBuf, Option<TempDir>)> {
        Ok(match keep {
            Some(dir) => {
                fs::create_dir_all(&dir).with_context(|| format!("making the directory {}", dir.display()))?;
                if fs::read_dir(&dir)?.next().is_some() {
                    bail!("{} is not empty; name a directory for this run alone", dir.display());
                }
                (dir, None)
            }
            None => {
                let scratch = scratch_dir("holdfast-")?;
                (scratch.path().to_owned(), Some(scratch))
            }
        })
    }

    /// Stops the fleet. Its directory stays if it was to be kept, if `keep` says so, or if something did not stop as it
    /// should; then its path is returned.
    async fn stop(self, keep: KeepDir) -> Result<Option<PathBuf>> {
        let stopped = self.fleet.stop().await;
        if let Err(error) = &stopped {
            tracing::warn!("the fleet did not stop cleanly: {error:#}");
        }
        Ok(match (self.scratch, keep) {
            (None, _) => Some(self.dir),
            (Some(scratch), KeepDir::No) if stopped.is_ok() => {
                scratch.close().context("removing the scratch directory")?;
                None
            }
            (Some(scratch), _) => Some(scratch.keep()),
        })
    }
}

/// Whether a private fleet's directory stays: something went wrong, and its logs say what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepDir {
    /// It stays.
    Yes,
    /// It is removed if it was a scratch directory.
    No,
}

impl TargetFleet {
    /// A private fleet.
    pub async fn private(keep: Option<PathBuf>) -> Result<Self> {
        let private = OwnedFleet::start(keep).await?;
        Self::connect(private.fleet.address(), Some(private)).await
    }

    /// A private fleet with a gateway, whose buyers pay on the pages of a fake of Stripe.
    pub async fn shop(keep: Option<PathBuf>) -> Result<Self> {
        let (private, gateway, stripe) = OwnedFleet::with_shop(keep).await?;
        let target = Self::connect(private.fleet.address(), Some(private)).await?;
        Ok(Self { shop: Some(Shop::new(&gateway)?), gateway: Some(gateway), stripe: Some(stripe), ..target })
    }

    /// Somebody else's.
    pub async fn of(address: Address) -> Result<Self> {
        Self::connect(address, None).await
    }

    async fn connect(address: Address, private: Option<OwnedFleet>) -> Result<Self> {
        let client = CommandClient::connect(&address.broker_url, ANSWER_WITHIN).await?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&address.database_url).await;
        let pool = pool.with_context(|| format!("connecting to Postgres at {}", address.database_url))?;
        Ok(Self { address, client, pool, private, shop: None, gateway: None, stripe: None })
    }

    /// Its gateway, which is started if it has none yet.
    ///
    /// # Errors
    /// The fleet is not ours, or the gateway does not start.
    pub async fn gateway(&mut self) -> Result<HttpAccess> {
        if let Some(gateway) = &self.gateway {
            return Ok(gateway.clone());
        }
        let gateway = self.private.as_mut().context("the fleet is somebody else's")?.fleet.start_gateway().await?;
        Ok(self.gateway.insert(gateway).clone())
    }

    /// Lets go of the fleet, and stops it if it is ours. The path of what is left of it.
    pub async fn leave(self, keep: KeepDir) -> Result<Option<PathBuf>> {
        self.pool.close().await;
        drop(self.client);
        match self.private {
            Some(private) => private.stop(keep).await,
            None => Ok(None),
        }
    }
}
