//! Connections to Postgres, and what Postgres is to do with them when their worker is gone.

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    config::{self, ms},
    error::Error,
};

/// A session that Postgres ends soon after its worker has gone without a word or stands still: what it has locked, rows or its
/// place as the relay, would else hold up all others for as long.
///
/// # Errors
/// The URL cannot be read.
pub(crate) fn session(database_url: &str, name: &str) -> Result<PgConnectOptions, Error> {
    let options: PgConnectOptions = database_url.parse().map_err(|error: sqlx::Error| Error::Permanent {
        what: "reading the setting database.url",
        source: error.into(),
    })?;
    Ok(options.application_name(name).options([
        ("idle_in_transaction_session_timeout", "10s"),
        ("tcp_keepalives_idle", "5s"),
        ("tcp_keepalives_interval", "2s"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "10s"),
    ]))
}

/// Connects to Postgres as a service: its own schema first, and plans made for the arrays at hand.
///
/// # Errors
/// No database there, or it refuses the role.
pub async fn connect(settings: &config::Database, service: &str) -> Result<PgPool, Error> {
    let failed = |error| Error::database("connecting to Postgres (setting database.url)", error);
    let options = session(&settings.url, &format!("holdfast-{service}"))?
        .options([("search_path", service), ("plan_cache_mode", "force_custom_plan")]);
    PgPoolOptions::new()
        .max_connections(settings.connections_max)
        .acquire_timeout(ms(5_000))
        .connect_with(options)
        .await
        .map_err(failed)
}
