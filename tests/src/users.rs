//! A nats-server whose users may do what deploy/nats says, made as an operator makes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testbed::{
    http,
    servers::{NatsServer, free_port},
};

use crate::{python, repo_root};

/// The directory of the users' keys, in that of the nats-server.
pub const KEYS: &str = "keys";

/// The file of the port at which nats-server says who is connected.
const MONITOR: &str = "monitor";

/// Makes the keys of users that have none yet, by the program that operators have, and tells the nats-server.
///
/// # Errors
/// The program fails.
pub async fn make_keys(broker: &Path) -> Result<()> {
    let keys = broker.join(KEYS);
    let mut command = tokio::process::Command::new(python());
    command.arg("-B").arg(repo_root().join("deploy/nats/keys.py")).arg(&keys).stdin(Stdio::null());
    let output = command.output().await?;
    if !output.status.success() {
        bail!("keys.py: {}", String::from_utf8_lossy(&output.stderr));
    }
    fs::copy(keys.join("keys.conf"), broker.join("keys.conf"))?;
    Ok(())
}

/// Writes what a nats-server that is started in this directory reads: the users as operators have them, and one without a key who may do
/// everything, which is the test.
///
/// # Errors
/// A file cannot be written.
pub async fn write_settings(broker: &Path, acknowledges_anew: bool) -> Result<()> {
    make_keys(broker).await?;
    let accounts = fs::read_to_string(repo_root().join("deploy/nats/accounts.conf"))?;
    let test = "users: [\n      { user: test, password: test }\n";
    fs::write(broker.join("accounts.conf"), accounts.replacen("users: [\n", test, 1))?;
    let port = free_port()?;
    let settings = format!(
        "include 'accounts.conf'\nno_auth_user: test\nfeature_flags {{ js_ack_fc_v2: {acknowledges_anew} }}\nhttp: \"127.0.0.1:{port}\"\n"
    );
    fs::write(broker.join("nats-server.conf"), settings)?;
    fs::write(broker.join(MONITOR), port.to_string())?;
    Ok(())
}

/// Has a nats-server read its settings again: whose key it knows no more, it sends away.
///
/// # Errors
/// It cannot be told.
pub async fn reload(server: &NatsServer) -> Result<()> {
    let settings = fs::read_to_string(server.settings())?;
    // What a nats-server was named on its command line it must be named in its settings too, or it reads them again in vain.
    if !settings.contains("server_name:") {
        let name = format!("holdfast-{}-{}", std::process::id(), server.port());
        fs::write(server.settings(), format!("{settings}server_name: {name}\n"))?;
    }
    let pid = server.pid().context("nats-server runs")?.to_string();
    let told = tokio::process::Command::new("kill").args(["-HUP", &pid]).stdin(Stdio::null()).status().await?;
    if !told.success() {
        bail!("nats-server was not told to read its settings again: {told}");
    }
    Ok(())
}

/// Who is connected, as nats-server sees it: each connection's name, and the variable of its user's key.
///
/// # Errors
/// It cannot be asked.
pub async fn connected(broker: &Path) -> Result<BTreeSet<(String, String)>> {
    let port = fs::read_to_string(broker.join(MONITOR))?;
    // What answers of HTTP/1.1 may have, pieces, nobody needs here.
    let request = "GET /connz?auth=true&limit=1024 HTTP/1.0\r\n\r\n";
    let answer = http::raw(&format!("127.0.0.1:{port}"), request.as_bytes()).await?;
    let keys = fs::read_to_string(broker.join("keys.conf"))?;
    let keys: BTreeMap<&str, &str> =
        keys.lines().filter_map(|line| line.split_once(": ")).map(|(name, key)| (key, name)).collect();
    let text =
        |connection: &Value, field: &str| connection.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let connections = answer.json.get("connections").and_then(Value::as_array).cloned().unwrap_or_default();
    let whose = |connection: &Value| {
        let user = text(connection, "authorized_user");
        (text(connection, "name"), keys.get(user.as_str()).map_or(user.clone(), |name| (*name).to_owned()))
    };
    Ok(connections.iter().map(whose).collect())
}
