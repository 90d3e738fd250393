//! Commands over HTTP: one table of routes, one way from a request to a worker's answer.
//!
//! A body is the command's JSON without what the path says, and without who asks: that is the caller. The id of the command follows from
//! the caller, the route, the path and the `Idempotency-Key`, so the worker's inbox knows what was asked before, whichever replica asks.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::{RawPathParams, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use operate::would;
use platform::client::{Answer, Outgoing, Sent};
use proto::{
    JsonMessage,
    common::v1::{Accepted, command_reply::Outcome},
};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    guard::RequestId,
    outcome::{CommandOutcome, said},
    problem::{Problem, STAYS_REFUSED},
    request::{self, Query, Wait, spelled},
};

/// Ids of commands of this gateway derive from this one.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0c_9c1e_54b1_4f0e_9b6b_7f3a_2f50_11d4);

/// How long the broker may take to say that it has a command for whose answer nobody waits.
const DELIVERED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A resource to which a command is posted.
#[derive(Debug)]
pub(crate) struct Route {
    /// With the names of the command's fields where they stand in it.
    pub(crate) path: &'static str,
    pub(crate) message_type: &'static str,
    pub(crate) scope: Scope,
    /// The field by which what comes of it is known: chosen here unless the body has it.
    makes: Option<&'static str>,
    /// Where that is read, with names of fields.
    location: Option<&'static str>,
    /// The field that says why, which an operator's verb has to have.
    pub(crate) why: Option<&'static str>,
}

const ORDER: &str = "/v1/orders/{order_id}";
const PRODUCT: &str = "/v1/products/{sku}";
const ROUND: &str = "/v1/rounds/{round_id}";
const COUPON: &str = "/v1/coupons/{coupon_code}";
const WALLETS: &str = "/v1/wallets/{customer_id}";
const REFUND: &str = "/v1/orders/{order_id}/refunds/{refund_id}";

/// Every command that is taken over HTTP.
pub(crate) const ROUTES: [Route; 18] = [
    Route {
        path: "/v1/orders",
        message_type: "holdfast.orders.v1.PlaceOrder",
        scope: Scope::OrdersWrite,
        makes: Some("order_id"),
        location: Some(ORDER),
        why: None,
    },
    Route {
        path: "/v1/orders/{order_id}/cancel",
        message_type: "holdfast.orders.v1.CancelOrder",
        scope: Scope::OrdersWrite,
        makes: None,
        location: Some(ORDER),
        why: None,
    },
    Route {
        path: "/v1/orders/{order_id}/expire",
        message_type: "holdfast.orders.v1.ExpireOrder",
        scope: Scope::Operate,
        makes: None,
        location: Some(ORDER),
        why: Some("note"),
    },
    Route {
        path: "/v1/orders/{order_id}/refunds",
        message_type: "holdfast.orders.v1.RequestRefund",
        scope: Scope::OrdersWrite,
        makes: Some("refund_id"),
        location: Some(REFUND),
        why: None,
    },
    Route {
        path: "/v1/orders/{order_id}/reinstate",
        message_type: "holdfast.orders.v1.ReinstateOrder",
        scope: Scope::Operate,
        makes: None,
        location: Some(ORDER),
        why: Some("note"),
    },
    Route {
        path: "/v1/products",
        message_type: "holdfast.inventory.v1.RegisterProduct",
        scope: Scope::CatalogWrite,
        makes: None,
        location: Some(PRODUCT),
        why: None,
    },
    Route {
        path: "/v1/products/{sku}/receive",
        message_type: "holdfast.inventory.v1.ReceiveStock",
        scope: Scope::CatalogWrite,
        makes: None,
        location: Some(PRODUCT),
        why: None,
    },
    Route {
        path: "/v1/products/{sku}/adjust",
        message_type: "holdfast.inventory.v1.AdjustStock",
        scope: Scope::CatalogWrite,
        makes: None,
        location: Some(PRODUCT),
        why: Some("reason"),
    },
    Route {
        path: "/v1/rounds",
        message_type: "holdfast.rounds.v1.OpenRound",
        scope: Scope::CatalogWrite,
        makes: Some("round_id"),
        location: Some(ROUND),
        why: None,
    },
    Route {
        path: "/v1/rounds/{round_id}/close",
        message_type: "holdfast.rounds.v1.CloseRound",
        scope: Scope::CatalogWrite,
        makes: None,
        location: Some(ROUND),
        why: Some("note"),
    },
    Route {
        path: "/v1/rounds/{round_id}/cancel",
        message_type: "holdfast.rounds.v1.CancelRound",
        scope: Scope::CatalogWrite,
        makes: None,
        location: Some(ROUND),
        why: Some("note"),
    },
    Route {
        path: "/v1/coupons",
        message_type: "holdfast.payments.v1.OpenCoupon",
        scope: Scope::CatalogWrite,
        makes: None,
        location: Some(COUPON),
        why: None,
    },
    Route {
        path: "/v1/coupons/{coupon_code}/close",
        message_type: "holdfast.payments.v1.CloseCoupon",
        scope: Scope::CatalogWrite,
        makes: None,
        location: Some(COUPON),
        why: Some("note"),
    },
    Route {
        path: "/v1/wallets/{customer_id}/top-up",
        message_type: "holdfast.payments.v1.TopUpWallet",
        scope: Scope::Operate,
        makes: None,
        location: Some(WALLETS),
        why: Some("note"),
    },
    Route {
        path: "/v1/wallets/{customer_id}/withdraw",
        message_type: "holdfast.payments.v1.WithdrawFromWallet",
        scope: Scope::Operate,
        makes: None,
        location: Some(WALLETS),
        why: Some("note"),
    },
    Route {
        path: "/v1/payments/{payment_id}/checkout",
        message_type: "holdfast.payments.v1.RequestCheckout",
        scope: Scope::OrdersWrite,
        makes: None,
        location: None,
        why: None,
    },
    Route {
        path: "/v1/payments/{payment_id}/refunds/{refund_id}/resolve",
        message_type: "holdfast.payments.v1.ResolveRefund",
        scope: Scope::RefundsDecide,
        makes: None,
        location: None,
        why: Some("note"),
    },
    Route {
        path: "/v1/payments/{payment_id}/reports/{provider_event_id}/resolve",
        message_type: "holdfast.payments.v1.ResolveProviderReport",
        scope: Scope::RefundsDecide,
        makes: None,
        location: None,
        why: Some("note"),
    },
];

