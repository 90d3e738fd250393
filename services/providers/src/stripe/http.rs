//! Talks to Stripe: one call, and its answer or why there was none.

use std::{
    error::Error,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use platform::clock;
use tokio::time::{Instant, timeout};

use super::{
    API_VERSION, Mode, Settings, StripeSetupError,
    answer::Answer,
    key::{Key, Source},
    limit::{Limits, Queue},
};
use crate::ProviderError;

/// The most bytes of an answer; a page of a hundred refunds has a tenth of it.
const ANSWER_BYTES_MAX: usize = 1_048_576;

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection that is idle for longer is closed: Stripe closes it soon after, perhaps while a call is on its way.
const IDLE_MAX: Duration = Duration::from_secs(30);

const VERSION: &str = "stripe-version";
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: &str = "idempotent-replayed";
const REQUEST_ID: &str = "request-id";

/// A call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) queue: Queue,
    pub(super) path: &'a str,
    /// What is sent. `None`: something is only read.
    pub(super) form: Option<String>,
    /// What Stripe recognises a repetition by. `None`: it may be repeated without.
    pub(super) key: Option<&'a str>,
}

/// How long a call waits for its turn that may take so long.
pub(super) fn turn_max(timeout: Duration) -> Duration {
    timeout * 3 / 4
}

/// The way to Stripe: one for all calls, so that connections are used again and limits are kept.
pub(super) struct Api {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    key: Source,
    timeout: Duration,
    limits: Mutex<Limits>,
}

