//! What a service, and every loop of its worker, may use of the process it runs in.

use std::sync::Arc;

use platform::{broker::Broker, config::Config, shutdown::Shutdown};
use sqlx::PgPool;

use crate::log::lineage::Lineage;

/// What a service may use of the process it runs in.
#[derive(Debug, Clone)]
pub struct Context {
    /// Its settings.
    pub config: Config,
    /// Connections to Postgres, in the service's role, its own schema first.
    pub pool: PgPool,
    /// The broker.
    pub broker: Broker,
    /// Which log the database has.
    pub lineage: Arc<Lineage>,
    /// When to stop.
    pub shutdown: Shutdown,
}
