//! Pages of others, over HTTP or HTTPS, which are read whole.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Who reads pages. It keeps no connection: what is read now and then would find it closed.
#[derive(Debug, Clone)]
pub struct Web {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    within: Duration,
    bytes_max: usize,
}

impl Web {
    /// For pages that come within this time, and are no longer than this.
    ///
    /// # Errors
    /// There can be no TLS.
    pub fn new(within: Duration, bytes_max: usize) -> Result<Self, String> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(within));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| error.to_string())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https);
        Ok(Self { client, within, bytes_max })
    }

    /// What a page says now.
    ///
    /// # Errors
    /// It does not come, is too long, or is answered with anything but 200.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        match tokio::time::timeout(self.within, self.read(url)).await {
            Ok(page) => page.map_err(|error| format!("{url}: {error}")),
            Err(_elapsed) => Err(format!("{url}: no answer within {} ms", self.within.as_millis())),
        }
    }

    async fn read(&self, url: &str) -> Result<Vec<u8>, String> {
        let url = url.parse::<Uri>().map_err(|error| error.to_string())?;
        let answer = self.client.get(url).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), self.bytes_max).collect().await;
        body.map(|body| body.to_bytes().to_vec()).map_err(|error| error.to_string())
    }
}