/// The commands that this replica waits for: a second request under the same key is told so.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<HashSet<Uuid>>);

/// One of them, until it is over.
#[derive(Debug)]
pub(crate) struct Begun<'a>(&'a UnderWay, Uuid);

impl UnderWay {
    /// Waits for a command.
    ///
    /// # Errors
    /// This replica does already.
    pub(crate) fn begin(&self, id: Uuid) -> Result<Begun<'_>, Problem> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        // Not made where it is not returned: it ends what it names.
        is_new.then(|| Begun(self, id)).ok_or_else(|| {
            let detail = "a request with this Idempotency-Key is under way: send it again when it is over, and hear the same \
                answer";
            Problem::own("REQUEST_UNDER_WAY", detail).of("Idempotency-Key")
        })
    }

    /// Whether this replica waits for it.
    pub(crate) fn has(&self, id: Uuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Does what a request asks for.
pub(crate) async fn post(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    (route, params, RawQuery(query)): (&'static Route, RawPathParams, RawQuery),
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = authorize(&gateway, &headers, route.scope)?;
    let query = Query::read(query.as_deref().unwrap_or_default(), &[DRY_RUN])?;
    let key = request::idempotency_key(&headers)?;
    let wait = request::wait(&headers, &gateway.settings);
    let params: Vec<(&str, Cow<'_, str>)> = params.iter().map(|(name, value)| (name, spelled(name, value))).collect();
    let params: Vec<(&str, &str)> = params.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    let id = command_id(&caller.owner_of_keys(), route.path, &params, key);
    let body = request::body(&headers, body, &gateway.settings).await?;
    let mut message = complete(route, &body, &params, &caller.actor(), id)?;
    expect(&mut message, request::if_match(&headers)?)?;
    if query.is(DRY_RUN)? {
        return would(&gateway, id, route, &message).await;
    }
    let _begun = gateway.under_way.begin(id)?;
    let command = Outgoing {
        id,
        message_type: route.message_type,
        data: message.to_bytes().into(),
        correlation_id: Some(request_id.0),
        traceparent: request::traceparent(&headers),
    };
    let sent = as_before(&gateway, &command, &message, wait, send(&gateway, &command, wait).await).await;
    let mut response = match sent {
        Sent::Answered(answer) => answered(route, &message, id, answer)?,
        Sent::Unanswered => accepted_for_later(id),
        Sent::Undelivered => {
            let detail =
                "the broker did not take the command: send the same request again, with the same Idempotency-Key";
            return Err(Problem::own("BROKER_UNAVAILABLE", detail));
        }
    };
    if wait.is_preferred {
        let applied = match wait.limit.as_secs() {
            0 => "respond-async".to_owned(),
            seconds => format!("wait={seconds}"),
        };
        insert(response.headers_mut(), PREFERENCE_APPLIED, &applied);
    }
    Ok(response)
}

/// What the command would do now, or why it would be refused. Nobody is told of it: it is read here, and written nowhere.
async fn would(gateway: &Gateway, id: Uuid, route: &Route, message: &JsonMessage) -> Result<Response, Problem> {
    let foreseen = gateway.pool.answered(async {
        let mut connection = gateway.pool.session().await?;
        let foreseen = would::command(&mut connection, (id, route.message_type, &message.to_bytes())).await;
        Ok::<_, sqlx::Error>(foreseen)
    });
    let would = foreseen.await?.map_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "what a command would do cannot be said");
        Problem::own("DATABASE_UNAVAILABLE", "the database cannot be read at the moment: try again")
    })?;
    match would.be_refused.as_deref().and_then(|refused| refused.split_once(": ")) {
        // Nothing is sent, so no key is used.
        Some((code, reason)) => Err(Problem::rejected(code, reason.trim_end_matches(STAYS_REFUSED))),
        None => Ok(json_response(StatusCode::OK, &would)),
    }
}

