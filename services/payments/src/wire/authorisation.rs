//! Events of money that is set aside, in both directions.

use domain::{Rejection, Timestamp, decode};
use proto::{Message, Name, payments::v1 as wire};

use super::{money, payment, payment_to_wire, time};
use crate::event::{AuthorisationCall, AuthorisationEvent, AuthorisationOf, Event};

pub(super) fn encode(event: AuthorisationEvent) -> (&'static str, Vec<u8>) {
    match event {
        AuthorisationEvent::Authorised { of, amount, provider_event_id, occurred_at } => {
            let (payment_id, order_id, attempt) = payment_to_wire(of.payment_id, of.key);
            let message = wire::PaymentAuthorised {
                payment_id,
                order_id,
                attempt,
                amount: Some(amount.to_wire()),
                provider_event_id,
                provider_reference: of.reference,
                occurred_at: occurred_at.map(Timestamp::to_wire),
            };
            ("holdfast.payments.v1.PaymentAuthorised", message.encode_to_vec())
        }
        AuthorisationEvent::CaptureSubmitted(call) => {
            ("holdfast.payments.v1.CaptureSubmitted", call_to_wire(call).encode_to_vec())
        }
        AuthorisationEvent::VoidSubmitted(call) => {
            ("holdfast.payments.v1.VoidSubmitted", void_to_wire(call_to_wire(call)).encode_to_vec())
        }
        AuthorisationEvent::Voided { of, provider_event_id, reason, is_awaited } => {
            let (payment_id, order_id, attempt) = payment_to_wire(of.payment_id, of.key);
            let provider_reference = of.reference;
            let message = wire::PaymentVoided {
                payment_id,
                order_id,
                attempt,
                provider_reference,
                provider_event_id,
                reason,
                awaited: is_awaited,
            };
            ("holdfast.payments.v1.PaymentVoided", message.encode_to_vec())
        }
    }
}

fn call_to_wire(call: AuthorisationCall) -> wire::CaptureSubmitted {
    let AuthorisationCall { of, amount, provider, payment_reference, deadline } = call;
    let (payment_id, order_id, attempt) = payment_to_wire(of.payment_id, of.key);
    wire::CaptureSubmitted {
        payment_id,
        order_id,
        attempt,
        amount: Some(amount.to_wire()),
        provider,
        provider_reference: of.reference,
        deadline: Some(deadline.to_wire()),
        payment_reference,
    }
}

fn void_to_wire(same: wire::CaptureSubmitted) -> wire::VoidSubmitted {
    let wire::CaptureSubmitted {
        payment_id,
        order_id,
        attempt,
        amount,
        provider,
        provider_reference,
        deadline,
        payment_reference,
    } = same;
    wire::VoidSubmitted {
        payment_id,
        order_id,
        attempt,
        amount,
        provider,
        provider_reference,
        deadline,
        payment_reference,
    }
}

fn capture_from_wire(same: wire::VoidSubmitted) -> wire::CaptureSubmitted {
    let wire::VoidSubmitted {
        payment_id,
        order_id,
        attempt,
        amount,
        provider,
        provider_reference,
        deadline,
        payment_reference,
    } = same;
    wire::CaptureSubmitted {
        payment_id,
        order_id,
        attempt,
        amount,
        provider,
        provider_reference,
        deadline,
        payment_reference,
    }
}

/// Reads an event of this kind. `None`: it is of another.
pub(super) fn decode_event(event: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    Ok(Some(Event::Authorisation(match event {
        wire::PaymentAuthorised::NAME => {
            let message: wire::PaymentAuthorised = decode(data)?;
            AuthorisationEvent::Authorised {
                of: of(&message.payment_id, &message.order_id, message.attempt, message.provider_reference)?,
                amount: money(message.amount)?,
                provider_event_id: message.provider_event_id,
                occurred_at: time(message.occurred_at)?,
            }
        }
        wire::CaptureSubmitted::NAME => AuthorisationEvent::CaptureSubmitted(call(decode(data)?)?),
        wire::VoidSubmitted::NAME => AuthorisationEvent::VoidSubmitted(call(capture_from_wire(decode(data)?))?),
        wire::PaymentVoided::NAME => {
            let message: wire::PaymentVoided = decode(data)?;
            AuthorisationEvent::Voided {
                of: of(&message.payment_id, &message.order_id, message.attempt, message.provider_reference)?,
                provider_event_id: message.provider_event_id,
                reason: message.reason,
                is_awaited: message.awaited,
            }
        }
        _ => return Ok(None),
    })))
}

fn of(payment_id: &str, order_id: &str, attempt: i32, reference: String) -> Result<AuthorisationOf, Rejection> {
    let (payment_id, key) = payment(payment_id, order_id, attempt)?;
    Ok(AuthorisationOf { payment_id, key, reference })
}

fn call(message: wire::CaptureSubmitted) -> Result<AuthorisationCall, Rejection> {
    Ok(AuthorisationCall {
        of: of(&message.payment_id, &message.order_id, message.attempt, message.provider_reference)?,
        amount: money(message.amount)?,
        provider: message.provider,
        payment_reference: message.payment_reference,
        deadline: Timestamp::from_wire("deadline", message.deadline)?,
    })
}
