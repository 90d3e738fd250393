//! Sends commands through the gateway, as a shop's program would.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde_json::Value;
use testbed::fleet::HttpAccess;
use uuid::Uuid;

/// Shorter than the gateway keeps an idle connection.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// One caller with as many connections as it needs.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    authorization: HeaderValue,
}

impl HttpClient {
    pub(super) fn new(access: &HttpAccess) -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let authorization = HeaderValue::try_from(format!("Bearer {}", access.token))?;
        Ok(Self { client, url: access.url.clone(), authorization })
    }

    /// Posts something and waits for the worker's answer, which has to be that it is done.
    pub(super) async fn post(&self, path: &str, key: Uuid, body: &Value) -> Result<()> {
        self.post_and("wait=30", path, key, body).await
    }

    /// Posts something and waits until it is accepted, and where its answer will be is known.
    pub(super) async fn hand_in(&self, path: &str, key: Uuid, body: &Value) -> Result<()> {
        self.post_and("respond-async", path, key, body).await
    }

    async fn post_and(&self, prefer: &'static str, path: &str, key: Uuid, body: &Value) -> Result<()> {
        let request = Request::post(format!("{}{path}", self.url))
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .header("idempotency-key", key.to_string())
            .header("prefer", prefer)
            .body(Full::new(Bytes::from(body.to_string())))?;
        let response = self.client.request(request).await.with_context(|| format!("POST {path}"))?;
        let status = response.status();
        let answer = response.into_body().collect().await.with_context(|| format!("reading the answer of {path}"))?;
        match status.as_u16() {
            200 | 201 => Ok(()),
            202 if prefer == "respond-async" => Ok(()),
            _ => bail!("POST {path} was answered {status}: {}", String::from_utf8_lossy(&answer.to_bytes())),
        }
    }
}