/// The same caller, route, path and key always come to the same id, and no others do.
pub(crate) fn command_id(caller: &str, path: &str, params: &[(&str, &str)], key: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, json!([caller, "POST", path, params, key]).to_string().as_bytes())
}

/// The command: what the body says, what the path says, and who asks.
fn complete(
    route: &Route,
    body: &[u8],
    params: &[(&str, &str)],
    actor: &str,
    id: Uuid,
) -> Result<JsonMessage, Problem> {
    let mut message =
        JsonMessage::read(route.message_type, body).map_err(|error| Problem::own("INVALID_BODY", error.to_string()))?;
    for (field, value) in params {
        let given = message.text(field).unwrap_or_default();
        if !given.is_empty() && spelled(field, &given) != *value {
            let detail =
                format!("the body says {field} {given:?} and the path says {value:?}: leave it out of the body");
            return Err(Problem::own("INVALID_BODY", detail).of(*field));
        }
        message.set_text(field, value);
    }
    if let Some(given) = message.text("actor") {
        if !given.is_empty() {
            let detail = "the actor is whose token it is, and never a field of the body";
            return Err(Problem::own("INVALID_BODY", detail).of("actor"));
        }
        message.set_text("actor", actor);
    }
    if let Some(why) = route.why.filter(|why| message.text(why).is_none_or(|text| text.trim().is_empty())) {
        return Err(Problem::own("INVALID_BODY", format!("{why} is missing: say why, in words")).of(why));
    }
    if let Some(made) = route.makes.filter(|made| message.text(made).is_some_and(|text| text.is_empty())) {
        message.set_text(made, &Uuid::new_v5(&id, made.as_bytes()).to_string());
    }
    Ok(message)
}

/// The parameter by which it is only asked what a command would do.
pub(crate) const DRY_RUN: &str = "dry_run";

/// The field of a command that says which version the sender has seen.
pub(crate) const EXPECTED: &str = "expected_version";

/// What `If-Match` says goes with the command: its worker compares, where nobody can come between.
fn expect(message: &mut JsonMessage, if_match: Option<i64>) -> Result<(), Problem> {
    match (message.number(EXPECTED), if_match) {
        (Some(1..) | Some(..=-1), _) => {
            let detail = "the version that you have seen goes into the header If-Match, and never into the body";
            Err(Problem::own("INVALID_BODY", detail).of(EXPECTED))
        }
        (None, Some(_)) => {
            let detail = "this resource does not know If-Match: leave it out";
            Err(Problem::own("INVALID_PARAMETER", detail).of("If-Match"))
        }
        (Some(_), Some(version)) => {
            message.set_number(EXPECTED, version);
            Ok(())
        }
        (Some(_) | None, None) => Ok(()),
    }
}

