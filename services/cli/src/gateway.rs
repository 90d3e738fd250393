//! The way through the gateway: which one and as whom, one request and its answer, and what is said when there is none.

use std::{
    error::Error as _,
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use domain::legible;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

pub(crate) mod command;
pub(crate) mod contexts;
pub mod failure;
pub(crate) mod stream;

use crate::global_args::GlobalArgs;
use contexts::{Context, Contexts};
use failure::{AWAY, Failure, UNKNOWN, USAGE};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long a command waits for its worker.
pub(crate) const WORKER_WITHIN: Duration = Duration::from_secs(30);

/// And how long for any answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 67_108_864;

/// The most letters of a text that came from there and is no answer.
const SHOWN_MAX: usize = 200;

/// The one that is in use.
pub(crate) struct Gateway {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    name: String,
    context: Context,
    authorization: HeaderValue,
}

/// What was answered to something that is posted.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

/// The context that is in use: the one that is named, or else the current one. `None`: there is none.
pub(crate) fn context_in_use(global: &GlobalArgs) -> Result<Option<(String, Context)>> {
    let contexts = Contexts::read()?;
    let Some(name) = global.context.clone().or_else(|| contexts.current.clone()) else { return Ok(None) };
    let context = contexts.named(&name)?.clone();
    Ok(Some((name, context)))
}

impl Gateway {
    /// Of the context that is in use.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn in_use(global: &GlobalArgs) -> Result<Self> {
        let none = || {
            let words = "which gateway? `holdfast context add NAME --url URL --token-file FILE` notes one";
            Failure::error(USAGE, words)
        };
        let (name, context) = context_in_use(global)?.ok_or_else(none)?;
        Self::new(name, context)
    }

    /// The same, if a command that can also go to the servers themselves is to go through it: nobody has named those.
    ///
    /// # Errors
    /// Both are named.
    pub(crate) fn if_in_use(global: &GlobalArgs) -> Result<Option<Self>> {
        let servers = global.database_url.is_some() || global.broker_url.is_some();
        if servers && global.context.is_some() {
            let words = "a context is named, and servers are, too (--database-url, --broker-url, or HOLDFAST_ADMIN_DATABASE_URL and \
                 HOLDFAST_BROKER_URL): which of them is meant?";
            return Err(Failure::error(USAGE, words));
        }
        let in_use = if servers { None } else { context_in_use(global)? };
        in_use.map(|(name, context)| Self::new(name, context)).transpose()
    }

    fn new(name: String, context: Context) -> Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_MAX));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .context("preparing TLS")?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", context.token().secret()))
            .context("making a header of the token")?;
        authorization.set_sensitive(true);
        if io::stderr().is_terminal() {
            let kind = if context.production { " (production)" } else { "" };
            eprintln!("context {name}{kind}: {}", context.url);
        }
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(https), name, context, authorization })
    }

    /// Asks whether a change is meant, where that is noted as production. `false`: it is not, and that was said.
    pub(crate) fn is_meant(&self, what: &str, yes: bool) -> Result<bool> {
        if !self.context.production || yes {
            return Ok(true);
        }
        let (name, url) = (&self.name, &self.context.url);
        if !io::stdin().is_terminal() {
            eprintln!(
                "holdfast: context {name} is production ({url}), and nobody can be asked here: say --yes to {what}"
            );
            return Ok(false);
        }
        eprint!("{what} in production, context {name} ({url})? [y/N] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
        let is_meant = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
        if !is_meant {
            eprintln!("holdfast: nothing was done");
        }
        Ok(is_meant)
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// There is no answer, or none that is good: the error says its exit code.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        let (status, json) = self.exchange(self.request("GET", path).body(Full::default())?, path).await?;
        match status {
            200 => Ok(json),
            _ => Err(self.refused(status, &json, path)),
        }
    }

    /// Reads a resource. `None`: there is none.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>> {
        match self.get(path).await {
            Ok(json) => Ok(Some(json)),
            Err(error) if error.downcast_ref::<Failure>().is_some_and(|failure| failure.code == UNKNOWN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Posts something under a key that names it for ever, and waits for the worker. A refusal is an answer.
    ///
    /// # Errors
    /// There is no answer, or none that is good.
    pub(crate) async fn post(&self, path: &str, key: Uuid, body: &Value) -> Result<Answer> {
        let request = self
            .request("POST", path)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key.to_string())
            .header("prefer", format!("wait={}", WORKER_WITHIN.as_secs()))
            .body(Full::new(Bytes::from(body.to_string())))?;
        let (status, json) = self.exchange(request, path).await?;
        Ok(Answer { status, json })
    }

    /// Begins to listen to a stream of events, behind the one that was heard last.
    ///
    /// # Errors
    /// There is none to listen to.
    pub(crate) async fn listen(&self, path: &str, last: Option<&str>) -> Result<Incoming> {
        let mut request = self.request("GET", path).header(ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answered = timeout(ANSWER_WITHIN, self.client.request(request.body(Full::default())?)).await;
        let response = answered.map_err(|_elapsed| self.no_answer(path))?.map_err(|error| self.away(&error, path))?;
        let status = response.status().as_u16();
        if status != 200 {
            let (status, json) = self.read(response, path).await?;
            return Err(self.refused(status, &json, path));
        }
        if !kind(response.headers()).starts_with("text/event-stream") {
            return Err(self.no_gateway(path, status, kind(response.headers())));
        }
        Ok(response.into_body())
    }

    fn request(&self, method: &str, path: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.context.url))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, path: &str) -> Result<(u16, Value)> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| self.away(&error, path))?;
            self.read(response, path).await
        };
        timeout(ANSWER_WITHIN, exchange).await.map_err(|_elapsed| self.no_answer(path))?
    }

    /// An answer of a gateway is JSON, whatever it says.
    async fn read(&self, response: Response<Incoming>, path: &str) -> Result<(u16, Value)> {
        let status = response.status().as_u16();
        let of = kind(response.headers()).to_owned();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            let words = format!("the answer of {} to {path} broke off: {error}", self.context.url);
            Failure::error(AWAY, words)
        })?;
        let json = serde_json::from_slice(&body.to_bytes()).map_err(|_error| self.no_gateway(path, status, &of))?;
        Ok((status, json))
    }

    /// Why something was not done, as an error with its exit code.
    pub(crate) fn refused(&self, status: u16, problem: &Value, path: &str) -> anyhow::Error {
        let text = |field: &str| problem.get(field).and_then(Value::as_str).map(|text| legible(text, SHOWN_MAX * 5));
        let (Some(code), Some(detail)) = (text("code"), text("detail")) else {
            return self.no_gateway(path, status, "JSON that is no problem");
        };
        let name = &self.name;
        let words = match status {
            401 => format!(
                "the gateway does not take the token of context {name} ({code}: {detail}); `holdfast context add {name} --replace` gives \
                 it another"
            ),
            403 => format!("the token of context {name} is not good for this ({code}): {detail}"),
            _ => format!("{code}: {detail}"),
        };
        Failure::error(Failure::code_of(status), words)
    }

    fn away(&self, error: &hyper_util::client::legacy::Error, path: &str) -> anyhow::Error {
        let causes = std::iter::successors(error.source(), |cause| (**cause).source());
        let why = causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"));
        let Context { url, .. } = &self.context;
        let words = match error.is_connect() {
            true => format!("no gateway can be reached at {url} (context {}): {why}", self.name),
            false => format!("the connection to {url} broke before it had answered {path}: {why}"),
        };
        Failure::error(AWAY, words)
    }

    fn no_answer(&self, path: &str) -> anyhow::Error {
        let (url, seconds) = (&self.context.url, ANSWER_WITHIN.as_secs());
        Failure::error(AWAY, format!("{url} has not answered {path} within {seconds} s"))
    }

    fn no_gateway(&self, path: &str, status: u16, of: &str) -> anyhow::Error {
        let (url, of) = (&self.context.url, legible(of, SHOWN_MAX));
        let of = if of.is_empty() { "nothing that says what it is".to_owned() } else { of };
        let words = format!(
            "what answers at {url} (context {}) is no gateway of Holdfast: to {path} it said {status} with {of}",
            self.name
        );
        Failure::error(AWAY, words)
    }
}

fn kind(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A text as one segment of a path, or as the value of a parameter.
pub(crate) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
