//! The gateway of a private fleet, with one caller who may do everything.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use rand::Rng;
use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpStream;

use super::{DATABASE, Fleet};
use crate::servers::{SUPERUSER, free_port, last_lines, wait_until};

/// How long it may take to serve.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// Of its log, when it does not.
const LOG_LINES_SHOWN: usize = 5;

/// The scopes of the one caller.
const SCOPES: &str = r#"["orders:read", "orders:write", "catalog:write", "refunds:decide", "operate", "audit:read"]"#;

/// The login that may do what operators do.
const OPERATOR: &str = "holdfast_gateway_operator";

/// Where a private fleet is reached over HTTP, and what proves that one may.
#[derive(Debug, Clone)]
pub struct HttpAccess {
    /// `http://127.0.0.1:41231`
    pub url: String,
    /// A token that is good for everything, for as long as this fleet runs.
    pub token: String,
}

impl Fleet {
    /// Starts the gateway, with a token that nobody else has, and waits until it serves.
    ///
    /// # Errors
    /// It does not start: its last words are in the error.
    pub async fn start_gateway(&mut self) -> Result<HttpAccess> {
        let token = hex(&rand::rng().random::<[u8; 32]>());
        let tokens = self.dir.join("tokens.toml");
        let hash = hex(&Sha256::digest(token.as_bytes()));
        let file = format!("[[token]]\ncaller = \"up\"\nsha256 = \"{hash}\"\nscopes = {SCOPES}\n");
        private(&tokens, &file)?;
        let secret = self.dir.join("console_secret");
        private(&secret, &hex(&rand::rng().random::<[u8; 32]>()))?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let operator_url = self.operator_login().await?;
        let settings = BTreeMap::from([
            ("HOLDFAST_GATEWAY_ADDRESS".to_owned(), address.clone()),
            ("HOLDFAST_GATEWAY_CONSOLE_SECRET".to_owned(), fs::canonicalize(&secret)?.to_string_lossy().into_owned()),
            ("HOLDFAST_GATEWAY_OPERATOR_URL".to_owned(), operator_url),
            ("HOLDFAST_GATEWAY_PUBLIC_ROUNDS".to_owned(), "true".to_owned()),
            ("HOLDFAST_GATEWAY_TOKENS".to_owned(), fs::canonicalize(&tokens)?.to_string_lossy().into_owned()),
        ]);
        self.start_worker_with("gateway", 0, &settings)?;
        let served = wait_until(SERVES_WITHIN, || async {
            if self.worker("gateway", 0)?.exited().is_some() {
                bail!("the gateway ended at once.\n{}", last_lines(&self.log("gateway", 0), 0, LOG_LINES_SHOWN));
            }
            Ok(TcpStream::connect(&address).await.ok().map(drop))
        });
        served.await?.with_context(|| {
            format!("the gateway did not serve.\n{}", last_lines(&self.log("gateway", 0), 0, LOG_LINES_SHOWN))
        })?;
        Ok(HttpAccess { url: format!("http://{address}"), token })
    }
}

impl Fleet {
    /// A login of the database that may do what operators do, and no more.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn operator_login(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.postgres.url(SUPERUSER, DATABASE)).await?;
        let is_there: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(OPERATOR)
            .fetch_one(&mut connection)
            .await?;
        if !is_there {
            let login = "create role holdfast_gateway_operator login in role holdfast_operator, pg_read_all_stats, pg_signal_backend";
            connection.execute(login).await.context("making a login for operators")?;
        }
        Ok(self.postgres.url(OPERATOR, DATABASE))
    }
}

/// Writes what nobody else is to read.
pub(super) fn private(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
