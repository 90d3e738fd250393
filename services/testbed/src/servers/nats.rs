//! A private nats-server with JetStream in a directory of its own, alone or as a member of a cluster.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::binaries::find_nats_server;
use super::launch::Launch;
use super::{Process, free_port, place};

const NAME: &str = "nats-server";
const STOPS_WITHIN: Duration = Duration::from_secs(30);
const GREETS_WITHIN: Duration = Duration::from_secs(1);
/// The directory that nats-server makes in the one it is given.
const STORAGE: &str = "jetstream";
const SETTINGS: &str = "nats-server.conf";

/// A nats-server that belongs to this process; see [`super`] for how it ends.
#[derive(Debug)]
pub struct NatsServer {
    process: Option<Process>,
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    membership: Option<Membership>,
}

/// What makes a server a member of a cluster. Members know each other by their routes alone: clients hear of no member, and
/// members of no other way to each other, so whoever stands between them is between them always.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The cluster's name.
    pub cluster: String,
    /// The port on 127.0.0.1 at which other members reach this one.
    pub port: u16,
    /// The ports on 127.0.0.1 at which this one reaches the others.
    pub routes: Vec<u16>,
}

impl Membership {
    fn arguments(&self) -> Vec<String> {
        let routes: Vec<String> = self.routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let pairs = [
            ("--cluster_name", self.cluster.clone()),
            ("--cluster", format!("nats://127.0.0.1:{}", self.port)),
            ("--routes", routes.join(",")),
            ("--cluster_advertise", UNREACHABLE.to_owned()),
        ];
        let arguments = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        arguments.chain(["--no_advertise".to_owned()]).collect()
    }
}

/// Where nobody answers: what a member tells others when they ask where else it can be reached.
const UNREACHABLE: &str = "127.0.0.1:1";

/// What of a server's first line matters here.
#[derive(Deserialize)]
struct Greeting {
    server_name: String,
    #[serde(default)]
    jetstream: bool,
}

impl NatsServer {
    /// Starts a nats-server at a free port of 127.0.0.1 that keeps its streams and its log in `dir`, which is made if it
    /// is not there, and waits until it answers.
    ///
    /// Fails if no nats-server 2.14 or newer can be found, or if it does not start; the error has the end of its log.
    pub async fn start(dir: &Path) -> Result<NatsServer> {
        Self::start_as(dir, None).await
    }

    /// Starts one member of a cluster, as [`NatsServer::start`] does. It answers before it has met the others.
    pub async fn start_member(dir: &Path, membership: Membership) -> Result<NatsServer> {
        Self::start_as(dir, Some(membership)).await
    }

