//! Events of asking for a payment, and of the page on which it is paid, in both directions.

use domain::{Rejection, Timestamp, decode};
use proto::{Message, Name, payments::v1 as wire};
use providers::{Checkout, OpenCheckout};

use super::{money, payment, payment_to_wire};
use crate::event::{CheckoutEnd, Event};

/// An event of this kind; of no other.
pub(super) fn encode(event: Event) -> (&'static str, Vec<u8>) {
    match event {
        Event::PaymentRequested { payment_id, key, amount, checkout, payment_method, expires_at, checkout_ends_at } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::PaymentRequested {
                payment_id,
                order_id,
                attempt,
                amount: Some(amount.to_wire()),
                provider: checkout.provider,
                provider_reference: checkout.reference,
                checkout_url: checkout.url,
                payment_method,
                expires_at: Some(expires_at.to_wire()),
                checkout_ends_at: checkout_ends_at.map(Timestamp::to_wire),
            };
            ("holdfast.payments.v1.PaymentRequested", message.encode_to_vec())
        }
        Event::CheckoutOpened { payment_id, key, checkout } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let OpenCheckout { reference: provider_reference, url: checkout_url } = checkout;
            let message = wire::CheckoutOpened { payment_id, order_id, attempt, provider_reference, checkout_url };
            ("holdfast.payments.v1.CheckoutOpened", message.encode_to_vec())
        }
        Event::CheckoutFailed { payment_id, key, rejection } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let rejection = Some(rejection.to_wire());
            let message = wire::CheckoutFailed { payment_id, order_id, attempt, rejection };
            ("holdfast.payments.v1.CheckoutFailed", message.encode_to_vec())
        }
        Event::CheckoutAbandoned { payment_id, key, provider, reference: provider_reference, deadline } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let deadline = Some(deadline.to_wire());
            let message =
                wire::CheckoutAbandoned { payment_id, order_id, attempt, provider, provider_reference, deadline };
            ("holdfast.payments.v1.CheckoutAbandoned", message.encode_to_vec())
        }
        Event::CheckoutClosed { payment_id, key, end } => {
            let (payment_id, order_id, attempt) = payment_to_wire(payment_id, key);
            let message = wire::CheckoutClosed { payment_id, order_id, attempt, end: end_to_wire(end).into() };
            ("holdfast.payments.v1.CheckoutClosed", message.encode_to_vec())
        }
        Event::PaymentSucceeded { .. }
        | Event::PaymentDeclined { .. }
        | Event::PaymentFailed { .. }
        | Event::PaymentCancelled { .. }
        | Event::ProviderReportUnmatched { .. }
        | Event::ProviderReportResolved { .. }
        | Event::RefundDeferred { .. }
        | Event::RefundSubmitted { .. }
        | Event::PaymentRefunded { .. }
        | Event::PaymentRefundedElsewhere { .. }
        | Event::RefundAnswered { .. }
        | Event::RefundRejected { .. }
        | Event::RefundOutcomeUnknown { .. }
        | Event::RefundReversed { .. }
        | Event::RefundResolved { .. }
        | Event::Authorisation(_)
        | Event::Dispute(_)
        | Event::Coupon(_)
        | Event::Wallet(_) => super::encode(&event),
    }
}

/// Reads an event of this kind. `None`: it is of another.
pub(super) fn decode_event(event: &str, data: &[u8]) -> Result<Option<Event>, Rejection> {
    Ok(Some(match event {
        wire::PaymentRequested::NAME => requested(decode(data)?)?,
        wire::CheckoutOpened::NAME => {
            let wire::CheckoutOpened { payment_id, order_id, attempt, provider_reference, checkout_url } =
                decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            let checkout = OpenCheckout { reference: provider_reference, url: checkout_url };
            Event::CheckoutOpened { payment_id, key, checkout }
        }
        wire::CheckoutFailed::NAME => {
            let wire::CheckoutFailed { payment_id, order_id, attempt, rejection } = decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            Event::CheckoutFailed { payment_id, key, rejection: Rejection::from_wire(rejection) }
        }
        wire::CheckoutAbandoned::NAME => {
            let message: wire::CheckoutAbandoned = decode(data)?;
            let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
            Event::CheckoutAbandoned {
                payment_id,
                key,
                provider: message.provider,
                reference: message.provider_reference,
                deadline: Timestamp::from_wire("deadline", message.deadline)?,
            }
        }
        wire::CheckoutClosed::NAME => {
            let wire::CheckoutClosed { payment_id, order_id, attempt, end } = decode(data)?;
            let (payment_id, key) = payment(&payment_id, &order_id, attempt)?;
            Event::CheckoutClosed { payment_id, key, end: known_end(end)? }
        }
        _ => return Ok(None),
    }))
}

fn requested(message: wire::PaymentRequested) -> Result<Event, Rejection> {
    let (payment_id, key) = payment(&message.payment_id, &message.order_id, message.attempt)?;
    let ends_at = |ends_at| Timestamp::from_wire("checkout_ends_at", Some(ends_at));
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
        checkout_ends_at: message.checkout_ends_at.map(ends_at).transpose()?,
    })
}

const fn end_to_wire(end: CheckoutEnd) -> wire::CheckoutEnd {
    match end {
        CheckoutEnd::Unpaid => wire::CheckoutEnd::Unpaid,
        CheckoutEnd::Paid => wire::CheckoutEnd::Paid,
        CheckoutEnd::Authorised => wire::CheckoutEnd::Authorised,
        CheckoutEnd::UnderWay => wire::CheckoutEnd::UnderWay,
    }
}

fn known_end(value: i32) -> Result<CheckoutEnd, Rejection> {
    use wire::CheckoutEnd as Wire;
    match Wire::try_from(value).unwrap_or(Wire::Unspecified) {
        Wire::Unpaid => Ok(CheckoutEnd::Unpaid),
        Wire::Paid => Ok(CheckoutEnd::Paid),
        Wire::Authorised => Ok(CheckoutEnd::Authorised),
        Wire::UnderWay => Ok(CheckoutEnd::UnderWay),
        Wire::Unspecified => {
            Err(Rejection::new("INVALID_END", format!("{value} is nothing that a provider can find of a page")))
        }
    }
}