async fn send(gateway: &Gateway, command: &Outgoing<'_>, wait: Wait) -> Sent {
    if !wait.limit.is_zero() {
        return gateway.client.send_within(command, wait.limit).await;
    }
    match tokio::time::timeout(DELIVERED_WITHIN, gateway.client.deliver(command)).await {
        Ok(true) => Sent::Unanswered,
        Ok(false) | Err(_) => Sent::Undelivered,
    }
}

/// Commands that had no actor once. A request that was answered then is known without one under its key.
const WITHOUT_ACTOR_ONCE: [&str; 6] = [
    "holdfast.orders.v1.PlaceOrder",
    "holdfast.inventory.v1.RegisterProduct",
    "holdfast.inventory.v1.ReceiveStock",
    "holdfast.rounds.v1.OpenRound",
    "holdfast.payments.v1.OpenCoupon",
    "holdfast.payments.v1.RequestCheckout",
];

/// What was answered; if that is that the key has another body, what is answered to the body as it once was. Nothing is done anew: the id is known.
async fn as_before(gateway: &Gateway, command: &Outgoing<'_>, message: &JsonMessage, wait: Wait, sent: Sent) -> Sent {
    if !WITHOUT_ACTOR_ONCE.contains(&command.message_type) || !is_reused(&sent) {
        return sent;
    }
    let mut once = message.clone();
    once.set_text("actor", "");
    let again = send(gateway, &Outgoing { data: once.to_bytes().into(), ..command.clone() }, wait).await;
    if matches!(again, Sent::Answered(_)) && !is_reused(&again) { again } else { sent }
}

fn is_reused(sent: &Sent) -> bool {
    let Sent::Answered(Answer { reply, .. }) = sent else { return false };
    matches!(&reply.outcome, Some(Outcome::Rejected(rejection)) if rejection.code == "COMMAND_ID_REUSED")
}

fn answered(route: &Route, message: &JsonMessage, id: Uuid, answer: Answer) -> Result<Response, Problem> {
    let mut response = match said(answer.reply)? {
        Ok(accepted) => done(route, message, id, &accepted),
        Err(rejection) => Problem::rejected(&rejection.code, &rejection.reason).into_response(),
    };
    if answer.is_repeated {
        insert(response.headers_mut(), REPLAYED, "true");
    }
    Ok(response)
}

fn done(route: &Route, message: &JsonMessage, id: Uuid, accepted: &Accepted) -> Response {
    let mut outcome = CommandOutcome::accepted(id, accepted);
    let made = route.makes.and_then(|made| Some((made, message.text(made)?)));
    outcome.made = made.into_iter().collect();
    // What is as it should be already was made by somebody before.
    let is_new = route.makes.is_some() && !accepted.events.is_empty();
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json_response(status, &outcome);
    let location = route.location.map(|location| filled(location, message));
    if let Some(location) = location {
        let name = if is_new { header::LOCATION } else { header::CONTENT_LOCATION };
        insert(response.headers_mut(), name, &location);
    }
    response
}

/// The worker has not come to it yet: where its answer will be, and when to ask again.
pub(crate) fn accepted_for_later(id: Uuid) -> Response {
    let pending = CommandOutcome::pending(id);
    let mut response = json_response(StatusCode::ACCEPTED, &pending);
    insert(response.headers_mut(), header::LOCATION, &format!("/v1/commands/{id}"));
    insert(response.headers_mut(), header::RETRY_AFTER, "1");
    response
}

/// A path with the fields of a message in it.
fn filled(location: &str, message: &JsonMessage) -> String {
    let segment = |segment: &str| match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        Some(field) => encoded(&message.text(field).unwrap_or_default()),
        None => segment.to_owned(),
    };
    location.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// A text as one segment of a path.
pub(crate) fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// An answer in JSON, which nobody between keeps.
pub(crate) fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(text) = serde_json::to_string(body) else {
        return Problem::own("INTERNAL", "the answer cannot be written as JSON").into_response();
    };
    let mut response = (status, text).into_response();
    insert(response.headers_mut(), header::CONTENT_TYPE, "application/json");
    insert(response.headers_mut(), header::CACHE_CONTROL, "no-store");
    response
}

