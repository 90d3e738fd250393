//! Where the keys are: a file that is read again when it changes, or a page that is asked again when a token names a key that is not known.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::keys::BYTES_MAX;

/// How long the page may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) enum Source {
    File(String),
    Page(Page),
}

#[derive(Debug)]
pub(super) struct Page {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Source {
    /// A file by its path, or a page by its URL.
    ///
    /// # Errors
    /// There can be no TLS.
    pub(super) fn of(setting: &str) -> Result<Self, String> {
        if !["https://", "http://"].iter().any(|scheme| setting.starts_with(scheme)) {
            return Ok(Self::File(setting.to_owned()));
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(ANSWER_WITHIN));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| error.to_string())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https);
        Ok(Self::Page(Page { url: setting.to_owned(), client }))
    }

    /// What it says now.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn text(&self) -> Result<String, String> {
        let bytes = match self {
            Self::File(path) => std::fs::read(path).map_err(|error| format!("{path}: {error}"))?,
            Self::Page(page) => match tokio::time::timeout(ANSWER_WITHIN, page.get()).await {
                Ok(page) => page?,
                Err(_elapsed) => return Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
            },
        };
        if bytes.len() > BYTES_MAX {
            return Err(format!("it has {} bytes; {BYTES_MAX} is the most", bytes.len()));
        }
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }
}

impl Page {
    async fn get(&self) -> Result<Vec<u8>, String> {
        let url = self.url.parse::<hyper::Uri>().map_err(|error| format!("{}: {error}", self.url))?;
        let answer = self.client.get(url).await.map_err(|error| format!("{}: {error}", self.url))?;
        if answer.status() != hyper::StatusCode::OK {
            return Err(format!("{} answers {}", self.url, answer.status()));
        }
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        body.map(|body| body.to_bytes().to_vec()).map_err(|error| error.to_string())
    }
}
