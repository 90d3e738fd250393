//! What a service, and every loop of its worker, may use of the process it runs in.

use std::sync::Arc;

use platform::{broker::Broker, config::Config, database::Pool, shutdown::Shutdown};

use crate::log::lineage::Lineage;

/// What a service may use of the process it runs in.
#[derive(Debug, Clone)]
pub struct Context {
    /// Its settings.
    pub config: Config,
    /// Connections to Postgres, in the service's role, its own schema first.
    pub pool: Pool,
    /// The broker.
    pub broker: Broker,
    /// Which log the database has.
    pub lineage: Arc<Lineage>,
    /// When to stop.
    pub shutdown: Shutdown,
}
