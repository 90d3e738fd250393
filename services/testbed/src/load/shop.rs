//! What a shop and its buyers do over HTTP: commands at the gateway, each under its id as the key, and visits to the provider's page.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use platform::clock;
use proto::{
    Message, Name,
    inventory::v1::{ReceiveStock, RegisterProduct},
    orders::v1::{CancelOrder, PlaceOrder, RequestRefund},
    rounds::v1::{CancelRound, OpenRound},
};
use serde_json::{Map, Value};
use tokio::time::Instant;
use uuid::Uuid;

use super::scenario::Visit;
use crate::{
    fleet::{HttpAccess, stripe::checkout_url},
    http::{self, Answer},
};

/// How long a command may stay without an answer, and an order without a page or an end.
const WITHIN: Duration = Duration::from_secs(120);

/// How long to wait before a request is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A code and a reason.
pub(super) type Refusal = (String, String);

/// A shop that knows the gateway, and no broker.
#[derive(Debug, Clone)]
pub struct Shop {
    address: String,
    bearer: String,
}

impl Shop {
    /// A shop that uses this gateway.
    ///
    /// # Errors
    /// Its URL is none.
    pub fn new(access: &HttpAccess) -> Result<Self> {
        let (address, _) = http::parts(&access.url)?;
        Ok(Self { address: address.to_owned(), bearer: format!("Bearer {}", access.token) })
    }

    /// Sends a command until it is answered; `None`: it was accepted.
    pub(super) async fn send<M: Message + Name>(&self, id: Uuid, command: &M) -> Result<Option<Refusal>> {
        let Value::Object(mut body) = proto::to_json_as_spelled(&M::full_name(), &command.encode_to_vec())? else {
            bail!("{} is no object", M::NAME)
        };
        let path = path::<M>(&mut body)?;
        // That is the caller.
        body.remove("actor");
        let (key, body) = (id.to_string(), Value::Object(body).to_string());
        let own =
            [("authorization", self.bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", &key)];
        let deadline = Instant::now() + WITHIN;
        loop {
            let sent = http::request(&self.address, "POST", &path, &own, &body).await;
            match sent {
                Ok(answer) if matches!(answer.status, 200 | 201) => return Ok(None),
                Ok(answer) if !may_yet_succeed(&answer) => {
                    let detail = answer.json.get("detail").and_then(Value::as_str).unwrap_or(&answer.text);
                    return Ok(Some((answer.code().to_owned(), detail.to_owned())));
                }
                Ok(answer) if Instant::now() >= deadline => {
                    bail!("POST {path} under the key {key} is still answered {}: {}", answer.status, answer.text)
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("POST {path} under the key {key}"));
                }
                Ok(_) | Err(_) => clock::sleep(AGAIN_AFTER).await,
            }
        }
    }

    /// Does what a buyer does on the page where an order can be paid, unless the order ends before it has one.
    pub(super) async fn visit(&self, order_id: Uuid, visit: Visit) -> Result<()> {
        let Some(page) = self.page(order_id).await? else { return Ok(()) };
        let (address, path) = http::parts(&page)?;
        let (after, path) = match visit {
            Visit::Pays(after) => (after, path.to_owned()),
            Visit::IsDeclined(after) => (after, format!("{path}?card=decline")),
        };
        clock::sleep(after).await;
        // The page may be closed by now, and says so; that is the buyer's affair.
        http::request(address, "POST", &path, &[], "").await.map(drop).with_context(|| format!("paying on {page}"))
    }

    /// Waits until an order has a page to pay on. `None`: it has ended without one.
    async fn page(&self, order_id: Uuid) -> Result<Option<String>> {
        let (path, deadline) = (format!("/v1/orders/{order_id}"), Instant::now() + WITHIN);
        loop {
            let read = http::request(&self.address, "GET", &path, &[("authorization", &self.bearer)], "").await;
            let order = read.map(|answer| answer.json).unwrap_or_default();
            if let Some(url) = checkout_url(&order) {
                return Ok(Some(url.to_owned()));
            }
            let status = order.get("status").and_then(Value::as_str);
            if status.is_some_and(|status| !matches!(status, "pending" | "reserved")) {
                return Ok(None);
            }
            if Instant::now() >= deadline {
                bail!("order {order_id} has no page to pay on after {} s: {order}", WITHIN.as_secs());
            }
            clock::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Not known yet, under way, or something is away; the same request, under the same key, is as good as the first.
fn may_yet_succeed(answer: &Answer) -> bool {
    answer.status == 202 || answer.json.get("retryable").and_then(Value::as_bool) == Some(true)
}

/// Where a command goes. What the path says, the body no longer does.
fn path<M: Name>(body: &mut Map<String, Value>) -> Result<String> {
    let mut take = |field: &str| match body.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(_) | None => bail!("{} has no {field}", M::NAME),
    };
    Ok(match M::NAME {
        RegisterProduct::NAME => "/v1/products".to_owned(),
        ReceiveStock::NAME => format!("/v1/products/{}/receive", take("sku")?),
        OpenRound::NAME => "/v1/rounds".to_owned(),
        CancelRound::NAME => format!("/v1/rounds/{}/cancel", take("round_id")?),
        PlaceOrder::NAME => "/v1/orders".to_owned(),
        CancelOrder::NAME => format!("/v1/orders/{}/cancel", take("order_id")?),
        RequestRefund::NAME => format!("/v1/orders/{}/refunds", take("order_id")?),
        other => bail!("{other} is not sent over HTTP here"),
    })
}