impl Api {
    pub(super) fn new(settings: &Settings, key: Source) -> Result<Self, StripeSetupError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_MAX.min(settings.timeout / 2)));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| StripeSetupError::Tls(error.to_string()))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(https);
        let mode = if settings.allow_live { Mode::Live } else { Mode::Test };
        Ok(Self {
            client,
            url: settings.url.trim_end_matches('/').to_owned(),
            key,
            timeout: settings.timeout,
            limits: Mutex::new(Limits::of(mode)),
        })
    }

    /// Makes a call once it is its turn.
    ///
    /// # Errors
    /// Busy: it was not sent, for want of a connection or of a turn in time. Unknown: it may have been. Misconfigured: it cannot be.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, ProviderError> {
        let begun = Instant::now();
        for (queue, within) in [(call.queue, self.timeout / 2), (Queue::Account, turn_max(self.timeout))] {
            self.wait_for_turn(queue, begun + within).await?;
        }
        let key = self.key.current();
        let request = self.request(&call, &key)?;
        // However long it has waited: a call that is given up early is an outcome that nobody knows.
        match timeout(self.timeout, self.exchange(request, &key)).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                let words = format!("no answer to {} within {} ms", call.path, self.timeout.as_millis());
                Err(ProviderError::OutcomeUnknown(words))
            }
        }
    }

    fn request(&self, call: &Call<'_>, key: &Key) -> Result<Request<Full<Bytes>>, ProviderError> {
        let (method, body) = match &call.form {
            Some(form) => ("POST", form.clone()),
            None => ("GET", String::new()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.url, call.path))
            .header(AUTHORIZATION, key.authorization.clone())
            .header(VERSION, API_VERSION)
            .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")));
        if call.form.is_some() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(idempotency_key) = call.key {
            request = request.header(IDEMPOTENCY_KEY, idempotency_key);
        }
        request
            .body(Full::new(body.into()))
            .map_err(|error| ProviderError::Misconfigured(format!("a call to {} cannot be made: {error}", call.path)))
    }

    async fn wait_for_turn(&self, queue: Queue, until: Instant) -> Result<(), ProviderError> {
        let now = Instant::now();
        let turn = self.limits.lock().unwrap_or_else(PoisonError::into_inner).turn(
            queue,
            now,
            until.saturating_duration_since(now),
        );
        match turn {
            Ok(Duration::ZERO) => Ok(()),
            Ok(wait) => {
                clock::sleep(wait).await;
                Ok(())
            }
            Err(wait) => Err(ProviderError::Busy(format!(
                "so many calls are waiting that this one would wait for {} ms",
                wait.as_millis()
            ))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, key: &Key) -> Result<Answer, ProviderError> {
        let response = self.client.request(request).await.map_err(|error| {
            let words = words(&error);
            if error.is_connect() {
                ProviderError::Busy(format!("no connection: {words}"))
            } else {
                ProviderError::OutcomeUnknown(format!("the connection broke: {words}"))
            }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            ProviderError::OutcomeUnknown(format!("the answer broke off: {}", words(error.as_ref())))
        })?;
        let is_replayed = header(&head.headers, REPLAYED) == "true";
        let request_id = domain::legible(&key.hide(header(&head.headers, REQUEST_ID)), 64);
        let body = Bytes::from(key.hide(&String::from_utf8_lossy(&body.to_bytes())));
        Ok(Answer { status: head.status, is_replayed, request_id, body })
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// An error with all that caused it.
fn words(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (**cause).source());
    causes.fold(error.to_string(), |words, cause| format!("{words}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use platform::{clock, secret_file::SecretFile};
    use tokio::time::Instant;

    use super::{Api, Call, Queue};
    use crate::{
        ProviderError,
        stripe::{
            answer::Answer,
            key::{Key, Source},
            stage::{self, Reply, Stage},
        },
    };

    const TIME: Duration = Duration::from_millis(400);

    fn api(url: &str) -> Api {
        api_with(url, stage::key())
    }

    fn api_with(url: &str, key: Source) -> Api {
        Api::new(&crate::stripe::Settings { timeout: TIME, ..stage::settings(url) }, key).unwrap()
    }

    async fn sent(api: &Api) -> Result<Answer, ProviderError> {
        let (form, key) = (Some("a=b".to_owned()), Some("key-1"));
        api.send(Call { queue: Queue::CreateRefund, path: "/v1/refunds", form, key }).await
    }

    async fn answered(reply: Reply) -> Result<Answer, ProviderError> {
        let stage = Stage::set(vec![reply]).await;
        sent(&api(&stage.url)).await
    }

    #[tokio::test]
    async fn what_finds_nobody_was_not_sent() {
        let nobody = stage::nobody().await;
        let error = sent(&api(&nobody)).await.unwrap_err();
        assert!(matches!(&error, ProviderError::Busy(words) if words.contains("no connection")), "{error}");
    }

    #[tokio::test]
    async fn whom_nobody_vouches_for_is_sent_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let error = sent(&api(&url)).await.unwrap_err();
        assert!(matches!(&error, ProviderError::Busy(words) if words.contains("no connection")), "{error}");
    }

    #[tokio::test]
    async fn who_hangs_up_may_have_heard_it() {
        let error = answered(Reply::HangUp).await.unwrap_err();
        assert!(matches!(error, ProviderError::OutcomeUnknown(_)), "{error}");
    }

    #[tokio::test]
    async fn who_hangs_up_in_the_middle_of_a_word_may_have_done_it() {
        let error = answered(Reply::Half).await.unwrap_err();
        assert!(matches!(&error, ProviderError::OutcomeUnknown(words) if words.contains("broke off")), "{error}");
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for_longer_than_there_is_time() {
        let begun = Instant::now();
        let error = answered(Reply::Silence).await.unwrap_err();
        assert!(matches!(&error, ProviderError::OutcomeUnknown(words) if words.contains("400 ms")), "{error}");
        assert!(begun.elapsed() >= TIME, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let error = answered(Reply::json(200, &format!("\"{}\"", "x".repeat(1_100_000)))).await.unwrap_err();
        assert!(matches!(&error, ProviderError::OutcomeUnknown(words) if words.contains("limit")), "{error}");
    }

    #[tokio::test]
    async fn a_call_says_who_calls_in_which_version_and_under_which_key() {
        let stage = Stage::set(vec![Reply::json(200, "{}"), Reply::json(200, "{}")]).await;
        let api = api(&stage.url);
        sent(&api).await.unwrap();
        api.send(Call { queue: Queue::ListRefunds, path: "/v1/refunds?a=b", form: None, key: None }).await.unwrap();
        let [post, get] = <[String; 2]>::try_from(stage.heard()).unwrap();
        assert!(post.starts_with("POST /v1/refunds HTTP/1.1\r\n") && post.ends_with("\r\n\r\na=b"), "{post}");
        assert!(get.starts_with("GET /v1/refunds?a=b HTTP/1.1\r\n") && get.ends_with("\r\n\r\n"), "{get}");
        for said in [&post, &get] {
            let said = said.to_lowercase();
            assert!(said.contains(&format!("\r\nauthorization: bearer {}\r\n", stage::KEY.to_lowercase())), "{said}");
            assert!(said.contains("\r\nstripe-version: 2026-10-28.endive\r\n"), "{said}");
            assert!(said.contains("\r\nuser-agent: holdfast/"), "{said}");
            assert!(said.contains("\r\nhost: 127.0.0.1:"), "{said}");
        }
        assert!(post.contains("\r\nidempotency-key: key-1\r\n"), "{post}");
        assert!(post.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{post}");
        assert!(!get.contains("idempotency-key") && !get.contains("content-type"), "{get}");
    }

    #[tokio::test]
    async fn a_key_that_its_file_says_by_then_is_the_one_of_the_next_call() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let say = |key: &str| std::fs::write(&file, format!("{key}\n")).unwrap();
        let parse = |text: &str| Key::parse(text.trim(), false).map_err(|error| error.to_string());
        say(stage::KEY);
        let source = SecretFile::read("stripe.secret_key", file.path().to_str().unwrap(), parse).unwrap();
        let echo = |key: &str| Reply::json(200, &format!("{{\"said\":\"{key}\"}}"));
        let stage = Stage::set(vec![echo(stage::KEY), echo("sk_test_another")]).await;
        let api = api_with(&stage.url, Source::File(source));
        let first = sent(&api).await.unwrap();
        say("sk_test_another");
        while api.key.current().authorization == format!("Bearer {}", stage::KEY) {
            clock::sleep(Duration::from_millis(10)).await;
        }
        let second = sent(&api).await.unwrap();
        assert!(stage.heard()[1].contains("Bearer sk_test_another"));
        // Neither is repeated.
        assert_eq!([first.body, second.body], ["{\"said\":\"(the key)\"}"; 2]);
    }

    #[tokio::test]
    async fn an_answer_is_taken_as_it_is() {
        let headers = "request-id: req_9\r\nidempotent-replayed: true\r\n";
        let answer = answered(Reply::Json { status: 500, headers, body: "{\"error\":{}}".to_owned() }).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.is_replayed, answer.request_id.as_str()), (500, true, "req_9"));
        let answer = answered(Reply::json(200, "{}")).await.unwrap();
        assert_eq!((answer.is_replayed, answer.request_id.as_str(), &answer.body[..]), (false, "", &b"{}"[..]));
    }

    #[tokio::test]
    async fn no_error_repeats_the_key() {
        let echo = format!("{{\"error\":{{\"message\":\"Invalid API Key provided: {}\"}}}}", stage::KEY);
        for status in [302, 400, 401, 402, 403, 429, 500] {
            let error = answered(Reply::json(status, &echo)).await.unwrap().read::<serde_json::Value>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains(stage::KEY), "{error}");
            assert!(error.to_string().contains("(the key)"), "{error}");
        }
    }

    #[tokio::test]
    async fn who_would_wait_for_a_turn_for_too_long_is_told_so_at_once() {
        let nobody = stage::nobody().await;
        let api = api(&nobody);
        let calls = futures::future::join_all((0..40).map(|_| sent(&api))).await;
        let waited =
            calls.iter().filter(|error| matches!(error, Err(ProviderError::Busy(words)) if words.contains("waiting")));
        // One each 40 ms for half of the time is six, and more the slower this machine is.
        assert!((1..=34).contains(&waited.count()), "{calls:?}");
    }
}