/// Adds a header whose value is plain text.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{ROUTES, UnderWay, command_id, complete, encoded, filled};

    fn route(message: &str) -> &'static super::Route {
        ROUTES.iter().find(|route| proto::short_name(route.message_type) == message).unwrap()
    }

    #[test]
    fn every_name_in_a_route_is_a_field_of_its_command() {
        for route in &ROUTES {
            let message = proto::JsonMessage::read(route.message_type, b"{}").unwrap();
            let path = [route.path, route.location.unwrap_or_default()].join("/");
            let names = path.split('/').filter_map(|name| name.strip_prefix('{')?.strip_suffix('}'));
            for field in names.chain(route.makes).chain(route.why) {
                assert!(message.text(field).is_some(), "{}: {field}", route.message_type);
            }
        }
    }

    #[test]
    fn every_command_says_who_asks() {
        let has_none = |route: &&super::Route| {
            proto::JsonMessage::read(route.message_type, b"{}").unwrap().text("actor").is_none()
        };
        let without: Vec<&str> = ROUTES.iter().filter(has_none).map(|route| route.message_type).collect();
        assert_eq!(without, [""; 0]);
    }

    #[test]
    fn a_key_names_a_command_of_one_caller_and_one_path() {
        let id = |caller, path, order, key| command_id(caller, path, &[("order_id", order)], key);
        let first = id("shop", "/a", "7", "k");
        assert_eq!(first, id("shop", "/a", "7", "k"));
        for other in [
            id("Shop", "/a", "7", "k"),
            id("shop", "/b", "7", "k"),
            id("shop", "/a", "8", "k"),
            id("shop", "/a", "7", "K"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_command_is_under_way_once_until_it_is_over() {
        let (under_way, id) = (UnderWay::default(), Uuid::from_u128(7));
        let first = under_way.begin(id).unwrap();
        assert!(under_way.begin(id).is_err() && under_way.begin(id).is_err());
        assert!(under_way.begin(Uuid::from_u128(8)).is_ok());
        assert!(under_way.has(id) && !under_way.has(Uuid::from_u128(8)));
        drop(first);
        assert!(under_way.begin(id).is_ok());
    }

    #[test]
    fn the_actor_is_the_caller_and_what_the_path_says_counts() {
        let id = Uuid::from_u128(7);
        let cancel =
            |body: &str| complete(route("CancelOrder"), body.as_bytes(), &[("order_id", "o")], "token:shop", id);
        let message = cancel(r#"{"note": "changed his mind"}"#).unwrap();
        assert_eq!(
            (message.text("actor").unwrap(), message.text("order_id").unwrap()),
            ("token:shop".to_owned(), "o".to_owned())
        );
        assert_eq!(cancel(r#"{"actor": "root"}"#).unwrap_err().param.as_deref(), Some("actor"));
        assert_eq!(cancel(r#"{"order_id": "p"}"#).unwrap_err().param.as_deref(), Some("order_id"));
        assert!(cancel(r#"{"order_id": "o"}"#).is_ok());
        let (order_id, shouted) = (Uuid::from_u128(0xab).to_string(), Uuid::from_u128(0xab).to_string().to_uppercase());
        let body = format!(r#"{{"order_id": "{shouted}"}}"#);
        let message = complete(route("CancelOrder"), body.as_bytes(), &[("order_id", &order_id)], "token:shop", id);
        assert_eq!(message.unwrap().text("order_id").unwrap(), order_id);
        let reinstate = complete(route("ReinstateOrder"), b"{}", &[("order_id", "o")], "token:shop", id);
        assert_eq!(reinstate.unwrap_err().param.as_deref(), Some("note"));
    }

    #[test]
    fn what_is_made_without_a_name_gets_one_that_follows_from_the_command() {
        let placed =
            |id| complete(route("PlaceOrder"), b"{}", &[], "a", Uuid::from_u128(id)).unwrap().text("order_id").unwrap();
        assert_eq!(placed(7), placed(7));
        assert_ne!(placed(7), placed(8));
        let message = complete(route("PlaceOrder"), br#"{"orderId": "mine"}"#, &[], "a", Uuid::nil()).unwrap();
        assert_eq!(filled("/v1/orders/{order_id}", &message), "/v1/orders/mine");
    }

    #[test]
    fn a_text_is_one_segment_of_a_path() {
        assert_eq!(encoded("M6x20 / galv. #4"), "M6x20%20%2F%20galv.%20%234");
        assert_eq!(encoded("Größe"), "Gr%C3%B6%C3%9Fe");
    }
}
