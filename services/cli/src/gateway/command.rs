//! A command of a verb on its way through the gateway, and its answer as the broker would have brought it.

use anyhow::Result;
use domain::code::CODES;
use proto::{
    Message, Name,
    common::v1::{Accepted, CommandReply, Rejection, command_reply::Outcome},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Answer, Gateway, WORKER_WITHIN, encoded,
    failure::{AWAY, Failure},
};

/// Where the commands of verbs are posted, with the names of their fields where they stand in it.
const ROUTES: [(&str, &str); 5] = [
    ("holdfast.orders.v1.CancelOrder", "/v1/orders/{order_id}/cancel"),
    ("holdfast.orders.v1.RequestRefund", "/v1/orders/{order_id}/refunds"),
    ("holdfast.orders.v1.ReinstateOrder", "/v1/orders/{order_id}/reinstate"),
    ("holdfast.payments.v1.ResolveRefund", "/v1/payments/{payment_id}/refunds/{refund_id}/resolve"),
    ("holdfast.payments.v1.ResolveProviderReport", "/v1/payments/{payment_id}/reports/{provider_event_id}/resolve"),
];

/// Sends it, and waits for its worker: what was answered, and the exit code of a refusal.
///
/// # Errors
/// It may not be, or nobody has answered.
pub(crate) async fn send<M: Message + Name>(
    gateway: &Gateway,
    command: &M,
    key: Uuid,
) -> Result<(CommandReply, Option<u8>)> {
    let (path, body) = request(&M::full_name(), proto::to_json_as_spelled(&M::full_name(), &command.encode_to_vec())?)?;
    answered(gateway, gateway.post(&path, key, &body).await?, &path)
}

/// Where it is posted, and its content without what the path says and without who asks.
fn request(message_type: &str, command: Value) -> Result<(String, Value)> {
    let route = ROUTES.iter().find(|(known, _)| *known == message_type).map(|(_, path)| *path);
    let Some(route) = route else { anyhow::bail!("the gateway takes no {message_type}") };
    let Value::Object(mut body) = command else { anyhow::bail!("{message_type} is no JSON object") };
    let mut segment = |segment: &str| match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        Some(field) => encoded(body.remove(field).as_ref().and_then(Value::as_str).unwrap_or_default()),
        None => segment.to_owned(),
    };
    let path = route.split('/').map(&mut segment).collect::<Vec<_>>().join("/");
    body.remove("actor");
    Ok((path, Value::Object(body)))
}

fn answered(gateway: &Gateway, Answer { status, json }: Answer, path: &str) -> Result<(CommandReply, Option<u8>)> {
    let text = |field: &str| json.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let reply = |outcome| CommandReply { command_id: text("command_id"), outcome: Some(outcome) };
    match status {
        200 | 201 => {
            let events = json.get("events").and_then(Value::as_array).into_iter().flatten();
            let events = events.filter_map(Value::as_str).map(str::to_owned).collect();
            let version = text("version").parse().unwrap_or_default();
            Ok((reply(Outcome::Accepted(Accepted { events, stream: text("stream"), version })), None))
        }
        202 => {
            let words = format!(
                "its worker has not come to it within {} s, and will: `holdfast get command {}` says what becomes of it",
                WORKER_WITHIN.as_secs(),
                text("command_id")
            );
            Err(Failure::error(AWAY, words))
        }
        // What a worker has refused is an answer.
        _ if CODES.iter().any(|known| known.word == text("code")) => {
            let rejection = Rejection { code: text("code"), reason: text("detail"), ..Rejection::default() };
            Ok((reply(Outcome::Rejected(rejection)), Some(Failure::code_of(status))))
        }
        _ => Err(gateway.refused(status, &json, path)),
    }
}

#[cfg(test)]
mod tests {
    use proto::JsonMessage;
    use serde_json::json;

    use super::{ROUTES, request};

    #[test]
    fn every_name_in_a_route_is_a_field_of_its_command() {
        for (message_type, path) in ROUTES {
            let message = JsonMessage::read(message_type, b"{}").unwrap();
            for field in path.split('/').filter_map(|name| name.strip_prefix('{')?.strip_suffix('}')) {
                assert!(message.text(field).is_some(), "{message_type}: {field}");
            }
        }
    }

    #[test]
    fn what_the_path_says_and_who_asks_is_no_part_of_the_body() {
        let command = json!({
            "payment_id": "p", "provider_event_id": "evt/1", "resolution": "REPORT_RESOLUTION_ACCEPTED", "actor": "", "note": "a gift",
        });
        let (path, body) = request("holdfast.payments.v1.ResolveProviderReport", command).unwrap();
        assert_eq!(path, "/v1/payments/p/reports/evt%2F1/resolve");
        assert_eq!(body, json!({ "resolution": "REPORT_RESOLUTION_ACCEPTED", "note": "a gift" }));
        assert!(request("holdfast.orders.v1.PlaceOrder", json!({})).is_err());
    }
}
