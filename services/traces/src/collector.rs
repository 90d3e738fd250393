//! The collector: takes spans in over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use metrics::counter;
use platform::{
    config,
    error::Error,
    metric::{Label, Metric},
    secret_file::{self, SecretFile},
};
use tokio::time::timeout;

use crate::{otlp, span::Span};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 65_536;

const SPANS: &str = "holdfast_traces_spans_total";

pub(crate) const TOLD: Metric = Metric::counter(
    SPANS,
    &[Label { name: "outcome", values: &["taken", "refused"] }],
    "spans that the collector was told, by what it did with them",
);

const TELLING: &str = "telling the collector (setting traces.url)";

/// Where spans go.
pub(crate) struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    token: Option<SecretFile<HeaderValue>>,
}

impl Collector {
    /// Reads the settings.
    ///
    /// # Errors
    /// They say of no collector, or the file of its token cannot be read.
    pub(crate) fn read(settings: &config::Traces) -> Result<Self, Error> {
        let refuse = |why: String| Error::Permanent { what: "reading the settings of traces", source: why.into() };
        if settings.url.is_empty() {
            return Err(refuse("traces are off: setting traces.url is empty".to_owned()));
        }
        let token = match settings.token.as_str() {
            "" => None,
            path => Some(SecretFile::read("traces.token", path, bearer).map_err(refuse)?),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(ANSWER_WITHIN / 2));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| refuse(error.to_string()))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(https), url: settings.url.clone(), token })
    }

    /// Tells it of spans.
    ///
    /// # Errors
    /// It did not take them, and may later.
    pub(crate) async fn tell(&self, spans: &[Span]) -> Result<(), Error> {
        if spans.is_empty() {
            return Ok(());
        }
        let mut request = Request::post(&self.url).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.current().as_ref());
        }
        let request = request
            .body(Full::new(otlp::request(spans).to_string().into()))
            .map_err(|error| Error::Permanent { what: TELLING, source: error.into() })?;
        let (status, said) = match timeout(ANSWER_WITHIN, self.exchange(request)).await {
            Ok(answer) => answer?,
            Err(_elapsed) => {
                return Err(Error::transient(TELLING, format!("no answer within {} s", ANSWER_WITHIN.as_secs())));
            }
        };
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        if status.is_success() {
            counter!(SPANS, "outcome" => "taken").increment(count);
            return Ok(());
        }
        let why = format!("it answers {status}: {}", domain::legible(&said, 300));
        // What the same request may yet bring about, as OTLP lists it.
        let passes =
            [StatusCode::TOO_MANY_REQUESTS, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        if status.is_server_error() || passes.contains(&status) {
            return Err(Error::transient(TELLING, why));
        }
        tracing::error!(why, spans = count, "a collector refuses spans for ever; they are left out");
        counter!(SPANS, "outcome" => "refused").increment(count);
        Ok(())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, String), Error> {
        let answer = self.client.request(request).await.map_err(|error| Error::transient(TELLING, error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Error::transient(TELLING, error))?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

fn bearer(text: &str) -> Result<HeaderValue, String> {
    let token = secret_file::password(text)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}
