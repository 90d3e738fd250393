//! Domain to protobuf and back, and what can be said of a command without looking at any state.

use domain::{HoldKey, Money, OrderId, PaymentId, RefundId, Rejection, Timestamp, decode, text, unknown_type};
use proto::{Message, Name, common::v1 as common, payments::v1 as wire};

use crate::{
    command::{Command, RefundReport, Report},
    event::{Checkout, Event, RefundOf, Resolution},
};

#[cfg(test)]
mod tests;

/// The effect: what to send to the provider.
pub const PAYMENT_REFUNDING: &str = "holdfast.payments.v1.PaymentRefunding";

const PACKAGE: &str = "holdfast.payments.v1.";

/// Reads a command from outside.
///
/// # Errors
/// What the sender did wrong.
pub fn command(message_type: &str, data: &[u8]) -> Result<Command, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::RecordProviderEvent::NAME) => record_provider_event(decode(data)?),
        Some(wire::ResolveRefund::NAME) => resolve_refund(decode(data)?),
        Some(_) | None => Err(unknown_type("payments", message_type)),
    }
}

fn record_provider_event(message: wire::RecordProviderEvent) -> Result<Command, Rejection> {
    use wire::ProviderEventKind as Kind;
    let kind = Kind::try_from(message.kind).unwrap_or(Kind::Unspecified);
    let payment_id = PaymentId::parse(&message.payment_id)?;
    let provider_event_id = text("provider_event_id", &message.provider_event_id, 1, 256)?;
    let provider_reference = text("provider_reference", &message.provider_reference, 0, 256)?;
    let reason = text("reason", &message.reason, 0, 512)?;
    if message.occurred_at.is_some() {
        Timestamp::from_wire("occurred_at", message.occurred_at)?;
    }
    let about_payment = || match message.refund_id.as_str() {
        "" => Ok(()),
        _ => Err(Rejection::new("INVALID_ID", "refund_id must be empty in a report about a payment")),
    };
    let amount = || Money::from_wire("amount", message.amount.as_ref());
    let report = match kind {
        Kind::PaymentSucceeded => {
            about_payment()?;
            Report::PaymentSucceeded { amount: amount()?, provider_event_id }
        }
        Kind::PaymentFailed => {
            about_payment()?;
            Report::PaymentFailed { reason, provider_event_id }
        }
        Kind::RefundSucceeded | Kind::RefundFailed => {
            let refund_id = RefundId::parse(&message.refund_id)?;
            let report = RefundReport { refund_id, amount: amount()?, provider_reference, reason };
            if kind == Kind::RefundFailed { Report::RefundFailed(report) } else { Report::RefundSucceeded(report) }
        }
        Kind::Unspecified => {
            return Err(Rejection::new(
                "INVALID_KIND",
                format!("kind must be one of the PROVIDER_EVENT_KIND values that name something, not {}", message.kind),
            ));
        }
    };
    Ok(Command::RecordProviderEvent { payment_id, report })
}

fn resolve_refund(message: wire::ResolveRefund) -> Result<Command, Rejection> {
    Ok(Command::ResolveRefund {
        payment_id: PaymentId::parse(&message.payment_id)?,
        refund_id: RefundId::parse(&message.refund_id)?,
        resolution: known_resolution(message.resolution)?,
        actor: text("actor", &message.actor, 1, 128)?,
        note: text("note", &message.note, 1, 512)?,
    })
}

