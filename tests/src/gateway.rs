//! A gateway of a test's fleet, and requests to it: over a bare socket, so that a test can send what no client would.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, bail};
use platform::clock;
use serde_json::Value;
use sha2::{Digest, Sha256};
use testbed::http;
pub use testbed::http::Answer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{TestFleet, eventually, probes};

/// The token of a caller who may do everything.
pub const TOKEN: &str = "of-one-who-may-do-everything";

/// The token of a caller who may only read.
pub const READER: &str = "of-one-who-may-only-read";

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The hash of a token, as the file of tokens has it.
#[must_use]
pub fn sha256(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A gateway that runs.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// `127.0.0.1:41234`
    pub address: String,
    settings: BTreeMap<String, String>,
}

impl Gateway {
    /// Starts the gateway of a fleet, with these settings besides.
    pub async fn start(fleet: &TestFleet, settings: &[(&str, &str)]) -> Result<Self> {
        let tokens = fleet.dir().join("tokens.toml");
        let every = r#"["orders:read", "orders:write", "catalog:write", "refunds:decide", "operate", "audit:read"]"#;
        let entry = |caller: &str, token: &str, scopes: &str| {
            format!("[[token]]\ncaller = \"{caller}\"\nsha256 = \"{}\"\nscopes = {scopes}\n", sha256(token))
        };
        let file = entry("shop", TOKEN, every) + &entry("reader", READER, r#"["orders:read"]"#);
        fs::write(&tokens, file)?;
        let own = [("HOLDFAST_GATEWAY_ADDRESS", "127.0.0.1:0"), ("HOLDFAST_GATEWAY_TOKENS", &tokens.to_string_lossy())];
        let settings =
            own.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::started(fleet, settings).await
    }

    async fn started(fleet: &TestFleet, settings: BTreeMap<String, String>) -> Result<Self> {
        let served = Self::served(fleet).len();
        fleet.processes().await.start_worker_with("gateway", 0, &settings)?;
        eventually("the gateway serves", || async { Ok(Self::served(fleet).len() > served) }).await?;
        Ok(Self { address: Self::served(fleet).pop().context("it serves")?, settings })
    }

    /// Kills it with SIGKILL and starts it again, at another address.
    pub async fn kill_and_start(&self, fleet: &TestFleet) -> Result<Self> {
        fleet.processes().await.kill_worker("gateway", 0).await?;
        Self::started(fleet, self.settings.clone()).await
    }

    /// What its probes and its metrics answer.
    pub async fn probe(&self, fleet: &TestFleet, path: &str) -> Result<String> {
        let address = Self::noted(fleet, "serving /livez").pop().context("it serves probes")?;
        probes::get(address, path).await
    }

    /// The addresses at which it has served, in order.
    fn served(fleet: &TestFleet) -> Vec<String> {
        Self::noted(fleet, "serving the HTTP API")
    }

    /// The addresses in lines of its log that have these words.
    fn noted(fleet: &TestFleet, words: &str) -> Vec<String> {
        let log = fs::read_to_string(fleet.dir().join("log/gateway-0.log")).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains(words));
        let address = |line: &str| Some(line.split_once("\"address\":\"")?.1.split('"').next()?.to_owned());
        lines.filter_map(address).collect()
    }

    /// Sends bytes, and reads until the other side closes.
    pub async fn raw(&self, request: &[u8]) -> Result<Answer> {
        http::raw(&self.address, request).await
    }

    /// A request with these headers.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        http::request(&self.address, method, path, headers, body).await
    }

    /// Reads, as somebody who may.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path, &[("authorization", &format!("Bearer {TOKEN}"))], "").await
    }

    /// Posts, as somebody who may, under a key.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Answer> {
        self.post_with(path, key, &[], body).await
    }

    /// Posts with these headers besides.
    pub async fn post_with(&self, path: &str, key: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer> {
        let bearer = format!("Bearer {TOKEN}");
        let own = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        self.request("POST", path, &[&own, headers].concat(), &body.to_string()).await
    }

    /// Listens to a stream of events, as far as this word, and returns what was heard.
    pub async fn listen(&self, path: &str, headers: &[(&str, &str)], until: &str) -> Result<String> {
        let bearer = format!("Bearer {TOKEN}");
        self.hear(path, &[&[("authorization", bearer.as_str())], headers].concat(), until).await
    }

    /// Listens as a browser does, which cannot send a header of its own.
    pub async fn listen_bare(&self, path: &str, until: &str) -> Result<String> {
        self.hear(path, &[], until).await
    }

    async fn hear(&self, path: &str, headers: &[(&str, &str)], until: &str) -> Result<String> {
        let listening = async {
            let mut socket = self.begin_to_listen(path, headers).await?;
            let mut heard = Vec::new();
            loop {
                let mut part = [0; 4_096];
                let count = socket.read(&mut part).await?;
                heard.extend_from_slice(part.get(..count).unwrap_or_default());
                let text = String::from_utf8_lossy(&heard).into_owned();
                if text.contains(until) {
                    return Ok(text);
                }
                if count == 0 {
                    bail!("it ended without {until:?}: {text}");
                }
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, listening).await.context("not heard in time")?
    }

    /// A stream of events that has begun: it is heard for as long as the socket is kept.
    pub async fn open(&self, path: &str) -> Result<TcpStream> {
        let bearer = format!("Bearer {TOKEN}");
        let mut socket = self.begin_to_listen(path, &[("authorization", &bearer)]).await?;
        socket.read_exact(&mut [0; 15]).await?;
        Ok(socket)
    }

    async fn begin_to_listen(&self, path: &str, headers: &[(&str, &str)]) -> Result<TcpStream> {
        let mut socket = TcpStream::connect(&self.address).await?;
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\naccept: text/event-stream\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes()).await?;
        Ok(socket)
    }

    /// Reads a resource until it is so.
    pub async fn until(&self, path: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
        loop {
            let answer = self.get(path).await?;
            if is_so(&answer.json) {
                return Ok(answer.json);
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("waited in vain: {what}; {path} is {}", answer.text);
            }
            clock::sleep(Duration::from_millis(20)).await;
        }
    }
}
