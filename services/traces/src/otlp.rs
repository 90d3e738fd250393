//! Spans as OTLP has them, in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use std::collections::BTreeMap;

use domain::Timestamp;
use proto::short_name;
use serde_json::{Value, json};

use crate::span::{Event, Notable, Span, SpanContext};

/// A message was taken in.
const CONSUMER: u8 = 5;

const ERROR: u8 = 2;

/// A request to a collector: each service is a resource of its own.
pub(crate) fn request(spans: &[Span]) -> Value {
    let mut by_service: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for span in spans {
        by_service.entry(&span.event.service).or_default().push(told(span));
    }
    let resources: Vec<Value> = by_service.into_iter().map(|(service, spans)| resource(service, &spans)).collect();
    json!({ "resourceSpans": resources })
}

fn resource(service: &str, spans: &[Value]) -> Value {
    json!({
        "resource": { "attributes": [attribute("service.name", &format!("holdfast-{service}"))] },
        "scopeSpans": [{ "scope": { "name": "holdfast", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    })
}

fn told(span: &Span) -> Value {
    let Event { position, stream, event_id, message_type, correlation_id, causation_id, .. } = &span.event;
    let name = short_name(message_type);
    let mut attributes = vec![
        attribute("holdfast.stream", stream),
        attribute("holdfast.position", &position.to_string()),
        attribute("holdfast.event_id", &event_id.to_string()),
        attribute("holdfast.event_type", message_type),
        attribute("holdfast.causation_id", &causation_id.to_string()),
        attribute("holdfast.correlation_id", &correlation_id.to_string()),
    ];
    attributes.extend(span.notable.map(|why| attribute("holdfast.notable", why.as_str())));
    let is_error = matches!(span.notable, Some(Notable::Failed | Notable::Unknown));
    let mut told = json!({
        "traceId": trace_id(span.context),
        "spanId": span_id(span.context.span),
        "name": name,
        "kind": CONSUMER,
        "startTimeUnixNano": nanos(span.begun),
        "endTimeUnixNano": nanos(span.event.recorded_at),
        "attributes": attributes,
        "links": span.link.iter().map(|link| json!({ "traceId": trace_id(*link), "spanId": span_id(link.span) })).collect::<Vec<_>>(),
        "status": if is_error { json!({ "code": ERROR, "message": name }) } else { json!({}) },
    });
    if let (Some(parent), Some(fields)) = (span.parent, told.as_object_mut()) {
        fields.insert("parentSpanId".to_owned(), span_id(parent).into());
    }
    told
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn trace_id(context: SpanContext) -> String {
    format!("{:032x}", context.trace)
}

fn span_id(span: u64) -> String {
    format!("{span:016x}")
}

/// Numbers of 64 bits are texts.
fn nanos(at: Timestamp) -> String {
    (i128::from(at.as_micros()) * 1_000).to_string()
}

#[cfg(test)]
mod tests {
    use domain::{GlobalPosition, Timestamp};
    use serde_json::json;
    use uuid::Uuid;

    use super::request;
    use crate::span::{Event, Notable, Span, SpanContext};

    #[test]
    fn a_request_is_as_collectors_read_it() {
        let span = Span {
            context: SpanContext { trace: 1, span: 2 },
            parent: Some(3),
            link: Some(SpanContext { trace: 4, span: 5 }),
            begun: Timestamp::from_micros(1_700_000_000_000_001),
            notable: Some(Notable::Unknown),
            event: Event {
                position: GlobalPosition::new(7),
                stream: "refund-1".into(),
                event_id: Uuid::from_u128(2),
                service: "payments".to_owned(),
                message_type: "holdfast.payments.v1.RefundOutcomeUnknown".to_owned(),
                correlation_id: Uuid::from_u128(1),
                causation_id: Uuid::from_u128(3),
                traceparent: None,
                recorded_at: Timestamp::from_micros(1_700_000_000_000_002),
            },
        };
        let told = request(std::slice::from_ref(&span));
        let wanted = json!({ "resourceSpans": [{
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "holdfast-payments" } }] },
            "scopeSpans": [{
                "scope": { "name": "holdfast", "version": env!("CARGO_PKG_VERSION") },
                "spans": [{
                    "traceId": "00000000000000000000000000000001",
                    "spanId": "0000000000000002",
                    "parentSpanId": "0000000000000003",
                    "name": "RefundOutcomeUnknown",
                    "kind": 5,
                    "startTimeUnixNano": "1700000000000001000",
                    "endTimeUnixNano": "1700000000000002000",
                    "attributes": [
                        { "key": "holdfast.stream", "value": { "stringValue": "refund-1" } },
                        { "key": "holdfast.position", "value": { "stringValue": "7" } },
                        { "key": "holdfast.event_id", "value": { "stringValue": Uuid::from_u128(2) } },
                        { "key": "holdfast.event_type", "value": { "stringValue": "holdfast.payments.v1.RefundOutcomeUnknown" } },
                        { "key": "holdfast.causation_id", "value": { "stringValue": Uuid::from_u128(3) } },
                        { "key": "holdfast.correlation_id", "value": { "stringValue": Uuid::from_u128(1) } },
                        { "key": "holdfast.notable", "value": { "stringValue": "unknown" } },
                    ],
                    "links": [{ "traceId": "00000000000000000000000000000004", "spanId": "0000000000000005" }],
                    "status": { "code": 2, "message": "RefundOutcomeUnknown" },
                }],
            }],
        }] });
        assert_eq!(told, wanted);
        let quiet = request(&[Span { parent: None, link: None, notable: Some(Notable::Slow), ..span }]);
        let quiet = &quiet["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!((quiet.get("parentSpanId"), &quiet["links"], &quiet["status"]), (None, &json!([]), &json!({})));
    }
}