/// An event's full type name and bytes.
#[must_use]
pub fn encode(event: &Event) -> (&'static str, Vec<u8>) {
    match event.clone() {
        Event::PaymentRequested { payment_id, key, amount, checkout, payment_method, expires_at } => {
            let message = requested_to_wire(payment_id, key, amount, checkout, payment_method, expires_at);
            ("holdfast.payments.v1.PaymentRequested", message.encode_to_vec())
        }
        Event::PaymentSucceeded { payment_id, key, amount, provider_event_id } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let amount = Some(amount.to_wire());
            let message = wire::PaymentSucceeded { payment_id, order_id, attempt, amount, provider_event_id };
            ("holdfast.payments.v1.PaymentSucceeded", message.encode_to_vec())
        }
        Event::PaymentFailed { payment_id, key, reason, provider_event_id } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::PaymentFailed { payment_id, order_id, attempt, reason, provider_event_id };
            ("holdfast.payments.v1.PaymentFailed", message.encode_to_vec())
        }
        Event::PaymentCancelled { payment_id, key } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::PaymentCancelled { payment_id, order_id, attempt };
            ("holdfast.payments.v1.PaymentCancelled", message.encode_to_vec())
        }
        Event::PaymentRefunding { of, amount, idempotency_key, deadline, provider, payment_reference } => {
            let message = refunding_to_wire(of, amount, idempotency_key, deadline, provider, payment_reference);
            (PAYMENT_REFUNDING, message.encode_to_vec())
        }
        Event::PaymentRefunded { of, amount, provider_reference } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let amount = Some(amount.to_wire());
            let message = wire::PaymentRefunded { payment_id, order_id, refund_id, amount, provider_reference };
            ("holdfast.payments.v1.PaymentRefunded", message.encode_to_vec())
        }
        Event::RefundRejected { of, amount, rejection } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let (amount, rejection) = (Some(amount.to_wire()), Some(rejection.to_wire()));
            let message = wire::RefundRejected { payment_id, order_id, refund_id, rejection, amount };
            ("holdfast.payments.v1.RefundRejected", message.encode_to_vec())
        }
        Event::RefundOutcomeUnknown { of, evidence } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let message = wire::RefundOutcomeUnknown { payment_id, order_id, refund_id, evidence };
            ("holdfast.payments.v1.RefundOutcomeUnknown", message.encode_to_vec())
        }
        Event::RefundReversed { of, amount, reason } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let amount = Some(amount.to_wire());
            let message = wire::RefundReversed { payment_id, order_id, refund_id, amount, reason };
            ("holdfast.payments.v1.RefundReversed", message.encode_to_vec())
        }
        Event::RefundResolved { of, resolution, actor, note } => {
            let (payment_id, order_id, refund_id) = refund_to_wire(of);
            let resolution = resolution_to_wire(resolution).into();
            let message = wire::RefundResolved { payment_id, order_id, refund_id, resolution, actor, note };
            ("holdfast.payments.v1.RefundResolved", message.encode_to_vec())
        }
    }
}

fn requested_to_wire(
    payment_id: PaymentId,
    key: HoldKey,
    amount: Money,
    checkout: Checkout,
    payment_method: String,
    expires_at: Timestamp,
) -> wire::PaymentRequested {
    wire::PaymentRequested {
        payment_id: payment_id.to_string(),
        order_id: key.order_id.to_string(),
        attempt: key.attempt,
        amount: Some(amount.to_wire()),
        provider: checkout.provider,
        provider_reference: checkout.reference,
        checkout_url: checkout.url,
        payment_method,
        expires_at: Some(expires_at.to_wire()),
    }
}

fn refunding_to_wire(
    of: RefundOf,
    amount: Money,
    idempotency_key: String,
    deadline: Timestamp,
    provider: String,
    payment_reference: String,
) -> wire::PaymentRefunding {
    wire::PaymentRefunding {
        payment_id: of.payment_id.to_string(),
        order_id: of.order_id.to_string(),
        refund_id: of.refund_id.to_string(),
        amount: Some(amount.to_wire()),
        idempotency_key,
        deadline: Some(deadline.to_wire()),
        provider,
        payment_reference,
    }
}

fn payment_to_wire(payment_id: PaymentId, key: HoldKey) -> (String, String, i32) {
    (payment_id.to_string(), key.order_id.to_string(), key.attempt)
}

fn refund_to_wire(of: RefundOf) -> (String, String, String) {
    (of.payment_id.to_string(), of.order_id.to_string(), of.refund_id.to_string())
}

const fn resolution_to_wire(resolution: Resolution) -> wire::RefundResolution {
    match resolution {
        Resolution::Retry => wire::RefundResolution::Retry,
        Resolution::Refunded => wire::RefundResolution::Refunded,
        Resolution::Abandon => wire::RefundResolution::Abandon,
    }
}