    /// Starts so many servers, each in a directory of its own in `dir`: one alone, or the members of a cluster, straight beside each
    /// other.
    pub async fn start_all(dir: &Path, count: usize, settings: &str) -> Result<Vec<NatsServer>> {
        let prepare = |name: &str| -> Result<PathBuf> {
            let dir = dir.join(name);
            if !settings.is_empty() {
                fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
                fs::write(dir.join(SETTINGS), settings)
                    .with_context(|| format!("writing settings in {}", dir.display()))?;
            }
            Ok(dir)
        };
        if count == 1 {
            return Ok(vec![Self::start(&prepare("nats")?).await?]);
        }
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect::<Result<_>>()?;
        let mut servers = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let routes = ports.iter().copied().filter(|other| other != port).collect();
            let membership = Membership { cluster: "holdfast".to_owned(), port: *port, routes };
            servers.push(Self::start_member(&prepare(&format!("nats-{number}"))?, membership).await?);
        }
        Ok(servers)
    }

    async fn start_as(dir: &Path, membership: Option<Membership>) -> Result<NatsServer> {
        let program = find_nats_server().await?;
        let dir = place::settle(dir, None)?;
        let mut server = NatsServer { process: None, program, dir, port: 0, membership };
        server.launch(None).await?;
        Ok(server)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The TCP port on 127.0.0.1, the same after [`NatsServer::start_again`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id, or `None` if it is not running.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().filter(|process| process.exited().is_none()).map(Process::pid)
    }

    /// The file with settings of its own, if somebody writes one: from its next start on, and stronger than those it always has.
    pub fn settings(&self) -> PathBuf {
        self.dir.join(SETTINGS)
    }

    /// Where its streams and its log are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stops it as an operator would. Does nothing if it is not running.
    pub async fn stop(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::TERM)?;
        process.ended(STOPS_WITHIN).await?;
        Ok(())
    }

    /// Ends it with SIGKILL. Does nothing if it is not running.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.kill_with_children()?;
        process.ended(STOPS_WITHIN).await?;
        Ok(())
    }

    /// SIGSTOP: it stands still, as on a machine that is paused. Does nothing if it is not running.
    pub fn pause(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// Starts it again after its end, whatever that was, at the same port and with what its directory still holds.
    pub async fn start_again(&mut self) -> Result<()> {
        if let Some(pid) = self.pid() {
            bail!("{NAME} is running already, as process {pid}");
        }
        self.launch(Some(self.port)).await
    }

    /// Deletes all it has stored, as when the broker's disk is lost. Refused while it runs.
    pub fn wipe(&mut self) -> Result<()> {
        if let Some(pid) = self.pid() {
            bail!("{NAME} is running (process {pid}); stop it before its storage is deleted");
        }
        let storage = self.dir.join(STORAGE);
        if storage.exists() {
            fs::remove_dir_all(&storage).with_context(|| format!("deleting {}", storage.display()))?;
        }
        Ok(())
    }

    /// Streams set more room aside than a private server ever fills: it says that it has that room, or it would allow them three
    /// quarters of what is free, and a machine with less than 15 GB free would have no fleet.
    fn write_config(&self) -> Result<PathBuf> {
        let mut config = "jetstream { max_file_store: 64GB }\n".to_owned();
        if self.settings().exists() {
            config.push_str(&format!("include '{SETTINGS}'\n"));
        }
        let path = self.dir.join("private.conf");
        fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    async fn launch(&mut self, port: Option<u16>) -> Result<()> {
        let config = self.write_config()?;
        let log = self.dir.join("nats-server.log");
        let server = |port: u16| {
            let mut command = Process::command(&self.program, Signal::TERM);
            command.args(["--addr", "127.0.0.1", "--port"]).arg(port.to_string());
            command.args(["--name", &server_name(port)]);
            command.arg("--jetstream").arg("--store_dir").arg(&self.dir);
            command.args(self.membership.iter().flat_map(Membership::arguments));
            command.arg("--config").arg(&config);
            command
        };
        let answers = |port, _| async move { Ok(timeout(GREETS_WITHIN, greeted(port)).await.unwrap_or(false)) };
        let launch = Launch { name: NAME, log: &log, ending: Signal::TERM };
        let (process, port) = launch.run(port, server, answers).await?;
        self.process = Some(process);
        self.port = port;
        Ok(())
    }
}

/// By this name a server is told from any other that may have taken the port first.
fn server_name(port: u16) -> String {
    format!("holdfast-{}-{port}", std::process::id())
}

/// Does our server answer at `port`, with JetStream?
async fn greeted(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return false };
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line).await.is_err() {
        return false;
    }
    let greeting = line.strip_prefix("INFO ").and_then(|json| serde_json::from_str::<Greeting>(json).ok());
    greeting.is_some_and(|greeting| greeting.jetstream && greeting.server_name == server_name(port))
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream;
    use futures::StreamExt;
    use tempfile::TempDir;

    use super::*;
    use crate::servers::scratch_dir;

    async fn server() -> (NatsServer, TempDir) {
        let dir = scratch_dir("holdfast-nats-").unwrap();
        (NatsServer::start(dir.path()).await.unwrap(), dir)
    }

    async fn streams(server: &NatsServer) -> Vec<String> {
        let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
        context.stream_names().map(|name| name.unwrap()).collect().await
    }

    async fn store_one(server: &NatsServer) {
        let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
        let config =
            jetstream::stream::Config { name: "KEPT".into(), subjects: vec!["kept".into()], ..Default::default() };
        context.create_stream(config).await.unwrap();
        context.publish("kept", "a message".into()).await.unwrap().await.unwrap();
    }

    #[tokio::test]
    async fn keeps_its_streams_and_its_port_through_a_kill_and_a_stop() {
        let (mut server, _dir) = server().await;
        let port = server.port();
        store_one(&server).await;
        server.kill().await.unwrap();
        assert_eq!(server.pid(), None);
        server.start_again().await.unwrap();
        assert_eq!(streams(&server).await, ["KEPT"]);
        server.stop().await.unwrap();
        server.start_again().await.unwrap();
        assert_eq!((server.port(), streams(&server).await), (port, vec!["KEPT".to_owned()]));
    }

    #[tokio::test]
    async fn forgets_everything_when_wiped_and_refuses_that_while_it_runs() {
        let (mut server, _dir) = server().await;
        store_one(&server).await;
        assert!(server.wipe().unwrap_err().to_string().contains("stop it"));
        server.kill().await.unwrap();
        server.wipe().unwrap();
        server.start_again().await.unwrap();
        assert_eq!(streams(&server).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn many_start_at_once_without_sharing_a_port() {
        let servers = futures::future::join_all((0..6).map(|_| server())).await;
        let mut ports: Vec<u16> = servers.iter().map(|(server, _)| server.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
    }

    #[tokio::test]
    async fn says_what_its_log_says_when_it_cannot_start() {
        let dir = scratch_dir("holdfast-nats-").unwrap();
        std::fs::write(dir.path().join(STORAGE), "not a directory").unwrap();
        let error = NatsServer::start(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("did not start") && error.contains("not a directory"), "{error}");
    }
}
