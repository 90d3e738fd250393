//! Links for browsers: whoever may read an order's events lets others listen to them for a while, by a link that is signed.
//!
//! An `EventSource` cannot send a header, so its proof stands in the address. It is good for one path, and for minutes.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawPathParams, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use domain::Timestamp;
use platform::{clock, error::Error, secret_file::SecretFile};
use ring::hmac;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Gateway,
    caller::{Scope, authorize},
    commands::json_response,
    hex,
    problem::Problem,
    read::id,
    secret,
};

pub(crate) const PATH: &str = "/v1/orders/{order_id}/events/link";

/// How long a link is good. A stream that has begun by then goes on.
const GOOD_FOR: Duration = Duration::from_mins(5);

/// What a link is signed by.
pub(crate) struct LinkKey(hmac::Key);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LinkKey")
    }
}

/// A link to the events of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventLink {
    /// Below the address of this gateway, for `new EventSource(url)`.
    url: String,
    /// Until when a stream may be begun with it.
    expires_at: String,
}

impl LinkKey {
    /// Reads the secret. `None`: there is none, and so there are no links.
    ///
    /// # Errors
    /// The file cannot be read, or its secret is too short.
    pub(crate) fn read(path: &str) -> Result<Option<SecretFile<Self>>, Error> {
        let named = ("gateway.link_secret", "reading the secret of links (setting gateway.link_secret)");
        secret::read(named, path, Self::of)
    }

    fn of(secret: &str) -> Result<Self, String> {
        secret::is_long_enough(secret)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    fn signature(&self, order_id: Uuid, expires: i64) -> String {
        hex::digits(hmac::sign(&self.0, signed(order_id, expires).as_bytes()).as_ref())
    }

    /// Whether a link to an order's events is signed and still good.
    fn lets(&self, order_id: Uuid, (expires, signature): (&str, &str), now: Timestamp) -> Result<(), Problem> {
        let refuse = |detail: &str| Err(Problem::own("LINK_INVALID", detail));
        let expires = expires.parse::<i64>().ok().filter(|seconds| seconds.to_string() == expires);
        let (Some(expires), Some(tag)) = (expires, hex::hash(signature)) else {
            return refuse("the link is not whole");
        };
        // In constant time, and before its time is looked at.
        if hmac::verify(&self.0, signed(order_id, expires).as_bytes(), &tag).is_err() {
            return refuse("the link is not signed by this gateway for this order");
        }
        if now.as_micros() >= expires.saturating_mul(1_000_000) {
            return refuse("the link's time is over: ask for another");
        }
        Ok(())
    }
}

/// One path and one time come to one text.
fn signed(order_id: Uuid, expires: i64) -> String {
    format!("GET\n/v1/orders/{order_id}/events\n{expires}")
}

/// `POST /v1/orders/{order_id}/events/link`
pub(crate) async fn link(
    State(gateway): State<Arc<Gateway>>,
    params: RawPathParams,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&gateway, &headers, Scope::OrdersRead)?;
    let order_id = id(&params, "order_id")?;
    let key = key(&gateway)?;
    let expires = (clock::now() + GOOD_FOR).as_micros() / 1_000_000;
    let signature = key.signature(order_id, expires);
    let url = format!("/v1/orders/{order_id}/events?expires={expires}&signature={signature}");
    let expires_at = Timestamp::from_micros(expires.saturating_mul(1_000_000)).to_string();
    Ok(json_response(StatusCode::OK, &EventLink { url, expires_at }))
}

/// Whether whoever comes by a link may listen.
///
/// # Errors
/// It is not signed, not for this order, or its time is over; or there are no links.
pub(crate) fn let_in(gateway: &Gateway, order_id: Uuid, expires: &str, signature: &str) -> Result<(), Problem> {
    key(gateway)?.lets(order_id, (expires, signature), clock::now())
}

fn key(gateway: &Gateway) -> Result<Arc<LinkKey>, Problem> {
    let off = || Problem::own("NOT_FOUND", "this gateway gives no links: the setting gateway.link_secret is empty");
    gateway.link_key.as_ref().map(SecretFile::current).ok_or_else(off)
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use uuid::Uuid;

    use super::LinkKey;

    const ORDER: Uuid = Uuid::from_u128(7);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn key() -> LinkKey {
        LinkKey::of("0123456789abcdef0123456789abcdef").unwrap()
    }

    #[test]
    fn a_link_is_good_for_its_order_and_its_time() {
        let (key, signature) = (key(), key().signature(ORDER, 1_000));
        let why = |order_id, expires: &str, signature: &str, now| {
            key.lets(order_id, (expires, signature), now).map_err(|problem| (problem.status.as_u16(), problem.detail))
        };
        assert_eq!(why(ORDER, "1000", &signature, at(999)), Ok(()));
        assert_eq!(why(ORDER, "1000", &signature.to_uppercase(), at(999)), Ok(()));
        let refused = |order_id, expires: &str, signature: &str, now, word: &str| {
            let (status, detail) = why(order_id, expires, signature, now).unwrap_err();
            assert!(status == 403 && detail.contains(word), "{detail}");
        };
        refused(ORDER, "1000", &signature, at(1_000), "time is over");
        refused(Uuid::from_u128(8), "1000", &signature, at(999), "not signed");
        refused(ORDER, "1001", &signature, at(999), "not signed");
        for place in 0..signature.len() {
            let mut changed = signature.clone().into_bytes();
            changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
            refused(ORDER, "1000", &String::from_utf8(changed).unwrap(), at(999), "not signed");
        }
        for (expires, signature) in
            [("", signature.as_str()), ("1000", ""), ("+1000", &signature), ("01000", &signature), ("1000", "zz")]
        {
            refused(ORDER, expires, signature, at(0), "not whole");
        }
        let other = LinkKey::of("another secret, of enough letters").unwrap();
        assert!(other.lets(ORDER, ("1000", &signature), at(999)).is_err());
    }

    #[test]
    fn a_link_is_signed_as_others_would_sign_it() {
        // printf 'GET\n/v1/orders/00000000-0000-0000-0000-000000000007/events\n1000' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        assert_eq!(key().signature(ORDER, 1_000), "1de933977f1b3eaf66aa695a1ce16e192235a40cc9699d46956a4bcd7f65325d");
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        for short in ["", "secret", "0123456789abcdef0123456789abcde"] {
            assert!(LinkKey::of(short).unwrap_err().contains("32 is the least"), "{short}");
        }
    }
}