/// Reads an event back from the log. Takes texts as they are: what was once a fact stays one, whatever is refused
/// today.
///
/// # Errors
/// An unknown type, bytes that do not decode, or a malformed id, amount or time.
pub fn event(message_type: &str, data: &[u8]) -> Result<Event, Rejection> {
    match message_type.strip_prefix(PACKAGE) {
        Some(wire::PaymentRequested::NAME) => requested(decode(data)?),
        Some(wire::PaymentSucceeded::NAME) => {
            let wire::PaymentSucceeded { payment_id, order_id, attempt, amount, provider_event_id } = decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            Ok(Event::PaymentSucceeded { payment_id, key, amount: money(amount)?, provider_event_id })
        }
        Some(wire::PaymentFailed::NAME) => {
            let wire::PaymentFailed { payment_id, order_id, attempt, reason, provider_event_id } = decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            Ok(Event::PaymentFailed { payment_id, key, reason, provider_event_id })
        }
        Some(wire::PaymentCancelled::NAME) => {
            let wire::PaymentCancelled { payment_id, order_id, attempt } = decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            Ok(Event::PaymentCancelled { payment_id, key })
        }
        Some(wire::PaymentRefunding::NAME) => refunding(decode(data)?),
        Some(wire::PaymentRefunded::NAME) => {
            let wire::PaymentRefunded { payment_id, order_id, refund_id, amount, provider_reference } = decode(data)?;
            let of = refund(&payment_id, &order_id, &refund_id)?;
            Ok(Event::PaymentRefunded { of, amount: money(amount)?, provider_reference })
        }
        Some(wire::RefundRejected::NAME) => {
            let wire::RefundRejected { payment_id, order_id, refund_id, rejection, amount } = decode(data)?;
            let of = refund(&payment_id, &order_id, &refund_id)?;
            Ok(Event::RefundRejected { of, amount: money(amount)?, rejection: Rejection::from_wire(rejection) })
        }
        Some(wire::RefundOutcomeUnknown::NAME) => {
            let wire::RefundOutcomeUnknown { payment_id, order_id, refund_id, evidence } = decode(data)?;
            Ok(Event::RefundOutcomeUnknown { of: refund(&payment_id, &order_id, &refund_id)?, evidence })
        }
        Some(wire::RefundReversed::NAME) => {
            let wire::RefundReversed { payment_id, order_id, refund_id, amount, reason } = decode(data)?;
            let of = refund(&payment_id, &order_id, &refund_id)?;
            Ok(Event::RefundReversed { of, amount: money(amount)?, reason })
        }
        Some(wire::RefundResolved::NAME) => {
            let wire::RefundResolved { payment_id, order_id, refund_id, resolution, actor, note } = decode(data)?;
            let of = refund(&payment_id, &order_id, &refund_id)?;
            Ok(Event::RefundResolved { of, resolution: known_resolution(resolution)?, actor, note })
        }
        Some(_) | None => Err(unknown_type("payments", message_type)),
    }
}

fn requested(message: wire::PaymentRequested) -> Result<Event, Rejection> {
    let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
    Ok(Event::PaymentRequested {
        payment_id,
        key,
        amount: money(message.amount)?,
        checkout: Checkout {
            provider: message.provider,
            reference: message.provider_reference,
            url: message.checkout_url,
        },
        payment_method: message.payment_method,
        expires_at: Timestamp::from_wire("expires_at", message.expires_at)?,
    })
}

fn refunding(message: wire::PaymentRefunding) -> Result<Event, Rejection> {
    Ok(Event::PaymentRefunding {
        of: refund(&message.payment_id, &message.order_id, &message.refund_id)?,
        amount: money(message.amount)?,
        idempotency_key: message.idempotency_key,
        deadline: Timestamp::from_wire("deadline", message.deadline)?,
        provider: message.provider,
        payment_reference: message.payment_reference,
    })
}

fn payment(payment_id: &str, order_id: &str, attempt: i32) -> Result<(PaymentId, HoldKey), Rejection> {
    Ok((PaymentId::parse(payment_id)?, HoldKey::parse(order_id, attempt)?))
}

fn refund(payment_id: &str, order_id: &str, refund_id: &str) -> Result<RefundOf, Rejection> {
    Ok(RefundOf {
        payment_id: PaymentId::parse(payment_id)?,
        order_id: OrderId::parse(order_id)?,
        refund_id: RefundId::parse(refund_id)?,
    })
}

fn money(amount: Option<common::Money>) -> Result<Money, Rejection> {
    Money::from_wire("amount", amount.as_ref())
}

fn known_resolution(value: i32) -> Result<Resolution, Rejection> {
    use wire::RefundResolution as Wire;
    match Wire::try_from(value).unwrap_or(Wire::Unspecified) {
        Wire::Retry => Ok(Resolution::Retry),
        Wire::Refunded => Ok(Resolution::Refunded),
        Wire::Abandon => Ok(Resolution::Abandon),
        Wire::Unspecified => Err(Rejection::new(
            "INVALID_RESOLUTION",
            format!("resolution must be RETRY, REFUNDED or ABANDON, not {value}"),
        )),
    }
}
