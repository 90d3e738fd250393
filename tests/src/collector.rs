//! A collector of OpenTelemetry: takes spans in over HTTP, as OTLP has them in JSON, and keeps them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One span, as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace that it is of.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The id of the span that it follows from.
    pub parent: Option<String>,
    /// What happened.
    pub name: String,
    /// Who did it.
    pub service: String,
    /// Begin and end, in nanoseconds.
    pub times: (i128, i128),
    /// What else is said.
    pub attributes: BTreeMap<String, String>,
    /// Traces that it names besides.
    pub links: Vec<String>,
    /// Whether it says that something went wrong.
    pub is_error: bool,
}

/// A collector. It stops with the test.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Where it listens.
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    refuses: Arc<AtomicBool>,
    proof: String,
}

impl Collector {
    /// Starts one that believes whoever brings this header of authorization.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(proof: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1/traces", listener.local_addr()?);
        let collector = Self { url, spans: Arc::default(), refuses: Arc::default(), proof: proof.to_owned() };
        let listening = collector.clone();
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let collector = listening.clone();
                tokio::spawn(async move { while collector.answer(&mut connection).await.is_ok() {} });
            }
        });
        Ok(collector)
    }

    /// Has it answer from now on that it takes nothing, or that it takes all again.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// What it was told, each span as often as it was.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn answer(&self, connection: &mut TcpStream) -> Result<()> {
        let (head, body) = request(connection).await?;
        ensure!(head.starts_with("POST /v1/traces "), "{head}");
        let is_proven = head.to_lowercase().contains(&format!("\r\nauthorization: {}\r\n", self.proof.to_lowercase()));
        let status = match (is_proven, self.refuses.load(Ordering::Relaxed)) {
            (false, _) => "401 Unauthorized",
            (true, true) => "503 Service Unavailable",
            (true, false) => {
                let told = spans(&serde_json::from_slice(&body)?).context("a request of spans")?;
                self.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
                "200 OK"
            }
        };
        connection.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes()).await?;
        Ok(())
    }
}

/// The head of a request, and its body.
async fn request(connection: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if connection.read_buf(&mut read).await? == 0 {
            bail!("the connection has ended");
        }
    };
    let mut body = read.split_off(end);
    let head = String::from_utf8(read)?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(str::to_owned));
    let length: usize = length.context("a length")?.trim().parse()?;
    while body.len() < length {
        ensure!(connection.read_buf(&mut body).await? > 0, "the body broke off");
    }
    Ok((head, body))
}

fn spans(request: &Value) -> Option<Vec<Span>> {
    let mut all = Vec::new();
    for resource in request.get("resourceSpans")?.as_array()? {
        let service = attributes(resource.get("resource")?)?.remove("service.name")?;
        for scope in resource.get("scopeSpans")?.as_array()? {
            for told in scope.get("spans")?.as_array()? {
                all.push(span(told, &service)?);
            }
        }
    }
    Some(all)
}

fn span(told: &Value, service: &str) -> Option<Span> {
    let text = |field: &str| told.get(field).and_then(Value::as_str).map(str::to_owned);
    let time = |field: &str| text(field)?.parse::<i128>().ok();
    let links = told.get("links")?.as_array()?.iter();
    Some(Span {
        trace: text("traceId").filter(|id| id.len() == 32)?,
        id: text("spanId").filter(|id| id.len() == 16)?,
        parent: text("parentSpanId"),
        name: text("name")?,
        service: service.to_owned(),
        times: (time("startTimeUnixNano")?, time("endTimeUnixNano")?),
        attributes: attributes(told)?,
        links: links.filter_map(|link| link.get("traceId")?.as_str().map(str::to_owned)).collect(),
        is_error: told.get("status")?.get("code").and_then(Value::as_i64) == Some(2),
    })
}

fn attributes(of: &Value) -> Option<BTreeMap<String, String>> {
    let pair = |attribute: &Value| {
        let value = attribute.get("value")?.get("stringValue")?.as_str()?;
        Some((attribute.get("key")?.as_str()?.to_owned(), value.to_owned()))
    };
    of.get("attributes")?.as_array()?.iter().map(pair).collect()
}
