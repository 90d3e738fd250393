//! Delivers events: signs each anew, tries it until it is taken, and pauses longer each time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{clock, events::Attempt, signature, state::Shared};

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Deliveries under way.
const AT_ONCE: usize = 16;

/// Within which an endpoint must have answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// How often the fake looks whether something has come due by its own clock.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) async fn deliver(shared: Arc<Shared>) {
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    let mut under_way = JoinSet::new();
    loop {
        let now = Instant::now();
        let free = AT_ONCE.saturating_sub(under_way.len());
        let (due, next) = shared.quietly(|state| state.events.take_due(now, free));
        for attempt in due {
            under_way.spawn(send(client.clone(), attempt));
        }
        // Without a free place there is nothing to do before one attempt is over.
        let look_at = now + LOOK_EVERY;
        let wake_at = next.filter(|_next| under_way.len() < AT_ONCE).map_or(look_at, |next| next.min(look_at));
        tokio::select! {
            Some(Ok((event, tries, is_taken))) = under_way.join_next() => {
                shared.quietly(|state| state.events.tried(event, tries, is_taken));
            }
            () = shared.news.notified() => {}
            () = sleep_until(wake_at) => {}
        }
    }
}

async fn send(client: HttpClient, attempt: Attempt) -> (u64, u32, bool) {
    let (event, tries) = (attempt.event, attempt.tries);
    // A redirect is a failure, too.
    let is_taken = matches!(timeout(ANSWER_WITHIN, post(client, attempt)).await, Ok(Some(200..=299)));
    (event, tries, is_taken)
}

/// The status that was answered.
async fn post(client: HttpClient, attempt: Attempt) -> Option<u16> {
    // The shop compares with the machine's clock, whatever the fake's own says.
    let time = clock::seconds(clock::real());
    let signature = signature::header(time, attempt.body.as_bytes(), &attempt.webhook.secrets);
    let request = Request::builder()
        .method(Method::POST)
        .uri(&attempt.webhook.url)
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header(header::USER_AGENT, "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("Stripe-Signature", signature)
        .body(Full::new(Bytes::from(attempt.body)))
        .ok()?;
    let answer = client.request(request).await.ok()?;
    let status = answer.status().as_u16();
    // Read to its end, the connection can be used again.
    answer.into_body().collect().await.ok()?;
    Some(status)
}
